"""The ledger closes for every order of events: feeders that open and come back, DER that cease, trip and return, by name.

The truth is kept here beside it: a bus whose load answers neither voltage nor frequency, DER with a power each, and the field's own
breakers for what feeders lack that have come back.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federates.field.breakers import LikeBreakers
from federates.runtime.federate import S_NS
from federates.tblm.emergency import Surroundings, Tracker
from federates.tblm.model import Axes, Curve, Range, Tblm

COUNT, LOAD_W, RETURN_S = 8, 1e6, 30.0
DER_W = {"pv1": 3e5, "pv2": 1e5, "bat": -5e4}
AREA = Range((0.5, 1.2), (57.0, 63.0))
FLAT = Curve("fast", Axes((0.5, 1.2), (57.0, 63.0)), ((0.0, 0.0),) * 2, ((0.0, 0.0),) * 2, AREA, (), 0.1, 0.0, 4)
LAST = cast(Tblm, SimpleNamespace(curve=lambda _: FLAT))


class Bus:
    """Events a second apart, heard when `hear` is called."""

    def __init__(self, telemetry: bool) -> None:
        self.tracker, self.telemetry = Tracker(60.0, Surroundings(der_return_s=RETURN_S)), telemetry
        self.breakers = LikeBreakers(COUNT, ("residential",), RETURN_S)
        self.status, self.power = dict.fromkeys(DER_W, "continuous"), dict(DER_W)
        self.t_s, self.kept = 1, list[dict[str, Any]]()
        self.look(60.0)
        self.look(59.0)

    @property
    def der_w(self) -> float:
        return sum(self.power.values())

    @property
    def p_w(self) -> float:
        missing = self.breakers.beyond(self.t_s * S_NS, 18.0, np.array([LOAD_W]))[1]
        return self.breakers.closed * (LOAD_W - self.der_w) + missing * self.der_w

    def look(self, f_hz: float) -> None:
        now = self.t_s * S_NS
        if self.telemetry:
            self.tracker.measured((name, now, p_w) for name, p_w in self.power.items())
        self.tracker.look(now, self.p_w, 1.0, f_hz, self.breakers.closed, LAST)
        self.t_s += 1

    def row(self, row: dict[str, Any]) -> None:
        self.kept.append({**row, "t_event_ns": self.t_s * S_NS})
        self.t_s += 1

    def hear(self) -> None:
        self.tracker.hear(self.kept, self.breakers.closed)
        self.kept.clear()
        self.look(59.0)

    def open(self, feeders: int) -> None:
        each = self.p_w / max(self.breakers.closed, 1)
        der_w = self.der_w
        if n := self.breakers.open({"feeders": feeders}, self.t_s * S_NS):
            powers = {"p_w": n * each, "load_w": n * LOAD_W, "der_w": n * der_w}
            self.row({"event": "open_breaker", "cause": "ufls:1", "feeders": n, **powers})

    def close(self, feeders: int) -> None:
        if n := self.breakers.close({"feeders": feeders}, self.t_s * S_NS):
            self.row({"event": "close_breaker", "cause": "operator", "feeders": n})

    def becomes(self, name: str, status: str, share: float) -> None:
        event = "der_trip" if status == "trip" else "der_status"
        was, self.status[name] = self.status[name], status
        before, self.power[name] = self.power[name], share * DER_W[name]
        self.row({"event": event, "der": name, "from": was, "to": status, "p_before_w": before})

    def residual_pct(self) -> float:
        self.hear()
        book = self.tracker.ledger(self.p_w, 1.0, 59.0, self.t_s * S_NS)
        assert book is not None
        shed = sum(e.P_net_W for e in book.entries)
        parts = book.served_W + shed - book.P_der_lost_W + book.P_response_W + book.residual_pct / 100.0 * book.initial_W
        assert parts == pytest.approx(book.initial_W)
        assert book.P_response_W == pytest.approx(0.0, abs=1.0)  # nothing answers V and f here
        return book.residual_pct


def ceased_then_tripped(bus: Bus) -> None:
    bus.becomes("pv1", "momentary_cessation", 0.0)
    bus.becomes("pv1", "trip", 0.0)


def ceased_and_back(bus: Bus) -> None:
    bus.becomes("pv1", "momentary_cessation", 0.0)
    bus.becomes("pv1", "continuous", 1.0)


def tripped_while_the_others_were_open(bus: Bus) -> None:
    bus.open(4)
    bus.becomes("pv1", "trip", 0.0)
    bus.close(4)


def back_while_the_others_were_open(bus: Bus) -> None:
    bus.becomes("pv1", "trip", 0.0)
    bus.open(4)
    bus.becomes("pv1", "entering_service", 0.0)
    bus.becomes("pv1", "continuous", 1.0)
    bus.close(2)


def tripped_on_dead_feeders(bus: Bus) -> None:
    bus.open(COUNT)
    for name in DER_W:
        bus.becomes(name, "cease_to_energize", 0.0)
        bus.becomes(name, "trip", 0.0)
    bus.close(3)


def opened_again_without_their_der(bus: Bus) -> None:
    bus.open(4)
    bus.close(4)
    bus.open(5)


@pytest.mark.parametrize("telemetry", [True, False])
@pytest.mark.parametrize(
    "happens",
    [
        ceased_then_tripped, ceased_and_back, tripped_while_the_others_were_open, back_while_the_others_were_open,
        tripped_on_dead_feeders, opened_again_without_their_der,
    ],
)  # fmt: skip
def test_it_closes(happens: Callable[[Bus], None], telemetry: bool) -> None:
    bus = Bus(telemetry)
    happens(bus)
    assert bus.residual_pct() == pytest.approx(0.0, abs=1e-9)


def test_a_der_that_ceases_and_trips_is_one_loss() -> None:
    bus = Bus(telemetry=False)
    ceased_then_tripped(bus)
    bus.residual_pct()
    book = bus.tracker.ledger(bus.p_w, 1.0, 59.0, bus.t_s * S_NS)
    assert book is not None and book.P_der_lost_W == pytest.approx(COUNT * DER_W["pv1"])


def test_a_der_on_its_way_back_is_lost_as_far_as_telemetry_shows_it() -> None:
    bus = Bus(telemetry=True)
    bus.becomes("pv1", "trip", 0.0)
    bus.becomes("pv1", "entering_service", 0.25)
    assert bus.residual_pct() == pytest.approx(0.0, abs=1e-9)
    book = bus.tracker.ledger(bus.p_w, 1.0, 59.0, bus.t_s * S_NS)
    assert book is not None and book.P_der_lost_W == pytest.approx(0.75 * COUNT * DER_W["pv1"])


def test_a_trip_under_a_depressed_voltage_takes_what_the_der_had_in_calm() -> None:
    """An older inverter rides at its current limit, 30 % of its power at 0.3 pu, until it trips: its last power is not its loss."""
    bus = Bus(telemetry=True)
    bus.power["pv1"] = 0.3 * DER_W["pv1"]
    bus.becomes("pv1", "trip", 0.0)
    assert bus.residual_pct() == pytest.approx(0.0, abs=1e-9)


def test_a_der_that_only_ceased_is_back_though_nothing_reports_it() -> None:
    """Back within a scan at what it delivered before: within its deadband, so that telemetry stays that of before."""
    bus = Bus(telemetry=True)
    bus.telemetry = False
    bus.becomes("pv1", "momentary_cessation", 0.0)
    assert bus.residual_pct() == pytest.approx(0.0, abs=1e-9)
    bus.becomes("pv1", "continuous", 1.0)
    assert bus.residual_pct() == pytest.approx(0.0, abs=1e-9)
    bus.telemetry = True
    bus.becomes("pv1", "momentary_cessation", 0.0)
    bus.hear()
    bus.telemetry = False
    bus.becomes("pv1", "continuous", 0.0)  # it was reported at nothing, and has not been since
    assert bus.residual_pct() == pytest.approx(0.0, abs=1e-9)


def test_rows_of_calm_that_are_heard_late_count_in_their_order() -> None:
    """It had ceased and come back when the power of the bus was measured; what it then loses is all it had."""
    bus = Bus(telemetry=True)
    bus.look(60.0)
    for t_ns, was, status in ((1, "continuous", "momentary_cessation"), (2, "momentary_cessation", "continuous")):
        bus.kept.append({"event": "der_status", "der": "pv1", "from": was, "to": status, "p_before_w": 0.0, "t_event_ns": t_ns})
    bus.becomes("pv1", "trip", 0.0)
    assert bus.residual_pct() == pytest.approx(0.0, abs=1e-9)


def test_a_power_that_is_not_heard_for_once_begins_no_emergency() -> None:
    """What was drawn when it began is the last power of calm, whatever gap telemetry had before or when the last one ended."""
    tracker = Tracker(60.0)

    def look(t_s: int, p_w: float, f_hz: float) -> None:
        tracker.look(t_s * S_NS, p_w, 1.0, f_hz, COUNT, LAST)

    look(1, 8e6, 60.0)
    look(2, np.nan, 60.0)
    look(3, 8e6, 60.0)
    assert tracker.ledger(8e6, 1.0, 60.0, 3 * S_NS) is None
    look(60, 9e6, 60.0)
    look(61, 9e6, 59.0)
    tracker.hear([{"event": "open_breaker", "cause": "ufls:1", "feeders": 1, "p_w": 1e6, "t_event_ns": 61 * S_NS}], COUNT)
    tracker.hear([{"event": "close_breaker", "cause": "operator", "feeders": 1, "t_event_ns": 62 * S_NS}], COUNT)
    look(63, 9e6, 59.0)
    first = tracker.ledger(9e6, 1.0, 59.0, 63 * S_NS)
    assert first is not None and first.initial_W == 9e6 and len(first.entries) == 2
    for t_s, p_w in ((80, 9e6), (100, np.nan), (101, 10e6)):  # it ends at 100
        look(t_s, p_w, 60.0)
    assert tracker.phase == "before" and tracker.ledger(10e6, 1.0, 60.0, 101 * S_NS) is None
    look(102, 10e6, 59.0)
    second = tracker.ledger(10e6, 1.0, 59.0, 102 * S_NS)
    assert second is not None and second.initial_W == 10e6 and not second.entries


def test_what_moved_in_calm_is_no_part_of_an_emergency() -> None:
    tracker = Tracker(60.0)
    tap = {"event": "tap", "regulator": "reg1", "from": 0, "to": 1}
    tracker.hear([{**tap, "t_event_ns": 100 * S_NS}], COUNT)
    tracker.look(3600 * S_NS, 8e6, 1.0, 60.0, COUNT, LAST, 3598 * S_NS)
    assert len(tracker.actual) == 1
    opened = {"event": "open_breaker", "cause": "ufls:1", "feeders": 1, "p_w": 1e6, "t_event_ns": 3600 * S_NS}
    tracker.hear([opened, {**tap, "t_event_ns": 3599 * S_NS}], COUNT)  # after the last measurement of calm
    tracker.look(3602 * S_NS, 7e6, 1.0, 59.0, COUNT - 1, LAST, 3601 * S_NS)
    assert [(event.device, event.t_ns) for event in tracker.actual] == [("reg1", 3599 * S_NS), ("ufls:1", 3600 * S_NS)]


_OUT = ("trip", "momentary_cessation", "cease_to_energize")
_NAMES = st.sampled_from(sorted(DER_W))
_EVENTS = st.one_of(
    st.tuples(st.just("open"), st.integers(1, COUNT)),
    st.tuples(st.just("close"), st.integers(1, COUNT)),
    st.tuples(st.just("out"), _NAMES, st.sampled_from(_OUT)),
    st.tuples(st.just("in"), _NAMES, st.sampled_from((0.0, 0.4, 1.0))),
    st.tuples(st.just("wait"), st.sampled_from((1, 40))),
    st.tuples(st.just("hear")),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_EVENTS, max_size=24))
def test_it_closes_for_every_order_of_events(events: list[tuple[Any, ...]]) -> None:
    bus = Bus(telemetry=True)
    for what, *which in events:
        if what == "open":
            bus.open(which[0])
        elif what == "close":
            bus.close(which[0])
        elif what == "out":
            bus.becomes(which[0], which[1], 0.0)
        elif what == "in" and bus.status[which[0]] in _OUT:
            bus.becomes(which[0], "entering_service" if bus.status[which[0]] == "trip" else "continuous", which[1])
            bus.hear()
        elif what == "wait":
            bus.t_s += which[0]
        elif what == "hear":
            bus.hear()
        assert bus.residual_pct() == pytest.approx(0.0, abs=1e-6)
