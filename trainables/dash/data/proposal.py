"""A space for a folder of images: classes, size and channels found by looking, nets and samples that fit proposed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops

from branchwise.trainables.dash.data.image_folder import SUFFIXES
from branchwise.trainables.dash.settings.features import HELD_OUT

LOOKED_AT = 500  # images of the folder, spread over it
SIDES = (64, 32, 28, 16, 8)  # that images are brought to, where they are not all of one such size already
MOST_NAMED = 5  # of what is wrong alike


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What a folder holds."""

    classes: tuple[str, ...]
    images: int
    fewest: int  # images of a class
    side: int  # pixels that the images are brought to
    channels: int


def look(folder: Path) -> Looked:
    """What the folder holds: a sub-folder for each class. Raises ValueError with all that is wrong, a line each."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    files = {one: sorted(f for f in one.rglob("*") if f.suffix.lower() in SUFFIXES) for one in classes}
    wrong = []
    if len(classes) < 2:
        wrong.append(f"{folder} has {len(classes)} sub-folders: it needs one for each class, and at least two")
    for one, found in files.items():
        if len(found) < HELD_OUT:
            wrong.append(
                f"{one.name} has {len(found)} images ({', '.join(sorted(SUFFIXES))}); a class needs {HELD_OUT}"
            )
    everything = [file for found in files.values() for file in found]
    sizes, coloured, unread = _look_at(everything[:: max(1, len(everything) // LOOKED_AT)])
    if unread:
        more = f" and {len(unread) - MOST_NAMED} more" if len(unread) > MOST_NAMED else ""
        wrong.append(f"cannot be read as images: {', '.join(str(file) for file in unread[:MOST_NAMED])}{more}")
    if sizes and min(sizes) < min(SIDES):
        wrong.append(f"images are as small as {min(sizes)} pixels; {min(SIDES)} are needed")
    if wrong:
        raise ValueError("\n".join(wrong))
    return Looked(
        classes=tuple(one.name for one in classes),
        images=len(everything),
        fewest=min(map(len, files.values())),
        side=_side(sizes),
        channels=3 if coloured else 1,
    )


def _look_at(files: Sequence[Path]) -> tuple[list[int], bool, list[Path]]:
    """The shorter sides of the images, whether one has colour, and those that cannot be read."""
    sides, coloured, unread = [], False, []
    for file in files:
        try:
            with Image.open(file) as image:
                sides.append(min(image.size))
                coloured = coloured or _has_colour(image)
        except (OSError, SyntaxError):
            unread.append(file)
    return sides, coloured, unread


def _has_colour(image: Image.Image) -> bool:
    if image.mode in ("1", "L", "LA", "I", "F", "I;16"):
        return False
    red, green, blue = image.convert("RGB").split()
    return any(ImageChops.difference(red, other).getbbox() is not None for other in (green, blue))


def _side(sides: Sequence[int]) -> int:
    """The side that all images have, where nets can take it; else the largest of SIDES that enlarges at most half."""
    (commonest, count), *_ = Counter(sides).most_common(1)
    if count == len(sides) and commonest in SIDES:
        return commonest
    return next(side for side in SIDES if side <= sorted(sides)[len(sides) // 2])


def space_text(name: str, folder: Path, found: Looked) -> str:
    """The space as YAML. Its nets are small enough for a few CPU cores; GPUs want larger ones."""
    levels = 2 if found.side <= 16 else 4 if found.side > 32 else 3
    teacher = [24, 48, 48, 48][:levels] if levels > 2 else [16, 32]
    student = [8, 16, 16, 16][:levels] if levels > 2 else [8, 12]
    attention = found.side // 2 ** (levels - 1)
    return f"""\
# {len(found.classes)} classes, {found.images} images, brought to {found.side}x{found.side} in \
{"colour" if found.channels == 3 else "grey"}. Proposed by looking at the folder; change what you know better.
name: {name}
trainable: dash

data: {{name: image_folder, path: {str(folder.resolve())!r}, image_size: {found.side}, channels: {found.channels}, \
classes: {len(found.classes)}}}
teacher: {{channels: {teacher}, res_blocks: 1, attention_at: [{attention}], norm_groups: 8,
          steps: 1000, batch_size: 64, lr: 2.0e-3, lr_min: 1.0e-6, warmup_steps: 100, ema: 0.995}}
student: {{channels: {student}, res_blocks: 1, attention_at: [{attention}], norm_groups: 4}}
train: {{steps: 500, batch_size: 32, lr: 3.0e-3, lr_min: 1.0e-6, warmup_steps: 50, weight_decay: 0.001, ema: 0.99}}
method: {{imitation_weight: 1.0, uncond_weight: 1.0, anchor_weight: 0.1, curriculum: transfer, snr_weighting: eps}}
# Distances in the space of a small classifier of these very images: no file from outside is needed.
evaluate: {{samples: 1000, sampler: ddim, sampler_steps: 20, guidance: 1.5, features: classifier}}

design:
  kind: factorial
  components:
    uncond_branch: {{off: {{uncond_weight: 0}}}}
    anchor: {{off: {{anchor_weight: 0}}}}
  blocks: 3
  claims:
    - uncond_branch.share > 0.60
"""
