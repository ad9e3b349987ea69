"""Notes of a plan on the data, and on settings with no effect or an unexpected effect.

No torch here.
"""

from __future__ import annotations

from collections.abc import Iterator

from branchwise.trainables.dash.settings.data import ImageFolder
from branchwise.trainables.dash.settings.features import CLASSIFIER, DIGITS, DIGITS_DIMS, PRETRAINED
from branchwise.trainables.dash.settings.listing import Listing, list_images
from branchwise.trainables.dash.settings.spec import Optimization, Spec, Teacher

MAX_NAMED = 10  # classes
START_SHARE = 0.05  # share of the first weights in an average, above which it is mentioned


def describe(spec: Spec) -> Iterator[tuple[str, str]]:
    """Rows of a plan: the images of a folder by class, and notes."""
    notes = [*_training_notes("train", spec.train)]
    if isinstance(spec.teacher, Teacher):
        notes += _training_notes("teacher", spec.teacher)
    if isinstance(spec.data, ImageFolder):
        try:
            listing = list_images(spec.data.path)
        except OSError:  # reported as missing
            listing = None
        if listing is not None and listing.classes:
            yield "images", _classes(listing)
            notes = [*listing.notes(), *_label_notes(spec, listing), *_reference_notes(spec, listing), *notes]
    for note in notes:
        yield "note", note


def _classes(listing: Listing) -> str:
    counts = [len(files) for files in listing.files]
    names = [f"{name} ({count:,})" for name, count in zip(listing.classes[:MAX_NAMED], counts, strict=False)]
    more = f" and {len(counts) - MAX_NAMED:,} more" if len(counts) > MAX_NAMED else ""
    return f"{sum(counts):,} in {len(counts):,} classes: {', '.join(names)}{more}"


def _label_notes(spec: Spec, listing: Listing) -> Iterator[str]:
    counts = [len(files) for files in listing.files]
    total, samples = sum(counts), spec.evaluate.samples
    if len(set(counts)) <= 1 or not total:
        return
    if spec.evaluate.labels == "balanced":
        yield "classes differ in size, and samples are drawn evenly (evaluate.labels: balanced): so is the floor"
        return
    yield "classes differ in size: samples have their shares (evaluate.labels: balanced draws evenly)"
    if rare := sum(2 * samples * count < total for count in counts):
        yield f"evaluate.samples: {samples:,} hold no image of {rare:,} rare classes"


def _reference_notes(spec: Spec, listing: Listing) -> Iterator[str]:
    dims = {DIGITS: DIGITS_DIMS, CLASSIFIER: spec.evaluate.classifier.dims}.get(spec.features)
    if spec.features in PRETRAINED:
        dims = PRETRAINED[spec.features].dims
    images = len(listing.paths)
    if dims is not None and images <= dims:
        yield (
            f"{images:,} images are fewer than the {dims:,} dimensions of {spec.features}: their covariance is "
            "singular, and distances to them are far too large even for perfect samples; compare arms, not values"
        )


def _training_notes(section: str, settings: Optimization) -> Iterator[str]:
    """Settings that cannot act within the steps."""
    rest = settings.ema**settings.steps
    if rest > START_SHARE:
        yield (
            f"{section}.ema: {settings.ema} over {settings.steps:,} steps leaves {rest:.0%} of the first, random "
            "weights in the average that is measured"
        )
    if settings.warmup_steps >= settings.steps:
        yield (
            f"{section}.warmup_steps: {settings.warmup_steps:,} of {settings.steps:,} steps: the learning rate never "
            "reaches lr, and lr_min has no effect"
        )
    if settings.lr_min >= settings.lr:
        yield f"{section}.lr_min: {settings.lr_min:g} is not below lr {settings.lr:g}: the learning rate never falls"
