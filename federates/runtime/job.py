"""What passes between the supervisor and its processes, in a private directory: the job one way, a failure the other."""

from __future__ import annotations

import json
import os
import pickle
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from federates.runtime.federate import Federation, FederationError
from federates.runtime.local import check_names

Runner = Literal["helics", "local"]
Kind = Literal["federate", "federation", "runner", "machine", "device", "own"]
BROKER = "broker"
HEARTBEAT_FILE, JOB_FILE, PORT_FILE = "heartbeat", "job.pickle", "port"
_PROCESS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Job:
    """What every process of a run is told. `groups` maps each worker process to the names of its federates."""

    federation: Federation
    groups: dict[str, tuple[str, ...]]
    runner: Runner
    run_dir: Path

    @classmethod
    def of(cls, federation: Federation, runner: Runner, run_dir: Path) -> Job:
        """The job of a run: `local` has one worker, `helics` one a group. FederationError for names and groups that do not fit."""
        check_names(federation)
        names = tuple(spec.name for spec in federation.specs)
        groups = {group: tuple(members) for group, members in federation.groups.items()} or {"federation": names}
        placed = [name for members in groups.values() for name in members]
        for group, members in groups.items():
            if group == BROKER or not _PROCESS_NAME.fullmatch(group):
                raise FederationError(
                    f"group '{group}': a group names a process and its log; use letters, digits, _ . - and not '{BROKER}'"
                )
            if not members:
                raise FederationError(f"group {group} is empty; name its federates or leave it out")
            if unknown := [name for name in members if name not in names]:
                raise FederationError(f"group {group}: there is no federate {', '.join(unknown)}; there are {', '.join(names)}")
        if wrong := [name for name in names if placed.count(name) != 1]:
            raise FederationError(f"groups: each federate belongs to exactly one group; look at {', '.join(wrong)}")
        taken = {BROKER, "local", *groups}
        for companion in federation.companions:
            if companion.name in taken or not _PROCESS_NAME.fullmatch(companion.name):
                raise FederationError(f"companion {companion.name}: a process of its own needs a name of its own")
            taken.add(companion.name)
        return cls(federation, {"local": names} if runner == "local" else groups, runner, run_dir.absolute())

    def write(self, directory: Path) -> None:
        """Leave the job for the processes. FederationError names the federate whose parameters cannot travel."""
        for spec in self.federation.specs:
            try:
                pickle.dumps(spec)
            except Exception as error:
                raise FederationError(
                    f"federate {spec.name}: its parameters cannot be sent to another process: {type(error).__name__}: {error}; "
                    "use a frozen dataclass of plain values, defined at the top of a module"
                ) from error
            if type(spec.params).__module__ == "__main__":
                raise FederationError(
                    f"federate {spec.name}: its parameters are defined in the script that is being run, which other processes "
                    "cannot import; define them in a module beside it"
                )
        (directory / JOB_FILE).write_bytes(pickle.dumps(self))

    @staticmethod
    def read(directory: Path) -> Job:
        """The job in `directory`. FederationError when it cannot be read here."""
        try:
            job = pickle.loads((directory / JOB_FILE).read_bytes())
        except Exception as error:
            raise FederationError(
                f"a federate's parameters cannot be read in another process: {type(error).__name__}: {error}; "
                "define their class in a module that can be imported"
            ) from error
        assert isinstance(job, Job)
        return job


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a process ended, in its own words.

    `kind`: a federate failed; the federation does not fit together; the runner (HELICS) gave up, mostly because of somebody else;
    the machine refused (disk, memory); a device failed (`federate` is its name); or a fault of our own.
    """

    kind: Kind
    federate: str | None
    t_ns: int | None
    cause: str

    def write(self, directory: Path, process: str) -> None:
        """Leave it for the supervisor."""
        partial = directory / f"{process}.failure.part"
        partial.write_text(json.dumps(asdict(self)), encoding="utf-8")
        os.replace(partial, partial.with_suffix(".json"))

    @staticmethod
    def read(directory: Path, process: str) -> Failure | None:
        """What the process left, if anything."""
        try:
            text = (directory / f"{process}.failure.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        return Failure(**json.loads(text))
