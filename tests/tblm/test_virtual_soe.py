"""The virtual sequence of events against the field's own federates on the same course, and the explanation of differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from shedding_case import V_PU, begun
from telemetry import ieee123_with_der, inverters

from federates.field.ders import Ders, DersFederate, Unit
from federates.field.relays import Relays, RelaysFederate
from federates.grid.load import frequency_response
from federates.grid.relay import Stage
from federates.runtime.port import Event, Sample
from federates.tblm.emergency_model import SequenceEvent
from federates.tblm.virtual_soe import STEP_NS, Course, differences, virtual

MS = 1_000_000
LEGACY = Course((0.0, 1.0, 1.0, 1.3, 1.3, 3.0), (V_PU,) * 6, (60.0, 60.0, 59.25, 59.25, 60.0, 60.0))
"""59.25 Hz for 0.3 s."""


def in_the_field(course: Course, legacy: int, v_pu: np.ndarray) -> dict[str, int]:
    """When each DER of the field's federate trips on a course, its terminals at the voltages given."""
    units = tuple(Unit(f"der{k}", (1, 2, 3)) for k in range(12))
    federate = DersFederate(Ders(units, inverters(12, legacy)))
    federate.start(0)
    trips: dict[str, int] = {}
    for t_ns in range(STEP_NS, round(course.t_s[-1] * 1e9) + 1, STEP_NS):
        emergency = (Event(t_ns, "grid.emergency", 1, {"active": True, "step_ns": STEP_NS}),) if t_ns == STEP_NS else ()
        inputs = {
            "v_pu": Sample.of(v_pu, t_ns),
            "f_hz": Sample.of(course.at(t_ns * 1e-9)[1], t_ns),
            "emergency": emergency,
            "command": (),
        }
        for row in federate.step(t_ns, inputs).outputs["soe"]:
            if row["event"] == "der_trip":
                trips[row["der"]] = t_ns
    return trips


@pytest.mark.parametrize("legacy", [3, 12])
def test_a_legacy_fleet_at_59_25_hz_for_300_ms_trips_in_the_sub_step_of_the_field(legacy: int) -> None:
    model, settings = ieee123_with_der(), inverters(12, legacy)
    study, opened = begun(model, settings, 150e3)
    events = virtual(study, opened.base, (), LEGACY, closed=4)
    expected = in_the_field(LEGACY, legacy, opened.feeder.der_v_pu().ravel())
    names = dict(zip((f"der{k}" for k in range(12)), study.feeder.der_names, strict=True))
    trips = {e.device: e for e in events if e.event == "trip"}
    assert len(expected) == legacy and set(trips) == {names[unit] for unit in expected}
    for unit, t_ns in expected.items():
        assert trips[names[unit]].t_ns == t_ns
        assert trips[names[unit]].dP_W == pytest.approx(4 * 150e3, rel=0.01)
    # 0.16 s after the frequency fell; the sample at 1 s counts as held since 0.98 s, as in the field
    assert all(e.t_ns == 1140 * MS for e in trips.values())


def test_what_trips_is_what_was_measured_and_not_before_its_time() -> None:
    """A DER that is curtailed to half is lost with half, and the beginning of a course is no step."""
    study, opened = begun(ieee123_with_der(), inverters(12, 12), 150e3)
    base = opened.base._replace(der_p_w=np.full(12, 75e3), der_q_var=np.zeros(12))
    low = Course((0.0, 0.5), (V_PU, V_PU), (59.25, 59.25))
    trips = [e for e in virtual(study, base, (), low, closed=1) if e.event == "trip"]
    assert len(trips) == 12 and all(e.t_ns == 160 * MS for e in trips)
    assert [e.dP_W for e in trips] == pytest.approx([75e3] * 12, rel=0.01)


def test_59_35_hz_trips_nobody() -> None:
    study, opened = begun(ieee123_with_der(), inverters(12, 6), 150e3)
    higher = Course(LEGACY.t_s, LEGACY.v_pu, (60.0, 60.0, 59.35, 59.35, 60.0, 60.0))
    assert [e for e in virtual(study, opened.base, (), higher, 1) if e.event == "trip"] == []


def stages() -> tuple[Stage, ...]:
    return (
        Stage("ufls", 1, "f_hz", 59.5, 100 * MS, 60 * MS, feeders=2),
        Stage("ufls", 2, "f_hz", 59.3, 200 * MS, 60 * MS, feeders=5),
        Stage("uvls", 1, "v_pu", 0.9, 3000 * MS, 60 * MS),
    )


def test_relays_open_when_the_relays_of_the_field_do() -> None:
    course = Course((0.0, 0.5, 2.5, 6.0), (V_PU, V_PU, 0.88, 0.88), (60.0, 60.0, 59.2, 59.4))
    study, opened = begun(ieee123_with_der(), inverters(), 100e3)
    events = [e for e in virtual(study, opened.base, stages(), course, closed=10) if e.event == "open"]
    federate = RelaysFederate(Relays("r", "16", stages()))
    federate.start(0)
    field, t_ns = dict[str, int](), 0
    while t_ns <= 6000 * MS:
        v_pu, f_hz = course.at(t_ns * 1e-9)
        started = (Event(0, "grid.emergency", 1, {"active": True, "step_ns": STEP_NS}),) if t_ns == 0 else ()
        measured = {"v_pu": Sample.of(v_pu, t_ns), "f_hz": Sample.of(f_hz, t_ns)}
        inputs: dict[str, Any] = {**measured, "emergency": started, "command": ()}
        step = federate.step(t_ns, inputs)
        for command in step.outputs["trip"]:
            field[command["cause"]] = t_ns + MS  # delivered
        assert step.next_ns is not None
        t_ns = step.next_ns
    assert [e.device for e in events] == ["ufls:1", "ufls:2", "uvls:1"]
    for event in events:
        assert abs(event.t_ns - field[event.device]) <= STEP_NS
    first = events[0]
    v_pu, f_hz = course.at(first.t_ns * 1e-9)
    feeder, base = opened.feeder, opened.base
    feeder.set_source(v_pu)
    feeder.set_loads(*frequency_response(base.load_p_w, base.load_q_var, feeder.load_class, f_hz, 60.0))
    feeder.solve()
    assert first.dP_W == pytest.approx(-2 * feeder.head()[0].sum(), rel=0.01)
    assert events[2].dP_W < 0.0


def test_the_same_course_gives_the_same_bits() -> None:
    study, opened = begun(ieee123_with_der(), inverters(12, 5), 150e3)
    assert virtual(study, opened.base, stages(), LEGACY, 4) == virtual(study, opened.base, stages(), LEGACY, 4)


def test_what_happened_is_explained() -> None:
    def event(t_ms: int, device: str, what: str, kind: str) -> SequenceEvent:
        return SequenceEvent(t_ms * MS, device, what, 0.0, kind)  # type: ignore[arg-type]

    expected = [event(100, "ufls:1", "open", "virtual"), event(200, "pv1", "trip", "virtual"), event(300, "pv2", "trip", "virtual")]
    actual = [
        event(5100, "ufls:1", "open", "actual"),
        event(5280, "pv1", "trip", "actual"),
        event(5290, "ufls:2", "open", "actual"),
    ]
    rows = {(d.device, d.event): d for d in differences(expected, actual, LEGACY)}
    assert len(rows) == 4
    assert rows["ufls:1", "open"].late_s == 0.0 and rows["ufls:1", "open"].why == "as expected"
    assert rows["pv1", "trip"].late_s == pytest.approx(0.08)
    assert rows["pv2", "trip"].late_s is None and "expected only" in rows["pv2", "trip"].why
    assert rows["ufls:2", "open"].late_s is None and "not expected" in rows["ufls:2", "open"].why


def test_a_course_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="a course needs"):
        Course((0.0, 1.0), (1.0,), (60.0, 60.0))
    with pytest.raises(ValueError, match="a course needs"):
        Course((1.0, 0.0), (1.0, 1.0), (60.0, 60.0))
