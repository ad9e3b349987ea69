"""A proposed space for a folder of images.

Classes, size and channels are found by looking; nets and samples are proposed to fit.
"""

from __future__ import annotations

import math
import random
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import ImageChops

from branchwise.trainables.dash.data import decoded
from branchwise.trainables.dash.data.image_decoder import DEEP, flattened, open_image
from branchwise.trainables.dash.data.image_folder import decode_all, describe_errors
from branchwise.trainables.dash.settings.data import ImageFolder
from branchwise.trainables.dash.settings.features import TEST_SHARE
from branchwise.trainables.dash.settings.listing import SUFFIXES, Listing, list_images

SAMPLE_IMAGES = 200  # images, drawn at random, in which color is searched for before all are
SIDES = (64, 32, 28, 16, 8)  # that images are resized to, unless all have such a size
SAMPLES = 1000
LINE, NEXT_LINE = 90, "\n    "  # of names
DEEPEST = 65535  # the usual range of images of more than 8 bits


@dataclass(frozen=True, kw_only=True)
class ImageSurvey:
    """The contents of a folder of images."""

    classes: tuple[str, ...]
    counts: tuple[int, ...]  # images of each class
    side: int  # pixels that the images are brought to
    channels: int
    white_level: int
    notes: tuple[str, ...]  # what was passed over, a phrase each

    @property
    def images(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True, kw_only=True)
class Headers:
    """Properties of the files of a folder, without the damaged ones."""

    sides: tuple[int, ...]  # the shorter side of each image, in pixels
    highest: int  # value of an image of more than 8 bits; 0 if none exists


def survey_images(folder: Path) -> ImageSurvey:
    """Survey a folder of images that has a sub-folder for each class.

    Raises ValueError with all that is wrong, a line each.
    """
    try:
        listing = list_images(str(folder))
    except OSError as error:
        raise ValueError(f"{folder} is not a folder") from error
    wrong = [*_class_problems(folder, listing), *listing.problems]
    headers = _read_headers(listing.paths)
    if headers.sides and min(headers.sides) < min(SIDES):
        wrong.append(f"images are as small as {min(headers.sides)} pixels; {min(SIDES)} are needed")
    side = _side(headers.sides) if headers.sides and min(headers.sides) >= min(SIDES) else max(SIDES)
    level = _white_level(headers.highest)
    color, damage = _decode(listing, wrong, side, level)
    if wrong or damage:
        raise ValueError("\n".join([*wrong, *damage]))
    return ImageSurvey(
        classes=listing.classes,
        counts=tuple(map(len, listing.files)),
        side=side,
        channels=3 if color else 1,
        white_level=level,
        notes=tuple(listing.notes()),
    )


def _class_problems(folder: Path, listing: Listing) -> list[str]:
    problems = []
    if len(listing.classes) < 2:
        problems.append(f"{folder} has {len(listing.classes)} sub-folders: it needs one for each class, at least two")
    for name, files in zip(listing.classes, listing.files, strict=True):
        if len(files) < TEST_SHARE:
            kinds = ", ".join(sorted(SUFFIXES))
            problems.append(f"{name} has {len(files)} images ({kinds}); a class needs {TEST_SHARE}")
        if not name.isprintable():  # surrogates among them: a name that is no UTF-8
            problems.append(f"the sub-folder {name!r} has a name with characters that cannot be printed; rename it")
    return problems


def _read_headers(files: Sequence[Path]) -> Headers:
    """Sizes, and the highest value of images of more than 8 bits."""
    sides, highest = [], 0
    with warnings.catch_warnings(action="ignore"):
        for file in files:
            try:
                with open_image(file.read_bytes()) as image:
                    sides.append(min(image.size))
                    if image.mode in DEEP:
                        highest = max(highest, int(np.asarray(image).max()))
            except Exception:  # damage of any kind is named when the images are decoded
                continue
    return Headers(sides=tuple(sides), highest=highest)


def _white_level(highest: int) -> int:
    """The largest value of the fewest bits, from 8 to 16, that hold the highest value."""
    if not highest:
        return DEEPEST
    return int(2 ** max(8, highest.bit_length()) - 1)


def _decode(listing: Listing, wrong: Sequence[str], side: int, white_level: int) -> tuple[bool, list[str]]:
    """Return whether an image has color, and lines on the files that cannot be decoded.

    All files are decoded, and cached for the run.
    """
    settings = ImageFolder(
        name="image_folder",
        path=str(listing.root),
        image_size=side,
        classes=max(2, len(listing.classes)),
        white_level=white_level,
    )
    files = listing.paths
    if not wrong:
        try:
            pixels, _ = decoded.get(settings)
        except (OSError, ValueError):
            pass  # reported below
        else:
            sample = random.Random(0).sample(files, min(SAMPLE_IMAGES, len(files)))
            return any(_has_color(file, settings) for file in sample) or _any_color(pixels), []
    errors = decode_all(files, settings, lambda i, pixels: None)
    return True, [f"cannot be read as images: {describe_errors(errors)}"] if errors else []


def _any_color(pixels: np.ndarray) -> bool:
    parts = (pixels[start : start + decoded.CHUNK] for start in range(0, len(pixels), decoded.CHUNK))
    return any(bool((part[:, :1] != part[:, 1:]).any()) for part in parts)


def _has_color(file: Path, settings: ImageFolder) -> bool:
    """At its full size, which keeps small spots of color."""
    with warnings.catch_warnings(action="ignore"), open_image(file.read_bytes()) as image:
        red, green, blue = flattened(image, settings).convert("RGB").split()
    return any(ImageChops.difference(red, other).getbbox() is not None for other in (green, blue))


def _side(sides: Sequence[int]) -> int:
    """Return the side of all images, if nets accept it.

    Otherwise it is the largest of SIDES that enlarges no more than half of them.
    """
    (commonest, count), *_ = Counter(sides).most_common(1)
    if count == len(sides) and commonest in SIDES:
        return commonest
    return next(side for side in SIDES if side <= sorted(sides)[len(sides) // 2])


def space_text(name: str, folder: Path, survey: ImageSurvey) -> str:
    """The space as YAML. Its nets are small enough for a few CPU cores; GPUs want larger ones."""
    levels = 2 if survey.side <= 16 else 4 if survey.side > 32 else 3
    teacher = [24, 48, 48, 48][:levels] if levels > 2 else [16, 32]
    student = [8, 16, 16, 16][:levels] if levels > 2 else [8, 12]
    attention = survey.side // 2 ** (levels - 1)
    samples = max(SAMPLES, -(-len(survey.classes) // 100) * 100)  # one of each class or more
    return f"""\
# {len(survey.classes)} classes, {survey.images} images, brought to {survey.side}x{survey.side} in \
{"color" if survey.channels == 3 else "grey"}. Proposed by looking at the folder; change what you know better.
name: {name}
trainable: dash

{_data_text(folder, survey)}
teacher: {{channels: {teacher}, res_blocks: 1, attention_at: [{attention}], norm_groups: 8,
          steps: 1000, batch_size: 64, lr: 2.0e-3, lr_min: 1.0e-6, warmup_steps: 100, ema: 0.995}}
student: {{channels: {student}, res_blocks: 1, attention_at: [{attention}], norm_groups: 4}}
train: {{steps: 500, batch_size: 32, lr: 3.0e-3, lr_min: 1.0e-6, warmup_steps: 50, weight_decay: 0.001, ema: 0.99}}
method: {{imitation_weight: 1.0, uncond_weight: 1.0, anchor_weight: 0.1, curriculum: transfer, snr_weighting: eps}}
# Distances in the space of a small classifier of these very images: no file from outside is needed.
evaluate: {{samples: {samples}, sampler: ddim_consistent, sampler_steps: 20, guidance: 1.5,
           features: classifier}}

design:
  kind: factorial
  components:
    uncond_branch: {{off: {{uncond_weight: 0}}}}
    anchor: {{off: {{anchor_weight: 0}}}}
  blocks: 3
  claims:
    - uncond_branch.share > 0.60
"""


def _data_text(folder: Path, result: ImageSurvey) -> str:
    """The section `data`, in which paths and names of classes may hold any characters."""
    path, *names = (_quoted(text) for text in (str(folder.resolve()), *result.classes))
    lines = [""]
    for name in names:
        if lines[-1] and len(lines[-1]) + len(name) > LINE:
            lines.append("")
        lines[-1] += f"{name}, "
    level = "" if result.white_level == DEEPEST else f"\n  white_level: {result.white_level}"
    return f"""\
data:
  name: image_folder
  path: {path}
  class_names: [{NEXT_LINE.join(line.rstrip() for line in lines).rstrip(",")}]
  classes: {len(names)}
  image_size: {result.side}
  channels: {result.channels}
  background: white  # behind transparent pixels; or black{level}"""


def _quoted(text: str) -> str:
    """A string in YAML that all readers parse as a string."""
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf).strip()
