"""What ends a sweep: an error a user can mend, before it started; or something that is lost, while it ran."""

from __future__ import annotations


class UserError(Exception):
    """Bad input. Its message names the file or argument, the key, and what is allowed."""


class SweepAbortedError(Exception):
    """What a sweep cannot go on without is lost; the message states what. Finished arms are kept."""


class StorageUnavailableError(SweepAbortedError):
    """The storage has not taken a file for so long that going on is no use."""


class RunModifiedError(SweepAbortedError):
    """Files that the run depends on were deleted or changed while it ran."""


class TakenOverError(SweepAbortedError):
    """Another process holds the run folder now; nothing of it is ours to write."""


class ClusterUnavailableError(SweepAbortedError):
    """Ray, or the node that it needs, is dead or does not answer."""


class StalledError(SweepAbortedError):
    """Nothing that runs has reported anything for too long."""


class RepeatedFailureError(SweepAbortedError):
    """The first arms all failed for one reason, which the others would share."""


class TeacherFailedError(SweepAbortedError):
    """The teacher could not be trained, nor by another try; the message states why and where to read on."""


class FeaturesFailedError(TeacherFailedError):
    """The feature net that measuring needs could not be trained, or is not good enough; the message states why."""


class FeaturesRefusedError(FeaturesFailedError):
    """The feature net is trained and not good enough, which no resumed run would change."""
