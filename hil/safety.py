"""The safety chain of one device: SAFE -> READY -> ARMED -> RUN, and always back to SAFE.

    SAFE    nothing is written. Where every device begins, and where everything that goes wrong ends.
    READY   the map is read, the device was reached and its points were read: the dry run has passed.
    ARMED   a named person asked for a live run, for so long (the lease). Nothing has been written yet.
    RUN     the solver steps; whitelisted writes go out.

Only the first three steps up need something to be right; the way down needs nothing. A device that fell back to SAFE stays there
for the rest of the run; the one exception is a lost connection, where the scenario says `on_reconnect: rearm`, and only while the
lease runs. An emergency stop outlives runs: it is a file, and while it exists no device can be armed. Any process may
set it; only a person clears it (`run_cosim.py safety clear`).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

STOP_FILE_NAME = "EMERGENCY_STOP"
LONGEST_LEASE_S = 24 * 3600.0
_LONGEST_WHY = 1000


class State(StrEnum):
    """Where a device stands in the chain."""

    SAFE = "SAFE"
    READY = "READY"
    ARMED = "ARMED"
    RUN = "RUN"


class SafetyError(Exception):
    """A step up that is not allowed; says why and what to do."""


@dataclass(frozen=True, slots=True)
class Warrant:
    """Who wants a live run, and for how long. Made by the command line from `--live --operator NAME`.

    `second` is the person who agreed, where a site asks for two.
    """

    operator: str
    lease_s: float | None = None
    second: str = ""

    def __post_init__(self) -> None:
        if not self.operator.strip():
            raise SafetyError("a live run needs the name of its operator; add --operator NAME")
        if self.lease_s is not None and not 0.0 < self.lease_s <= LONGEST_LEASE_S:
            raise SafetyError(f"a lease of {self.lease_s:g} s; give more than 0 and at most {LONGEST_LEASE_S:g} s")


def _opened_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # of a pipe nobody may ever write to, the opening would not return


class EmergencyStop:
    """The latch: a file. It is set by writing it (by anybody, `touch` is enough) and cleared by `clear` alone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def is_set(self) -> bool:
        """Whether it is latched. One system call. A path that cannot be looked at counts as set: nobody could stop by it."""
        try:
            os.lstat(self.path)  # also a dangling link counts as set
        except FileNotFoundError:
            return False
        except OSError:
            pass
        return True

    def why(self) -> str:
        """What is known about who set it."""
        try:
            with open(self.path, encoding="utf-8", errors="replace", opener=_opened_at_once) as file:
                text = file.read(_LONGEST_WHY).strip()
        except OSError as error:
            return f"{self.path} cannot be read ({error.strerror})"
        if not text:
            return f"{self.path} was made"
        try:
            row = json.loads(text.splitlines()[0])
            return f"{row['cause']}, {row['utc']}"
        except (ValueError, KeyError, TypeError, RecursionError):  # somebody wrote it by hand
            return text.splitlines()[0][:200]

    def set(self, cause: str) -> None:
        """Latch it. OSError where the file cannot be written; whoever calls has made the device safe before."""
        row = {"cause": cause, "utc": datetime.now(UTC).isoformat(timespec="milliseconds"), "pid": os.getpid()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            return  # set already; the first cause stays

    def clear(self, operator: str) -> str:
        """A person lifts the stop; gives what had set it. SafetyError without a name, or where there is no stop."""
        if not operator.strip():
            raise SafetyError("an emergency stop is cleared by a person; add --operator NAME")
        if not self.is_set:
            raise SafetyError(f"there is no emergency stop: {self.path} does not exist")
        why = self.why()
        with self.path.with_name(f"{STOP_FILE_NAME}.log").open("a", encoding="utf-8") as log:
            log.write(
                json.dumps({"cleared_by": operator, "utc": datetime.now(UTC).isoformat(timespec="seconds"), "was": why}) + "\n"
            )
            log.flush()
            os.fsync(log.fileno())
        self.path.unlink()
        return why


class Chain:
    """The state of one device. Times are CLOCK_MONOTONIC, ns. Steps up raise SafetyError where something is not as it must be."""

    def __init__(self, device: str, stop: EmergencyStop) -> None:
        self.device, self.stop = device, stop
        self.state = State.SAFE
        self.fell_because = ""
        """Why it went back to SAFE; empty while it has not."""
        self.is_for_good = False
        """Whether it stays SAFE for the rest of the run; only a lost connection is not for good."""
        self.lease_until_ns: int | None = None
        self.operator = ""

    @property
    def may_write(self) -> bool:
        """Whether a whitelisted write may go out now."""
        return self.state is State.RUN

    @property
    def is_live(self) -> bool:
        """Whether a fall would have to send the fallback."""
        return self.state in (State.ARMED, State.RUN)

    def passed_self_test(self) -> None:
        """The device was reached and its points were read."""
        self._step(State.SAFE, State.READY)

    def arm(self, warrant: Warrant, default_lease_s: float, now_ns: int) -> None:
        """A person asks for a live run; the lease begins."""
        if self.stop.is_set:
            clear = f"clear it with: run_cosim.py safety clear --stop-file {self.stop.path} --operator NAME"
            raise SafetyError(f"{self.device} cannot be armed: the emergency stop is set ({self.stop.why()}); {clear}")
        self._step(State.READY, State.ARMED)
        lease_s = min(default_lease_s, warrant.lease_s or default_lease_s)
        self.operator = warrant.operator
        self.lease_until_ns = now_ns + round(lease_s * 1e9)

    def run(self) -> None:
        """The solver has taken its first step."""
        self._step(State.ARMED, State.RUN)

    def lease_is_over(self, now_ns: int) -> bool:
        """Whether the lease ended while the device was live."""
        return self.is_live and self.lease_until_ns is not None and now_ns >= self.lease_until_ns

    def fall(self, cause: str, *, for_good: bool = True) -> bool:
        """Back to SAFE. True where it was live, so that the fallback must be sent."""
        was_live = self.is_live
        self.state = State.SAFE
        self.fell_because = self.fell_because or cause
        self.is_for_good |= for_good
        return was_live

    def rearm(self, now_ns: int) -> None:
        """ARMED again after a lost connection, under the lease that was given, which is not made longer. SafetyError where it fell
        for good, was never armed, the lease is over or the emergency stop is set."""
        if self.is_for_good or not self.fell_because:
            raise SafetyError(f"{self.device} did not fall for a lost connection: {self.fell_because or 'it is ' + self.state}")
        if self.lease_until_ns is None or now_ns >= self.lease_until_ns:
            raise SafetyError(f"{self.device} cannot be armed again: it has no lease, or the lease is over")
        if self.stop.is_set:
            raise SafetyError(f"{self.device} cannot be armed again: the emergency stop is set ({self.stop.why()})")
        self.state, self.fell_because = State.ARMED, ""

    def _step(self, before: State, after: State) -> None:
        if self.fell_because:
            raise SafetyError(f"{self.device} fell back to SAFE ({self.fell_because}) and stays there for this run")
        if self.state is not before:
            raise SafetyError(f"{self.device} is {self.state}; {after} is reached from {before} alone")
        self.state = after


def default_stop_file(out: Path) -> Path:
    """Where the emergency stop of the runs under `out` is, unless the environment names one for the whole site."""
    named = os.environ.get("GRIDTANDEM_STOP_FILE")
    return Path(named) if named else out.absolute() / STOP_FILE_NAME
