"""One process of a run: the broker, or a worker that hosts a group of federates. Started by `supervisor.py`, never by hand.

    python -P -m federates.runtime.worker <private directory> <process> <row of the heartbeat> <pid of the supervisor>

A failure is written to the private directory first, then shown in the heartbeat, and only then is anything tidied up, since tidying
up may hang. A process that fails or is stopped ends by `os._exit`: threads of HELICS may wait for ever.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from federates.runtime.ahead import order_of
from federates.runtime.federate import Federate, FederateFailure, FederationError, Spec
from federates.runtime.heartbeat import BEAT_S, Heart, State, StopAsked
from federates.runtime.job import BROKER, HEARTBEAT_FILE, PORT_FILE, Failure, Job
from federates.runtime.pace import Pacer
from federates.runtime.port import Event
from federates.runtime.seat import Recorder, Watch
from federates.runtime.words import is_news

if TYPE_CHECKING:
    from federates.runtime.record import RunRecorder

WAITING_STOP_S = 0.3
COMPUTING_STOP_S = 1.2
_PR_SET_PDEATHSIG = 1


def explain(error: BaseException) -> Failure:
    """What an exception means for the run. Of several that led to each other, the first failure of a federate counts."""
    chain: list[BaseException] = [error]
    while chain[-1].__context__ is not None:
        chain.append(chain[-1].__context__)
    for link in reversed(chain):
        if isinstance(link, FederateFailure):
            return Failure("federate", link.federate, link.t_ns, f"{link.cause} (in {link.doing})")
    cause = f"{type(error).__name__}: {error}"
    if isinstance(error, FederationError):
        return Failure("federation", None, None, str(error))
    if isinstance(error, (OSError, MemoryError)):
        return Failure("machine", None, None, cause)
    module = type(error).__module__
    from_helics = module == "federates.runtime.broker" or module.split(".")[0] == "helics"
    return Failure("runner" if from_helics else "own", None, None, cause)


@dataclass(frozen=True, slots=True)
class WatchedSpec(Spec):
    """A spec that says when its federate is being made, and by whom a failure to make it was caused."""

    heart: Heart

    def build(self) -> Federate:
        """Make the federate. FederateFailure, in `build`, for whatever its module or factory raises."""
        self.heart.building(self.name)
        try:
            federate = Spec.build(self)
        except (FederateFailure, FederationError):
            raise
        except (Exception, SystemExit) as error:
            raise FederateFailure(self.name, 0, "build", f"{type(error).__name__}: {error}") from error
        self.heart.enter(State.WAITING)
        return federate


class EventWitness:
    """A Recorder that keeps the last event for the progress line; everything goes on to the recorder behind it."""

    def __init__(self, recorder: Recorder) -> None:
        self.vector, self.document, self.call = recorder.vector, recorder.document, recorder.call
        self._record = recorder.event
        self.last: Event | None = None

    def event(self, event: Event) -> None:
        """Kept if it is news, and passed on."""
        if is_news(event.source, event.payload):
            self.last = event
        self._record(event)


class Pulse(threading.Thread):
    """The thread beside: it beats, shows the last event, ends the process with its parent, and sees to it that a stop is obeyed.

    The main thread stops at its next instant. One that waits in HELICS has no next instant: the process is then ended from here,
    after its records were flushed.
    """

    def __init__(self, heart: Heart, parent: int) -> None:
        super().__init__(name="pulse", daemon=True)
        self.heart, self.parent = heart, parent
        self.recorder: RunRecorder | None = None
        self.witness: EventWitness | None = None

    def run(self) -> None:
        """Beat until the process ends."""
        shown: Event | None = None
        asked_s: float | None = None
        while True:
            self.heart.beat()
            if os.getppid() != self.parent:
                os._exit(3)
            if self.witness and self.witness.last is not shown:
                shown = self.witness.last
                assert shown is not None
                self.heart.show_event(shown)
            if self.heart.asked_to_stop:
                now_s = time.monotonic()
                if asked_s is None:
                    asked_s = now_s
                    self.heart.interrupt(StopAsked())
                if now_s - asked_s > (COMPUTING_STOP_S if self.heart.is_busy else WAITING_STOP_S):
                    self._end()
            time.sleep(BEAT_S)

    def _end(self) -> None:
        self.heart.enter(State.CLOSING)
        if self.recorder:
            _flush(self.recorder)
        os._exit(0)


def _flush(recorder: RunRecorder) -> None:
    """Write what is recorded; what goes wrong here is shown in the log, since the process is ending for another reason."""
    try:
        recorder.flush()
    except OSError as error:
        _log(error)


def _log(error: BaseException) -> None:
    """Put a traceback in the log: that of the federate's own error where there is one."""
    root = error.__cause__ if isinstance(error, FederateFailure) and error.__cause__ else error
    with contextlib.suppress(OSError):  # a full disk, which is then the failure that was reported
        traceback.print_exception(root)
        if root is not error:
            print(error, file=sys.stderr)


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when its supervisor dies (Linux; elsewhere the pulse notices within a tenth of a second)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(3)


def main(directory: Path, process: str, row: int, parent: int) -> int:
    """The whole life of a process; gives its exit code where it ended in good order, and does not return otherwise."""
    die_with_parent(parent)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    heart = Heart(directory / HEARTBEAT_FILE, row)
    pulse = Pulse(heart, parent)
    pulse.start()
    try:
        job = Job.read(directory)
        if process == BROKER:
            _serve(job, directory, heart)
        else:
            _work(job, directory, process, heart, pulse)
    except StopAsked:
        heart.enter(State.CLOSING)
        if pulse.recorder:
            _flush(pulse.recorder)
        os._exit(0)
    except BaseException as error:
        _leave(directory, process, error, heart)
        if pulse.recorder:
            _flush(pulse.recorder)
        os._exit(3)
    heart.enter(State.FINISHED)
    return 0


def _serve(job: Job, directory: Path, heart: Heart) -> None:
    from federates.runtime.broker import serve_broker  # importing HELICS takes time

    def beat() -> None:
        heart.waiting(0)

    if serve_broker(directory / PORT_FILE, job.federation, job.run_dir / "log" / "helics.log", beat):
        raise FederationError("no HELICS broker could be started on a loopback port; see log/helics.log")


def _work(job: Job, directory: Path, process: str, heart: Heart, pulse: Pulse) -> None:
    from federates.runtime.record import RunRecorder  # so does importing Arrow

    federates = job.groups[process]
    heart.serve([spec.name for spec in job.federation.specs], len(federates))
    specs = tuple(WatchedSpec(spec.name, spec.factory, spec.params, heart) for spec in job.federation.specs)
    federation = replace(job.federation, specs=specs)
    watch: Watch = Pacer(heart, directory, job.run_dir) if federation.real_time else heart
    pulse.recorder = recorder = RunRecorder(job.run_dir, process, job.federation)
    pulse.witness = witness = EventWitness(recorder)
    if job.runner == "local":
        from federates.runtime.local import run_local

        run_local(federation, witness, watch, progress=heart.progress)
    else:
        from federates.runtime.broker import run_helics, wait_for_port

        heart.enter(State.WAITING)
        port = wait_for_port(directory / PORT_FILE, 2 * job.federation.start_limit_ns / 1e9)  # the supervisor judges at half of it
        order = order_of(federation)
        below = order.below[process] if order else frozenset[str]()
        hold = partial(heart.hold, [row for row, group in enumerate(job.groups) if group in below])
        run_helics(federation, process, f"127.0.0.1:{port}", witness, watch, heart.progress, hold)
    heart.enter(State.CLOSING)
    recorder.close()


def _leave(directory: Path, process: str, error: BaseException, heart: Heart) -> None:
    """Write the failure where the supervisor finds it, put the traceback in the log, and only then show it: the supervisor reads
    both as soon as it is shown."""
    explain(error).write(directory, process)
    _log(error)
    heart.enter(State.FAILED)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
