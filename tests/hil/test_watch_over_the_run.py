"""What an emergency stop and the watch over a run never fail for: odd stop files, a check that breaks, a slow disk, a low rank."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hil.gatekeeper import Gatekeeper
from hil.plan import GatekeeperPlan
from hil.priority import take_precedence
from hil.safety import EmergencyStop
from hil.vigil import Vigil

LIMIT_S = 0.25


def alarmed(vigil_of: Any) -> tuple[str, float]:
    """The cause that a vigil gives, and the seconds it took."""

    async def scene() -> tuple[str, float]:
        causes: list[str] = []
        vigil: Vigil = vigil_of(causes.append)
        vigil.start()
        began_s = time.monotonic()
        async with asyncio.timeout(2.0):
            while not causes:
                await asyncio.sleep(0.005)
        vigil.close()
        return causes[0], time.monotonic() - began_s

    return asyncio.run(scene())


def stop_file(path: Path, kind: str) -> None:
    if kind == "empty":
        path.touch()
    elif kind == "nested":
        path.write_text("[" * 200_000)
    elif kind == "huge":
        path.write_bytes(b"x" * 5_000_000)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to(path.with_name("nowhere"))
    elif kind == "binary":
        path.write_bytes(bytes(range(256)))


@pytest.mark.parametrize("kind", ["empty", "nested", "huge", "pipe", "folder", "dangling link", "binary"])
def test_whatever_the_stop_file_is_it_stops(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "EMERGENCY_STOP"
    stop_file(path, kind)
    cause, took_s = alarmed(lambda alarm: Vigil(EmergencyStop(path), alarm, 10**9))
    assert cause.startswith("emergency stop") and len(cause) < 2000 and took_s < LIMIT_S


def test_a_stop_that_cannot_be_looked_at_counts_as_set(tmp_path: Path) -> None:
    """Its folder became a file, or a loop of links: nobody could stop the run by it any more."""
    assert not EmergencyStop(tmp_path / "missing" / "EMERGENCY_STOP").is_set, "no run has been there yet"
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for folder in ("file", "loop"):
        stop = EmergencyStop(tmp_path / folder / "EMERGENCY_STOP")
        assert stop.is_set and "cannot be read" in stop.why()


def test_a_check_that_breaks_is_an_alarm_and_not_the_end_of_the_watch() -> None:
    def broken(now_ns: int) -> None:
        raise ValueError("released memory")

    def vigil(alarm: Any) -> Vigil:
        made = Vigil(None, alarm, 10**9)
        made.also(broken)
        return made

    cause, _ = alarmed(vigil)
    assert cause == "the watch over the run failed: ValueError: released memory"


class Host:
    """As much of a companion's host as a gatekeeper needs to begin."""

    def __init__(self, folder: Path) -> None:
        self.directory = self.run_dir = folder
        self.supervisor = os.getppid()
        self.is_orphan = self.asked_to_stop = False

    def ready(self) -> None: ...

    def beat(self) -> None: ...


def test_a_slow_disk_does_not_hold_up_the_fallback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGUSR2: the devices fall at once, though the file that latches it takes a second to write."""
    monkeypatch.setenv("GRIDTANDEM_AUDIT_KEY", str(tmp_path / "key.pem"))
    steps: list[tuple[str, float]] = []

    class Slow(EmergencyStop):
        def set(self, cause: str) -> None:
            time.sleep(1.0)
            super().set(cause)
            steps.append(("latched", time.monotonic()))

    class Fake:
        def __init__(self, chain: Any) -> None:
            self.chain = chain

        async def fall(self, cause: str, *, for_good: bool) -> None:
            steps.append(("fell", time.monotonic()))

    class FakeChain:
        is_for_good, fell_because = False, ""

    async def scene() -> float:
        from hil.plan import DevicePlan, Role
        from hil.point_csv import parse_map

        device = DevicePlan("dev", Role.CLIENT, "127.0.0.1:1", parse_map("name,table,address,type\na,holding,0,u16\n"), 10**8)
        keeper = Gatekeeper(GatekeeperPlan("dev", (device,), tmp_path / "STOP"), Host(tmp_path))  # type: ignore[arg-type]
        keeper.stop = Slow(tmp_path / "STOP")
        keeper._over = True  # the end of the run is not what this is about
        keeper.wires.append(Fake(FakeChain()))  # type: ignore[arg-type]
        began_s = time.monotonic()
        keeper._emergency()
        await asyncio.gather(*keeper._falls)
        keeper.audit.close()
        return began_s

    began_s = asyncio.run(scene())
    assert [name for name, _ in steps] == ["fell", "latched"]
    assert steps[0][1] - began_s < LIMIT_S and (tmp_path / "STOP").exists()


RANKS = """
import os, threading
from hil.priority import take_precedence
print(take_precedence())
seen = []
def look():
    seen.append((os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
thread = threading.Thread(target=look)
thread.start(); thread.join()
print(*seen[0])
"""
PR_CAPBSET_DROP, CAP_IPC_LOCK, CAP_SYS_NICE = 24, 14, 23


def ranked(*, rights: bool = True, before: str = "") -> tuple[str, int, int]:
    """What a process of its own was given: the words, and the scheduler and nice value of a thread that it then starts."""
    libc = ctypes.CDLL(None)

    def strip() -> None:
        if not rights:
            for which in (resource.RLIMIT_RTPRIO, resource.RLIMIT_NICE, resource.RLIMIT_MEMLOCK):
                resource.setrlimit(which, (0, 0))
            for right in (CAP_IPC_LOCK, CAP_SYS_NICE):
                libc.prctl(PR_CAPBSET_DROP, right, 0, 0, 0)

    command, env = [sys.executable, "-c", before + RANKS], {"PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=strip, env=env)
    words, numbers = done.stdout.splitlines()
    scheduler, nice = map(int, numbers.split())
    return words, scheduler, nice


def test_all_threads_have_what_the_process_was_given() -> None:
    words, scheduler, nice = ranked()
    assert (scheduler == os.SCHED_FIFO) == words.startswith("real time (FIFO 1)")
    assert (nice == -10) == words.startswith("nice -10")


def test_without_any_right_it_is_ordinary_and_says_so() -> None:
    assert ranked(rights=False) == ("ordinary", os.SCHED_OTHER, 0)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may lower a nice value without being allowed to")
def test_without_the_right_to_real_time_it_is_at_least_nice() -> None:
    refused = "import os\ndef refuse(*_): raise PermissionError\nos.sched_setscheduler = refuse\n"
    words, scheduler, nice = ranked(before=refused)
    assert words.startswith("nice -10") and (scheduler, nice) == (os.SCHED_OTHER, -10)


LIMITED = """
import ctypes, os, threading
import hil.priority
class Library(ctypes.CDLL):
    def mlockall(self, flags):  # a process whose limit allows what it has now, and little more
        done = self["mlockall"](flags)
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        return done
ctypes.CDLL = Library
print(hil.priority.take_precedence())
bytearray(50_000_000)
thread = threading.Thread(target=print, args=("a thread",))
thread.start(); thread.join()
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root may lock memory and give up the right to it")
def test_memory_is_not_locked_where_a_limit_would_end_it_later() -> None:
    """Beyond the limit neither memory nor a thread is to be had."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, 1 << 20))

    command, env = [sys.executable, "-c", LIMITED], {"PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, env=env, check=False)
    assert done.returncode == 0, done.stderr
    words, thread = done.stdout.splitlines()
    assert "memory locked" not in words and thread == "a thread"


def test_it_can_be_asked_for_twice() -> None:
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if take_precedence() == take_precedence() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (os.sched_getscheduler(0), os.sched_getparam(0)) == before
