"""Errors that end a sweep: the user's before the start, or the loss of a required resource."""

from __future__ import annotations


class UserError(Exception):
    """Bad input. Its message names the file or argument, the key, and what is allowed."""


class SweepAbortedError(Exception):
    """A required resource is lost; the message names it. Finished arms remain stored."""


class StorageUnavailableError(SweepAbortedError):
    """The storage has not taken a file for so long that going on is no use."""


class RunModifiedError(SweepAbortedError):
    """Files that the run depends on were deleted or changed while it ran."""


class TakenOverError(SweepAbortedError):
    """Another process has locked the run folder; this one must not write to it."""


class ClusterUnavailableError(SweepAbortedError):
    """Ray, or the node that it needs, is dead or does not respond."""


class StalledError(SweepAbortedError):
    """No running cohort has reported progress for too long."""


class RepeatedFailureError(SweepAbortedError):
    """The first arms all failed for a reason that the others share."""


class TeacherFailedError(SweepAbortedError):
    """Failed training of the teacher, also on another try.

    The message states why and where to read on.
    """


class FeaturesFailedError(TeacherFailedError):
    """A feature net that could not be trained, or is not good enough; the message states why."""


class FeaturesRefusedError(FeaturesFailedError):
    """The feature net is trained and not good enough, which no resumed run would change."""
