"""The data sets, and their facts without loading. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Discriminator, Field, PositiveInt, Tag, model_validator

from branchwise.trainables.runtime.settings import Strict, TupleOf

# Images not used for training, on which calibration is measured. Data sets of torchvision's have a test set.
TEST_IMAGES = 10_000  # of each
DIGITS_HOLDOUT = 30  # of each class
FOLDER_HOLDOUT = 0.1, 10_000  # share of each class, and an approximate maximum in all
DECODER = 2  # incremented when a change to the code results in other pixels for the same files


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

    def holdout(self, images: int, of: int) -> int:
        """Number of held-out images of a class of `images`, `of` so many in all."""
        return DIGITS_HOLDOUT


@dataclass(frozen=True, kw_only=True)
class Known:
    """A data set of torchvision's: its class, and what it has below `path`."""

    torchvision: str
    folder: str
    channels: int
    classes: int
    train_45k: bool = False  # whether its training images are the 50,000 that papers take 45,000 of


# To add a data set with square images of 32 pixels, or of 28 (padded to 32), add a line.
TORCHVISION: Mapping[str, Known] = {
    "cifar10": Known(torchvision="CIFAR10", folder="cifar-10-batches-py", channels=3, classes=10, train_45k=True),
    "cifar100": Known(torchvision="CIFAR100", folder="cifar-100-python", channels=3, classes=100, train_45k=True),
    "mnist": Known(torchvision="MNIST", folder="MNIST/raw", channels=1, classes=10),
    "fashion_mnist": Known(torchvision="FashionMNIST", folder="FashionMNIST/raw", channels=1, classes=10),
}


FULL_SIZE: Literal[32] = 32


class TorchvisionData(Strict):
    """A data set of torchvision's, below `path`; it is downloaded only when asked for.

    MNIST and Fashion-MNIST are padded from 28 to 32 pixels, which halve evenly. At 16 pixels each is the mean of four.
    """

    name: str  # a key of TORCHVISION
    path: str = "data"
    download: bool = False
    split: Literal["train", "train_45k"] = "train"  # all training images, or 45,000, without 5,000 for validation
    flip: bool = False  # mirror each image with probability 1/2
    image_size: Literal[16, 32] = FULL_SIZE

    @model_validator(mode="after")
    def _check_split(self) -> TorchvisionData:
        if self.split == "train_45k" and not self.known.train_45k:
            raise ValueError(f"split train_45k is of the 50,000 CIFAR images; {self.name} has split train")
        return self

    @property
    def known(self) -> Known:
        return TORCHVISION[self.name]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.known.channels, self.image_size, self.image_size

    @property
    def classes(self) -> int:
        return self.known.classes


class ImageFolder(Strict):
    """A folder of images with one sub-folder a class, in alphabetical order.

    Images are resized and cropped to squares.

    `class_names`, where given, must be the sub-folders, so that a renamed one cannot change what a label means.
    """

    name: Literal["image_folder"]
    path: str
    image_size: PositiveInt
    channels: Literal[1, 3] = 3
    classes: Annotated[int, Field(ge=2)]  # must be the number of sub-folders
    class_names: TupleOf[str] = ()
    background: Literal["white", "black"] = "white"  # behind transparent pixels
    white_level: PositiveInt = 65535  # which becomes 255 in images of more than 8 bits; those of floats have 1
    flip: bool = False

    @model_validator(mode="after")
    def _check_class_names(self) -> ImageFolder:
        if self.class_names and len(self.class_names) != self.classes:
            raise ValueError(f"class_names: has {len(self.class_names)} names, but classes is {self.classes}")
        return self

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.channels, self.image_size, self.image_size

    def holdout(self, images: int, of: int) -> int:
        """Return the number of held-out images of a class of `images`, `of` so many in all.

        1 or more, if others remain.
        """
        share, max_images = FOLDER_HOLDOUT
        return 0 if images < 2 else max(1, round(images * min(share, max_images / of)))


def name(data: object) -> str | None:
    """Return the kind of the data, by its name."""
    result = data.get("name") if isinstance(data, dict) else getattr(data, "name", None)
    return "torchvision" if isinstance(result, str) and result in TORCHVISION else result


Data = Annotated[
    Annotated[Digits, Tag("digits")]
    | Annotated[TorchvisionData, Tag("torchvision")]
    | Annotated[ImageFolder, Tag("image_folder")],
    Discriminator(name),
]
