"""Definite-time elements: pickup, dropout, operation, breaker, inhibit, order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federates.grid.relay import Element, Relay, Stage, replay

MS = 1_000_000


def stage(number: int = 1, pickup: float = 59.5, delay_ms: int = 100, **more: float) -> Stage:
    return Stage("ufls", number, "f_hz", pickup, delay_ms * MS, 80 * MS, **more)  # type: ignore[arg-type]


def test_it_operates_at_the_very_end_of_its_delay_whenever_it_is_looked_at() -> None:
    element = Element(stage())
    assert [c.what for c in element.update(1000 * MS, 59.4, 1.0)] == ["pickup"]
    assert element.due_ns == 1100 * MS
    (change,) = element.update(1_250 * MS, 60.0, 1.0)
    assert (change.what, change.t_ns) == ("operate", 1100 * MS)
    assert element.due_ns is None and list(element.update(2000 * MS, 59.0, 1.0)) == []


def test_a_dip_shorter_than_the_delay_does_nothing() -> None:
    element = Element(stage(reset=0.05))
    list(element.update(0, 59.4, 1.0))
    assert list(element.update(40 * MS, 59.52, 1.0)) == []  # inside the reset band
    assert [c.what for c in element.update(80 * MS, 59.56, 1.0)] == ["dropout"]
    assert element.due_ns is None


def test_a_low_voltage_blocks_and_an_unknown_frequency_changes_nothing() -> None:
    element = Element(stage(inhibit_v_pu=0.6))
    assert list(element.update(0, 59.0, 0.5)) == []
    list(element.update(10 * MS, 59.0, 0.9))
    assert list(element.update(20 * MS, float("nan"), 0.9)) == [] and element.due_ns == 110 * MS
    assert [c.what for c in element.update(30 * MS, 59.0, 0.5)] == ["dropout"]


def test_trips_at_one_instant_come_in_the_order_of_relays_and_stages() -> None:
    relays = [("b", [stage(2), stage(1)]), ("a", [stage(1, delay_ms=80)])]
    samples = [(0, 60.0, 1.0), (20 * MS, 59.0, 1.0)]
    assert [(t.relay, t.stage.number, t.t_open_ns // MS) for t in replay(relays, samples)] == [
        ("a", 1, 180),
        ("b", 2, 200),
        ("b", 1, 200),
    ]


@given(st.lists(st.tuples(st.integers(1, 90), st.floats(58.5, 60.5)), min_size=1, max_size=40))
def test_extra_looks_at_held_values_change_nothing(course: list[tuple[int, float]]) -> None:
    stages = [stage(1), stage(2, 59.2, 30), stage(3, 59.0, 200)]
    once, often = Relay(stages), Relay(stages)
    t_ms, held = 0, 60.0
    a, b = [], []
    for gap_ms, f_hz in course:
        for extra in range(t_ms, t_ms + gap_ms, 7):
            b += often.update(extra * MS, held, 1.0)
        t_ms, held = t_ms + gap_ms, f_hz
        a += once.update(t_ms * MS, f_hz, 1.0)
        b += often.update(t_ms * MS, f_hz, 1.0)
    assert sorted(a, key=lambda c: (c.t_ns, c.stage.number, c.what)) == sorted(b, key=lambda c: (c.t_ns, c.stage.number, c.what))


def test_what_is_no_stage_is_refused() -> None:
    with pytest.raises(ValueError, match="pickup"):
        stage(pickup=-1.0)
    with pytest.raises(ValueError, match="named twice"):
        Relay([stage(), stage()])
