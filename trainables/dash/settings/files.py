"""Files that a distillation needs and that cannot be made here: data sets and feature weights. No torch here."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from branchwise.trainables.dash.settings.data import Data, Digits, ImageFolder, TorchvisionData
from branchwise.trainables.dash.settings.spec import Spec

INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
INCEPTION_BYTES = 95_628_359
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
INCEPTION_VARIABLE = "BRANCHWISE_INCEPTION_WEIGHTS"


def check_inputs(spec: Spec) -> None:
    """Raises FileNotFoundError or ValueError, saying what to do, when data or feature weights are not on this machine.

    Both are named where both are missing. Whether they hold what they should is found out when they are read.
    """
    errors = []
    for check in (_find_data, _find_weights):
        try:
            check(spec.data)
        except (OSError, ValueError) as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise FileNotFoundError("; ".join(map(str, errors)))


def _find_data(data: Data) -> None:
    if isinstance(data, TorchvisionData) and not data.download:
        root = Path(data.path).expanduser()
        if not (root / data.known.folder).is_dir():
            raise FileNotFoundError(missing_data(data))
    if isinstance(data, ImageFolder):
        class_folders(data)


def _find_weights(data: Data) -> None:
    if not isinstance(data, Digits):
        find_inception_weights()


def missing_data(data: TorchvisionData) -> str:
    """What to say when a data set of torchvision's is not there."""
    return (
        f"data: {data.name} is not in {Path(data.path).expanduser().resolve()}: put it there as torchvision lays it "
        "out, or set data.download: true"
    )


def class_folders(data: ImageFolder) -> list[Path]:
    """The sub-folders, one a class. Raises FileNotFoundError, and ValueError when there are not as many as stated."""
    root = Path(data.path).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"data.path: {root.resolve()} is not a folder")
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir())
    if len(folders) != data.classes:
        raise ValueError(f"data.classes: {data.classes}, but {root} has {len(folders)} sub-folders")
    return folders


def find_inception_weights() -> Path:
    """The verified file of Inception weights. Raises FileNotFoundError, saying where to get it, and ValueError."""
    named = os.environ.get(INCEPTION_VARIABLE)
    cached = torch_hub() / "checkpoints" / INCEPTION_URL.rsplit("/", 1)[1]
    file = Path(named).expanduser() if named else cached
    if not file.is_file():
        raise FileNotFoundError(
            f"the Inception weights are not at {file}: fetch {INCEPTION_URL} ({INCEPTION_BYTES:,} bytes, SHA-256 "
            f"{INCEPTION_SHA256}) and put it at {cached}, or name its place in ${INCEPTION_VARIABLE}"
        )
    verify(file, INCEPTION_SHA256)
    return file


def torch_hub() -> Path:
    """Where torch.hub keeps what it downloads."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or f"{cache}/torch").expanduser() / "hub"


def verify(file: Path, expected: str) -> None:
    """Raises ValueError for a file of feature weights that is not the one with this SHA-256."""
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise ValueError(f"{file} has SHA-256 {found}, not {expected}: its distances would not compare")
