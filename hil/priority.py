"""How a gatekeeper gets the processor before ordinary processes, and keeps its memory: as far as the machine lets it.

It asks before it starts any thread, so that all of its threads have what it gets: a thread of lower rank that holds the
interpreter's lock, or carries the octets of the DNP3 stack, would hold up the others just as a slow machine does.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_NICE = -10


def take_precedence() -> str:
    """Asks the kernel; gives what came of it, in words for the record: "real time (FIFO 1), memory locked", "nice -10" or
    "ordinary". Real time needs CAP_SYS_NICE or `ulimit -r 1`, nice `ulimit -e 30`, locking CAP_IPC_LOCK or `ulimit -l unlimited`.
    """
    rank = _rank()
    return f"{rank}, memory locked" if _lock_memory() else rank


def _rank() -> str:
    lowest = os.sched_get_priority_min(os.SCHED_FIFO)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(lowest))
    except PermissionError:
        pass
    else:
        return f"real time (FIFO {lowest})"
    try:
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    except PermissionError:
        return "ordinary"
    return f"nice {_NICE}"


def _lock_memory() -> bool:
    """Whether pages, once touched, stay: an emergency must not wait for a disk. Refused as a whole where it is not allowed, or only
    up to a limit: what is locked counts against it with all that is only reserved, and beyond it neither memory nor a thread is to
    be had, in the middle of a run."""
    libc = ctypes.CDLL(None)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        return False
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit == resource.RLIM_INFINITY:
        return True
    try:  # the right to lock anything (CAP_IPC_LOCK) shows in that the limit is none
        mmap.mmap(-1, limit + mmap.PAGESIZE).close()
    except OSError:
        libc.munlockall()
        return False
    return True
