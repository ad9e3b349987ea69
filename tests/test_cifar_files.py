"""A CIFAR-10 space from missing files to the report, on pictures in CIFAR's format.

The real files cannot be had everywhere that tests run: crops of photographs replace them, and torchvision's list
of hashes is omitted. All else is what happens with the real ones.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pictures
import pytest
from PIL import Image

# What each process of the sweep does when it imports torchvision's module: it forgets the hashes of the real files.
FORGET = """\
import importlib.abc
import importlib.util
import sys


class Loader(importlib.abc.Loader):
    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        for files in (module.CIFAR10.train_list, module.CIFAR10.test_list):
            files[:] = [[name, None] for name, _ in files]
        module.CIFAR10.meta["md5"] = None


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "torchvision.datasets.cifar":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        spec.loader = Loader(spec.loader)
        return spec


sys.meta_path.insert(0, Finder())
"""
QUICK = (
    "teacher.channels=[8, 8, 8, 8]", "teacher.norm_groups=4", "teacher.steps=6", "teacher.batch_size=16",
    "teacher.warmup_steps=2", "teacher.precision=fp32", "teacher.mode=exact", "teacher.res_blocks=1",
    "student.channels=[8, 8, 8, 8]", "student.norm_groups=4", "train.steps=4", "train.batch_size=8",
    "train.warmup_steps=2", "train.precision=fp32", "train.mode=exact",
    "evaluate.samples=640", "evaluate.repeats=1", "evaluate.sampler_steps=2", "evaluate.gap_samples=16",
    "evaluate.features=classifier", "evaluate.classifier={steps: 150, width: 16, least_accuracy: 0.6}",
    "resources={cpus_per_trial: 1, workers: 0, arms_per_trial: 8}",
)  # fmt: skip


def write_cifar(folder: Path, images: Path) -> None:
    """The files of CIFAR-10's Python version: five batches, a test batch and the names of ten classes.

    Six classes are the folders of `images`, four are negatives of such.
    """
    folders = sorted(images.iterdir())
    classes = [folder.name for folder in folders] + [f"negative {folder.name}" for folder in folders[:4]]
    pixels, labels = [], []
    for label in range(len(classes)):
        for file in sorted(folders[label % len(folders)].iterdir()):
            image = np.asarray(Image.open(file)).transpose(2, 0, 1).reshape(-1)
            pixels.append(image if label < len(folders) else 255 - image)
            labels.append(label)
    order = np.random.default_rng(0).permutation(len(labels))
    folder.mkdir(parents=True)
    parts = np.array_split(order, 6)
    for name, rows in zip([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"], parts, strict=True):
        batch = {"data": np.stack([pixels[row] for row in rows]), "labels": [labels[row] for row in rows]}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": classes}))


@pytest.mark.long(150)
def test_cifar10_quick_from_missing_files_to_report(root: Path, tmp_path: Path) -> None:
    data, options = tmp_path / "data", [argument for item in QUICK for argument in ("--set", item)]
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook/sitecustomize.py").write_text(FORGET)
    environment = {"PYTHONPATH": str(tmp_path / "hook"), "XDG_CACHE_HOME": str(tmp_path / "cache"), "COLUMNS": "400"}

    def sweep(*more: str) -> tuple[int, str]:
        space = root / "search_spaces/cifar10_quick.yaml"
        command = [sys.executable, str(root / "platform/run_sweep.py"), "--space", str(space)]
        command += ["--storage", str(tmp_path / "runs"), "--set", f"data.path={data}", *options, *more]
        ran = subprocess.run(
            command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False, timeout=500,
        )  # fmt: skip
        return ran.returncode, ran.stdout

    code, output = sweep("--dry-run")
    assert code == 2, output
    assert f"cifar10 is not in {data}" in output
    assert "branchwise fetch --space FILE" in output

    write_cifar(data / "cifar-10-batches-py", pictures.make_folder(tmp_path / "pictures", 32, grey=False, each=150))
    code, output = sweep()
    assert code == 0, output
    arms = pd.read_parquet(tmp_path / "runs/cifar10-quick/arms.parquet")
    assert len(arms) == 16
    assert set(arms["metric"]) == {"fd_classifier64"}
    assert arms["value"].gt(0).all()
    assert arms["coverage"].between(0, 1).all()
    key = json.loads(arms["comparability_key"][0])
    assert (key["reference_size"], key["held_out_size"]) == (1250, 250)
    assert "fd_classifier64" in (tmp_path / "runs/cifar10-quick/report/index.html").read_text()
