"""Decoding of an image file to 8-bit pixels, as a viewer shows it.

Images are upright, without transparency, their full range in 0 to 255.

No torch here: a dry run decodes images, too.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from branchwise.trainables.dash.settings.data import ImageFolder

MAX_PIXELS = 89_478_485  # Pillow's limit, above which it warns of decompression bombs
COLORS = {"white": 255, "black": 0}
DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow's modes of grey images of more than 8 bits
_PNG = b"\x89PNG"


def decode(content: bytes, settings: ImageFolder) -> np.ndarray:
    """Pixels (C, S, S) uint8 of a file's content: scaled to cover the square, cropped centrally.

    Raises:
        Exception: All that Pillow raises for a damaged file, and ValueError for a file that has no meaning as 8 bits.
    """
    with open_image(content) as image:
        flat = flattened(image, settings)
    converted = flat.convert("RGB" if settings.channels == 3 else "L")
    square = ImageOps.fit(converted, (settings.image_size, settings.image_size), Image.Resampling.BICUBIC)
    return np.asarray(square).reshape(settings.image_size, settings.image_size, settings.channels).transpose(2, 0, 1)


@contextmanager
def open_image(content: bytes) -> Iterator[Image.Image]:
    """The first frame of an image. Raises as `decode`."""
    if content.startswith(_PNG):
        Image.open(io.BytesIO(content)).verify()  # its checksums, which decoding ignores
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"{width:,} x {height:,} pixels are more than the {MAX_PIXELS:,} allowed")
        yield image


def flattened(image: Image.Image, settings: ImageFolder) -> Image.Image:
    """The image upright, with 8 bits a channel, over the background. Raises as `decode`."""
    image = ImageOps.exif_transpose(image)
    if image.mode in DEEP or image.mode == "F":
        image = _eight_bits(image, settings.white_level)
    if not image.has_transparency_data:
        return image
    if image.mode == "La":
        image = image.convert("LA")
    background = Image.new("RGBA", image.size, (COLORS[settings.background],) * 3)
    return Image.alpha_composite(background, image.convert("RGBA")).convert("RGB")


def _eight_bits(image: Image.Image, white_level: int) -> Image.Image:
    """A grey image of integers or floats, with its transparency, scaled to 8 bits."""
    values = np.asarray(image).astype(np.float64)
    white = 1 if image.mode == "F" else white_level
    if not np.isfinite(values).all():
        raise ValueError("some of its values are not finite")
    low, high = values.min(), values.max()
    if low < 0 or high > white:
        kind = "an image of floats holds 0 to 1" if image.mode == "F" else f"data.white_level is {white_level}"
        raise ValueError(f"its values are {low:g} to {high:g}, but {kind}")
    grey = Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def reason(error: BaseException) -> str:
    """An error of a decoder in a single line."""
    if isinstance(error, UnidentifiedImageError):  # its message names a buffer
        return "no image of a known format"
    return " ".join(str(error).split()) or type(error).__name__
