"""The error a user can mend: one sentence, exit code 2, nothing written."""

from __future__ import annotations


class UserError(Exception):
    """Bad input. Its message names the file or argument, the key, and what is allowed."""


class StorageLostError(Exception):
    """The storage has not taken a file for so long that going on is no use; the message says why."""


class TeacherFailedError(Exception):
    """The teacher could not be trained, nor by another try; the message says why and where to read on."""


class FeaturesFailedError(TeacherFailedError):
    """The feature net that measuring needs could not be trained, or is not good enough; the message says why."""
