"""The images of a folder by class, and its other files, without opening any.

No torch and no Pillow here.
"""

from __future__ import annotations

import os
import stat
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
# What operating systems, notebooks and sync tools leave in folders; names that begin with a dot are hidden as well.
LEFTOVERS = {
    "__macosx",
    "thumbs.db",
    "desktop.ini",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}
MANY, TRUSTED_SECONDS = 5000, 5.0  # a listing of more files than that is reused for so long
MAX_NAMED = 50  # of files that have the same problem

Identity = tuple[int, int, int, int, int]  # device, inode, size, mtime and ctime in ns: new when a file is written


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The images below `root`: label k is the k-th of `classes`, sub-folders by name."""

    root: Path
    classes: tuple[str, ...] = ()
    files: tuple[tuple[Path, ...], ...] = ()  # of each class, in the order of their paths
    identities: tuple[tuple[Identity, ...], ...] = ()  # of these files
    hidden: int = 0  # files and folders that are passed over by their names
    skipped: Mapping[str, int] = field(default_factory=dict)  # files of other formats, by suffix
    loose_images: int = 0  # images that are next to the class folders
    links: int = 0  # symbolic links that were followed
    loops: int = 0  # links to a folder that holds them, which are not followed
    problems: tuple[str, ...] = ()  # sentences

    @property
    def paths(self) -> list[Path]:
        return [file for files in self.files for file in files]

    @property
    def labels(self) -> list[int]:
        return [label for label, files in enumerate(self.files) for _ in files]

    def notes(self) -> Iterator[str]:
        """Yield phrases on what was passed over or followed."""
        if self.hidden:
            yield f"{self.hidden:,} hidden files or folders skipped"
        if self.skipped:
            kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(self.skipped.items()))
            yield f"{sum(self.skipped.values()):,} files of other formats skipped ({kinds})"
        if self.loose_images:
            yield f"{self.loose_images:,} images beside the class folders skipped"
        if self.links:
            yield f"{self.links:,} links followed"
        if self.loops:
            yield f"{self.loops:,} links to a folder above them not followed"
        if splits := [name for name in self.classes if name.lower() in SPLITS]:
            yield f"{' and '.join(splits)} read as classes: a sub-folder is a class, not a part of the data set"


_latest: dict[Path, tuple[float, Listing]] = {}


def list_images(path: str) -> Listing:
    """Return the images below the folder `path`, without opening them.

    A long listing is reused for some seconds.

    Raises FileNotFoundError when it is no folder, and OSError when it cannot be read.
    """
    root = Path(path).expanduser().absolute()
    if not root.is_dir():
        raise FileNotFoundError(f"data.path: {root} is not a folder")
    then, latest = _latest.get(root, (0.0, None))
    if latest is not None and sum(map(len, latest.files)) > MANY and time.monotonic() - then < TRUSTED_SECONDS:
        return latest
    listing = _Walk(root).listing()
    _latest[root] = time.monotonic(), listing
    return listing


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is passed over."""
    return name.startswith(".") or name.lower() in LEFTOVERS


def named(files: list[str]) -> str:
    """The first of the files, and the number of the others."""
    more = f" and {len(files) - MAX_NAMED:,} more" if len(files) > MAX_NAMED else ""
    return ", ".join(files[:MAX_NAMED]) + more


class _Walk:
    """A walk over a folder, and its counts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hidden = self.loose_images = self.links = self.loops = 0
        self.skipped: Counter[str] = Counter()
        self.visited: dict[tuple[int, int], Path] = {}
        self.broken: list[str] = []
        self.irregular: list[str] = []
        self.problems: list[str] = []

    def listing(self) -> Listing:
        top = os.stat(self.root)
        above = frozenset([(top.st_dev, top.st_ino)])
        classes = []
        for entry, status in self._entries(self.root):
            if stat.S_ISDIR(status.st_mode):
                classes.append((entry.name, self._class(Path(entry.path), status, above)))
            elif _suffix(entry.name) in SUFFIXES:
                self.loose_images += 1
            else:
                self.skipped[_suffix(entry.name) or "without a suffix"] += 1
        classes.sort(key=lambda item: item[0])
        if self.broken:
            self.problems.append(f"links that lead nowhere: {named(self.broken)}")
        if self.irregular:
            self.problems.append(f"no regular files: {named(self.irregular)}")
        return Listing(
            root=self.root,
            classes=tuple(name for name, _ in classes),
            files=tuple(tuple(file for file, _ in class_) for _, class_ in classes),
            identities=tuple(tuple(identity for _, identity in match) for _, match in classes),
            hidden=self.hidden,
            skipped=dict(self.skipped),
            loose_images=self.loose_images,
            links=self.links,
            loops=self.loops,
            problems=tuple(self.problems),
        )

    def _class(
        self, folder: Path, status: os.stat_result, above: frozenset[tuple[int, int]]
    ) -> list[tuple[Path, Identity]]:
        """The images of a single class, at any depth."""
        images = []
        waiting = [(folder, status, above)]
        while waiting:
            current, status, above = waiting.pop()
            key = status.st_dev, status.st_ino
            if key in above:
                self.loops, self.links = self.loops + 1, self.links - 1
                continue
            if key in self.visited:
                self.problems.append(f"{current} and {self.visited[key]} are the same folder")
                continue
            self.visited[key] = current
            for entry, inner in self._entries(current):
                if stat.S_ISDIR(inner.st_mode):
                    waiting.append((Path(entry.path), inner, above | {key}))
                elif _suffix(entry.name) not in SUFFIXES:
                    self.skipped[_suffix(entry.name) or "without a suffix"] += 1
                elif stat.S_ISREG(inner.st_mode):
                    images.append((Path(entry.path), _identity(inner)))
                else:
                    self.irregular.append(entry.path)
        return sorted(images)

    def _entries(self, folder: Path) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
        """Yield the entries of a folder that are not hidden, with their status.

        The status is of what a link leads to.
        """
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            self.problems.append(f"{folder} cannot be read: {error.strerror}")
            return
        for entry in entries:
            if is_hidden(entry.name):
                self.hidden += 1
                continue
            try:
                status = os.stat(entry.path)
            except OSError:
                self.broken.append(entry.path)
                continue
            self.links += entry.is_symlink()
            yield entry, status


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
