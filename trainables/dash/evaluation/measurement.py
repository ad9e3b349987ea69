"""Quality of a network's samples: sampling, features and distances.

Images go to the features without files.
"""

from __future__ import annotations

import json
import time
from importlib.metadata import version
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from branchwise.trainables.contract import Context
from branchwise.trainables.dash.compute.memory import AdaptiveBatcher
from branchwise.trainables.dash.compute.modes import full_precision
from branchwise.trainables.dash.compute.parallel import broadcast_number, gather_rows, my_slice
from branchwise.trainables.dash.compute.progress import Progress
from branchwise.trainables.dash.compute.seeding import derive
from branchwise.trainables.dash.costs.memory import MIN_BATCH, images_at_once
from branchwise.trainables.dash.data.datasets import Dataset, in_turn, to_pixels
from branchwise.trainables.dash.diffusion import sampling
from branchwise.trainables.dash.diffusion.guidance import Scale, scales
from branchwise.trainables.dash.evaluation import metrics, neighbors
from branchwise.trainables.dash.evaluation.efficiency import peak_memory, sample_gflop
from branchwise.trainables.dash.evaluation.reference import EvaluationReference
from branchwise.trainables.dash.evaluation.reference_set import ReferenceSet
from branchwise.trainables.dash.settings.evaluate import Evaluate
from branchwise.trainables.dash.settings.guidance import described


def batch_size(dataset: Dataset) -> int:
    """Return the number of images sampled at once.

    As many as should fit on a GPU, the minimum on a CPU, which does not benefit from more.

    It depends only on the kind of device, not on the free memory: rounding depends on it.
    """
    device = dataset.device
    if device.type != "cuda":
        return MIN_BATCH
    return images_at_once(torch.cuda.get_device_properties(device).total_memory, dataset.image_shape[1])


def batches_of(settings: Evaluate, dataset: Dataset, context: Context) -> int:
    """Return the batches per rank for a network, the same on each rank.

    They are more where its guidance is to be chosen.
    """
    longest = -(-settings.samples // context.world_size)
    chosen = len(settings.candidates) if len(settings.candidates) > 1 else 0
    scales = chosen + 1 + len(settings.guidance_grid)
    return scales * settings.repeats * -(-longest // batch_size(dataset))


def measure(
    net: nn.Module,
    reference: EvaluationReference,
    settings: Evaluate,
    seed: int,
    context: Context,
    progress: Progress,
    teacher: metrics.Statistics | None = None,
    brief: bool = False,
) -> tuple[dict[str, Any], tuple[dict[str, float | None], ...], Tensor]:
    """Sample `net` (in eval mode) and measure the samples' distance to the reference.

    `settings` are resolved: their guidance is a scale, and no rule. The noise of image i is drawn by
    (seed, repeat, i), so that all networks measured under one seed start equally. `teacher`: statistics of the features
    of its teacher's samples under the same settings; without them `teacher_distance` is omitted. `brief`: the Fréchet
    distances only.

    Returns the values (columns), a row for each scale of `guidance_grid`, and the first images of the first repeat
    (n, C, H, W) uint8, of each class in turn. The ranks share the samples and all return the same values. Raises
    FloatingPointError, on each rank, when samples are not finite.
    """

    def once(guidance: Scale, r: int) -> tuple[dict[str, float | None], Tensor]:
        drawn_by = seed + r * 1_000_003
        actual, first, costs = _sampled_features(net, reference, settings, guidance, drawn_by, context, progress)
        return {**_distances(actual, reference.against, teacher, brief), **costs}, first

    def repeated(guidance: Scale) -> tuple[list[dict[str, float | None]], Tensor]:
        measured = [once(guidance, r) for r in range(settings.repeats)]
        return [values for values, _ in measured], measured[0][1]

    (guidance,) = settings.candidates
    result, images = repeated(guidance)
    values: dict[str, Any] = {
        "metric": reference.against.extractor.metric(settings.samples),
        **_means(result),
        "sample_gflop": sample_gflop(net, reference.dataset.image_shape, guidance, settings.sampler_steps),
        "value_repeats": [values["value"] for values in result],
    }
    grid = tuple({"guidance": scale, **_means(repeated(scale)[0])} for scale in settings.guidance_grid)
    return values, grid, images


def choose_guidance(
    net: nn.Module, reference: EvaluationReference, settings: Evaluate, seed: int, context: Context, progress: Progress
) -> dict[str, Any]:
    """The candidate whose samples of `net` are nearest to the reference, and the result of each.

    All candidates start from the same noise, which no value is reported on. The ranks agree on the choice.
    """
    sampling_seed, rows = derive(seed, "choice of guidance"), []
    for candidate in settings.candidates:
        fixed = settings.model_copy(update={"guidance": candidate, "guidance_grid": ()})
        values, _, _ = measure(net, reference, fixed, sampling_seed, context, progress, brief=True)
        message = fixed.model_dump(mode="json")["guidance"]
        rows.append({"guidance": message, "value": values["value"], "value_repeats": values["value_repeats"]})
    best = min(range(len(rows)), key=lambda i: float(rows[i]["value"]))
    best = int(broadcast_number(best, context))  # with rounding differences, ranks could diverge
    return {"chosen_guidance": rows[best]["guidance"], "guidance_candidates": rows}


def comparability_key(against: ReferenceSet, holdout: Dataset, settings: Evaluate) -> str:
    """Canonical JSON of a flat object: two values may share a table only if theirs are equal.

    `settings` are resolved. `holdout` has the images that calibration is measured on.
    """
    extractor, size = against.extractor, len(against.features)
    (guidance,) = settings.candidates
    fields = {
        "metric": extractor.metric(settings.samples),
        "feature_weights": extractor.weights_sha256,
        "reference": against.sha256,
        "reference_size": size,
        "samples": settings.samples,
        "labels": "balanced" if settings.labels == "balanced" or len(set(holdout.counts)) <= 1 else "as in the data",
        "quantisation": "uint8",
        "guidance": described(guidance),
        "sampler": settings.sampler,
        "sampler_steps": settings.sampler_steps,
        "kid_subsets": extractor.kid_subsets,
        "kid_subset_size": min(extractor.kid_subset_size, settings.samples, size),
        "held_out": holdout.sha256,
        "held_out_size": len(holdout),
        "gap_samples": settings.gap_samples,
        "gap_bins": settings.gap_bins,
        "torch_fidelity": version("torch-fidelity"),
    } | ({} if settings.precision == "fp32" else {"precision": settings.precision})
    if settings.teacher_samples is not None:  # else by the size of the reference
        fields["teacher_samples"] = settings.teacher_samples
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def _means(repeats: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Each value averaged over the repeats, or None."""
    names = repeats[0]
    return {name: None if names[name] is None else mean(r[name] or 0.0 for r in repeats) for name in names}


def sample_statistics(
    net: nn.Module, reference: EvaluationReference, settings: Evaluate, seed: int, context: Context, progress: Progress
) -> metrics.Statistics:
    """Return mean and covariance of the features of a set of samples.

    All ranks return the same. `settings` are resolved.
    """
    (guidance,) = settings.candidates
    match, _, _ = _sampled_features(net, reference, settings, guidance, seed, context, progress)
    return metrics.statistics(match[:, : reference.against.extractor.dims].contiguous())


def _distances(
    result: Tensor, against: ReferenceSet, teacher: metrics.Statistics | None = None, brief: bool = False
) -> dict[str, float | None]:
    """Return the distances of features and logits (N, dims + logits) to the reference.

    The distance to the teacher's samples is included where they are given. The Inception score is None
    without logits. `brief`: only the Fréchet distances, a tenth of the time.
    """
    extractor = against.extractor
    rows, logits = result[:, : extractor.dims].contiguous(), result[:, extractor.dims :]
    statistics = metrics.statistics(rows)
    values: dict[str, float | None] = {"value": metrics.frechet_distance(statistics, against.statistics)}
    if teacher is not None:
        values["teacher_distance"] = metrics.frechet_distance(statistics, teacher)
    if brief:
        return values
    values |= {
        "kid": metrics.kernel_distance(rows, against.features, extractor.kid_subsets, extractor.kid_subset_size),
        "inception_score": metrics.inception_score(logits) if extractor.logits else None,
    }
    with full_precision():
        values |= neighbors.compare(rows, against.chosen, against.radii)
        if extractor.name.startswith("clip"):
            values["cmmd"] = neighbors.cmmd(rows, against.chosen, against.device)
    return values


def _sampled_features(
    net: nn.Module,
    reference: EvaluationReference,
    settings: Evaluate,
    guidance: Scale,
    seed: int,
    context: Context,
    progress: Progress,
) -> tuple[Tensor, Tensor, dict[str, float | None]]:
    """Return features and logits of all ranks' samples, first images, and costs of an image.

    Features and logits are on the CPU; the images are this rank's first batch, uint8. The costs are
    seconds, and megabytes at the peak of the first batch.
    """
    dataset, against = reference.dataset, reference.against
    part = range(settings.samples)[my_slice(settings.samples, context)]
    longest = -(-settings.samples // context.world_size)
    rows = torch.empty(0, against.extractor.dims + against.extractor.logits, device=dataset.device)
    first, seconds, megabytes = torch.empty(0), 0.0, None
    size = batch_size(dataset)
    sampled, extracted = AdaptiveBatcher(size, "sampling"), AdaptiveBatcher(size, "features")

    def drawn(part: slice) -> Tensor:
        images = sample(net, dataset, reference.alphas_cumprod, settings, guidance, seed, indices[part])
        finite[part] = images.isfinite().flatten(1).all(dim=1)
        return to_pixels(images.nan_to_num())

    def features_of(part: slice) -> Tensor:
        return against.extractor.net(pixels[part])

    for start in range(0, longest, size):
        indices = part[start : start + size]
        if indices:
            finite = torch.ones(len(indices), dtype=torch.bool, device=dataset.device)
            started = time.perf_counter()
            with peak_memory(dataset.device) as peak:
                pixels = sampled.run(drawn, len(indices))
                if pixels.is_cuda:
                    torch.cuda.synchronize()
            seconds += time.perf_counter() - started
            megabytes = peak.megabytes if start == 0 else megabytes
            with torch.inference_mode(), full_precision():
                result = torch.where(finite[:, None], extracted.run(features_of, len(pixels)), torch.nan)
                rows = torch.cat([rows, result])
            if start == 0:
                first = in_turn(pixels, labels_of(dataset, settings, indices), dataset.classes)
        progress.advance()
    costs = {"sample_seconds": seconds / max(1, len(part)), "sample_memory": megabytes}
    result = gather_rows(rows, settings.samples, context).cpu()
    if non_finite := int((~result.isfinite().all(dim=1)).sum()):
        raise FloatingPointError(
            f"{non_finite} of {len(result)} samples are not finite: evaluate.guidance {described(guidance)}, sampler "
            f"{settings.sampler}, {settings.sampler_steps} steps"
        )
    return result, first, costs


def sample(
    net: nn.Module,
    dataset: Dataset,
    alphas_cumprod: Tensor,
    settings: Evaluate,
    guidance: Scale,
    seed: int,
    indices: range,
) -> Tensor:
    """Return images (len(indices), C, H, W), float32, of the labels from `labels_of`.

    A non-finite image is NaN.
    """
    device = dataset.device
    labels = labels_of(dataset, settings, indices)
    noise = sampling.starting_noise(seed, indices, dataset.image_shape, device)
    denoise = sampling.guided(net, labels, dataset.classes, scales(guidance, device), settings.precision)
    return sampling.draw(settings.sampler, denoise, noise, alphas_cumprod, settings.sampler_steps)


def labels_of(dataset: Dataset, settings: Evaluate, indices: range) -> Tensor:
    """Return the labels of samples, (len(indices),) int64, as the settings require.

    They follow the shares of the data's classes, or are even (image i: i mod classes), which they are
    also where the data have classes of about equal size.
    """
    if settings.labels == "balanced" or not dataset.counts:
        return sampling.balanced_labels(indices, dataset.classes, dataset.device)
    return sampling.proportional_labels(dataset.counts, settings.samples)[list(indices)].to(dataset.device)
