"""The data sets there are, and what must be known of them without loading them. No torch here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from branchwise.trainables.runtime.settings import Strict

# Samples below which a Fréchet distance means little. Digits: ten for each of the 64 features. Inception: 10,000, the
# least in common use (`fid10k`), although ten for each of its 2,048 features would be 20,480.
DIGITS_SAMPLES = 640
INCEPTION_SAMPLES = 10_000


class Digits(Strict):
    """scikit-learn's 1,797 real 8x8 grey images of digits."""

    name: Literal["digits"] = "digits"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return 1, 8, 8

    @property
    def classes(self) -> int:
        return 10

    @property
    def least_samples(self) -> int:
        return DIGITS_SAMPLES


class TorchvisionData(Strict):
    """A data set of torchvision's, below `path`; it is downloaded only when asked for.

    MNIST and Fashion-MNIST are padded from 28 to 32 pixels, which halve evenly.
    """

    name: Literal["cifar10", "cifar100", "mnist", "fashion_mnist"]
    path: str = "data"
    download: bool = False
    split: Literal["train", "train_45k"] = "train"  # all training images, or the 45,000 left by 5,000 for validation
    flip: bool = False  # mirror each image with probability 1/2

    @model_validator(mode="after")
    def _split_exists(self) -> TorchvisionData:
        if self.split == "train_45k" and not self.name.startswith("cifar"):
            raise ValueError(f"split train_45k is of the 50,000 CIFAR images; {self.name} has split train")
        return self

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return 3 if self.name.startswith("cifar") else 1, 32, 32

    @property
    def classes(self) -> int:
        return 100 if self.name == "cifar100" else 10

    @property
    def least_samples(self) -> int:
        return INCEPTION_SAMPLES


class ImageFolder(Strict):
    """A folder of images, one sub-folder a class, in alphabetical order; resized and cropped to squares."""

    name: Literal["image_folder"]
    path: str
    image_size: PositiveInt
    channels: Literal[1, 3] = 3
    classes: PositiveInt  # must be the number of sub-folders
    flip: bool = False

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.channels, self.image_size, self.image_size

    @property
    def least_samples(self) -> int:
        return INCEPTION_SAMPLES


Data = Annotated[Digits | TorchvisionData | ImageFolder, Field(discriminator="name")]
