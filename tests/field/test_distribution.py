"""The distribution federate: balance of power, like feeders, frequency, controls in time, commands, lost inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from federates.field.distribution import Distribution, DistributionFederate
from federates.field.profile import Diversity, LoadProfile
from federates.grid.feeder import DerSite
from federates.grid.feeder_library import builtin_feeder
from federates.grid.load import frequency_coefficients
from federates.runtime.conformance import check_federate
from federates.runtime.federate import MS_NS, S_NS, Spec
from federates.runtime.port import Event, Port, Sample

IEEE13, IEEE123 = builtin_feeder("ieee13"), builtin_feeder("ieee123")
FLAT = LoadProfile("flat", noise=0.0, temperature_swing_k=0.0)
ALIKE = Diversity(0.0, 0.0)
SITES = (DerSite("d1", "76.1.2.3", 4.16, 600e3), DerSite("d2", "30.2", 2.4, 50e3))


class Run:
    """A federate walked by hand."""

    def __init__(self, model: Any = IEEE13, **more: Any) -> None:
        self.federate = DistributionFederate(Distribution(model, "16", **{"profile": FLAT, "diversity": ALIKE, **more}))
        self.first = dict(self.federate.start(0))
        self.held: dict[str, Any] = {"v_pu": 1.0, "angle_rad": 0.0, "f_hz": 60.0}
        self.t_ns = 0

    def inputs(self, commands: tuple[dict[str, Any], ...] = (), **change: Any) -> dict[str, Any]:
        self.held.update(change)
        made: dict[str, Any] = {}
        for port in self.federate.inputs:
            value = self.held.get(port.name, 0.0)
            made[port.name] = value if isinstance(value, Sample) else Sample.of(np.broadcast_to(value, port.size), self.t_ns)
        events = tuple(Event(self.t_ns, "test.out", k + 1, payload) for k, payload in enumerate(commands))
        return {**made, "command": events, "emergency": ()}

    def step(self, t_ns: int, *commands: dict[str, Any], **change: Any) -> dict[str, Any]:
        self.t_ns = t_ns
        self.answer = self.federate.step(t_ns, self.inputs(commands, **change))
        return dict(self.answer.outputs)

    def names(self, port: str) -> tuple[str, ...]:
        (found,) = [p.ids for p in self.federate.outputs if p.name == port]
        return found


@pytest.mark.parametrize("v_pu", [0.95, 1.0, 1.05])
def test_the_head_carries_loads_and_losses_less_generation(v_pu: float) -> None:
    run = Run(IEEE123.with_(der=SITES))
    run.step(0, v_pu=v_pu)
    outputs = run.step(S_NS, der_p_w=np.array([400e3, 30e3]), der_q_var=np.array([-50e3, 0.0]))
    gross_w = outputs["load_p_w"].sum() + outputs["losses_w"][0]
    assert outputs["head_p_w"].sum() == pytest.approx(gross_w - 430e3, abs=20.0)
    assert run.names("der_v_pu") == ("d1.1", "d1.2", "d1.3", "d2.2") and np.abs(outputs["der_v_pu"] - 1.0).max() < 0.1


def test_a_bus_draws_exactly_count_times_the_head_without_diversity() -> None:
    run = Run(count=60)
    for outputs in (run.first, run.step(0), run.step(S_NS, v_pu=0.97)):
        assert outputs["bus_p_w"] == pytest.approx(60 * outputs["head_p_w"], rel=1e-12)
        assert outputs["bus_q_var"] == pytest.approx(60 * outputs["head_q_var"], rel=1e-12)


def test_diversity_adds_gross_load_of_the_size_that_was_drawn() -> None:
    run = Run(count=60, diversity=Diversity(0.2, 300.0), profile=LoadProfile(noise=0.0), start_s=50_000.0)
    outputs = run.step(0)
    factor = run.federate._like.at(0.0)
    assert 50.0 < factor < 70.0 and abs(factor - 60.0) > 1e-3
    extra_w = outputs["bus_p_w"].sum() - 60 * outputs["head_p_w"].sum()
    assert extra_w == pytest.approx((factor - 60.0) * outputs["load_p_w"].sum(), rel=1e-9)


def test_loads_follow_frequency_by_their_class() -> None:
    """At one source voltage a constant-power load moves by kpf and kqf of its class, and so does the head but for voltage."""
    run = Run(IEEE13)
    before = run.step(0)
    after = run.step(S_NS, f_hz=59.4)
    (kpf, kqf) = frequency_coefficients(run.federate._feeder.load_class)
    constant = np.isin(run.names("load_p_w"), [n for n in run.names("load_p_w") if n in ("671", "634a", "634b", "634c", "675a")])
    assert constant.any()
    assert after["load_p_w"][constant] == pytest.approx((before["load_p_w"] * (1.0 - 0.01 * kpf))[constant], rel=1e-5)
    assert after["load_q_var"][constant] == pytest.approx((before["load_q_var"] * (1.0 - 0.01 * kqf))[constant], rel=1e-5)
    assert 0.985 < after["head_p_w"].sum() / before["head_p_w"].sum() < 0.995


def test_at_the_start_controls_are_at_rest_and_later_the_ltc_waits_for_its_delay() -> None:
    run = Run()
    run.step(0)
    ltc = next(i for i, name in enumerate(run.names("tap")) if "substation" in name)
    tap, moves = run.first["tap"][ltc], []
    for k in range(1, 60):
        outputs = run.step(k * S_NS, v_pu=0.94)
        moves += [
            (k, row["from"], row["to"]) for row in outputs["soe"] if row["event"] == "tap" and "substation" in row["regulator"]
        ]
    assert moves and 30 <= moves[0][0] <= 32 and moves[0][1] == tap
    assert outputs["tap"][ltc] == moves[-1][2] > tap


def test_solve_changes_nothing_and_gives_what_a_step_gives() -> None:
    run = Run(IEEE123)
    for v_pu in (0.97, 1.03, 1.0):
        answers = [run.federate.solve(0, run.inputs(v_pu=v_pu)) for _ in range(2)]
        for port in ("bus_p_w", "node_v_pu", "tap"):
            assert answers[0][port].tobytes() == answers[1][port].tobytes()
    committed = run.step(0)
    assert committed["bus_p_w"] == pytest.approx(answers[0]["bus_p_w"], rel=1e-12)


def test_commands_are_carried_out_and_reported_and_a_later_solve_keeps_them() -> None:
    run = Run(IEEE123)
    for t_ns in (0, S_NS):
        switch = "sw2" if t_ns else "sw6"
        outputs = run.step(
            t_ns, {"action": "open_switch", "switch": switch}, {"action": "set_capacitor", "capacitor": "c83", "steps": 0}
        )
        assert outputs["soe"][:2] == [
            {"event": "open_switch", "switch": switch, "closed": False},
            {"event": "set_capacitor", "capacitor": "c83", "steps": 0},
        ]
        again = run.federate.solve(t_ns, run.inputs())
        for answer in (outputs, again):
            assert answer["switch"][run.names("switch").index(switch)] == 0.0
            assert answer["capacitor"][run.names("capacitor").index("c83")] == 0.0
    later = run.step(2 * S_NS, {"action": "set_tap", "regulator": run.names("tap")[1], "tap": 3})
    assert later["tap"][1] == 3.0 and later["switch"][run.names("switch").index("sw6")] == 0.0


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ({"action": "open_switch", "switch": "sw99"}, "no line `sw99`"),
        ({"action": "open_switch", "switch": 5}, "no line `5`"),
        ({"action": "open_switch"}, "the command lacks 'switch'"),
        ({"action": "set_tap", "regulator": "nobody", "tap": 1}, "no regulator 'nobody'; there are"),
        ({"action": "set_tap", "regulator": "reg1", "tap": float("inf")}, "tap is inf; give a finite number"),
        ({"action": "set_capacitor", "capacitor": "cap1", "steps": 9}, "has 1 steps, not 9"),
        ({"action": "set_capacitor", "capacitor": {}, "steps": 1}, "{}"),
        ({"action": None}, "unknown action; it takes open_switch"),
    ],
)
def test_a_refused_command_becomes_a_row(command: dict[str, Any], reason: str) -> None:
    run = Run()
    before = run.step(0)
    outputs = run.step(S_NS, command)
    row = outputs["soe"][0]
    assert row["event"] == "refused" and reason in row["reason"] and row["source"] == "test.out"
    for port in ("tap", "capacitor", "switch"):
        assert port not in before or (outputs[port] == before[port]).all()


def test_a_tap_beyond_the_last_is_refused_and_moves_nothing() -> None:
    run = Run()
    before = run.step(0)["tap"]
    outputs = run.step(S_NS, {"action": "set_tap", "regulator": run.names("tap")[0], "tap": 40})
    assert "no tap 40; its last one is 16" in outputs["soe"][0]["reason"]
    assert list(outputs["tap"]) == list(before)


def test_lost_inputs_hold_their_last_value() -> None:
    run = Run(IEEE123.with_(der=SITES))
    run.step(0)
    good = run.step(S_NS, v_pu=0.99, f_hz=59.9, der_p_w=200e3)
    lost = {name: Sample.missing(1) for name in ("v_pu", "angle_rad", "f_hz")}
    held = run.step(S_NS + MS_NS, **lost, der_p_w=Sample.missing(2), der_q_var=Sample.missing(2))
    assert held["head_p_w"] == pytest.approx(good["head_p_w"], rel=1e-6)


def test_during_an_emergency_it_asks_for_the_emergency_steps() -> None:
    run = Run()
    run.step(0)
    for active, expected in ((True, 1_020 * MS_NS), (False, None)):
        inputs = run.inputs()
        inputs["emergency"] = (Event(S_NS, "grid.emergency", 1, {"active": active, "step_ns": 20 * MS_NS}),)
        assert run.federate.step(S_NS + MS_NS, inputs).next_ns == expected


def near_nominal(port: Port, t_ns: int) -> Any:
    """A transmission bus, and an open switch on the way."""
    if port.name == "command":
        return [{"action": "open_switch", "switch": "671692"}] if t_ns == 2 * S_NS else []
    return np.full(port.size, {"pu": 1.0, "rad": -0.1, "Hz": 60.0}.get(port.unit, 0.0)) if port.kind == "vector" else None


def test_conforms() -> None:
    params = Distribution(IEEE13, "16", 10, start_s=60_000.0, stop_s=20.0)
    assert check_federate(Spec("f13", "federates.field.distribution:DistributionFederate", params), near_nominal) == []
