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
from federates.runtime.port import Sample

MOTORS = MotorStall(share=0.2)
CONSTANT_POWER = ("671", "675a", "675b", "675c", "634a", "634b", "634c")  # of the IEEE 13 feeder


class Fed:
    """A feeder fed at a voltage that is set by hand."""

    def __init__(self, motors: MotorStall | None) -> None:
        flat = LoadProfile(source="flat", noise=0.0, temperature_mean_c=18.0, temperature_swing_k=0.0)
        self.federate = DistributionFederate(Distribution(builtin_feeder("ieee13"), "b", profile=flat, motors=motors))
        self.federate.start(0)
        self.t_ns = 0

    def at(self, v_pu: float, step_ns: int = 20 * MS_NS) -> dict[str, Any]:
        given = {"v_pu": v_pu, "angle_rad": 0.0, "f_hz": 60.0}
        inputs: dict[str, Any] = {name: Sample.of([value], self.t_ns) for name, value in given.items()}
        outputs = dict(self.federate.step(self.t_ns, {**inputs, "emergency": (), "command": ()}).outputs)
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
