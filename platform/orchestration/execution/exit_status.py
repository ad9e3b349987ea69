"""Exit status of a sweep: an exit code, a message and a manifest state for each error."""

from __future__ import annotations

from dataclasses import dataclass

from branchwise.analysis.console import single_line
from branchwise.orchestration import interrupts
from branchwise.orchestration.errors import FeaturesRefusedError, SweepAbortedError, UserError


@dataclass(frozen=True, kw_only=True)
class ExitStatus:
    """The exit status of a sweep.

    Attributes:
        code: The exit code: 0 all arms are done, 2 nothing started, 3 arms are missing, 130 interrupted.
        message: Is printed; empty where the tables show it all.
        resumable: Whether another try may succeed.
    """

    code: int
    message: str = ""
    resumable: bool = True

    @property
    def interrupted(self) -> bool:
        return self.code == interrupts.EXIT_CODE


def classify_exit(error: BaseException, has_started: bool) -> ExitStatus:
    """Return the exit status for an error that was raised before or after the sweep started.

    Reraises an unexpected error: it is a bug of this program, and its traceback is needed.
    """
    if isinstance(error, KeyboardInterrupt):
        return ExitStatus(code=interrupts.EXIT_CODE, message="Interrupted")
    if not isinstance(error, (UserError, SweepAbortedError, OSError)):
        raise error
    refused = isinstance(error, FeaturesRefusedError)
    return ExitStatus(code=3 if has_started else 2, message=single_line(error), resumable=not refused)
