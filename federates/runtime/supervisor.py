"""Runs a federation in processes of its own and ends it cleanly, whatever happens: with the cause named, everything that was
recorded kept, and neither a process nor a port left behind.

    helics    a broker on a private loopback port, and a worker for each group of the federation
    local     one worker with the plain loop, so that watchdog, kill and records are the same

It needs no timer of HELICS: it looks at exits, failure files and heartbeats twenty times a second (`diagnosis.py`).
"""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from federates.runtime.diagnosis import Diagnosis, Rank, Reading, Trouble
from federates.runtime.federate import S_NS, Federation, FederationError
from federates.runtime.heartbeat import Heartbeats, State
from federates.runtime.job import BROKER, HEARTBEAT_FILE, Failure, Job, Runner
from federates.runtime.private import PrivateDirectory
from federates.runtime.process import Child

POLL_S = 0.05
STOP_GRACE_S = 2.0
WRITE_GRACE_S = 1.5
COMPANION_GRACE_S = 6.0  # since its last beat: a gatekeeper sends fallbacks, over a line that may be slow
COMPANION_MOST_S = 40.0
EXIT_GRACE_S = 3.0
_STACKS_S = 0.2
_WRITING = (State.CLOSING, State.FAILED)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: simulated time, seconds since it was started, and the last event in words ("" while there is none)."""

    t_ns: int
    wall_s: float
    event: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `exit_code`: 0 good, 2 the federation does not fit together, 3 a federate or the broker failed, 4 a device
    failed, 5 a fault of our own or of the machine, 130 interrupted.

    `federate` and `t_ns` (simulated) say who and when, `cause` why, `log_tail` holds the last lines of the culprit's log.
    `who` names a whole process in words where no one federate is to blame. `reached_ns` is the time that every federate has done.
    """

    exit_code: int
    federate: str | None = None
    t_ns: int | None = None
    cause: str = ""
    log_tail: tuple[str, ...] = ()
    reached_ns: int = 0
    wall_s: float = 0.0
    who: str = ""

    @property
    def ended_ns(self) -> int:
        """Simulated time at which the run ended, the same wherever it is shown."""
        return self.reached_ns if self.t_ns is None else self.t_ns

    @property
    def message(self) -> str:
        """One line: who, when, why."""
        if self.exit_code == 0:
            return f"done: {self.reached_ns / S_NS:g} s simulated in {self.wall_s:.1f} s"
        named = "" if self.federate is None else "the broker" if self.federate == BROKER else f"federate {self.federate}"
        who = self.who or named
        when = "" if self.t_ns is None else f"at t = {self.t_ns / S_NS:.9g} s"
        where = " ".join(part for part in (who, when) if part)
        return f"{where}: {self.cause}" if where else self.cause


def exclusive_run_dir(base: Path, scenario: str, hash6: str) -> Path:
    """Make `base/<scenario>-<UTC>-<hash6>`, or the same with -2, -3 ... where that is taken; nobody else gets it."""
    base.mkdir(parents=True, exist_ok=True)
    name = f"{scenario}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{hash6}"
    for number in range(1, 10_000):
        path = base / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"{base}: ten thousand directories are called {name}; remove some")


def run(federation: Federation, run_dir: Path, runner: Runner, on_progress: Callable[[Progress], None] | None = None) -> Outcome:
    """Run a federation to its end, in processes, with its records in `run_dir`. Whatever goes wrong is in the Outcome.

    `on_progress` is called about twenty times a second, from this thread. SIGINT, SIGTERM and SIGHUP end the run with 130 when this
    is the main thread; a second one does not wait for the processes to stop of themselves, companions apart.
    """
    began_s = time.monotonic()
    try:
        job = Job.of(federation, runner, run_dir)
        (job.run_dir / "log").mkdir(parents=True, exist_ok=True)
        (job.run_dir / "log" / "supervisor.log").touch()
        directory = PrivateDirectory()
    except FederationError as error:
        return Outcome(2, cause=str(error))
    except OSError as error:
        return Outcome(2, cause=f"cannot write to {error.filename}: {error.strerror}; free space or choose another run directory")
    with _Signals() as signals:
        outcome = _supervise(job, directory, signals, on_progress, began_s)
        outcome = _merge(job.run_dir, outcome)
    return replace(outcome, wall_s=time.monotonic() - began_s)


class _Signals:
    """Counts requests to end while it is entered, instead of letting them strike anywhere."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.received.append(number)


class _Session:
    """The processes of one run, from first to last."""

    def __init__(self, job: Job, directory: Path, signals: _Signals) -> None:
        self.job, self.directory, self.signals = job, directory, signals
        self.companions = {companion.name: companion for companion in job.federation.companions}
        names = [*job.groups, *([BROKER] if job.runner == "helics" else []), *self.companions]
        job.write(directory)
        self.heartbeats = Heartbeats(directory / HEARTBEAT_FILE, len(names))
        self.diagnosis = Diagnosis(job)
        self.children: dict[str, Child] = {}
        self.rows = {name: row for row, name in enumerate(names)}
        self._news: list[tuple[int, str]] = []

    def start(self) -> None:
        """Start every process: companions, and once these are ready the broker and the workers. A companion that fails or a signal
        ends that; `watch` says so."""
        for name in self.companions:
            self._start(name, "companion_main")
        end_s = time.monotonic() + self.job.federation.start_limit_ns / 1e9
        while any(self.heartbeats.read(self.rows[name]).state is State.BUILDING for name in self.companions):
            failed = [name for name in self.companions if self.children[name].ended() is not None]
            if failed or self.signals.received or time.monotonic() > end_s:
                break
            time.sleep(POLL_S / 5)
        if any(self.heartbeats.read(self.rows[name]).state is not State.WAITING for name in self.companions):
            return
        for name in reversed([name for name in self.rows if name not in self.companions]):
            self._start(name, "worker")

    def _start(self, name: str, module: str) -> None:
        log = self.job.run_dir / "log" / f"{name}.log"
        self.children[name] = Child(name, self.rows[name], self.directory, log, module)

    def readings(self) -> dict[str, Reading]:
        """What is to be seen of every process now."""
        seen = {}
        for name, child in self.children.items():
            ended = child.ended()  # before the row and the file, which a process writes before it ends
            beat = self.heartbeats.read(child.row)
            failed = beat.state is State.FAILED or (ended and beat.state is not State.FINISHED)
            failure = Failure.read(self.directory, name) if failed else None
            seen[name] = Reading(beat, ended, child.is_stopped(), failure)
        return seen

    def progress(self) -> tuple[int, str]:
        """The simulated time that every worker has done, and the last event in words."""
        rows = [self.rows[name] for name in self.job.groups]
        done_ns = min(self.heartbeats.read(row).progress_ns for row in rows)
        # A process that runs ahead shows events that the others have not come to.
        seen = {*self._news, *(event for row in rows if (event := self.heartbeats.last_event(row))[0] >= 0)}
        past = [event for event in seen if event[0] <= done_ns]
        self._news = [*(event for event in seen if event[0] > done_ns), *([max(past)] if past else [])]
        return done_ns, max(past)[1] if past else ""

    def watch(self, began_s: float, on_progress: Callable[[Progress], None] | None) -> Trouble | None:
        """Wait until every worker has finished (None), something went wrong, or a signal came."""
        while not self.signals.received:
            readings = self.readings()
            if all(name in readings and readings[name].beat.state is State.FINISHED for name in self.job.groups):
                return None
            if trouble := self.diagnosis.look(readings, time.monotonic()):
                return trouble
            if on_progress:
                t_ns, event = self.progress()
                on_progress(Progress(t_ns, time.monotonic() - began_s, event))
            time.sleep(POLL_S)
        return None

    def end_hung(self, process: str) -> None:
        """Have a hung process show what it does, then end it."""
        self.children[process].show_stacks()
        time.sleep(_STACKS_S)
        self.children[process].end()

    def stop(self) -> None:
        """Ask the processes to stop at their next instant and give them the time; companions that end last after the others, the
        broker last."""
        last = [child for name, child in self.children.items() if name in self.companions and self.companions[name].ends_last]
        workers = [child for name, child in self.children.items() if name != BROKER and child not in last]
        for children in (workers, last):
            for child in children:
                self.heartbeats.ask_to_stop(child.row)
            companions = [child for child in children if child.name in self.companions]
            self._await([child for child in children if child not in companions], STOP_GRACE_S)
            self._await_beating(companions)
            self._await([child for child in children if self.heartbeats.read(child.row).state in _WRITING], WRITE_GRACE_S)

    def await_exits(self) -> None:
        """Let processes that have finished leave by themselves."""
        self._await([child for name, child in self.children.items() if name not in self.companions], EXIT_GRACE_S)

    def _await(self, children: list[Child], limit_s: float) -> None:
        signals, end_s = len(self.signals.received), time.monotonic() + limit_s
        while any(child.ended() is None for child in children) and time.monotonic() < end_s:
            if len(self.signals.received) > signals:
                return
            time.sleep(POLL_S / 5)

    def _await_beating(self, children: list[Child]) -> None:
        """Wait for companions as long as they beat. Nobody's impatience ends one that has devices to bring to safety."""
        begun_s = time.monotonic()
        beat_s = dict.fromkeys((child.name for child in children), begun_s)
        beats: dict[str, int] = {}
        while left := [child for child in children if child.ended() is None]:
            now_s = time.monotonic()
            for child in left:
                alive = self.heartbeats.read(child.row).alive
                if beats.setdefault(child.name, alive) != alive:
                    beats[child.name], beat_s[child.name] = alive, now_s
            if now_s - begun_s > COMPANION_MOST_S or all(now_s - beat_s[child.name] > COMPANION_GRACE_S for child in left):
                return
            time.sleep(POLL_S / 5)

    def end(self) -> list[str]:
        """End and reap whatever is left; gives the processes that the kernel does not let go of."""
        stuck = [f"{name} (pid {child.pid})" for name, child in self.children.items() if not child.end()]
        self.heartbeats.close()
        return stuck


def _supervise(
    job: Job, directory: PrivateDirectory, signals: _Signals, on_progress: Callable[[Progress], None] | None, began_s: float
) -> Outcome:
    """Start, watch and end the processes."""
    session: _Session | None = None
    stuck: list[str] = []
    try:
        session = _Session(job, directory.path, signals)
        session.start()
        outcome = _conclude(session, session.watch(began_s, on_progress))
    except FederationError as error:
        outcome = Outcome(2, cause=str(error))
    except Exception as error:
        outcome = _own_fault(job.run_dir, f"the supervisor failed: {type(error).__name__}: {error}")
    finally:
        if session is not None:
            session.stop()
            stuck = session.end()
        directory.remove()
    if stuck:
        return replace(outcome, exit_code=outcome.exit_code or 5, cause=f"{outcome.cause} [not ended: {', '.join(stuck)}]".strip())
    return outcome


def _conclude(session: _Session, trouble: Trouble | None) -> Outcome:
    """End the processes in the way that fits, and say how the run ended."""
    reached_ns, _ = session.progress()
    if trouble is None and not session.signals.received:
        session.await_exits()
        return Outcome(0, reached_ns=session.job.federation.stop_ns)
    if trouble is None:
        name = signal.Signals(session.signals.received[0]).name
        return Outcome(130, None, reached_ns, f"interrupted by {name}", reached_ns=reached_ns)
    if trouble.rank is Rank.HUNG:
        session.end_hung(trouble.process)
    t_ns = reached_ns if trouble.process == BROKER else trouble.t_ns
    tail = session.children[trouble.process].log_tail()
    return Outcome(trouble.exit_code, trouble.federate, t_ns, trouble.cause, tail, reached_ns, who=trouble.who)


def _merge(run_dir: Path, outcome: Outcome) -> Outcome:
    """Bring the records into their final form; an outcome that was good is not any more when that fails."""
    from federates.runtime.record import merge  # importing Arrow takes time, which the processes have had meanwhile

    try:
        merge(run_dir)
    except Exception as error:
        fault = _own_fault(run_dir, f"the records could not be merged: {type(error).__name__}: {error}")
        if outcome.exit_code == 0:
            return replace(fault, reached_ns=outcome.reached_ns)
        return replace(outcome, cause=f"{outcome.cause}; and {fault.cause}")
    return outcome


def _own_fault(run_dir: Path, cause: str) -> Outcome:
    """The outcome for the exception being handled, whose traceback goes to log/supervisor.log."""
    lines = traceback.format_exc()
    try:
        with (run_dir / "log" / "supervisor.log").open("a", encoding="utf-8") as file:
            file.write(lines)
    except OSError as error:
        cause = f"{cause} (and log/supervisor.log cannot be written: {error.strerror})"
    return Outcome(5, cause=cause, log_tail=tuple(lines.rstrip().splitlines()[-15:]))
