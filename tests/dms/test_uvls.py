"""Under-voltage load shedding against the circuit it is an equivalent of."""

from __future__ import annotations

import cmath

import pytest

from federates.dms.uvls import Thevenin, expected, left_for, voltage_pu
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
