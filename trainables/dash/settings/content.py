"""The content of data: a SHA-256 over files and labels, quick enough for each plan.

A file of at most `HASHED_BYTES` bytes is read each time. Of a larger file three samples are; its digest is cached by
device, inode, size, times and samples, and recomputed where any of them differs. No torch here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from branchwise.run_files.layout import staged_file, staged_folder
from branchwise.trainables.dash.settings.data import Data, Digits, ImageFolder
from branchwise.trainables.dash.settings.listing import Identity, Listing, list_images

HASHED_BYTES, SAMPLE = 16 << 10, 4 << 10  # bytes
SETTLED_NS = 2 * 10**9  # a file written within this time may change without a new time stamp
TASK = 256  # files that a thread hashes at a time
UNREADABLE = "cannot be read"  # instead of a digest
_ARCHIVES = {".gz", ".html"}  # next to the files of torchvision's data sets, and never read

Content = TypeVar("Content")

_contents: dict[Path, tuple[object, str]] = {}  # of each folder: its classes and files, and their digest


def cache_root() -> Path:
    """The cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "branchwise"


def cached_folder(name: str, read: Callable[[Path], Content | None], write: Callable[[Path], None]) -> Content:
    """Return what `read` reads of a folder of the cache.

    Where that is None, `write` fills the folder first.

    A single process writes while the others wait. Raises OSError when the folder is removed meanwhile.
    """
    folder = cache_root() / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        content = read(folder)
        if content is None:
            with staged_folder(folder) as staging:
                write(staging)
            content = read(folder)
    if content is None:
        raise OSError(f"{folder} was removed while it was read")
    return content


def data_sha256(data: Data) -> str | None:
    """Return the SHA-256 of the files and labels of `data`.

    None for a data set of torchvision's that is missing yet.

    Raises FileNotFoundError when a folder of images is missing.
    """
    if isinstance(data, ImageFolder):
        return folder_sha256(list_images(data.path))
    if isinstance(data, Digits):
        package = importlib.util.find_spec("sklearn")
        if package is None or package.origin is None:
            return None
        return _files_sha256([Path(package.origin).parent / "datasets/data/digits.csv.gz"])
    folder = Path(data.path).expanduser() / data.known.folder
    files = sorted(file for file in folder.glob("*") if file.is_file() and file.suffix not in _ARCHIVES)
    return _files_sha256(files) if files else None


def folder_sha256(listing: Listing) -> str:
    """Return the SHA-256 of a folder's images in order, their labels and the class names.

    Names of files and time stamps do not enter, but for the order that names put the images in.
    """
    contents = listing.classes, listing.identities
    cached = _contents.get(listing.root)
    if cached is not None and cached[0] == contents:
        return cached[1]
    now = time.time_ns()
    digests = iter(file_digests(listing))
    total = hashlib.sha256()
    for label, (name, files) in enumerate(zip(listing.classes, listing.files, strict=True)):
        total.update(json.dumps([label, name, len(files)]).encode())
        for _ in files:
            total.update(next(digests).encode())
    _contents.pop(listing.root, None)
    if all(_settled(identity, now) for of_class in listing.identities for identity in of_class):
        _contents[listing.root] = contents, total.hexdigest()
    return total.hexdigest()


def file_digests(listing: Listing) -> list[str]:
    """The SHA-256 of each image of a folder, in order; `UNREADABLE` if it cannot be read."""
    identities = [identity for of_class in listing.identities for identity in of_class]
    return _digests(listing.paths, identities, listing.root)


def _files_sha256(files: Sequence[Path]) -> str:
    """The SHA-256 of files and their names."""
    statuses = [file.stat() for file in files]
    identities = [(s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in statuses]
    digests = _digests(files, identities, files[0].parent)
    return hashlib.sha256(json.dumps([[f.name, d] for f, d in zip(files, digests, strict=True)]).encode()).hexdigest()


def _digests(files: Sequence[Path], identities: Sequence[Identity], root: Path) -> list[str]:
    """Return the SHA-256 of each file.

    Those of large files are remembered in the cache, in a file for each `root`.
    """
    memory = cache_root() / f"digests-{hashlib.sha256(os.fsencode(root)).hexdigest()[:32]}.json"
    before = _read(memory) if any(identity[2] > HASHED_BYTES for identity in identities) else {}
    now, after = time.time_ns(), {}

    def digest(i: int) -> str:
        key = ":".join(map(str, identities[i]))
        try:
            with open(files[i], "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if size <= HASHED_BYTES:
                    return hashlib.sha256(file.read()).hexdigest()
                samples = _samples(file.fileno(), size)
                previous = before.get(key)
                if previous is None or previous[0] != samples:
                    previous = samples, hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return UNREADABLE
        if _settled(identities[i], now):
            after[key] = previous
        return previous[1]

    def task(start: int) -> list[str]:
        return [digest(i) for i in range(start, min(start + TASK, len(files)))]

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        digests = [item for part in pool.map(task, range(0, len(files), TASK)) for item in part]
    if after and after != before:
        _write(memory, after)
    return digests


def _settled(identity: Identity, now: int) -> bool:
    """Whether the file's times are old enough that a later change must show in them."""
    return max(identity[3], identity[4]) < now - SETTLED_NS


def _samples(descriptor: int, size: int) -> str:
    """Of the beginning, the middle and the end of a file."""
    places = (0, (size - SAMPLE) // 2, size - SAMPLE)
    return hashlib.sha256(b"".join(os.pread(descriptor, SAMPLE, item) for item in places)).hexdigest()


def _read(memory: Path) -> dict[str, tuple[str, str]]:
    try:
        return {key: (str(samples), str(entire)) for key, (samples, entire) in json.loads(memory.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write(memory: Path, digests: dict[str, tuple[str, str]]) -> None:
    """Write `digests` atomically; without a writable cache, the next process needs seconds more."""
    with suppress(OSError), staged_file(memory, durable=False) as staging:
        staging.write_text(json.dumps(digests))
