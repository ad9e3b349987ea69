"""Download of the published files that a distillation needs, only on request."""

from __future__ import annotations

import functools
import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from branchwise.run_files.layout import staged_file
from branchwise.trainables.contract import RequiredFile
from branchwise.trainables.dash.settings.data import TorchvisionData
from branchwise.trainables.dash.settings.features import PRETRAINED, Pretrained
from branchwise.trainables.dash.settings.files import torchvision_folder, weights_file
from branchwise.trainables.dash.settings.spec import Spec

CHUNK = 1 << 20  # bytes read at once
SILENCE = 30.0  # seconds without a byte after which the server counts as unresponsive

Progress = Callable[[int], None]


def missing_files(spec: Spec) -> tuple[RequiredFile, ...]:
    """Return the required files that this machine does not have.

    They are a data set of torchvision's and feature weights.
    """
    needed = []
    data = spec.data
    if isinstance(data, TorchvisionData) and not torchvision_folder(data).is_dir():
        needed.append(
            RequiredFile(
                description=f"data set {data.name}",
                source="torchvision",
                location=torchvision_folder(data),
                fetch=functools.partial(_torchvision, data),
            )
        )
    if spec.features in PRETRAINED and not weights_file(spec.features).is_file():
        net, file = PRETRAINED[spec.features], weights_file(spec.features)
        needed.append(
            RequiredFile(
                description=f"weights of {spec.features}",
                source=net.url,
                location=file,
                size=net.size,
                sha256=net.sha256,
                fetch=functools.partial(download, net, file),
            )
        )
    return tuple(needed)


def download(net: Pretrained, location: Path, advance: Progress) -> None:
    """Fetch the weights of `net` to `location`, atomically and verified.

    Raises OSError and ValueError.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with staged_file(location) as staging:
            with staging.open("wb") as file, urllib.request.urlopen(net.url, timeout=SILENCE) as answer:
                announced = int(answer.headers.get("Content-Length") or 0)
                while chunk := answer.read(CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                    advance(len(chunk))
            expected = net.size or announced
            if expected and size != expected:
                raise ValueError(f"{net.url} gave {size:,} bytes, not {expected:,}")
            if not digest.hexdigest().startswith(net.sha256):
                raise ValueError(f"{net.url} has SHA-256 {digest.hexdigest()}, not {net.sha256}")
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
        raise OSError(f"{net.url}: {getattr(error, 'reason', error)}") from error


def _torchvision(data: TorchvisionData, advance: Progress) -> None:
    """Lets torchvision download and check its files. Raises OSError."""
    from torchvision import datasets

    root = Path(data.path).expanduser()
    root.mkdir(parents=True, exist_ok=True)
    try:
        getattr(datasets, data.known.torchvision)(root, train=True, download=True)
    except RuntimeError as error:  # torchvision's error for a file that is unavailable or has another checksum
        raise OSError(f"torchvision's {data.known.torchvision}: {error}") from error
    advance(sum(file.stat().st_size for file in torchvision_folder(data).rglob("*") if file.is_file()))
