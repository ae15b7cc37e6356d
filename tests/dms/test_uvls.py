"""Under-voltage load shedding against the circuit it is an equivalent of."""

from __future__ import annotations

import cmath

import pytest

from federates.dms.uvls import Thevenin, composed, expected, left_for, moved_pu, voltage_pu
from federates.grid.relay import Stage

S_VA = 100e6
SOURCE = Thevenin(1.0, 0.02, 0.2, S_VA)
MS = 1_000_000


def stage(number: int, pickup: float, delay_s: float) -> Stage:
    return Stage("uvls", number, "v_pu", pickup, round(delay_s * 1e9), reset=0.01)


def motors(v_pu: float) -> tuple[float, float]:
    """Half constant power, half constant impedance; Q likewise."""
    return 80e6 * (0.5 + 0.5 * v_pu**2), 40e6 * (0.5 + 0.5 * v_pu**2)


@pytest.mark.parametrize("left", [0.0, 0.3, 0.7, 1.0])
def test_the_voltage_satisfies_the_circuit(left: float) -> None:
    v = voltage_pu(SOURCE, motors, left)
    p, q = (left * x / S_VA for x in motors(v))
    e = v + complex(SOURCE.r_pu, SOURCE.x_pu) * complex(p, -q) / v
    assert abs(cmath.polar(e)[0] - SOURCE.e_pu) < 1e-7


@pytest.mark.parametrize("x_pu", [0.2, 0.5, 2.0])
def test_an_impedance_has_a_voltage_behind_every_source(x_pu: float) -> None:
    """150 MW at 1 pu, and with 1 pu there it would be past the nose from 0.33 pu on: the voltage divider, by complex numbers."""
    source = Thevenin(1.0, 0.02, x_pu, S_VA)
    divided = abs(1.0 / 1.5 / (1.0 / 1.5 + complex(0.02, x_pu)))
    assert voltage_pu(source, lambda v: (150e6 * v * v, 0.0)) == pytest.approx(divided, abs=1e-7)
    with pytest.raises(ValueError, match="no voltage carries 150 MW"):
        voltage_pu(Thevenin(1.0, 0.02, 0.5, S_VA), lambda _: (150e6, 0.0))


def test_what_may_be_left_gives_the_voltage_wanted() -> None:
    left = left_for(SOURCE, motors, 0.95)
    assert 0.0 < left < 1.0
    assert voltage_pu(SOURCE, motors, left) == pytest.approx(0.95, abs=1e-6)
    with pytest.raises(ValueError, match="shedding does not bring"):
        left_for(SOURCE, motors, 1.05)


def test_beyond_the_nose_there_is_no_voltage() -> None:
    with pytest.raises(ValueError, match="no voltage carries"):
        voltage_pu(SOURCE, lambda v: (400e6, 0.0))


def test_a_cleared_fault_sheds_nothing_and_stalled_motors_do() -> None:
    stages = [stage(1, 0.92, 3.0), stage(2, 0.90, 5.0)]
    fault = [(t * MS, 60.0, 0.45 if 1000 <= t < 1150 else 1.0) for t in range(0, 8000, 10)]
    assert expected("r", stages, fault).trips == ()
    assert not expected("r", stages, fault).fidvr
    stalled = [(t * MS, 60.0, 0.45 if 1000 <= t < 1100 else 0.8 if 1100 <= t < 7000 else 1.0) for t in range(0, 9000, 10)]
    found = expected("r", stages, stalled)
    assert [(trip.stage.name, trip.t_operate_ns) for trip in found.trips] == [("uvls:1", 4000 * MS), ("uvls:2", 6000 * MS)]
    assert found.fidvr
    assert expected("r", [stage(1, 0.9, 0.1)], fault).too_fast == ("uvls:1",)


LADDER = [Stage("uvls", n, "v_pu", 0.9, round(s * 1e9), reset=0.01, feeders=2) for n, s in ((1, 2.0), (2, 4.0), (3, 6.0))]


def test_a_stage_that_lifts_the_voltage_spares_those_after_it() -> None:
    """Ten feeders held at 0.88 pu: two off bring 0.9 nearly back, two more pass the dropout of 0.91, and the third stage rests."""
    steps = composed("r", LADDER, [(0, 60.0, 0.88)], SOURCE, motors, 10)
    assert [(step.trip.stage.number, step.feeders) for step in steps] == [(1, 2), (2, 2)]
    assert [step.trip.t_open_ns for step in steps] == [2080 * MS, 4080 * MS]
    first, second = steps
    assert first.v_before_pu == 0.88 and first.v_after_pu == second.v_before_pu < 0.91 <= second.v_after_pu
    for left, v in ((0.8, first.v_after_pu), (0.6, second.v_after_pu)):
        p, q = (left * x / S_VA for x in motors(v))
        whole = tuple(x / S_VA for x in motors(0.88))
        e = 0.88 + complex(SOURCE.r_pu, SOURCE.x_pu) * complex(whole[0], -whole[1]) / 0.88
        assert abs(v + complex(SOURCE.r_pu, SOURCE.x_pu) * complex(p, -q) / v) == pytest.approx(abs(e), abs=1e-7)
    taken_as_given = expected("r", LADDER, [(0, 60.0, 0.88)]).trips
    assert [trip.stage.number for trip in taken_as_given] == [1, 2, 3]


def test_behind_a_stiff_source_every_stage_acts() -> None:
    stiff = Thevenin(1.0, 0.0, 1e-6, S_VA)
    steps = composed("r", LADDER, [(0, 60.0, 0.88)], stiff, motors, 5)
    assert [(step.trip.stage.number, step.feeders) for step in steps] == [(1, 2), (2, 2), (3, 1)]
    assert all(step.v_after_pu == pytest.approx(0.88, abs=1e-4) for step in steps)


def test_the_course_goes_on_under_what_was_shed() -> None:
    """The system sinks further after the first stage: relays see the course, lifted by what is off."""
    samples = [(t * MS, 60.0, 0.89 if t < 5000 else 0.83) for t in range(0, 12000, 100)]
    steps = composed("r", LADDER, samples, SOURCE, motors, 10)
    assert [step.trip.stage.number for step in steps] == [1, 2, 3]
    assert steps[1].trip.t_operate_ns >= 9000 * MS  # it had dropped out, and began again at 5 s
    assert steps[2].v_after_pu == pytest.approx(moved_pu(SOURCE, motors, 0.83, 0.4), abs=1e-9)


def test_load_that_regulators_bring_back_takes_voltage_with_it() -> None:
    at_once = moved_pu(SOURCE, motors, 0.88, 0.8)
    later = moved_pu(SOURCE, motors, 0.88, 0.8, lambda _: (80e6, 40e6))
    assert later < at_once
