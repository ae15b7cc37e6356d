"""Failures of processes that run ahead of each other: the right one is blamed, although the others are elsewhere in time."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from failing import AT_NS, chain
from test_supervisor import LONG_NS, WATCHDOG_NS, Strike, nothing_left, processes_of, rows, send

from federates.runtime.ahead import LEAD_WINDOWS, order_of
from federates.runtime.federate import MS_NS, S_NS
from federates.runtime.supervisor import Progress, run

__all__ = ["nothing_left"]  # a fixture


EACH_MS = (0.001, 0.001, 0.001)


def test_the_one_below_holds_the_others_back_and_progress_is_its_own(tmp_path: Path) -> None:
    seen: list[Progress] = []
    slow = chain(stop_ns=8 * S_NS, steps_s=(0.0, 0.0, 0.004))
    assert order_of(slow) is not None
    ahead: list[int] = []

    def look(progress: Progress) -> None:
        seen.append(progress)
        if progress.t_ns:
            ahead.append(progress.t_ns)

    outcome = run(slow, tmp_path, "helics", look)
    assert outcome.exit_code == 0 and {rows(tmp_path, name) for name in "abc"} == {801}
    assert seen == sorted(seen, key=lambda progress: progress.t_ns)
    assert 0 < min(ahead) < slow.stop_ns - LEAD_WINDOWS * slow.window_ns  # not that of those above, who are done at once


def test_what_is_due_at_the_begin_of_a_window_is_not_done_when_the_window_begins(tmp_path: Path) -> None:
    wrong = chain("c", "raise", window_ns=AT_NS)  # what goes wrong does so at the begin of the second window
    outcome = run(wrong, tmp_path, "helics")
    assert (outcome.federate, outcome.t_ns) == ("c", AT_NS) and outcome.reached_ns < AT_NS


@pytest.mark.parametrize("culprit", ["a", "b", "c"])
@pytest.mark.parametrize("does", ["raise", "os._exit", "hang"])
def test_a_federate_that_goes_wrong_is_named(tmp_path: Path, culprit: str, does: str) -> None:
    before = Strike(lambda: None, at_ns=0)
    outcome = run(chain(culprit, does, watchdog_ns=WATCHDOG_NS, stop_ns=20 * S_NS), tmp_path, "helics", before)
    assert (outcome.exit_code, outcome.federate, outcome.t_ns) == (3, culprit, AT_NS)
    assert outcome.message.startswith(f"federate {culprit} at t = 0.02 s: ")
    assert outcome.wall_s < 15


@pytest.mark.parametrize("process", ["top", "middle", "bottom", "broker"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["kill", "stop"])
def test_a_process_that_is_killed_or_stopped_ends_the_run(tmp_path: Path, process: str, number: int) -> None:
    strike = send(process, number)
    outcome = run(chain(stop_ns=LONG_NS, steps_s=EACH_MS, watchdog_ns=WATCHDOG_NS), tmp_path, "helics", strike)
    assert strike.seconds_ago < WATCHDOG_NS / S_NS + 5
    blamed = {"top": "a", "middle": "b", "bottom": "c", "broker": "broker"}[process]
    assert (outcome.exit_code, outcome.federate) == (3, blamed)


def test_an_interrupt_ends_with_130_and_keeps_the_records(tmp_path: Path) -> None:
    strike = Strike(lambda: os.kill(os.getpid(), signal.SIGINT), at_ns=200 * MS_NS)
    outcome = run(chain(stop_ns=LONG_NS, steps_s=EACH_MS), tmp_path, "helics", strike)
    assert (outcome.exit_code, outcome.federate) == (130, None) and strike.seconds_ago < 4
    assert outcome.reached_ns >= 200 * MS_NS
    kept = [rows(tmp_path, name) for name in "abc"]
    assert all(count >= outcome.reached_ns // (10 * MS_NS) for count in kept)
    assert processes_of(os.getpid()) == {}
