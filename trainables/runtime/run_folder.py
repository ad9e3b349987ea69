"""Layout of a run's folder; the only module that knows the files of `<storage>/<name>/`.

space.yaml, plan.json, manifest.json      what was requested, laid out, and the circumstances
arms/<arm>.json                           sealed records: an arm is finished when its record exists
arms.parquet, curves.parquet, ...         all records together; SHA256SUMS lists the hashes of these tables
students/<arm>/                           what was trained
progress/, checkpoints/, rungs/, logs/    of cohorts that are running or ended badly
workspaces/<arm>/                         what an arm that is not finished keeps for its next attempt
study.journal                             of a search: what was suggested
measurements/<key>/                       finished models remeasured: measure.json states how, the rest as above

Teachers and feature nets lie next to the runs: see `shared_models`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from branchwise.run_files import schemas
from branchwise.run_files.layout import (
    ARMS,
    BEST,
    FEATURES,
    FORMAT,
    LOCK,
    LOGS,
    MANIFEST,
    MEASURE,
    MEASUREMENTS,
    PICTURE,
    PLAN,
    SPACE,
    STUDENTS,
    TEACHERS,
)
from branchwise.run_files.sealing import SUMS, DamagedError, read_sealed_json, sha256, sums
from branchwise.trainables.runtime.processes import scratch_folder
from branchwise.trainables.runtime.storage import Storage

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"  # of a run
JOURNAL = "study.journal"
NOT_RUNS = (TEACHERS, FEATURES, LOGS)  # what else is in a storage
_BEFORE_PLAN = {LOCK, LOGS, SPACE}  # all that a run holds before its plan is written


@dataclass(frozen=True)
class RunFolder:
    """The folder of the run called `name`.

    Reading raises FileNotFoundError, or DamagedError where the content is not what was written; writing raises OSError.
    """

    storage: Storage
    name: str

    @property
    def files(self) -> Storage:
        return self.storage / self.name

    @property
    def root(self) -> str:
        """The folder as the user would write it: a path or a URI."""
        return self.files.root

    def path(self, name: str) -> str:
        return self.files.path(name)

    # What was requested

    def has_plan(self) -> bool:
        """Whether the run has a plan, without which it never started."""
        return self.files.exists(PLAN)

    def taken(self) -> bool:
        """Whether a run, or a foreign folder, is here; a run that never started may be started."""
        return self.storage.exists(self.name) and not set(self.files.names("")) <= _BEFORE_PLAN

    def searching(self) -> bool:
        """Whether a search of the run has started."""
        return self.files.exists(JOURNAL)

    def write_space(self, content: bytes) -> None:
        self.files.write(SPACE, content)

    def read_space(self) -> bytes:
        return self.files.read(SPACE)

    def space_path(self) -> str:
        return self.path(SPACE)

    def write_best(self, content: bytes) -> None:
        self.files.write(BEST, content)

    def best_path(self) -> str | None:
        """The path of the best settings of a search; None if none exist."""
        return self.path(BEST) if self.files.exists(BEST) else None

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        self.files.write_json(PLAN, {"format": FORMAT, **plan})

    def read_plan(self) -> Any:
        return self.parse_plan(self.read_plan_file())

    def read_plan_file(self) -> bytes:
        return self.files.read(PLAN)

    def parse_plan(self, content: bytes) -> Any:
        """The plan in the bytes of its file. Raises DamagedError."""
        return schemas.check(schemas.Plan, read_sealed_json(content, self.plan_path()), self.plan_path())

    def plan_path(self) -> str:
        return self.path(PLAN)

    def read_originals(self) -> dict[str, bytes]:
        """The files that a run depends on, to be held against what lies there later."""
        return {name: self.files.read(name) for name in (SPACE, PLAN)}

    def modified(self, originals: Mapping[str, bytes]) -> list[str]:
        """Return the paths of missing or changed files; raise OSError when the storage fails."""
        return [self.path(name) for name, content in originals.items() if self._read_or_none(name) != content]

    def restore(self, originals: Mapping[str, bytes]) -> None:
        """Rewrite what `modified` returned."""
        for name, content in originals.items():
            if self._read_or_none(name) != content:
                self.files.write(name, content)

    def _read_or_none(self, name: str) -> bytes | None:
        try:
            return self.files.read(name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        self.files.write_json(MANIFEST, manifest)

    def read_manifest(self) -> Any:
        """Empty if none exists that can be read."""
        return self.files.read_or_empty(MANIFEST, schemas.Manifest)

    # Arms

    def record_names(self) -> list[str]:
        """The arms that are finished."""
        return [name.removesuffix(".json") for name in self.files.names(ARMS)]

    def has_record(self, arm: str) -> bool:
        return self.files.exists(f"{ARMS}/{arm}.json")

    def read_record(self, arm: str) -> Any:
        """Return the record of a finished arm.

        Raises:
            FileNotFoundError: There is no such record.
            DamagedError: It is not the record of this arm.
        """
        record = self.files.read_checked(f"{ARMS}/{arm}.json", schemas.Record)
        if record["arm"] != arm:
            raise DamagedError(f"{self.path(f'{ARMS}/{arm}.json')}: arm: must be {arm}, as the file is called")
        return record

    def write_record(self, arm: str, record: Mapping[str, Any]) -> None:
        self.files.write_json(f"{ARMS}/{arm}.json", record)

    def delete_record(self, arm: str) -> None:
        self.files.delete(f"{ARMS}/{arm}.json")

    def put_model(self, arm: str, folder: Path) -> None:
        self.files.put_folder(folder, f"{STUDENTS}/{arm}")

    def get_model(self, arm: str, scratch: Path) -> Path:
        """A local folder with the arm's model. Raises FileNotFoundError and DamagedError."""
        return self.files.get_folder(f"{STUDENTS}/{arm}", scratch / "students")

    # Cohorts, and the teacher in the folder of its unfinished training

    def progress_names(self) -> list[str]:
        return [name.removesuffix(".json") for name in self.files.names("progress")]

    def read_progress(self, cohort: str) -> Any:
        return self.files.read_checked(f"progress/{cohort}.json", schemas.Progress)

    def write_progress(self, cohort: str, report: Mapping[str, Any]) -> None:
        """Store a cohort's progress without waiting for the disk.

        It is written about once a second and worth nothing after a power loss.
        """
        self.files.write_json(f"progress/{cohort}.json", report, durable=False)

    def write_checkpoint(self, cohort: str, content: bytes) -> None:
        self.files.write_sealed(f"checkpoints/{cohort}", content)

    def read_checkpoint(self, cohort: str) -> bytes:
        return self.files.read_sealed(f"checkpoints/{cohort}")

    def delete_checkpoint(self, cohort: str) -> None:
        self.files.delete(f"checkpoints/{cohort}")

    def workspaces(self) -> Path | None:
        """The folder of what unfinished arms keep; None where the run does not lie on a file system."""
        return None if self.files.local is None else self.files.local / "workspaces"

    def delete_workspace(self, arm: str) -> None:
        self.files.delete(f"workspaces/{arm}")

    def rung_values(self, cell: str, step: int) -> dict[str, float]:
        """The values of the arms that have reached the rung at `step` of a search, by arm."""
        rung = f"rungs/{cell}/{step}"
        names = [name.removesuffix(".json") for name in self.files.names(rung)]
        return {name: float(self.files.read_checked(f"{rung}/{name}.json", schemas.Rung)["value"]) for name in names}

    def write_rung_value(self, cell: str, step: int, arm: str, value: float) -> None:
        self.files.write_json(f"rungs/{cell}/{step}/{arm}.json", {"value": value})

    def write_log(self, name: str, text: str) -> str:
        """Store a log and return its path."""
        self.files.write(f"logs/{name}.txt", text.encode())
        return self.path(f"logs/{name}.txt")

    def delete_unfinished(self) -> None:
        """Remove unfinished files of processes that were killed while writing."""
        for folder in ("", "arms", "checkpoints", "progress", "students"):
            self.files.delete_unfinished(folder)

    def event_names(self) -> set[str]:
        """The arms that have an event file for TensorBoard."""
        return set(self.files.names("tensorboard"))

    def write_events(self, arm: str, content: bytes) -> None:
        self.files.write(f"tensorboard/{arm}/events.out.tfevents.{arm}", content)

    def tracked(self, tracker: str) -> set[str]:
        """The arms that another tracker has been told of."""
        return {name.removesuffix(".json") for name in self.files.names(f"tracking/{tracker}")}

    def mark_tracked(self, tracker: str, arm: str, when: float) -> None:
        self.files.write_json(f"tracking/{tracker}/{arm}.json", {"time": when})

    # Ray

    @contextmanager
    def ray_log(self) -> Iterator[Path]:
        """The file for what Ray has to say; that of a run at a URI is stored at the end."""
        if self.files.local is not None:
            yield self.files.local / "logs/ray.log"
            return
        with scratch_folder() as scratch:
            log = scratch / "ray.log"
            yield log
            self.files.write("logs/ray.log", log.read_bytes())

    def tune_path(self) -> str:
        return self.path("ray/tune")

    def next_tune_name(self) -> str:
        return f"tune-{len(self.files.names('ray/tune'))}"

    def train_path(self) -> str:
        return self.path("ray/train")

    # Tables and report

    def write_tables(self, tables: Mapping[str, bytes]) -> None:
        """Store the tables, then the list of their SHA-256; the old list is deleted first."""
        self.files.delete(SUMS)
        for name, content in tables.items():
            self.files.write(f"{name}.parquet", content)
        self.files.write(SUMS, sums({f"{name}.parquet": sha256(content) for name, content in tables.items()}))

    def table_path(self, name: str) -> str:
        return self.path(f"{name}.parquet")

    def report_path(self) -> str:
        return self.path("report/index.html")

    def has_report(self) -> bool:
        return self.files.exists("report/index.html")

    def write_report(self, folder: Path) -> None:
        """Store a report that was built in a local folder."""
        for file in folder.rglob("*"):
            if file.is_file():
                self.files.write(f"report/{file.relative_to(folder).as_posix()}", file.read_bytes())

    def replace_report(self, folder: Path) -> None:
        """Store a report that was built in a local folder, replacing an earlier report.

        The page is there at each moment: a browser may be reading it repeatedly.
        """
        self.write_report(folder)
        for name in self.files.names("report"):
            if not (folder / name).exists():
                self.files.delete(f"report/{name}")

    def copy_for_report(self, folder: Path) -> None:
        """Copy the files that the analysis reads into a local folder."""
        folder.mkdir()
        top = self.files.names("")
        names = [name for name in top if name.endswith((".yaml", ".json", ".parquet")) or name == SUMS]
        for measure in self.files.names(MEASUREMENTS):
            names += [f"{MEASUREMENTS}/{measure}/{file}" for file in (MEASURE, "arms.parquet")]
        names += [f"{STUDENTS}/{arm}/{PICTURE}" for arm in self.files.names(STUDENTS)]
        for name in names:
            if self.files.exists(name):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(self.files.read(name))


@dataclass(frozen=True)
class Measurements:
    """Remeasured models of a run: for each measure a folder like a run's, named by its address."""

    run: RunFolder

    @property
    def files(self) -> Storage:
        return self.run.files / MEASUREMENTS

    def folder(self, key: str) -> RunFolder:
        """The records and tables of a measure."""
        return RunFolder(self.files, key)

    def work(self) -> RunFolder:
        """The folder of the progress, logs and lock of measuring."""
        return RunFolder(self.files, "work")

    def write_measure(self, key: str, measure: Mapping[str, Any]) -> None:
        self.folder(key).files.write_json(MEASURE, measure)


def runs(storage: Storage) -> list[RunFolder]:
    """The started runs of a storage, by name; folders that this user cannot read count as runs."""
    folders = [RunFolder(storage, name) for name in storage.names("") if name not in NOT_RUNS]
    return [folder for folder in folders if _may_have_plan(folder)]


def _may_have_plan(folder: RunFolder) -> bool:
    try:
        return folder.has_plan()
    except PermissionError:
        return True
