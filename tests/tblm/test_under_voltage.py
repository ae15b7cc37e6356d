"""Under-voltage stages in the document: what the EMS's equivalent makes of them, and what becomes of it when it is old or wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from telemetry import Truth
from test_builder import Desk

from federates.grid.feeder_library import builtin_feeder
from federates.grid.relay import Stage
from federates.runtime.federate import S_NS
from federates.runtime.port import NO_DOCUMENT, Document, Sample, canonical_json
from federates.tblm.armed import Plans
from federates.tblm.emergency_model import Emergency, UnderVoltage
from federates.tblm.model import Tblm, evaluate

COUNT = 10
STAGES = tuple(
    Stage("uvls", n, "v_pu", 0.92, round(delay_s * S_NS), reset=0.01, feeders=feeders)
    for n, delay_s, feeders in ((1, 2.0, 2), (2, 4.0, 3), (3, 8.0, 5))
)
WEAK = {"e_pu": 1.05, "r_pu": 0.02, "x_pu": 0.18, "s_base_va": 40e6, "error_pu": 1e-4}
WORSE = {**WEAK, "e_pu": 1.0, "x_pu": 0.25, "outage": "15-16"}


def message(version: int = 1, valid_s: int = 180, **parts: Mapping[str, Any]) -> Document:
    told = {"t_ns": 0, "valid_to_ns": valid_s * S_NS, "buses": {"16": WEAK}, "after": {}, "failed": {}, **parts}
    return Document(canonical_json(told), 0, version)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk(Truth(builtin_feeder("ieee13"), like_feeders=COUNT), plans=Plans(STAGES, "f"))
    yield made
    made.builder.stop()


def told(desk: Desk, t_s: int, document: Document = NO_DOCUMENT, request: Mapping[str, Any] | None = None) -> Tblm:
    desk.changed["equivalent"] = document
    found = desk.call(t_s * S_NS, {"request": (dict(request or {}),)})
    assert found is not None
    return found


def part(tblm: Tblm) -> Emergency:
    assert tblm.emergency is not None
    return tblm.emergency


def foreseen(tblm: Tblm) -> UnderVoltage:
    found = part(tblm).under_voltage
    assert found is not None
    return found


def source_pu(source: Mapping[str, Any], tblm: Tblm, v_pu: float, left: float) -> float:
    """|E| behind the impedance for a bus at `v_pu` with this part of the load that the document has there: by complex numbers."""
    at = evaluate(tblm.curve("fast"), v_pu, tblm.operating_point.f_Hz)
    s = left * complex(float(at.p_w), float(at.q_var)) / source["s_base_va"]
    return abs(v_pu + complex(source["r_pu"], source["x_pu"]) * s.conjugate() / v_pu)


def test_without_an_equivalent_nothing_is_said_of_voltages(desk: Desk) -> None:
    assert part(told(desk, 0)).under_voltage is None


def test_each_stage_is_foreseen_with_what_those_before_it_did(desk: Desk) -> None:
    tblm = told(desk, 0, message())
    (fall,) = foreseen(tblm).falls
    assert (fall.cause, fall.V_pu, fall.failed) == ("uvls:1", 0.919, "")
    assert [(step.stage, step.feeders, step.t_s) for step in fall.steps] == [("uvls:1", 2, 2.08), ("uvls:2", 3, 4.08)][
        : len(fall.steps)
    ]
    assert fall.steps and fall.spared and {step.stage for step in fall.steps} | set(fall.spared) == {s.name for s in STAGES}
    assert fall.steps[-1].V_after_pu >= 0.93
    held = source_pu(WEAK, tblm, fall.V_pu, 1.0)
    left = 1.0
    for step in fall.steps:
        left -= step.feeders / COUNT
        assert source_pu(WEAK, tblm, step.V_after_pu, left) == pytest.approx(held, abs=2e-6)
        assert step.V_after_pu > step.V_before_pu


def test_the_outage_that_takes_the_bus_lowest_is_foreseen_behind_its_own_impedance(desk: Desk) -> None:
    tblm = told(desk, 0, message(after={"16": WORSE}))
    fall = foreseen(tblm).falls[-1]
    assert fall.cause == "outage 15-16" and fall.V_pu < 0.92
    assert source_pu(WORSE, tblm, fall.V_pu, 1.0) == pytest.approx(WORSE["e_pu"], abs=2e-6)
    assert source_pu(WORSE, tblm, fall.steps[0].V_after_pu, 0.8) == pytest.approx(WORSE["e_pu"], abs=2e-6)


def test_a_voltage_that_is_low_already_is_where_it_starts(desk: Desk) -> None:
    told(desk, 0, message())
    desk.changed["bus_v_pu"] = Sample.of([0.9], 10 * S_NS)
    falls = foreseen(told(desk, 11, message())).falls
    assert [(fall.cause, fall.V_pu) for fall in falls] == [("measured", 0.9)]
    rows = ({"event": "open_breaker", "cause": "uvls:1", "feeders": 2, "p_w": 1e6, "t_event_ns": 12 * S_NS},)
    desk.changed |= {"feeders_closed": Sample.of(8.0, 13 * S_NS), "bus_v_pu": Sample.of([0.915], 13 * S_NS)}
    desk.call(14 * S_NS, {"soe": rows})
    after = [fall for fall in foreseen(told(desk, 16, message())).falls if fall.cause == "measured"]
    assert after[0].V_pu == 0.915 and after[0].steps[0].stage == "uvls:2"  # the first has operated
    desk.changed["bus_v_pu"] = Sample.of([0.9], 11 * S_NS)  # from before the breakers opened
    assert all(fall.cause != "measured" for fall in foreseen(told(desk, 20, message())).falls)


def test_a_stage_that_has_operated_is_remembered_whatever_happens_after_it(desk: Desk) -> None:
    told(desk, 0, message())
    opened = {"event": "open_breaker", "cause": "uvls:1", "feeders": 2, "p_w": 1e6, "t_event_ns": 2 * S_NS}
    taps = [{"event": "tap", "regulator": "reg1", "from": 0, "to": 1, "t_event_ns": 3 * S_NS + k} for k in range(100)]
    desk.call(10 * S_NS, {"soe": (opened, *taps)})
    falls = foreseen(told(desk, 15, message())).falls
    assert falls and {step.stage for fall in falls for step in fall.steps} <= {"uvls:2", "uvls:3"}


def test_until_the_study_has_seen_it_what_is_left_is_a_part_of_the_documents_load(desk: Desk) -> None:
    told(desk, 0, message())
    desk.truth.like_feeders = 8
    rows = ({"event": "open_breaker", "cause": "uvls:1", "feeders": 2, "p_w": 1e6, "t_event_ns": 9 * S_NS},)
    at_once = desk.call(10 * S_NS, {"soe": rows})
    studied = told(desk, 15, message())
    assert at_once is not None and (at_once.like_feeders.count, studied.like_feeders.count) == (COUNT, 8)
    before, after = (foreseen(tblm).falls[0].steps for tblm in (at_once, studied))
    assert [step.stage for step in before] == [step.stage for step in after] and before
    assert [stage.feeders for stage in part(studied).armed] == [0, 3, 5]  # the first acts once
    for a, b in zip(before, after, strict=True):
        assert a.V_after_pu == pytest.approx(b.V_after_pu, abs=2e-5)


@pytest.mark.parametrize(("v_pu", "why"), [(0.0, "without voltage"), (-1.0, "")])
def test_a_bus_without_voltage_is_told_and_stops_nothing(desk: Desk, v_pu: float, why: str) -> None:
    """As a point entered by hand would have it."""
    told(desk, 0, message())
    desk.changed["bus_v_pu"] = Sample.of([v_pu], 10 * S_NS)
    (fall,) = foreseen(told(desk, 11, message())).falls
    assert fall.cause == "measured" and not fall.steps and why in fall.failed


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (Document("{", 0, 2), "no equivalent of the transmission system"),
        (message(2, buses={"16": {"e_pu": 1.0}}), "r_pu"),
        (message(2, buses={"16": {**WEAK, "e_pu": -1.0}}), "positive"),
        (message(2, failed={"16": "buses ['16'] are cut off"}, buses={}), "cut off"),
    ],
)
def test_what_cannot_be_used_is_told_and_takes_the_place_of_what_was_there(desk: Desk, bad: Document, why: str) -> None:
    assert part(told(desk, 0, message())).under_voltage is not None
    found = told(desk, 5, bad)
    assert part(found).under_voltage is None
    assert any(why in reason for reason in found.quality.reasons)


def test_one_that_is_too_old_is_not_used(desk: Desk) -> None:
    assert part(told(desk, 0, message(valid_s=10))).under_voltage is not None
    assert part(told(desk, 20, message(valid_s=10))).under_voltage is None


def test_on_a_course_a_stage_that_lifts_the_voltage_spares_the_next(desk: Desk) -> None:
    """The same course taken as given opens every stage."""
    course = {"t_s": [0.0, 1.0, 1.1, 12.0], "v_pu": [1.0, 1.0, 0.915, 0.915], "f_hz": [60.0] * 4}
    told(desk, 0, message())
    moved = part(told(desk, 5, message(), {"course": course})).sequence
    given = part(told(desk, 10, message(), {"course": {**course, "as_given": True}})).sequence
    assert moved is not None and given is not None
    opened = [[event.device for event in s.events if event.event == "open"] for s in (moved, given)]
    assert opened[1] == ["uvls:1", "uvls:2", "uvls:3"] and opened[0] == opened[1][: len(opened[0])] and len(opened[0]) < 3
