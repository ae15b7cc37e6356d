"""A feeder whose motors stall: what its loads then take, and that nothing of it stays when none has stalled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from federates.field.distribution import Distribution, DistributionFederate
from federates.field.profile import LoadProfile
from federates.grid.feeder_library import builtin_feeder
from federates.grid.motor_stall import MotorStall
from federates.runtime.federate import MS_NS, S_NS
from federates.runtime.port import Event, Sample

MOTORS = MotorStall(share=0.2)
CONSTANT_POWER = ("671", "675a", "675b", "675c", "634a", "634b", "634c")  # of the IEEE 13 feeder


class Fed:
    """A feeder fed at a voltage that is set by hand."""

    def __init__(self, motors: MotorStall | None) -> None:
        flat = LoadProfile(source="flat", noise=0.0, temperature_mean_c=18.0, temperature_swing_k=0.0)
        self.federate = DistributionFederate(Distribution(builtin_feeder("ieee13"), "b", profile=flat, motors=motors))
        self.federate.start(0)
        self.t_ns = 0

    def at(self, v_pu: float, step_ns: int = 20 * MS_NS, **command: Any) -> dict[str, Any]:
        given = {"v_pu": v_pu, "angle_rad": 0.0, "f_hz": 60.0}
        inputs: dict[str, Any] = {name: Sample.of([value], self.t_ns) for name, value in given.items()}
        commands = (Event(self.t_ns, "test.out", 1, command),) if command else ()
        outputs = dict(self.federate.step(self.t_ns, {**inputs, "emergency": (), "command": commands}).outputs)
        self.t_ns += step_ns
        return outputs

    def load(self, outputs: dict[str, Any], name: str) -> tuple[float, float, float]:
        (names,) = [port.ids for port in self.federate.outputs if port.name == "load_p_w"]
        i = names.index(name)
        return outputs["load_p_w"][i], outputs["load_q_var"][i], outputs["load_v_pu"][i]


def test_constant_power_loads_take_what_runs_and_the_impedance_of_what_stands() -> None:
    before, fed = Fed(None), Fed(MOTORS)
    nominal = before.at(1.0)
    fed.at(1.0)
    for _ in range(4):
        fed.at(0.5)
    for _ in range(10):
        stalled = fed.at(1.02)
    assert stalled["motors"][0] == pytest.approx(MOTORS.share)
    z2 = MOTORS.r_stall_pu**2 + MOTORS.x_stall_pu**2
    for name in CONSTANT_POWER:
        p0, q0, _ = before.load(nominal, name)
        p, q, v = fed.load(stalled, name)
        assert v > 0.75  # above vmin_pu, where such a load takes constant power
        assert p == pytest.approx(p0 * (1.0 - MOTORS.share + MOTORS.share * MOTORS.r_stall_pu / z2 * v**2), rel=0.005)
        assert q == pytest.approx(q0 * (1.0 - MOTORS.share) + p0 * MOTORS.share * MOTORS.x_stall_pu / z2 * v**2, rel=0.005)
    assert stalled["bus_p_w"].sum() > 1.3 * nominal["bus_p_w"].sum()


def test_motors_that_run_change_nothing() -> None:
    plain, fed = Fed(None), Fed(MOTORS)
    for v_pu in (1.0, 0.97, 0.9):
        a, b = plain.at(v_pu, S_NS), fed.at(v_pu, S_NS)
        assert np.array_equal(a["load_p_w"], b["load_p_w"])
        assert list(b["motors"]) == [0.0, 0.0]


def test_motors_of_a_dead_feeder_come_to_a_stand_and_are_stalled_when_it_is_closed() -> None:
    """Two seconds dead: all stand, as at any voltage under v_stall_pu; a fifth of them turns again 0.3 s after 0.95 pu is back."""
    fed = Fed(MOTORS)
    before = fed.at(1.05)
    assert fed.at(1.05, action="open_breaker")["bus_p_w"].sum() == 0.0
    for _ in range(100):
        dead = fed.at(1.05)
    assert dead["motors"] == pytest.approx((MOTORS.share, 0.0))
    back = fed.at(1.05, action="close_breaker")
    assert back["motors"] == pytest.approx((MOTORS.share, 0.0))
    assert back["bus_p_w"].sum() > 1.3 * before["bus_p_w"].sum()
    for _ in range(13):
        still = fed.at(1.1)
    assert still["motors"][0] == pytest.approx(MOTORS.share)
    recovered = still["load_v_pu"] > MOTORS.v_restart_pu
    assert recovered.any()
    for _ in range(4):
        after = fed.at(1.1)
    turning = MOTORS.restart_share * MOTORS.share * recovered.mean()
    assert after["motors"][0] == pytest.approx(MOTORS.share - turning)


def test_stalled_motors_cool_while_their_feeder_is_dead_and_what_has_tripped_stays_off() -> None:
    """Heat decays by exp(-t / t_heat_s): a minute is four time constants. At 0.9 pu none of them turns again."""
    fed = Fed(MOTORS)
    fed.at(1.0)
    for _ in range(4):
        fed.at(0.5)
    fed.at(1.0, 2 * S_NS)
    assert fed.at(1.0)["motors"][1] == 0.0, "not yet tripped"
    fed.at(1.0, 8 * S_NS)
    warm = fed.at(1.0, action="open_breaker")
    tripped = float(warm["motors"][1])
    assert 0.0 < tripped < MOTORS.share
    for _ in range(60):
        dead = fed.at(1.0, S_NS)
    assert float(dead["motors"][1]) == tripped
    fed.at(0.9, action="close_breaker")
    for _ in range(20):
        again = fed.at(0.9, 100 * MS_NS)
    assert float(again["motors"][1]) == tripped, "cold: two seconds are not enough to trip more of them"
    assert float(again["motors"][0]) == pytest.approx(MOTORS.share - tripped, abs=1e-9)
