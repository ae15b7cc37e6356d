"""The process of a companion. Started by `supervisor.py`, never by hand.

    python -P -m federates.runtime.companion_main <private directory> <name> <row of the heartbeat> <pid of the supervisor>

A module of its own, since what companions raise must be the CompanionFailure that they import, and not that of `__main__`.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from federates.runtime.companion import CompanionFailure, Host
from federates.runtime.heartbeat import Heart, State
from federates.runtime.job import HEARTBEAT_FILE, Failure, Job

_PR_SET_PDEATHSIG = 1


def main(directory: Path, name: str, row: int, supervisor: int) -> int:
    """The whole life of a companion; gives its exit code."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    heart = Heart(directory / HEARTBEAT_FILE, row)
    try:
        job = Job.read(directory)
        companion = next(each for each in job.federation.companions if each.name == name)
        module, _, attribute = companion.factory.partition(":")
        serve: Callable[[Any, Host], None] = getattr(importlib.import_module(module), attribute)
        serve(companion.params, Host(name, directory, job.run_dir, supervisor, heart))
    except BaseException as error:
        if isinstance(error, CompanionFailure):
            failure = Failure("device", error.device, error.t_ns, error.cause)
        else:
            traceback.print_exc()
            failure = Failure("device", name, None, f"{type(error).__name__}: {error}")
        print(f"{name}: {failure.cause}", file=sys.stderr)  # before it is shown: the supervisor then reads the log's last lines
        if directory.exists():  # a supervisor that died may have taken it along
            failure.write(directory, name)
            heart.enter(State.FAILED)
        return 4
    heart.enter(State.FINISHED)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
