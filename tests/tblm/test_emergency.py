"""The emergency part of a document: what is armed, the ledger, blocks to restore, requests; and that it is carried in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from telemetry import Truth, ieee123_with_der, inverters
from test_builder import Desk

from federates.grid.der import DerStatus
from federates.grid.emergency import EmergencyThresholds
from federates.grid.feeder_library import builtin_feeder
from federates.grid.load import frequency_response
from federates.grid.logic import Condition, Row
from federates.grid.relay import Stage
from federates.runtime.federate import MS_NS, S_NS
from federates.runtime.port import Sample
from federates.tblm.armed import Plans, Program
from federates.tblm.emergency import Surroundings, Tracker
from federates.tblm.emergency_model import Emergency
from federates.tblm.model import Tblm

COUNT = 10
STAGES = (
    Stage("ufls", 1, "f_hz", 59.5, 100 * MS_NS, feeders=4),
    Stage("ufls", 2, "f_hz", 59.3, 100 * MS_NS, feeders=3),
    Stage("uvls", 1, "v_pu", 0.9, 3 * S_NS, feeders=2),
)
ROW = Row("line", (Condition("line_open", "16-17"),), (("f", 5),), required_w=1e9)
PLANS = Plans(STAGES, "f", (ROW,), (Program("dr:homes", "residential", 0.3), Program("cvr:all", v_set_pu=-0.02)))


def part(tblm: Tblm | None) -> Emergency:
    assert tblm is not None and tblm.emergency is not None
    return tblm.emergency


class Bus:
    """Ten feeders, of which some are open, under V and f that move; SCADA a second old."""

    def __init__(self, truth: Truth, plans: Plans = PLANS) -> None:
        self.truth, self.closed = truth, COUNT
        self.desk = Desk(truth, plans=plans, surroundings=Surroundings(-5.0), period_ns=10 * S_NS)
        self.desk.call(0)
        self.head_w = float(truth.feeder.head()[0].sum())

    def moved(self, v_pu: float, f_hz: float, der_off: int = 0) -> None:
        """V and f change, taps stand still, DER give what they gave but the last few, which trip."""
        truth, feeder = self.truth, self.truth.feeder
        truth.v_pu, truth.f_hz = v_pu, f_hz
        feeder.set_source(v_pu)
        feeder.set_loads(*frequency_response(truth.p0_w, truth.q0_var, feeder.load_class, f_hz, 60.0))
        if truth.settings is not None:
            keep = np.arange(truth.n_der) < truth.n_der - der_off
            truth.der_p_w, truth.der_q_var = truth.der_p_w * keep, truth.der_q_var * keep
            truth.der_status = np.where(keep, truth.der_status, float(DerStatus.TRIP))
            feeder.set_der(truth.der_p_w, truth.der_q_var)
        feeder.solve()
        self.head_w = float(feeder.head()[0].sum())

    def opened(self, feeders: int, cause: str, t_ns: int) -> dict[str, Any]:
        """What SCADA delivers of breakers that open now."""
        self.closed -= feeders
        load_w, der_w = float(self.truth.feeder.load_power()[0].sum()), float(self.truth.der_p_w.sum())
        powers = {"p_w": feeders * self.head_w, "load_w": feeders * load_w, "der_w": feeders * der_w}
        return {"event": "open_breaker", "cause": cause, "feeders": feeders, "t_event_ns": t_ns, **powers}

    def call(self, t_ns: int, *rows: dict[str, Any], request: dict[str, Any] | None = None) -> Tblm | None:
        head_p, head_q = self.truth.feeder.head()
        at = t_ns - MS_NS
        self.desk.changed = {
            "feeders_closed": Sample.of(float(self.closed), at),
            "bus_p_w": Sample.of(self.closed * head_p, at), "bus_q_var": Sample.of(self.closed * head_q, at),
            "head_p_w": Sample.of(head_p if self.closed else 0.0 * head_p, at),
            "head_q_var": Sample.of(head_q if self.closed else 0.0 * head_q, at),
        }  # fmt: skip
        return self.desk.call(t_ns, {"soe": rows, "request": (request,) if request else ()})


@pytest.fixture(scope="module")
def shed() -> tuple[Bus, float, Emergency]:
    """Two stages have opened seven of the like feeders: the bus, its power before, and what its TBLM says four seconds after."""
    bus = Bus(Truth(builtin_feeder("ieee13"), like_feeders=COUNT))
    bus.call(10 * S_NS)
    bus.call(11 * S_NS)
    initial_w = bus.closed * bus.head_w
    bus.moved(1.0, 59.45)
    first = bus.opened(4, "ufls:1", 11_400 * MS_NS)
    bus.moved(0.99, 59.25)
    second = bus.opened(3, "ufls:2", 11_800 * MS_NS)
    bus.moved(0.995, 59.5)
    bus.call(12 * S_NS, first, second)
    return bus, initial_w, part(bus.call(16 * S_NS))


def test_before_it_says_what_is_armed_and_what_overlaps() -> None:
    bus = Bus(Truth(ieee123_with_der(), inverters(), like_feeders=COUNT, available_w=120e3))
    now = part(bus.call(10 * S_NS))
    assert now.phase == "before" and now.ledger is None and now.blocks == ()
    armed = {a.stage: a for a in now.armed}
    assert [armed[name].feeders for name in ("ufls:1", "ufls:2", "uvls:1", "sls:line")] == [4, 3, 2, 5]
    assert armed["ufls:1"].P_net_W == pytest.approx(4 * bus.head_w, rel=0.002)
    assert armed["ufls:1"].P_load_W - armed["ufls:1"].P_der_W == pytest.approx(armed["ufls:1"].P_net_W, rel=0.06)  # and losses
    assert "MW armed of 1000 MW required" in armed["sls:line"].alarm and armed["ufls:1"].alarm == ""
    assert now.overlap is not None
    table, names = np.array(now.overlap.conditional_W), now.overlap.actions
    i, j = names.index("dr:homes"), names.index("ufls:1")
    assert 0.0 < table[i, j] < now.overlap.available_W[j]  # DR has taken part of the load that the stage would shed
    assert table[j, j] == 0.0 and now.overlap.excess_W > 0.0
    program = next(b for b in now.bands if b.quantity == "dr:homes")  # reckoned with as much as its band expects
    assert now.overlap.available_W[i] == pytest.approx(program.P50_W, rel=0.06)  # and losses
    whole = next(b for b in now.bands if b.quantity == "P")
    assert whole.P05_W < whole.P50_W < whole.P95_W and {d.name for d in whole.drivers} == {"scada", "age", "weather"}


@pytest.mark.parametrize(
    ("trip", "feeders"), [((("f", 2), ("f", 3)), 5), ((("f", 8), ("f", 8)), 10), ((("f", None), ("f", 2)), 10)]
)
def test_a_row_that_names_the_feeder_twice_has_it_armed_once(trip: tuple[tuple[str, int | None], ...], feeders: int) -> None:
    plans = Plans((), "f", (Row("line", (Condition("line_open", "16-17"),), trip),))
    bus = Bus(Truth(builtin_feeder("ieee13"), like_feeders=COUNT), plans)
    (row,) = part(bus.call(10 * S_NS)).armed
    assert row.feeders == feeders and row.alarm == ""
    assert row.P_net_W == pytest.approx(feeders * bus.head_w, rel=0.002)


def test_a_row_that_has_acted_has_nothing_armed() -> None:
    bus = Bus(
        Truth(builtin_feeder("ieee13"), like_feeders=COUNT),
        Plans((), "f", (Row("line", (Condition("line_open", "16-17"),), (("f", 3),), 0, 1e9),)),
    )
    assert "armed of 1000 MW required" in part(bus.call(10 * S_NS)).armed[0].alarm
    bus.call(11 * S_NS, bus.opened(3, "sls:line", 10_900 * MS_NS))
    (row,) = part(bus.call(15 * S_NS)).armed
    assert (row.feeders, row.P_net_W, row.alarm) == (0, 0.0, "")


def test_the_ledger_closes_within_a_tenth_of_a_per_cent(shed: tuple[Bus, float, Emergency]) -> None:
    """The network's answer to V and f in it is the document's own curve; the truth is a power flow of its own."""
    _, initial, now = shed
    assert now.phase == "during" and now.ledger is not None
    book = now.ledger
    assert book.initial_W == pytest.approx(initial, rel=1e-6)
    assert [(e.cause, e.feeders) for e in book.entries] == [("ufls:1", 4), ("ufls:2", 3)]
    assert abs(book.residual_pct) < 0.1
    shed = sum(e.P_net_W for e in book.entries)
    parts = book.served_W + shed - book.P_der_lost_W + book.P_response_W + book.residual_pct / 100.0 * book.initial_W
    assert parts == pytest.approx(book.initial_W, rel=1e-9)
    assert [a.feeders for a in now.armed if a.stage.startswith("u")] == [0, 0, 2]  # a stage acts once


def test_after_it_says_what_may_be_closed_and_what_it_would_take(shed: tuple[Bus, float, Emergency]) -> None:
    """Seven feeders are open. At -5 degrees after 40 minutes all thermostats call."""
    plain = shed[0]
    plain.moved(1.01, 60.0)
    plain.call(20 * S_NS)
    now = part(plain.call(2420 * S_NS))
    assert now.phase == "after"
    assert [(b.cause, b.feeders) for b in now.blocks] == [("ufls:2", 3), ("ufls:1", 4)]
    for block in now.blocks:
        assert 1.05 * block.P_normal_W < block.P_pickup_W < 1.3 * block.P_normal_W
        assert block.cold_load.t_out_s == pytest.approx(2408.0, abs=2.0) and block.der_after_s == 300.0
    plain.closed = COUNT
    closed = {"event": "close_breaker", "cause": "operator", "feeders": 7, "t_event_ns": 2421 * S_NS}
    plain.call(2421 * S_NS, closed)
    assert part(plain.call(2440 * S_NS)).phase == "before"


def test_der_that_trip_are_carried_within_five_seconds() -> None:
    """25 % of a legacy fleet trips at 59.25 Hz; the document has the lost generation as an entry of its own, not as load."""
    bus = Bus(Truth(ieee123_with_der(), inverters(12, 3), like_feeders=COUNT, available_w=120e3))
    before = bus.call(10 * S_NS)
    bus.call(11 * S_NS)
    assert before is not None
    lost = bus.truth.der_p_w[-3:].copy()
    names = bus.truth.feeder.der_names[-3:]
    bus.moved(1.01, 59.25, der_off=3)
    rows = [
        {"event": "der_trip", "der": n, "p_before_w": float(p), "t_event_ns": 11_160 * MS_NS}
        for n, p in zip(names, lost, strict=True)
    ]
    bus.call(11_300 * MS_NS, *rows)
    found = None
    for t_ns in range(12 * S_NS, 17 * S_NS, S_NS):
        found = bus.call(t_ns) or found
    assert found is not None
    carried_w = before.der.P_W - found.der.P_W
    assert carried_w == pytest.approx(COUNT * lost.sum(), rel=0.01)
    assert found.der.in_service == 9
    book = part(found).ledger
    assert book is not None and book.P_der_lost_W == pytest.approx(COUNT * lost.sum(), rel=1e-6)
    assert abs(book.residual_pct) < 0.5


def test_with_every_feeder_open_the_bus_draws_nothing() -> None:
    bus = Bus(Truth(builtin_feeder("ieee13"), like_feeders=COUNT))
    bus.call(10 * S_NS)
    bus.call(11 * S_NS, bus.opened(COUNT, "sls:line", 10_500 * MS_NS))
    now = bus.call(15 * S_NS)
    assert now is not None
    assert max(abs(p) for row in now.load.curves[0].P_W for p in row) < 1.0
    assert all(a.feeders == 0 for a in part(now).armed) and part(now).blocks[0].feeders == COUNT


def test_a_request_is_answered_with_a_plan_and_the_expected_sequence() -> None:
    bus = Bus(Truth(ieee123_with_der(), inverters(12, 3), like_feeders=COUNT, available_w=120e3))
    course = {"t_s": [0.0, 1.0, 2.0, 4.0], "v_pu": [1.01] * 4, "f_hz": [60.0, 60.0, 59.2, 59.6]}
    now = part(bus.call(10 * S_NS, request={"deficit_w": 3.0 * bus.head_w, "within_s": 5.0, "course": course}))
    assert now.plan is not None and now.plan.met and now.plan.P_net_W >= 3.0 * bus.head_w - 1.0  # to a watt
    assert all(not name.startswith("dr") for name in now.plan.actions)  # too slow
    assert now.sequence is not None
    assert [e.device for e in now.sequence.events if e.event == "open"] == ["ufls:1", "ufls:2"]
    assert sum(e.event == "trip" for e in now.sequence.events) == 3
    long = {"t_s": [0.0, 86_400.0], "v_pu": [1.0, 1.0], "f_hz": [60.0, 60.0]}
    refused = bus.call(11 * S_NS + 500 * MS_NS, request={"course": long})
    assert refused is not None and any("give at most 600 s" in reason for reason in refused.quality.reasons)
    bad = bus.call(13 * S_NS, request={"course": {"t_s": [0.0]}})
    assert bad is not None and any("request refused" in reason for reason in bad.quality.reasons)


@pytest.mark.parametrize(("v_min_pu", "ends"), [(0.8, True), (0.9, False)])
def test_it_is_over_when_the_transmission_system_says_so(v_min_pu: float, ends: bool) -> None:
    """A bus that stays at 0.94 pu is within half of the limits of a scenario with 0.8 pu, and not of one with 0.9 pu."""
    tracker = Tracker(60.0, thresholds=EmergencyThresholds(v_min_pu=v_min_pu, hold_ns=5 * S_NS))
    assert tracker.look(10 * S_NS, 1e6, 0.94, 59.8, COUNT, None) == "during"
    phases = [tracker.look(t * S_NS, 1e6, 0.94, 60.0, COUNT, None) for t in range(11, 31)]
    assert phases[:5] == ["during"] * 5
    assert phases[-1] == ("before" if ends else "during")


def test_der_that_tripped_long_before_are_no_part_of_the_ledger() -> None:
    """They are not in the power of the bus when the emergency begins, so that they cannot be lost in it."""
    bus = Bus(Truth(builtin_feeder("ieee13"), like_feeders=COUNT))
    last = bus.call(10 * S_NS)
    assert last is not None
    tracker = Tracker(60.0)
    tracker.hear([{"event": "der_trip", "der": "a", "t_event_ns": 2 * S_NS, "p_before_w": 1e5}], COUNT)
    p_w = 1e7
    tracker.look(600 * S_NS, p_w, 1.0, 60.0, COUNT, last)
    tracker.look(601 * S_NS, p_w, 1.0, 59.8, COUNT, last)
    ledger = tracker.ledger(p_w, 1.0, 59.8, 601 * S_NS)
    assert ledger is not None and ledger.P_der_lost_W == 0.0
