"""A labeled folder of real pictures: crops of photographs that installed packages ship, a class for each region."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

# Of the photographs a temple, a flower and a portrait: left, top, right, bottom as shares of width and height.
REGIONS = {
    "sky": (0, (0.0, 0.0, 1.0, 0.2)),
    "temple": (0, (0.2, 0.35, 0.85, 0.75)),
    "petals": (1, (0.3, 0.2, 0.6, 0.7)),
    "leaves": (1, (0.75, 0.0, 1.0, 1.0)),
    "face": (2, (0.35, 0.1, 0.7, 0.45)),
    "uniform": (2, (0.1, 0.6, 0.9, 1.0)),
}


def make_folder(folder: Path, side: int, grey: bool, each: int = 60) -> Path:
    """Six classes of `each` crops of `side` pixels, as PNG."""
    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    portrait = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
    photographs.append(Image.open(portrait).convert("RGB"))
    draws = np.random.default_rng(0)
    for name, (which, (left, top, right, bottom)) in REGIONS.items():
        picture = photographs[which]
        width, height = picture.size
        region = picture.crop((int(left * width), int(top * height), int(right * width), int(bottom * height)))
        (folder / name).mkdir(parents=True)
        for number in range(each):
            size = int(draws.integers(side, 2 * side))
            x, y = (int(draws.integers(0, limit - size + 1)) for limit in region.size)
            crop = region.crop((x, y, x + size, y + size)).resize((side, side), Image.Resampling.BICUBIC)
            (crop.convert("L") if grey else crop).save(folder / name / f"{number:03d}.png")
    return folder
