"""A small classifier of the data set, whose last hidden layer is a feature space.

It needs no other file.

It is trained once, on Ray Train like a teacher, on the images that samples are compared with; a fifth of them test it.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from branchwise.run_files.sealing import sha256_of
from branchwise.trainables.contract import Context
from branchwise.trainables.dash.compute import modes
from branchwise.trainables.dash.compute.memory import parts
from branchwise.trainables.dash.compute.parallel import distributed, my_slice
from branchwise.trainables.dash.compute.progress import Progress
from branchwise.trainables.dash.compute.seeding import derive, generator
from branchwise.trainables.dash.data.datasets import Dataset, batch_indices, load_reference_images
from branchwise.trainables.dash.settings.features import METADATA_FILE, TEST_SHARE, Classifier, check_classifier
from branchwise.trainables.dash.settings.spec import Spec

WEIGHTS = "features.safetensors"
SMALLEST = 4  # pixels that the images are halved down to
BATCH = 500  # images classified at once


class ClassifierFeatures(nn.Module):
    """Convolutions at ever halved resolutions, then the features.

    The features are the `dims` last hidden activations, at unit RMS.
    """

    scale: Tensor

    def __init__(self, image_shape: tuple[int, int, int], classes: int, settings: Classifier) -> None:
        super().__init__()
        channels, side, _ = image_shape
        layers: list[nn.Module] = []
        wide = settings.width
        while True:
            layers += [nn.Conv2d(channels, wide, 3, padding=1), nn.ReLU()]
            channels = wide
            if side < 2 * SMALLEST:
                break
            layers.append(nn.MaxPool2d(2))
            side, wide = side // 2, 2 * settings.width
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * side**2, settings.dims), nn.SiLU())
        self.head = nn.Linear(settings.dims, classes)
        self.register_buffer("scale", torch.ones(()))  # 1 / RMS of the features over the images

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C, S, S) uint8 -> features and class logits (N, dims + classes) float32."""
        hidden = self.hidden(pixels)
        return torch.cat([hidden * self.scale, self.head(hidden)], dim=1)

    def hidden(self, pixels: Tensor) -> Tensor:
        output: Tensor = self.body(pixels.to(torch.float32) / 127.5 - 1)
        return output


class _Logits(nn.Module):
    """The training output: only the logits."""

    def __init__(self, net: ClassifierFeatures) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> Tensor:
        output: Tensor = self.net.head(self.net.hidden(pixels))
        return output


def train(spec: Spec, out: Path, context: Context) -> None:
    """Train the classifier of `spec.data`; rank 0 writes its files into `out`.

    They are features.safetensors and features.json.

    The JSON has the accuracy on the held-out images. Raises ValueError when a class has too few images.
    """
    torch.set_num_threads(context.threads)
    modes.choose("exact", context.device)
    settings = spec.evaluate.classifier
    dataset = load_reference_images(spec.data, context.device)
    learning, testing = split(dataset, settings.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(settings.seed, "classifier"))
        net = ClassifierFeatures(dataset.image_shape, dataset.classes, settings).to(dataset.device)
    _learn(net, dataset, learning, settings, context)
    net.eval()
    if context.rank != 0:
        return
    accuracy = _balanced_accuracy(net, dataset, testing)
    counts = torch.bincount(dataset.labels.cpu(), minlength=dataset.classes)
    net.scale.copy_(1 / _mean_square(net, dataset).sqrt())
    out.mkdir(parents=True, exist_ok=True)
    save_file(net.state_dict(), out / WEIGHTS)
    (out / WEIGHTS).chmod(0o644)  # safetensors makes it private; storage is shared
    description = {
        "accuracy": accuracy,  # the mean over classes
        "majority_share": float(counts.max() / counts.sum()),
        "tested_on": len(testing),
        "trained_on": len(learning),
        "classes": dataset.classes,
        "image_shape": list(dataset.image_shape),
        "pixels_sha256": dataset.sha256,
        "weights_sha256": sha256_of(out / WEIGHTS),
        "data": spec.data.model_dump(mode="json"),
        "classifier": settings.model_dump(mode="json"),
    }
    (out / METADATA_FILE).write_text(json.dumps(description, indent=1) + "\n")


def split(dataset: Dataset, seed: int) -> tuple[Tensor, Tensor]:
    """Return the indices of images that train the classifier, and of those that test it.

    A fifth of each class tests it.

    Raises ValueError when a class has fewer than `TEST_SHARE` images.
    """
    learning, testing = [], []
    labels = dataset.labels.cpu()
    for label in range(dataset.classes):
        of_class = (labels == label).nonzero().flatten()
        if len(of_class) < TEST_SHARE:
            raise ValueError(
                f"evaluate.features: classifier needs {TEST_SHARE} images a class; class {label} has {len(of_class)}"
            )
        order = of_class[torch.randperm(len(of_class), generator=generator(seed, "held out", label))]
        testing.append(order[: len(order) // TEST_SHARE])
        learning.append(order[len(order) // TEST_SHARE :])
    return torch.cat(learning), torch.cat(testing)


def _learn(net: ClassifierFeatures, dataset: Dataset, learning: Tensor, settings: Classifier, context: Context) -> None:
    model = distributed(_Logits(net), context)
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.lr, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2 * settings.lr, total_steps=settings.steps)
    progress = Progress(context, "train", settings.steps)
    part = my_slice(settings.batch_size, context)
    share = (part.stop - part.start) * context.world_size / settings.batch_size
    for step in range(settings.steps):
        chosen = learning[batch_indices(settings.seed, step, settings.batch_size, len(learning))][part]
        images, labels = dataset.pick(chosen)
        loss = share * functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        progress.advance()


@torch.inference_mode()
def _balanced_accuracy(net: ClassifierFeatures, dataset: Dataset, testing: Tensor) -> float:
    """The mean over the classes of the share of their images that is classified rightly."""
    right = torch.zeros(dataset.classes, dtype=torch.float64, device=dataset.device)
    per_class = torch.zeros_like(right)
    for chosen in parts(testing, BATCH):
        images, labels = dataset.pick(chosen)
        hit = net.head(net.hidden(images)).argmax(1) == labels
        right += torch.bincount(labels, weights=hit.double(), minlength=dataset.classes)
        per_class += torch.bincount(labels, minlength=dataset.classes)
    return float((right / per_class).mean())


@torch.inference_mode()
def _mean_square(net: ClassifierFeatures, dataset: Dataset) -> Tensor:
    """Of the features, over all images."""
    total = torch.zeros((), dtype=torch.float64, device=dataset.device)
    for chosen in parts(torch.arange(len(dataset)), BATCH):
        total += net.hidden(dataset.pick(chosen)[0]).double().square().mean(1).sum()
    return total / len(dataset)


def load(spec: Spec, folder: Path, device: torch.device | str) -> tuple[nn.Module, str]:
    """Return the classifier in `folder`, in eval mode, and its weights' SHA-256.

    Raises ValueError as `check_classifier`.
    """
    description = check_classifier(spec.evaluate.classifier, spec.data.name, folder)
    net = ClassifierFeatures(spec.data.image_shape, description["classes"], spec.evaluate.classifier)
    net.load_state_dict(load_file(folder / WEIGHTS))
    return net.to(device).eval(), description["weights_sha256"]
