"""The chain SAFE -> READY -> ARMED -> RUN, the latching emergency stop, and the whitelist."""

from __future__ import annotations

import math
import os
import signal
import sys
import termios
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import run_cosim
from hil.guard import Guard, Refused
from hil.plan import Interlock
from hil.point_csv import parse_map
from hil.safety import Chain, EmergencyStop, SafetyError, State, Warrant
from hil.stop_key import watched

S_NS = 1_000_000_000
MAP = parse_map(
    "name,direction,table,address,type,unit,min,max,rate_per_s,min_interval_s,fallback\n"
    "earthed,read,holding,0,u16,1,,,,,\n"
    "power,write,holding,1,s16,W,-100,100,10,0.5,value=0\n"
)
CONTROLS = parse_map(
    "name,direction,table,address,codes,fallback\nclosed,read,binary_input,0,,\nbreaker,write,binary_output,0,trip,hold\n"
)


@pytest.fixture
def stop(tmp_path: Path) -> EmergencyStop:
    return EmergencyStop(tmp_path / "EMERGENCY_STOP")


def chain(stop: EmergencyStop, upto: State) -> Chain:
    made = Chain("dev", stop)
    for step in (made.passed_self_test, lambda: made.arm(Warrant("A Tester"), 60.0, 0), made.run):
        if made.state is not upto:
            step()
    return made


def test_the_way_up_has_no_short_cuts(stop: EmergencyStop) -> None:
    for state in State:
        steps = {
            State.READY: lambda made: made.passed_self_test(),
            State.ARMED: lambda made: made.arm(Warrant("A Tester"), 60.0, 0),
            State.RUN: lambda made: made.run(),
        }
        for after, step in steps.items():
            made = chain(stop, state)
            if tuple(State).index(after) == tuple(State).index(state) + 1:
                step(made)
                assert made.state is after
            else:
                with pytest.raises(SafetyError):
                    step(made)
                assert made.state is state


@given(st.lists(st.sampled_from(["test", "arm", "run", "fall"]), max_size=12))
def test_only_run_may_write_and_a_fall_is_for_good(steps: list[str]) -> None:
    made = Chain("dev", EmergencyStop(Path("/nonexistent/stop")))
    fallen = False
    for step in steps:
        try:
            if step == "fall":
                live = made.is_live
                assert made.fall("a reason") == live
                fallen = True
            else:
                {"test": made.passed_self_test, "arm": lambda: made.arm(Warrant("A"), 1.0, 0), "run": made.run}[step]()
        except SafetyError:
            pass
        assert made.may_write == (made.state is State.RUN)
        assert not fallen or made.state is State.SAFE


def test_the_lease_is_the_shorter_of_the_two_and_ends(stop: EmergencyStop) -> None:
    made = Chain("dev", stop)
    made.passed_self_test()
    made.arm(Warrant("A Tester", 5.0), 60.0, 100)
    assert made.lease_until_ns == 100 + 5 * S_NS
    assert not made.lease_is_over(5 * S_NS) and made.lease_is_over(100 + 5 * S_NS)
    for lease_s in (0.0, -1.0, math.nan, 1e9):
        with pytest.raises(SafetyError):
            Warrant("A Tester", lease_s)
    with pytest.raises(SafetyError, match="operator"):
        Warrant("  ")


def test_the_stop_latches_until_a_person_clears_it(stop: EmergencyStop, capsys: pytest.CaptureFixture[str]) -> None:
    made = chain(stop, State.READY)
    stop.set("first")
    stop.set("second")
    assert stop.is_set and "first" in stop.why()
    with pytest.raises(SafetyError, match="emergency stop is set"):
        made.arm(Warrant("A Tester"), 60.0, 0)
    with pytest.raises(SafetyError, match="person"):
        stop.clear(" ")
    assert stop.is_set
    assert run_cosim.main(["safety", "clear", "--stop-file", str(stop.path), "--operator", "B"]) == 0
    assert not stop.is_set and '"cleared_by": "B"' in stop.path.with_name("EMERGENCY_STOP.log").read_text()
    assert run_cosim.main(["safety", "clear", "--stop-file", str(stop.path), "--operator", "B"]) == 2
    assert run_cosim.main(["safety", "stop", "--stop-file", str(stop.path)]) == 0
    assert stop.is_set
    capsys.readouterr()


def test_an_empty_file_is_a_stop(stop: EmergencyStop) -> None:
    stop.path.touch()
    assert stop.is_set and "made" in stop.why()


def test_live_needs_a_name_and_no_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cosim.main(["run", "hil_bench", "--live", "--out", str(tmp_path)]) == 2
    assert "--operator" in capsys.readouterr().err
    (tmp_path / "EMERGENCY_STOP").touch()
    assert run_cosim.main(["run", "hil_bench", "--live", "--operator", "A", "--out", str(tmp_path)]) == 2
    assert "safety clear" in capsys.readouterr().err
    assert run_cosim.main(["run", "tiny", "--live", "--operator", "A", "--out", str(tmp_path)]) == 2
    assert "no devices" in capsys.readouterr().err


@given(st.floats())
def test_no_value_outside_the_limits_gets_through(value: float) -> None:
    guard = Guard(MAP, (), lambda name: 0.0)
    try:
        order = guard.judge("power", value, 0)
    except Refused:
        assert not -100 <= value <= 100
    else:
        assert -100 <= order.value <= 100


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(0.0, 3.0)), max_size=20))
def test_no_sequence_beats_rate_and_interval(wishes: list[tuple[float, float]]) -> None:
    guard = Guard(MAP, (), lambda name: 0.0)
    now_ns, sent = 0, []
    for value, wait_s in wishes:
        now_ns += round(wait_s * S_NS)
        try:
            order = guard.judge("power", value, now_ns)
        except Refused:
            continue
        guard.sent(order, now_ns)
        sent.append((now_ns, order.value))
    for (t0, a), (t1, b) in pairwise(sent):
        assert t1 - t0 >= 0.5 * S_NS
        assert abs(b - a) <= 10 * (t1 - t0) / S_NS * (1 + 1e-6)


def test_following_ramps_at_the_rows_rate() -> None:
    guard = Guard(MAP, (), lambda name: 0.0)
    point = MAP.point("power")
    assert guard.within_rate(point, 90.0, 0) == 90.0
    guard.sent(guard.judge("power", 0.0, 0), 0)
    assert guard.within_rate(point, 90.0, S_NS // 10) is None
    assert guard.within_rate(point, 90.0, 2 * S_NS) == pytest.approx(20.0)
    assert guard.within_rate(point, -3.0, 2 * S_NS) == -3.0


def test_only_listed_codes_pass_and_interlocks_hold() -> None:
    guard = Guard(CONTROLS, (), lambda name: 0.0)
    assert guard.judge("breaker", "trip", 0).crob is not None
    assert guard.judge("breaker", 0.0, 0).crob is not None
    for wish in ("close", 1.0, "latch_on", "explode"):
        with pytest.raises(Refused):
            guard.judge("breaker", wish, 0)
    for reading, allowed in ((1.0, True), (0.0, False), (math.nan, False)):
        guard = Guard(MAP, (Interlock("power", "earthed", 1.0, "earth first"),), lambda name, reading=reading: reading)
        if allowed:
            guard.judge("power", 1.0, 0)
        else:
            with pytest.raises(Refused, match="earth first"):
                guard.judge("power", 1.0, 0)


@pytest.mark.parametrize("key", [b" ", b"x"])
def test_the_space_bar_stops_and_no_other_key_does(key: bytes, stop: EmergencyStop, monkeypatch: pytest.MonkeyPatch) -> None:
    keyboard, terminal = os.openpty()
    with os.fdopen(terminal, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        before = termios.tcgetattr(terminal)
        with watched(stop):
            os.write(keyboard, key)
            end_s = time.monotonic() + (5.0 if key == b" " else 0.3)
            while not stop.is_set and time.monotonic() < end_s:
                time.sleep(0.01)
        assert stop.is_set == (key == b" ")
        assert termios.tcgetattr(terminal) == before
    os.close(keyboard)


def test_a_terminal_that_goes_away_is_no_fault(stop: EmergencyStop, monkeypatch: pytest.MonkeyPatch) -> None:
    keyboard, terminal = os.openpty()
    with os.fdopen(terminal, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with watched(stop):
            os.close(keyboard)
            end_s = time.monotonic() + 5.0
            while any(thread.name == "stop key" for thread in threading.enumerate()):
                assert time.monotonic() < end_s, "the thread spins at the end of a terminal"
                time.sleep(0.01)
    assert not stop.is_set


def test_a_signal_to_the_supervisor_stops(stop: EmergencyStop) -> None:
    before = signal.getsignal(signal.SIGUSR2)
    with watched(stop):
        os.kill(os.getpid(), signal.SIGUSR2)
        end_s = time.monotonic() + 5.0
        while not stop.is_set and time.monotonic() < end_s:
            time.sleep(0.01)
    assert "SIGUSR2" in stop.why()
    assert signal.getsignal(signal.SIGUSR2) == before
