"""The error a user can mend: one sentence, exit code 2, nothing written."""

from __future__ import annotations


class UserError(Exception):
    """Bad input. Its message names the file or argument, the key, and what is allowed."""
