"""Who is to blame: from heartbeats, exits and failures to the one cause of a run's end.

The first thing that shows is often not the cause: the victims of a dead or hung neighbour complain too. So troubles have ranks,
the weak ones wait a moment for a stronger one, and a process is judged by what it does itself, never for waiting.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from federates.runtime.federate import Federation
from federates.runtime.heartbeat import NOBODY, Beat, State
from federates.runtime.job import BROKER, Failure, Job

_LONGEST_POLL_S = 1.0


class Rank(IntEnum):
    """How surely a trouble is the cause and not a consequence; lower is surer."""

    FEDERATE = 0
    HUNG = 1
    DIED = 2
    FEDERATION = 3
    SYMPTOM = 4


_SETTLE_S: Mapping[Rank, float] = {Rank.FEDERATE: 0.0, Rank.HUNG: 0.0, Rank.DIED: 0.2, Rank.FEDERATION: 0.5, Rank.SYMPTOM: 2.0}
_FROZEN_SUSPECT_S = 1.0
_FROM_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
_CLOSING_LIMIT_S = 30.0  # that of the disk, not of a model


@dataclass(frozen=True, slots=True)
class Reading:
    """What the supervisor sees of one process: `ended` says how it ended, `stopped` that a signal holds it."""

    beat: Beat
    ended: str | None
    stopped: bool
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Trouble:
    """A possible cause of the end of a run; `federate` is `broker` for the broker, None where none is concerned. `who`: the process
    in words, with all that it hosts, where several share the fate of one."""

    rank: Rank
    exit_code: int
    process: str
    federate: str | None
    t_ns: int | None
    cause: str
    noticed_s: float = 0.0
    who: str = ""


@dataclass(slots=True)
class _Patience:
    """Since when, on the supervisor's own clock, the words of a process have not changed."""

    alive: int = -1
    alive_s: float = 0.0
    since_ns: int = -1
    since_s: float = 0.0


class Diagnosis:
    """Keeps watch over the readings of a run. `look` is to be called several times a second."""

    def __init__(self, job: Job) -> None:
        federation: Federation = job.federation
        self.names = [spec.name for spec in federation.specs]
        self.groups = job.groups
        self.watchdog_s, self.start_limit_s = federation.watchdog_ns / 1e9, federation.start_limit_ns / 1e9
        self._clock_s = 0.0
        self._last_s: float | None = None
        self._patience: dict[str, _Patience] = {}
        self._troubles: dict[str, Trouble] = {}

    def look(self, readings: Mapping[str, Reading], now_s: float) -> Trouble | None:
        """The cause of the run's end, once it is clear that it ends. `now_s` is any steady clock.

        Patience runs on a clock of its own that stands still while the supervisor itself was held (a machine that slept).
        """
        self._clock_s += min(now_s - self._last_s, _LONGEST_POLL_S) if self._last_s is not None else 0.0
        self._last_s = now_s
        for process, reading in readings.items():
            self._update(process, reading)
        if process_trouble := self._hung(readings):
            self._note(process_trouble)
        if not self._troubles:
            return None
        best = min(self._troubles.values(), key=lambda trouble: (trouble.rank, trouble.noticed_s))
        over = all(reading.ended or reading.failure for process, reading in readings.items() if process in self.groups)
        if self._clock_s - best.noticed_s < _SETTLE_S[best.rank] and not over:
            return None
        if best.rank is Rank.SYMPTOM:
            return self._frozen(readings, _FROZEN_SUSPECT_S) or best
        return best

    def federates_of(self, process: str, beat: Beat) -> str:
        """The federate that a process called last, or those it hosts."""
        if process == BROKER:
            return BROKER
        if process not in self.groups:
            return process  # a companion
        members = self.groups[process]
        if beat.federate != NOBODY:
            return self.names[beat.federate]
        return ", ".join(members[:3]) + (" ..." if len(members) > 3 else "")

    # What one process says or leaves

    def _update(self, process: str, reading: Reading) -> None:
        beat, patience = reading.beat, self._patience.setdefault(process, _Patience())
        if beat.alive != patience.alive:
            patience.alive, patience.alive_s = beat.alive, self._clock_s
        if beat.since_ns != patience.since_ns:
            patience.since_ns, patience.since_s = beat.since_ns, self._clock_s
        if reading.failure:
            self._note(self._failed(process, reading.failure, beat))
        elif reading.ended and beat.state is not State.FINISHED:
            cause = f"{reading.ended} (process {process})" if process != BROKER else reading.ended
            if any(f"by {name}" in reading.ended for name in _FROM_OUTSIDE):
                self._note(self._struck(Rank.DIED, process, beat, reading.ended))
            else:
                self._note(self._of(Rank.DIED, process, beat, cause))

    def _note(self, trouble: Trouble) -> None:
        known = self._troubles.get(trouble.process)
        if known is None or trouble.rank < known.rank:
            self._troubles[trouble.process] = replace(trouble, noticed_s=self._clock_s)

    def _failed(self, process: str, failure: Failure, beat: Beat) -> Trouble:
        if failure.kind == "federate":
            return Trouble(Rank.FEDERATE, 3, process, failure.federate, failure.t_ns, failure.cause)
        if failure.kind == "federation" and beat.progress_ns == 0:
            return Trouble(Rank.FEDERATION, 2, process, None, None, failure.cause)
        if failure.kind == "device":
            return Trouble(
                Rank.FEDERATE, 4, process, failure.federate, failure.t_ns, failure.cause, who=f"device {failure.federate}"
            )
        if failure.kind == "machine":
            return Trouble(Rank.FEDERATE, 5, process, None, beat.t_ns, f"process {process}: {failure.cause}")
        where = f"process {process}: {failure.cause}"
        return Trouble(Rank.SYMPTOM, 5 if failure.kind == "own" else 3, process, None, beat.t_ns, where)

    # What a process does not do any more

    def _hung(self, readings: Mapping[str, Reading]) -> Trouble | None:
        workers = {p: r for p, r in readings.items() if p in self.groups and not r.ended and r.beat.state is not State.FINISHED}
        started = any(reading.beat.started for process, reading in readings.items() if process != BROKER)
        # One that runs ahead may be well into the run while another, below it, is still in its start.
        starting = {p: r for p, r in readings.items() if not started or (p in workers and not r.beat.started)}
        if trouble := self._frozen(readings, self.watchdog_s, starting):
            return trouble
        if self._clock_s > self.start_limit_s and (trouble := self._slow_start(starting, started=started)):
            return trouble
        if not started:
            return None
        quiet = {p: r.beat for p, r in workers.items() if self._clock_s - self._patience[p].since_s > self.watchdog_s}
        for process, beat in quiet.items():
            if beat.state is State.COMPUTING and process not in starting:
                cause = f"it has been computing for more than {self.watchdog_s:g} s (watchdog) and was ended"
                return self._of(Rank.HUNG, process, beat, cause)
        if trouble := self._slow_close(workers):
            return trouble
        if quiet and len(quiet) == len(workers) and all(beat.state is State.WAITING for beat in quiet.values()):
            process, beat = min(quiet.items(), key=lambda item: item[1].t_ns)
            cause = f"every federate waits and none has been granted time for {self.watchdog_s:g} s; this one is furthest behind"
            return self._frozen(readings, _FROZEN_SUSPECT_S) or self._of(Rank.HUNG, process, beat, cause)
        return None

    def _frozen(self, readings: Mapping[str, Reading], limit_s: float, starting: Collection[str] = frozenset()) -> Trouble | None:
        """A process that gives no sign of life: held by a signal or, unless it is `starting`, computing in code that holds the
        interpreter."""
        for process, reading in sorted(readings.items(), key=lambda item: not item[1].stopped):
            silent = self._clock_s - self._patience[process].alive_s > limit_s
            if not silent or reading.ended or reading.beat.state is State.FINISHED or (process in starting and not reading.stopped):
                continue
            if reading.stopped:
                doing = "its process is stopped (SIGSTOP)"
            elif reading.beat.state is State.COMPUTING:
                doing = "it computes in code that holds the interpreter"
            else:
                doing = "its process no longer runs"
            cause = f"{doing} and has given no sign of life for more than {limit_s:g} s (watchdog {self.watchdog_s:g} s)"
            blame = self._struck if reading.stopped else self._of
            return blame(Rank.HUNG, process, reading.beat, cause)
        return None

    def _slow_close(self, workers: Mapping[str, Reading]) -> Trouble | None:
        limit_s = max(self.watchdog_s, _CLOSING_LIMIT_S)
        for process, reading in workers.items():
            if reading.beat.state is State.CLOSING and self._clock_s - self._patience[process].since_s > limit_s:
                cause = f"process {process} has been writing its last records for more than {limit_s:g} s; look at the disk"
                return Trouble(Rank.HUNG, 5, process, None, reading.beat.t_ns, cause)
        return None

    def _slow_start(self, starting: Mapping[str, Reading], *, started: bool) -> Trouble | None:
        """Who is still being built, or in its start; where there is none and nobody has `started`, the start itself."""
        limit = f"start-up took longer than {self.start_limit_s:g} s"
        broker_first = sorted(starting.items(), key=lambda item: item[0] != BROKER)
        for process, reading in broker_first:
            if reading.beat.state in (State.BUILDING, State.COMPUTING):
                doing = "in its start" if reading.beat.state is State.COMPUTING else "being built"
                cause = f"{limit}: it is still {doing}; raise start_limit if it needs the time"
                return self._of(Rank.HUNG, process, reading.beat, cause)
        if started:
            return None
        process, reading = broker_first[-1]
        return self._of(Rank.HUNG, process, reading.beat, f"{limit}: all federates are ready and wait for HELICS to start")

    def _of(self, rank: Rank, process: str, beat: Beat, cause: str) -> Trouble:
        if process != BROKER and process not in self.groups:
            return Trouble(rank, 4, process, process, None, cause, who=f"companion {process}")
        return Trouble(rank, 3, process, self.federates_of(process, beat), beat.t_ns, cause)

    def _struck(self, rank: Rank, process: str, beat: Beat, cause: str) -> Trouble:
        """Something from outside hit a whole process: no federate is to blame, and all in it are concerned."""
        members = self.groups.get(process, ())
        if len(members) < 2:
            return self._of(rank, process, beat, cause)
        computing = self.names[beat.federate] if beat.state is State.COMPUTING and beat.federate != NOBODY else None
        doing = f"{computing} was computing" if computing else "none was computing"
        who = f"process {process} (federates {', '.join(members)}; {doing})"
        return Trouble(rank, 3, process, computing, beat.t_ns if computing else beat.progress_ns, cause, who=who)
