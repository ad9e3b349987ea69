"""How runs end, in the words of the tools: which ones finished, and which did not."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from branchwise.analysis.importers.run_table import Mask, RunTable, Words, listed
from branchwise.analysis.records.damage import RunFolderError

End = Literal["finished", "failed", "unfinished"]

WORDS: dict[End, tuple[str, ...]] = {
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
_END = {word: end for end, words in WORDS.items() for word in words}
_COLUMN = re.compile(
    r"(?:(?:run|trial|job|task|experiment|exp|info|attributes|sys|meta)[ ._/])?(?:state|status)", re.IGNORECASE
)


def classify(word: str) -> End | None:
    """How a run ended by a tool's word for it; None for a word that is not known. No word says nothing bad."""
    plain = re.sub(r"[\s-]+", "_", word.strip().lower()).rpartition(".")[2]
    return _END.get(plain, _END.get(plain.replace("_", ""))) if plain else "finished"


def state_columns(runs: RunTable, used: set[str], source: str) -> list[str]:
    """The columns with the states of runs: the tool's own, or one called `state` or `status` whose words are states.

    A column that is compared or that holds none of the known words is a setting, whatever its name. Raises
    RunFolderError when some of its words are known and others are not.
    """
    if runs.state:
        return [runs.state]
    columns = []
    for name in runs.names:
        if name in used or not _COLUMN.fullmatch(name.strip()):
            continue
        words = [word for word in runs.words(name).words if word]
        unknown = [word for word in words if classify(word) is None]
        if len(unknown) == len(words):
            continue
        if unknown:
            raise RunFolderError(
                f"{source}: {name} has the unknown state {listed(unknown)}; states of finished runs are "
                f"{', '.join(WORDS['finished'])}; rename the column if it is a setting"
            )
        columns.append(name)
    return columns


def endings(runs: RunTable, columns: list[str]) -> Words:
    """Of each run the tool's word for its end where it did not finish, else ""."""
    ends = Words(codes=np.zeros(len(runs), dtype=np.int64), words=("",))
    for name in columns:
        column = runs.words(name)
        column = column.rename(["" if classify(word) == "finished" else word.lower() for word in column.words])
        ends = _either(ends, column)
    return ends


def _either(first: Words, second: Words) -> Words:
    """The word of the first column, or of the second where that is empty."""
    words = [*first.words, *second.words]
    empty: Mask = np.array([not word for word in first.words])[first.codes]
    codes = np.where(empty, second.codes + len(first.words), first.codes)
    return Words(codes=codes, words=tuple(words)).rename(words)
