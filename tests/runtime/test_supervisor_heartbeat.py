"""The heartbeat row: what one side writes is what the other reads; stops strike once and where they may."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from federates.runtime.heartbeat import NOBODY, Heart, Heartbeats, State, StopAsked
from federates.runtime.port import Event


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "heartbeat"


def test_rows_are_apart_and_read_as_written(file: Path) -> None:
    rows = Heartbeats(file, 2)
    first, second = Heart(file, 0, ["a", "b"], 1), Heart(file, 1, ["a", "b"], 1)
    assert rows.read(0).state is State.BUILDING and rows.read(0).federate == NOBODY
    first.computing("b", 0)
    assert not rows.read(0).started  # that was its start
    first.waiting(0)
    first.computing("b", 2**62)
    first.progress(7)
    second.beat()
    beat = rows.read(0)
    assert (beat.state, beat.federate, beat.t_ns, beat.started, beat.progress_ns) == (State.COMPUTING, 1, 2**62, True, 7)
    assert (rows.read(1).alive, rows.read(1).state) == (1, State.BUILDING)


def test_every_call_shows_even_at_one_instant(file: Path) -> None:
    rows, heart = Heartbeats(file, 1), Heart(file, 0, ["a"], 1)
    seen = set()
    for _ in range(100):
        heart.computing("a", 5)
        seen.add(rows.read(0).since_ns)
    assert len(seen) == 100


def test_the_last_event_is_text_cut_to_fit(file: Path) -> None:
    rows, heart = Heartbeats(file, 2), Heart(file, 1)
    assert rows.last_event(1) == (-1, "")
    heart.show_event(Event(3, "scada.alarm", 1, {"text": "ü" * 200}))
    t_ns, text = rows.last_event(1)
    assert t_ns == 3 and text.startswith("0.000 s  scada: text ü") and 150 < len(text.encode()) <= 192
    heart.show_event(Event(4, "dms.order", 1, {"tap": 3}))
    assert rows.last_event(1) == (4, "0.000 s  dms: tap 3")
    assert rows.last_event(0) == (-1, "")


def test_a_stop_is_seen_and_strikes_once_before_a_federate_is_called(file: Path) -> None:
    rows, heart = Heartbeats(file, 1), Heart(file, 0, ["a"], 1)
    assert not heart.asked_to_stop
    rows.ask_to_stop(0)
    assert heart.asked_to_stop
    heart.interrupt(StopAsked())
    with pytest.raises(StopAsked):
        heart.computing("a", 5)
    assert rows.read(0).t_ns == 0
    heart.computing("a", 5)  # so that every federate's stop() can still be called
    assert rows.read(0).t_ns == 5


def test_a_call_costs_little(file: Path) -> None:
    """Measured 0.4 us for a pair of stores; the bound only catches a system call or a lock that crept in."""
    Heartbeats(file, 1)
    heart = Heart(file, 0, ["a"], 1)
    best = min(_seconds_per_pair(heart) for _ in range(5))
    assert best < 5e-6


def _seconds_per_pair(heart: Heart) -> float:
    began = time.perf_counter()
    for t_ns in range(2000):
        heart.computing("a", t_ns)
        heart.waiting(t_ns)
    return (time.perf_counter() - began) / 2000
