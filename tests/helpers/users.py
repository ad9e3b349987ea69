"""A second user on this machine, whom file modes stop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def another_user(private: Path) -> Iterator[None]:
    """A user who may read the folders of this test, but for `private`."""
    user = os.geteuid()
    closed = {path: path.stat().st_mode for path in private.parents if path.stat().st_mode & 0o055 != 0o055}
    private.chmod(0)
    try:
        if user == 0:  # whom modes do not stop
            for path, mode in closed.items():
                path.chmod(mode | 0o055)
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(user)
        for path, mode in closed.items():
            path.chmod(mode)
        private.chmod(0o755)
