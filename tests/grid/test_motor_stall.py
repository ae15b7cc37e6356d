"""Stalling motors against the closed form of their heating, and their timers."""

from __future__ import annotations

import numpy as np
import pytest

from federates.grid.motor_stall import MotorStall, StallingMotors

PARAMS = MotorStall(share=0.4)


def stalled(v_pu: float, t_s: float) -> StallingMotors:
    """A load whose motors stalled at 0.5 pu, and have then stood for t_s at v_pu."""
    motors = StallingMotors(PARAMS, 1)
    motors.see(np.array([0.5]))
    motors.advance(PARAMS.t_stall_s, np.array([v_pu]))
    for _ in range(round(t_s / 0.05)):
        motors.advance(0.05, np.array([v_pu]))
    return motors


def test_they_stall_after_their_time_and_not_before() -> None:
    motors = StallingMotors(PARAMS, 2)
    motors.see(np.array([0.5, 0.7]))
    motors.advance(0.02, np.array([0.5, 0.7]))
    assert motors.running().tolist() == [1.0, 1.0]
    motors.advance(0.02, np.array([0.5, 0.7]))
    assert motors.running() == pytest.approx([0.6, 1.0])


def test_a_stalled_motor_is_its_impedance() -> None:
    """P = r / (r^2 + x^2) V^2, 4.37 and 4.02 times its rating at nominal voltage."""
    p, q = stalled(0.7, 0.0).stalled_pu()
    z2 = PARAMS.r_stall_pu**2 + PARAMS.x_stall_pu**2
    assert p[0] == pytest.approx(0.4 * PARAMS.r_stall_pu / z2 * 0.7**2, rel=2e-2)
    assert q[0] / p[0] == pytest.approx(PARAMS.x_stall_pu / PARAMS.r_stall_pu)


@pytest.mark.parametrize("v_pu", [0.7, 0.8])
def test_heat_trips_them_when_the_closed_form_says(v_pu: float) -> None:
    """theta = I^2 r (1 - exp(-t / T)): the first trip at 0.7, all at 1.9."""
    z2 = PARAMS.r_stall_pu**2 + PARAMS.x_stall_pu**2
    end = PARAMS.r_stall_pu / z2 * v_pu**2
    first_s = -PARAMS.t_heat_s * np.log(1.0 - PARAMS.heat_trip_from_pu / end)
    last_s = -PARAMS.t_heat_s * np.log(1.0 - PARAMS.heat_trip_to_pu / end)
    assert stalled(v_pu, first_s - 0.2).shares()[1] == 0.0
    assert 0.0 < stalled(v_pu, first_s + 0.2).shares()[1] < 0.02
    middle = stalled(v_pu, 0.5 * (first_s + last_s))
    theta = end * (1.0 - np.exp(-(0.5 * (first_s + last_s)) / PARAMS.t_heat_s))
    assert middle.shares()[1] == pytest.approx(0.4 * (theta - 0.7) / 1.2, abs=0.01)
    assert stalled(v_pu, last_s + 0.3).shares() == pytest.approx((0.0, 0.4))


def test_a_part_turns_again_when_the_voltage_is_back() -> None:
    motors = stalled(0.96, 0.25)
    assert motors.shares()[0] == pytest.approx(0.4)
    for _ in range(4):
        motors.advance(0.05, np.array([0.96]))
    assert motors.shares()[0] == pytest.approx(0.4 * 0.8)
