"""The feature spaces that distances are measured in, with their facts for plans.

No torch here.

Each has a name, which `evaluate.features` gives. A user-defined function is named by its dotted path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt

from branchwise.trainables.runtime.loading import FUNCTION, find_module, may_define
from branchwise.trainables.runtime.settings import Strict, digest

A_DIMENSION = 10  # samples required, for each dimension of the features: below, a Fréchet distance means little
_TRAINING = 1  # incremented when a change to the code results in other classifiers for the same settings


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A feature net with weights trained by others.

    `sha256` is of the file of weights, or the first digits that its publisher gives; without any,
    the file's SHA-256 identifies it, in the key of each value. `minimum` samples replace `A_DIMENSION` for each one.
    """

    dims: int
    macs: float  # of one image, at the resolution that the net has it resized to
    url: str
    file: str  # its name in torch hub's cache
    sha256: str = ""
    size: int = 0  # bytes; 0: unknown
    minimum: int = 0

    @property
    def min_samples(self) -> int:
        return self.minimum or A_DIMENSION * self.dims


def _clip(dims: int, macs: float, sha256: str, file: str) -> Pretrained:
    url = f"https://openaipublic.azureedge.net/clip/models/{sha256}/{file}.pt"
    name = "clip-" + file.lower()
    return Pretrained(dims=dims, macs=macs, url=url, file=f"{name}-{sha256}.pt", sha256=sha256)


def _dinov2(dims: int, macs: float, size: str) -> Pretrained:
    file = f"dinov2_vit{size}14_pretrain.pth"
    url = f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vit{size}14/{file}"
    return Pretrained(dims=dims, macs=macs, url=url, file=file)


INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
PRETRAINED: Mapping[str, Pretrained] = {
    "inception": Pretrained(
        dims=2048,
        macs=5.7e9,
        url=f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION}",
        file=INCEPTION,
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        size=95_628_359,
        minimum=10_000,  # the least in common use (`fid10k`), although ten for each feature would be 20,480
    ),
    "vgg16": Pretrained(
        dims=4096,
        macs=15.5e9,
        url="https://download.pytorch.org/models/vgg16-397923af.pth",
        file="vgg16-397923af.pth",
        sha256="397923af",
    ),
    "clip-vit-b-32": _clip(512, 4.4e9, "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af", "ViT-B-32"),
    "clip-vit-b-16": _clip(512, 17.6e9, "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f", "ViT-B-16"),
    "clip-vit-l-14": _clip(768, 81.1e9, "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836", "ViT-L-14"),
    "clip-vit-l-14-336px": _clip(
        768, 191.1e9, "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02", "ViT-L-14-336px"
    ),
    "dinov2-vit-s-14": _dinov2(384, 6.1e9, "s"),
    "dinov2-vit-b-14": _dinov2(768, 23.4e9, "b"),
    "dinov2-vit-l-14": _dinov2(1024, 81.1e9, "l"),
    "dinov2-vit-g-14": _dinov2(1536, 295.0e9, "g"),
}
DIGITS, DIGITS_DIMS = "digits64", 64  # the committed net of 8x8 digits
CLASSIFIER = "classifier"  # a small net, trained on the data set
TEST_SHARE = 5  # of so many images of a class, 1 tests the classifier; a class has at least so many
METADATA_FILE = "features.json"  # next to its weights: what it was trained on, and how well it does
SHORT = {"clip": "clip-vit-b-32", "dinov2": "dinov2-vit-l-14"}


def _check_name(name: str) -> str:
    if name not in (DIGITS, CLASSIFIER, *SHORT, *PRETRAINED) and not is_function(name):
        raise ValueError(
            f"must be one of {', '.join((*PRETRAINED, *SHORT, DIGITS, CLASSIFIER))}, or the path of a function, "
            "package.module:function"
        )
    return name


Features = Annotated[str, AfterValidator(_check_name)]


class Classifier(Strict):
    """Settings of the net of `features: classifier`, which is trained once.

    It is trained on four fifths of the reference images; the other fifth tests it.
    """

    dims: Annotated[int, Field(ge=8, le=2048)] = 64  # of its features
    width: Annotated[int, Field(ge=8)] = 32  # channels at full resolution; double at half of it and below
    steps: PositiveInt = 600
    batch_size: PositiveInt = 64
    lr: PositiveFloat = 2e-3
    seed: NonNegativeInt = 0
    workers: PositiveInt = 1  # Ray Train workers; they share the batch
    least_accuracy: Annotated[float, Field(ge=0, le=1)] = 0.8  # on the images that test it; below, it is refused


def is_function(name: str) -> bool:
    """Whether `name` is the path of a user-defined function."""
    return FUNCTION.match(name) is not None


def full_name(features: str | None, data: Any) -> str:
    """Return the meaning of `evaluate.features` with this data.

    None: the digits net for digits, else Inception.
    """
    if features is None:
        return DIGITS if data.name == "digits" else "inception"
    return SHORT.get(features, features)


def min_samples(name: str, classifier: Classifier) -> int:
    """Return the minimum number of samples for a meaningful distance in this space.

    1 for a function, with unknown dimensions.
    """
    if name in PRETRAINED:
        return PRETRAINED[name].min_samples
    return {DIGITS: A_DIMENSION * DIGITS_DIMS, CLASSIFIER: A_DIMENSION * classifier.dims}.get(name, 1)


def too_few(samples: int, name: str, minimum: int, key: str = "samples") -> str:
    """The message on too few samples; `key` is the setting of `evaluate` that requests them."""
    return f"evaluate.{key}: {samples} is too few for a distance in the feature space of {name}: at least {minimum}"


def classifier_key(classifier: Classifier, images: Mapping[str, Any]) -> str:
    """Return the content address of the classifier trained with these settings.

    `images` describes the data set.
    """
    settings = classifier.model_dump(mode="json", exclude={"workers", "least_accuracy"})
    # What is mirrored, and what trains no teacher, makes no other reference images.
    data = {key: value for key, value in images.items() if key not in ("flip", "split", "held_out")}
    return digest({"version": _TRAINING, "data": data, "classifier": settings})


def check_classifier(classifier: Classifier, data: str, folder: Path) -> dict[str, Any]:
    """The content of features.json on the classifier in `folder`, of the data set called `data`.

    Raises ValueError when it is less accurate than `least_accuracy`.
    """
    summary: dict[str, Any] = json.loads((folder / METADATA_FILE).read_text())
    if summary["accuracy"] < classifier.least_accuracy:
        raise ValueError(
            f"evaluate.classifier.least_accuracy: the classifier of {data} is right on {summary['accuracy']:.3f} of "
            f"{summary['tested_on']} images that it was not trained on (mean over classes; the largest has "
            f"{summary['majority_share']:.0%} of them), below {classifier.least_accuracy}: its distances would mean "
            "little; train it longer (evaluate.classifier.steps) or ask for less"
        )
    return summary


def source_of(function: str) -> Path:
    """Return the file of a user's function.

    Raises ValueError when the module or the name in it does not exist.
    """
    module, _, name = function.partition(":")
    match = find_module(module)
    if match is None:
        raise ValueError(f"evaluate.features: {function}: there is no module {module} on Python's path")
    if not may_define(match, name):
        raise ValueError(f"evaluate.features: {function}: {match} defines no {name}")
    return match


def source_sha256(function: str) -> str:
    """The SHA-256 of the file that a user's function is in. Raises ValueError."""
    return hashlib.sha256(source_of(function).read_bytes()).hexdigest()
