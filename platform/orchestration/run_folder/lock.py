"""A single sweep at a time in a run folder: a lease file that its holder refreshes."""

from __future__ import annotations

import fcntl
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from branchwise.orchestration.errors import StorageUnavailableError, TakenOverError, UserError
from branchwise.orchestration.time_limit import IdleTimer
from branchwise.run_files import schemas
from branchwise.run_files.layout import LOCK
from branchwise.run_files.sealing import DamagedError
from branchwise.trainables.runtime.processes import host_namespace_id, process_start_time
from branchwise.trainables.runtime.storage import Storage

REFRESH_SECONDS = 15.0
LEASE_SECONDS = 60.0  # without a heartbeat for so long, a holder on another host counts as dead


class RunLockedError(UserError):
    """The folder is another process's."""


@dataclass
class Lease:
    """The state of a lock, as its holder knows it."""

    folder: Storage
    renewals: int = 0
    failure: OSError | None = None
    holder: Mapping[str, Any] | None = None  # another, who has taken it
    _silence: IdleTimer = field(default_factory=IdleTimer)

    def check(self) -> None:
        """Check the lease; call it repeatedly.

        Raises:
            TakenOverError: Another process holds the folder.
            StorageUnavailableError: The lease expired because it could not be refreshed.
        """
        if self.holder:
            raise TakenOverError(
                f"{self.folder.root} was taken over by process {self.holder['pid']} on {self.holder['host']}: the "
                "lease of this process had expired"
            )
        if self._silence.of(self.renewals) > LEASE_SECONDS:
            why = self.failure or "it does not answer"
            raise StorageUnavailableError(f"no file could be written for {LEASE_SECONDS:.0f} s: {why}")


@contextmanager
def hold(folder: Storage) -> Iterator[Lease]:
    """Lock `folder`, created if missing.

    Should two processes hold it after all (a machine that slept longer than the lease), what they
    write is the same.

    Raises RunLockedError while another process holds it, and OSError.
    """
    claimant = {"host": platform.node(), "pid": os.getpid(), "token": uuid.uuid4().hex}
    claimant |= {"host_namespace_id": host_namespace_id(), "process_start_time": process_start_time(os.getpid())}
    _acquire(folder, claimant)
    lease, stop = Lease(folder), threading.Event()
    renewer = threading.Thread(target=_refresh_lease, args=(folder, claimant, lease, stop), daemon=True)
    renewer.start()
    try:
        yield lease
    finally:
        stop.set()
        renewer.join(LEASE_SECONDS)  # an unresponsive storage is abandoned
        if not renewer.is_alive() and not lease.holder:
            with suppress(OSError):  # of an unavailable storage; the lease expires anyway
                other = _holder(folder)
                if other and other["token"] == claimant["token"]:
                    folder.delete(LOCK)


@contextmanager
def acquire_blocking(folder: Storage, waiting: Callable[[], None]) -> Iterator[None]:
    """Like `hold`, but calls `waiting` every second while another process holds `folder`."""
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(hold(folder))
                break
            except RunLockedError:
                waiting()
                time.sleep(1.0)
        yield


def active_lease_owner(folder: Storage) -> Mapping[str, Any] | None:
    """The active holder of `folder`: host, pid and the time of its last heartbeat; None if free."""
    holder: Mapping[str, Any] | None = _holder(folder)
    return holder if holder and _alive(holder) else None


def _acquire(folder: Storage, holder: Mapping[str, Any]) -> None:
    with _guarded(folder):
        other = _holder(folder)
        if other and _alive(other):
            ago = max(0, round(time.time() - other["renewed"]))
            raise RunLockedError(
                f"{folder.root} is in use by process {other['pid']} on {other['host']}, which gave its last sign of "
                f"life {ago} s ago; wait for it or stop it first"
            )
        _write(folder, holder)


@contextmanager
def _guarded(folder: Storage) -> Iterator[None]:
    """Serialize check and acquisition among processes of this host; an object store cannot."""
    if folder.local is None:
        yield
        return
    folder.local.mkdir(parents=True, exist_ok=True)
    with (folder.local / ".lock").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


def _alive(holder: Mapping[str, Any]) -> bool:
    if holder.get("process_start_time") and holder.get("host_namespace_id") == host_namespace_id():
        # However long it was stopped, and whatever the clock says.
        return bool(process_start_time(holder["pid"]) == holder["process_start_time"])
    if time.time() - holder["renewed"] > LEASE_SECONDS:
        return False
    if holder["host"] != platform.node():
        return True
    if holder["pid"] == os.getpid():
        return False  # a process that had this number before, as the first of each container has
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's, alive
    return True


def _refresh_lease(folder: Storage, claimant: Mapping[str, Any], lease: Lease, stop: threading.Event) -> None:
    while not stop.wait(REFRESH_SECONDS):
        try:
            other = _holder(folder)
            if other and other["token"] != claimant["token"]:
                lease.holder = other
                return
            if other or folder.names(""):  # a lock that was deleted or damaged is rewritten
                _write(folder, claimant)
        except OSError as error:
            lease.failure = error
        else:
            lease.renewals, lease.failure = lease.renewals + 1, None


def _holder(folder: Storage) -> Any:
    """Whom the lock names; None if no lock exists or can be read."""
    try:
        return folder.read_checked(LOCK, schemas.Lock)
    except (FileNotFoundError, DamagedError):
        return None


def _write(folder: Storage, holder: Mapping[str, Any]) -> None:
    folder.write_json(LOCK, {**holder, "renewed": time.time()})
