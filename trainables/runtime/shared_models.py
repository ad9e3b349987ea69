"""Models that runs share, each under its content address.

They lie next to the runs in their storage: teachers below `teachers/`, feature nets below `features/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from branchwise.run_files import schemas
from branchwise.run_files.layout import FEATURES, TEACHERS
from branchwise.trainables.runtime.run_folder import RunFolder
from branchwise.trainables.runtime.storage import Storage


@dataclass(frozen=True)
class ContentAddressed:
    """Models trained once for many runs, each in a folder named by its content address."""

    storage: Storage
    folder: ClassVar[str]

    @property
    def files(self) -> Storage:
        return self.storage / self.folder

    def path(self, key: str) -> str:
        return self.files.path(key)

    def trained(self, key: str) -> bool:
        return self.files.has_folder(key)

    def get(self, key: str, scratch: Path) -> Path:
        """A local folder with its files. Raises FileNotFoundError and DamagedError."""
        return self.files.get_folder(key, scratch)

    def put(self, folder: Path, key: str) -> None:
        self.files.put_folder(folder, key)

    def unfinished(self, key: str) -> RunFolder:
        """The folder of a training that is not finished."""
        return RunFolder(self.files, f"{key}.unfinished")


_HAS_FILES = "has_files"  # of an evaluation's JSON


class TeacherStore(ContentAddressed):
    """The teachers of a storage."""

    folder = TEACHERS

    def read_evaluation(self, key: str, evaluation_key: str) -> Mapping[str, Any] | None:
        """Return the teacher's evaluation under these settings; None if missing or damaged."""
        location = f"{key}/evaluations/{evaluation_key}"
        stored = dict(self.files.read_or_empty(f"{location}.json", schemas.Evaluation))
        if stored.pop(_HAS_FILES, False) and not self.files.has_folder(location):
            return None
        return stored or None

    def write_evaluation(
        self, key: str, evaluation_key: str, values: Mapping[str, Any], folder: Path | None = None
    ) -> None:
        """Store the values, and first the files in `folder`, if there are any."""
        location = f"{key}/evaluations/{evaluation_key}"
        has_files = folder is not None and any(folder.iterdir())
        if folder is not None and has_files:
            self.files.put_folder(folder, location)
        self.files.write_json(f"{location}.json", {**values, _HAS_FILES: has_files})

    def get_evaluation_files(self, key: str, evaluation_key: str, scratch: Path) -> Path | None:
        """Return a local folder with an evaluation's files; None without any. Raises DamagedError."""
        location = f"{key}/evaluations/{evaluation_key}"
        return self.files.get_folder(location, scratch) if self.files.has_folder(location) else None


class FeatureNetStore(ContentAddressed):
    """The feature nets of a storage, which measuring needs."""

    folder = FEATURES
