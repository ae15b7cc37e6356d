"""Every failure of the runner's list, with real processes: a good end, the right one blamed, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from failing import AT_NS, ring

from federates.runtime.federate import MS_NS, S_NS, FederateFailure, Federation, FederationError, Spec
from federates.runtime.job import Failure, Runner
from federates.runtime.private import PrivateDirectory, sweep
from federates.runtime.supervisor import Outcome, Progress, exclusive_run_dir, run
from federates.runtime.worker import explain

RUNNERS: tuple[Runner, ...] = ("local", "helics")
both = pytest.mark.parametrize("runner", RUNNERS)
LONG_NS = 1000 * S_NS
WATCHDOG_NS = 2 * S_NS


def processes_of(parent: int) -> dict[str, psutil.Process]:
    """The processes, by name, that the supervisor in process `parent` has started and that are not gone, zombies included."""
    found = {}
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if "federates.runtime.worker" in command and command[-1] == str(parent):
            found[command[-3]] = process
    return found


def private_dirs(parent: int) -> list[Path]:
    """The private directories of the runs of process `parent`."""
    return [path for base in ("/dev/shm", tempfile.gettempdir()) for path in Path(base).glob(f"gridtandem-{parent}-*")]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Whatever a test does: no process, no zombie, no private directory is left."""
    children = {child.pid for child in psutil.Process().children()}
    yield
    assert {child.pid for child in psutil.Process().children()} <= children
    assert processes_of(os.getpid()) == {}
    assert private_dirs(os.getpid()) == []


class Strike:
    """An on_progress that acts once, when the run has come to `at_ns`."""

    def __init__(self, action: Callable[[], None], at_ns: int = 50 * MS_NS) -> None:
        self.action, self.at_ns, self.at_s = action, at_ns, 0.0

    def __call__(self, progress: Progress) -> None:
        if not self.at_s and progress.t_ns >= self.at_ns:
            self.at_s = time.monotonic()
            self.action()

    @property
    def seconds_ago(self) -> float:
        """How long ago it struck."""
        assert self.at_s, "the run ended before it was struck"
        return time.monotonic() - self.at_s


def send(process: str, number: int) -> Strike:
    """Send a signal to one of the run's processes."""
    return Strike(lambda: processes_of(os.getpid())[process].send_signal(number))


def rows(run_dir: Path, federate: str) -> int:
    """How many samples of a federate's output can be read."""
    return int(pq.read_table(run_dir / "signals" / f"{federate}.y.parquet").num_rows)


@both
def test_a_good_run_ends_with_0_and_complete_records(tmp_path: Path, runner: Runner) -> None:
    seen: list[Progress] = []
    outcome = run(ring(stop_ns=300 * MS_NS, step_s=0.005), tmp_path, runner, seen.append)
    assert (outcome.exit_code, outcome.cause) == (0, "")
    assert {rows(tmp_path, name) for name in "abc"} == {31}
    assert seen == sorted(seen, key=lambda progress: (progress.t_ns, progress.wall_s))
    assert 0 < seen[-1].t_ns < 300 * MS_NS


@both
@pytest.mark.parametrize(
    ("does", "cause"),
    [
        ("raise", "ValueError: the tap changer is stuck (in step)"),
        ("sys.exit", "it called sys.exit(0) (in step)"),
        ("os._exit", "its process ended with exit code 0 in the middle of the run"),
        ("crash", "its process was killed by SIGABRT"),
        ("hang", "it has been computing for more than 2 s"),
        ("hang in C", "it computes in code that holds the interpreter"),
    ],
)
def test_a_federate_that_goes_wrong_is_named(tmp_path: Path, runner: Runner, does: str, cause: str) -> None:
    hangs = does.startswith("hang")
    before = Strike(lambda: None, at_ns=AT_NS - 10 * MS_NS)
    outcome = run(ring(does, watchdog_ns=WATCHDOG_NS if hangs else 30 * S_NS), tmp_path, runner, before)
    assert (outcome.exit_code, outcome.federate, outcome.t_ns) == (3, "b", AT_NS)
    assert cause in outcome.cause
    assert outcome.message.startswith("federate b at t = 0.02 s: ")
    assert before.seconds_ago < WATCHDOG_NS / S_NS + 5 if hangs else outcome.wall_s < 15
    assert "failing.py" in "".join(outcome.log_tail) or does == "os._exit"
    assert f"about to do: {does}" in (tmp_path / "log" / ("local.log" if runner == "local" else "pair.log")).read_text()


@both
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["kill", "stop"])
def test_a_worker_that_is_killed_or_stopped_ends_the_run(tmp_path: Path, runner: Runner, number: int) -> None:
    process = "local" if runner == "local" else "single"
    strike = send(process, number)
    outcome = run(ring(stop_ns=LONG_NS, step_s=0.001, watchdog_ns=WATCHDOG_NS), tmp_path, runner, strike)
    assert strike.seconds_ago < WATCHDOG_NS / S_NS + 5
    assert outcome.exit_code == 3
    assert ("killed by SIGKILL" if number == signal.SIGKILL else "stopped (SIGSTOP)") in outcome.cause
    assert outcome.t_ns is not None and outcome.ended_ns == outcome.t_ns >= 50 * MS_NS
    if runner == "helics":
        assert outcome.federate == "c" and outcome.message.startswith("federate c at t = ")
    else:  # nobody in the process is to blame, and all are concerned
        assert re.match(r"process local \(federates a, b, c; (none|[abc]) was computing\) at t = ", outcome.message)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["kill", "stop"])
def test_a_broker_that_is_killed_or_stopped_ends_the_run(tmp_path: Path, number: int) -> None:
    strike = send("broker", number)
    outcome = run(ring(stop_ns=LONG_NS, step_s=0.001, watchdog_ns=WATCHDOG_NS), tmp_path, "helics", strike)
    assert strike.seconds_ago < WATCHDOG_NS / S_NS + 5
    assert (outcome.exit_code, outcome.federate) == (3, "broker")
    assert outcome.message.startswith("the broker at t = ")


def test_no_listening_port_is_left(tmp_path: Path) -> None:
    ports: list[int] = []

    def note_and_kill() -> None:
        processes = processes_of(os.getpid())
        for process in processes.values():
            ports.extend(c.laddr.port for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN)
        processes["single"].kill()

    assert run(ring(stop_ns=LONG_NS, step_s=0.001), tmp_path, "helics", Strike(note_and_kill)).exit_code == 3
    assert ports
    listening = {c.laddr.port for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert not listening & set(ports)


@both
def test_everybody_waits_and_nobody_is_granted_time(tmp_path: Path, runner: Runner) -> None:
    before = Strike(lambda: None, at_ns=AT_NS - 10 * MS_NS)
    outcome = run(ring("no grant", watchdog_ns=WATCHDOG_NS), tmp_path, runner, before)
    assert outcome.exit_code == 3
    assert "every federate waits and none has been granted time for 2 s" in outcome.cause
    assert before.seconds_ago < WATCHDOG_NS / S_NS + 5


@pytest.mark.parametrize(("runner", "place"), [("local", "start"), ("helics", "build"), ("helics", "start")])
def test_start_up_has_a_limit_of_its_own(tmp_path: Path, runner: Runner, place: str) -> None:
    outcome = run(ring(f"hang in {place}", start_limit_ns=3 * S_NS, watchdog_ns=WATCHDOG_NS), tmp_path, runner)
    assert (outcome.exit_code, outcome.federate, outcome.t_ns) == (3, "b", 0)
    assert "start-up took longer than 3 s" in outcome.cause
    assert 3 < outcome.wall_s < 3 + 5


@pytest.mark.parametrize(("runner", "place"), [("local", "build"), ("local", "start"), ("local", "stop"), ("helics", "start")])
def test_failures_outside_of_steps_name_the_federate(tmp_path: Path, runner: Runner, place: str) -> None:
    outcome = run(ring(f"raise in {place}", stop_ns=50 * MS_NS), tmp_path, runner)
    assert (outcome.exit_code, outcome.federate) == (3, "b")
    assert outcome.cause == f"ValueError: no {place} (in {place})"


@both
def test_a_federation_that_does_not_fit_is_2(tmp_path: Path, runner: Runner) -> None:
    good = ring()
    outcome = run(Federation(good.name, good.stop_ns, good.specs[1:], good.links), tmp_path, runner)
    assert outcome.exit_code == 2
    assert "link " in outcome.cause


def test_bad_groups_and_parameters_are_2_and_start_nothing(tmp_path: Path) -> None:
    good = ring()

    def cause(**changes: object) -> str:
        fields = {"name": "x", "stop_ns": S_NS, "specs": good.specs, "links": (), **changes}
        outcome = run(Federation(**fields), tmp_path, "helics")  # type: ignore[arg-type]
        assert outcome.exit_code == 2 and outcome.wall_s < 1
        return outcome.cause

    assert "empty" in cause(specs=())
    assert "used twice: a" in cause(specs=(*good.specs, good.specs[0]))
    assert "look at c" in cause(groups={"p": ("a", "b")})
    assert "no federate d" in cause(groups={"p": ("a", "b", "c", "d")})
    assert "group 'broker'" in cause(groups={"broker": ("a", "b", "c")})
    assert "federate z: its parameters cannot be sent" in cause(specs=(Spec("z", "failing:Culprit", lambda: None),))


def test_an_unwritable_run_directory_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file in the way")
    outcome = run(ring(), tmp_path, "local")
    assert outcome.exit_code == 2 and "choose another run directory" in outcome.cause


@both
def test_a_full_disk_is_named(tmp_path: Path, runner: Runner) -> None:
    outcome = run(ring("full disk", stop_ns=LONG_NS, step_s=0.001), tmp_path, runner)
    assert outcome.exit_code == 5
    assert "cannot write the records" in outcome.cause and "File too large" in outcome.cause


@pytest.mark.parametrize(("runner", "number"), [("local", signal.SIGTERM), ("helics", signal.SIGINT)])
def test_an_interrupt_ends_with_130_and_keeps_the_records(tmp_path: Path, runner: Runner, number: int) -> None:
    before = signal.getsignal(number)
    strike = Strike(lambda: os.kill(os.getpid(), number))
    outcome = run(ring(stop_ns=LONG_NS, step_s=0.001), tmp_path, runner, strike)
    assert (outcome.exit_code, outcome.federate) == (130, None)
    assert strike.seconds_ago < 4
    assert signal.Signals(number).name in outcome.cause
    assert all(rows(tmp_path, name) >= 5 for name in "abc")
    assert signal.getsignal(number) is before


def test_an_error_of_the_supervisor_itself_is_5(tmp_path: Path) -> None:
    def broken() -> None:
        raise RuntimeError("the progress bar broke")

    outcome = run(ring(stop_ns=LONG_NS, step_s=0.001), tmp_path, "local", Strike(broken))
    assert outcome.exit_code == 5 and "the progress bar broke" in outcome.cause
    assert "RuntimeError" in (tmp_path / "log" / "supervisor.log").read_text()
    assert rows(tmp_path, "a") >= 5


def test_records_that_cannot_be_merged_are_5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def merge(run_dir: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("federates.runtime.record.merge", merge)
    outcome = run(ring(stop_ns=50 * MS_NS), tmp_path, "local")
    assert outcome.exit_code == 5 and "could not be merged" in outcome.cause


def test_what_a_federate_started_is_ended_too(tmp_path: Path) -> None:
    assert run(ring("child"), tmp_path, "local").exit_code == 3
    left = [p for p in psutil.process_iter(["cmdline"]) if f"left-by-{os.getpid()}" in (p.info["cmdline"] or ())]
    _, alive = psutil.wait_procs(left, timeout=2)  # one that has been killed may still be on its way out
    assert alive == []


SCRIPT = """
import sys
from pathlib import Path
from failing import ring
from federates.runtime.supervisor import run
if __name__ == "__main__":
    run(ring(stop_ns=10**15, step_s=0.001), Path(sys.argv[1]), "helics", lambda p: print(p.t_ns, flush=True))
"""


@contextlib.contextmanager
def started_script(run_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own, once it has come to a positive time; ended at the end."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(run_dir)], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        while int(process.stdout.readline()) == 0:
            pass
        yield process
    finally:
        process.terminate()
        process.communicate()


def test_when_the_supervisor_is_killed_its_processes_end(tmp_path: Path) -> None:
    with started_script(tmp_path) as process:
        started = list(processes_of(process.pid).values())
        assert len(started) == 3
        process.kill()
        _, alive = psutil.wait_procs(started, timeout=5)
    assert alive == []
    (left,) = private_dirs(process.pid)  # nobody was left to remove it
    old_s = time.time() - 60
    os.utime(left, (old_s, old_s))
    run(ring(stop_ns=50 * MS_NS), tmp_path / "next", "local")
    assert private_dirs(process.pid) == []


def test_only_what_nobody_holds_is_swept(tmp_path: Path) -> None:
    held, young, old = PrivateDirectory(tmp_path), PrivateDirectory(tmp_path), PrivateDirectory(tmp_path)
    (stranger := tmp_path / "gridtandem-1-other").mkdir()
    for directory in (young, old):
        os.close(directory._lock)  # as the kernel does when its owner is killed
    for path in (held.path, old.path, stranger):
        os.utime(path, (0.0, 0.0))
    assert sweep(tmp_path) == [old.path]
    assert held.path.exists() and young.path.exists() and stranger.exists()
    held.remove()
    assert not held.path.exists()


def test_two_runs_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    with started_script(tmp_path / "other") as other:
        assert run(ring("raise"), tmp_path / "failed", "helics").exit_code == 3
        assert run(ring(), tmp_path / "good", "helics").exit_code == 0
        assert other.poll() is None
    assert processes_of(other.pid) == {}
    assert rows(tmp_path / "other", "a") > 0


def test_of_two_failures_the_first_counts() -> None:
    with pytest.raises(FederateFailure) as caught:
        try:
            raise FederateFailure("b", 1, "step", "ValueError: stuck")
        finally:
            raise FederateFailure("a", 2, "stop", "ValueError: no more")
    assert explain(caught.value) == Failure("federate", "b", 1, "ValueError: stuck (in step)")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FederationError("link a.y -> b.x"), "federation"),
        (OSError(28, "No space left on device"), "machine"),
        (type("HelicsException", (Exception,), {"__module__": "helics.capi"})("lost"), "runner"),
        (AssertionError("never"), "own"),
    ],
)
def test_whose_fault_an_exception_is(error: Exception, kind: str) -> None:
    assert explain(error).kind == kind


def test_run_directories_are_exclusive(tmp_path: Path) -> None:
    paths = {exclusive_run_dir(tmp_path / "runs", "tiny", "abc123") for _ in range(5)}
    assert len(paths) == 5 and all(path.is_dir() for path in paths)


def test_the_outcome_in_one_line() -> None:
    assert Outcome(3, "feeder_a", 12_500_000_000, "it hangs").message == "federate feeder_a at t = 12.5 s: it hangs"
    assert Outcome(2, cause="the federation is empty").message == "the federation is empty"
    assert Outcome(0, reached_ns=S_NS, wall_s=2.0).message == "done: 1 s simulated in 2.0 s"
