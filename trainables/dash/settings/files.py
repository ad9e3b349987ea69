"""Files that a distillation needs and cannot create: data sets and feature weights.

No torch here.
"""

from __future__ import annotations

import os
from pathlib import Path

from branchwise.run_files.sealing import sha256_of
from branchwise.trainables.dash.settings.data import ImageFolder, TorchvisionData
from branchwise.trainables.dash.settings.features import PRETRAINED, is_function, source_of
from branchwise.trainables.dash.settings.listing import SUFFIXES, Listing, list_images
from branchwise.trainables.dash.settings.spec import Spec

INCEPTION_VARIABLE = "BRANCHWISE_INCEPTION_WEIGHTS"
FETCH = "`branchwise fetch --space FILE`"


def check_inputs(spec: Spec) -> None:
    """Check that data and feature weights are on this machine.

    Raises FileNotFoundError or ValueError that says what to do.

    All that is missing is reported at once. Whether files hold what they should is found out when they are read.
    """
    wrong: list[OSError | ValueError] = []
    for check in (_check_data, _check_features):
        try:
            check(spec)
        except (OSError, ValueError) as error:
            wrong.append(error)
    if len(wrong) > 1:
        raise FileNotFoundError("; ".join(map(str, wrong)))
    if wrong:
        raise wrong[0]


def _check_data(spec: Spec) -> None:
    data = spec.data
    if isinstance(data, TorchvisionData) and not data.download and not torchvision_folder(data).is_dir():
        raise FileNotFoundError(missing_data(data))
    if isinstance(data, ImageFolder):
        checked_listing(data)


def _check_features(spec: Spec) -> None:
    if spec.features in PRETRAINED:
        find_weights(spec.features)
    if is_function(spec.features):
        source_of(spec.features)


def torchvision_folder(data: TorchvisionData) -> Path:
    """The folder of a data set of torchvision."""
    return Path(data.path).expanduser() / data.known.folder


def missing_data(data: TorchvisionData) -> str:
    """The message when a data set of torchvision is missing."""
    return (
        f"data: {data.name} is not in {Path(data.path).expanduser().resolve()}: {FETCH} fetches it, or put it there as "
        "torchvision lays it out, or set data.download: true"
    )


def checked_listing(data: ImageFolder) -> Listing:
    """Return the images of a folder.

    Raises FileNotFoundError when it is missing, ValueError with all that is wrong.
    """
    listing = list_images(data.path)
    problems = list(listing.problems)
    if len(listing.classes) != data.classes:
        names = f": {', '.join(listing.classes[:10])}" if len(listing.classes) <= 10 else ""
        problems.insert(
            0, f"data.classes: {data.classes}, but {listing.root} has {len(listing.classes)} sub-folders{names}"
        )
    elif data.class_names and data.class_names != listing.classes:
        wrong = next(
            i for i, pair in enumerate(zip(data.class_names, listing.classes, strict=True)) if len({*pair}) > 1
        )
        problems.insert(
            0,
            f"data.class_names: class {wrong} is {data.class_names[wrong]!r}, but sub-folder {wrong} of {listing.root} "
            f"is {listing.classes[wrong]!r}",
        )
    for name, files in zip(listing.classes, listing.files, strict=True):
        if not files:
            problems.append(f"{listing.root / name} holds no images ({', '.join(sorted(SUFFIXES))})")
    if problems:
        raise ValueError("; ".join(p if p.startswith("data.") else f"data.path: {p}" for p in problems))
    return listing


def find_weights(name: str) -> Path:
    """Return the verified file of a pretrained feature net.

    Raises FileNotFoundError, saying how to get it, and ValueError.
    """
    net, file = PRETRAINED[name], weights_file(name)
    if not file.is_file():
        facts = [f"{net.size:,} bytes"] * bool(net.size) + [f"SHA-256 {net.sha256}"] * bool(net.sha256)
        message = f" ({', '.join(facts)})" if facts else ""
        variable = f", or name its place in ${INCEPTION_VARIABLE}" if name == "inception" else ""
        raise FileNotFoundError(
            f"the weights of {name} are not at {file}: {FETCH} fetches them, or put {net.url}{message} at "
            f"{hub_file(name)}{variable}"
        )
    verify(file, net.sha256)
    return file


def weights_file(name: str) -> Path:
    """Return the path at which the weights of a pretrained feature net are searched for."""
    named = os.environ.get(INCEPTION_VARIABLE) if name == "inception" else None
    return Path(named).expanduser() if named else hub_file(name)


def hub_file(name: str) -> Path:
    """Return the path at which torch hub would keep these weights."""
    return torch_hub() / "checkpoints" / PRETRAINED[name].file


def torch_hub() -> Path:
    """Return the folder of torch.hub's downloads."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or f"{cache}/torch").expanduser() / "hub"


def verify(file: Path, expected: str) -> None:
    """Check that the SHA-256 of a file of feature weights begins with these digits.

    Raises ValueError otherwise.
    """
    result = sha256_of(file)
    if not result.startswith(expected):
        raise ValueError(f"{file} has SHA-256 {result}, not {expected}: its distances would not compare")
