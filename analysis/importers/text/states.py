"""States of runs by the names of the tools: which runs finished, and which did not."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from branchwise.analysis.importers.run_table import Categorical, RunTable, listed
from branchwise.analysis.records.damage import RunFolderError

End = Literal["finished", "failed", "unfinished"]

STATES: dict[End, tuple[str, ...]] = {
    "finished": (
        "finished", "complete", "completed", "terminated", "done", "success", "succeeded", "successful", "ok", "passed",
        "ended", "closed", "published", "exited", "job_state_succeeded",
    ),
    "failed": (
        "failed", "fail", "failure", "error", "errored", "crashed", "crash", "diverged", "killed", "cancelled",
        "canceled", "aborted", "pruned", "interrupted", "timeout", "timed_out", "timedout", "out_of_memory", "oom",
        "node_fail", "preempted", "stopped", "stopping", "early_stopped", "earlystopped", "lost", "invalid", "deleted",
        "boot_fail", "deadline", "revoked", "job_state_failed", "job_state_cancelled",
    ),
    "unfinished": (
        "running", "queued", "waiting", "scheduled", "pending", "created", "paused", "inprogress", "in_progress",
        "suspended", "starting", "preparing", "unfinished", "incomplete", "unknown", "submitted", "not_started",
        "initialized", "active", "completing", "requeued",
    ),
}  # fmt: skip
_END = {text: end for end, texts in STATES.items() for text in texts}
_COLUMN = re.compile(
    r"(?:(?:run|trial|job|task|experiment|exp|info|attributes|sys|meta)[ ._/])?(?:state|status)", re.IGNORECASE
)


def classify(text: str) -> End | None:
    """The final state for a tool's state; None if unknown. An empty state counts as finished."""
    plain = re.sub(r"[\s-]+", "_", text.strip().lower()).rpartition(".")[2]
    return _END.get(plain, _END.get(plain.replace("_", ""))) if plain else "finished"


def _state_columns(runs: RunTable, used: set[str], source: str) -> list[str]:
    """Columns with states of runs: the tool's, or `state` or `status` with states as values.

    A column that is compared or that holds no known state is a setting, regardless of its name. Raises
    RunFolderError when only some of its values are known.
    """
    if runs.state:
        return [runs.state]
    columns = []
    for name in runs.names:
        if name in used or not _COLUMN.fullmatch(name.strip()):
            continue
        texts = [text for text in runs.categorical(name).categories if text]
        unknown = [text for text in texts if classify(text) is None]
        if len(unknown) == len(texts):
            continue
        if unknown:
            raise RunFolderError(
                f"{source}: {name} has the unknown state {listed(unknown)}; states of finished runs are "
                f"{', '.join(STATES['finished'])}; rename the column if it is a setting"
            )
        columns.append(name)
    return columns


def endings(runs: RunTable, used: set[str], source: str) -> Categorical:
    """Return each run's state where it did not finish, else "".

    `used` are columns that are compared.

    Raises:
        RunFolderError: A state is unknown.
    """
    ends = Categorical(codes=np.zeros(len(runs), dtype=np.int64), categories=("",))
    for name in _state_columns(runs, used, source):
        column = runs.categorical(name)
        column = column.rename(["" if classify(text) == "finished" else text.lower() for text in column.categories])
        ends = _either(ends, column)
    return ends


def _either(first: Categorical, second: Categorical) -> Categorical:
    """The value of the first column, or of the second where that is empty."""
    texts = [*first.categories, *second.categories]
    codes = np.where(first.equals(""), second.codes + len(first.categories), first.codes)
    return Categorical(codes=codes, categories=tuple(texts)).rename(texts)
