"""The directory of one run's shared files: nobody else's, and not left behind even where its owner was killed.

A supervisor that is killed with SIGKILL cannot tidy up. Its processes end with it, and its directory is removed when the next run
of the same user starts: it is known by a lock that the kernel let go of. A lock, since a pid may be used again or be another one in
the container next door.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

_PREFIX, _LOCK = "gridtandem-", "owner"
_YOUNG_S = 10.0
"""A directory is left alone this long: its owner may be about to lock it."""


class PrivateDirectory:
    """A directory that only this user can enter, held until `remove`."""

    def __init__(self, base: Path | None = None) -> None:
        base = base or _base()
        sweep(base)
        self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base))
        self._lock = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path)
        os.close(self._lock)


def sweep(base: Path) -> list[Path]:
    """Remove the directories of runs whose supervisor is gone; gives them. Those of other users, and young ones, are left alone."""
    removed = []
    for path in sorted(base.glob(f"{_PREFIX}*")):
        with contextlib.suppress(OSError):  # another run is removing it at this moment, or it is somebody else's
            if path.stat().st_uid == os.getuid() and time.time() - path.stat().st_mtime > _YOUNG_S and _is_abandoned(path):
                shutil.rmtree(path)
                removed.append(path)
    return removed


def _is_abandoned(path: Path) -> bool:
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _base() -> Path:
    """In memory where it can be, since heartbeats must not wait for a disk."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
