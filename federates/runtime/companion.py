"""A process beside the workers of a run, which hosts no federate: a gatekeeper of real devices, or a stand-in for one.

The supervisor starts companions before the workers and waits until each is ready; it stops them when the run is over, those that
`ends_last` after the others. Unlike a worker a companion outlives its supervisor for as long as it needs to leave the world in
order: the kernel tells it by SIGTERM. What it fails of is a device's failure, exit code 4.
"""

from __future__ import annotations

import os
from pathlib import Path

from federates.runtime.heartbeat import Heart, State
from federates.runtime.process import PRIVATE_VARIABLE


class CompanionFailure(Exception):
    """Why a companion must end the run: which device, and what happened."""

    def __init__(self, device: str, cause: str, t_ns: int | None = None) -> None:
        super().__init__(cause)
        self.device, self.cause, self.t_ns = device, cause, t_ns


class Host:
    """What a companion may use of its process."""

    def __init__(self, name: str, directory: Path, run_dir: Path, supervisor: int, heart: Heart) -> None:
        self.name, self.directory, self.run_dir, self.supervisor = name, directory, run_dir, supervisor
        self._heart = heart

    def ready(self) -> None:
        """The run may begin."""
        self._heart.enter(State.WAITING)

    def beat(self) -> None:
        """It lives; to be called several times a second once it is ready."""
        self._heart.beat()

    @property
    def asked_to_stop(self) -> bool:
        """Whether the run is over."""
        return self._heart.asked_to_stop

    @property
    def is_orphan(self) -> bool:
        """Whether the supervisor is gone."""
        return os.getppid() != self.supervisor


def private_directory() -> Path | None:
    """The private directory of the run that this process belongs to; None outside a run."""
    named = os.environ.get(PRIVATE_VARIABLE)
    return Path(named) if named else None
