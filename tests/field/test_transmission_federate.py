"""The transmission federate against pandapower and against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandapower as pp
import pytest
from pandapower import networks

from federates.field.bulk import native_of
from federates.field.transmission import Attachment, Transmission, TransmissionFederate
from federates.grid.emergency import EmergencyThresholds
from federates.grid.fleet import FrequencySettings
from federates.grid.native_shedding import SheddingBlock
from federates.grid.relay import Stage
from federates.grid.transmission import Transmission as Network
from federates.grid.transmission import TransmissionError, TransmissionModel
from federates.runtime.conformance import check_federate
from federates.runtime.federate import MS_NS, S_NS, Spec
from federates.runtime.port import Event, Port, Sample

CASE39 = TransmissionModel("pandapower:case39")
ONE = (Attachment("f", "16"),)
FED_W, FED_VAR = 120e6, 30e6


def inputs(
    federate: TransmissionFederate, fed_w: float = FED_W, commands: tuple[dict[str, Any], ...] = (), t_ns: int = 0
) -> dict[str, Any]:
    """Every feeder draws `fed_w` in three equal phases."""
    made: dict[str, Any] = {}
    for port in federate.inputs:
        if port.kind == "event":
            made[port.name] = tuple(Event(t_ns, "test.out", k + 1, payload) for k, payload in enumerate(commands))
        else:
            made[port.name] = Sample.of(np.full(3, (fed_w if port.unit == "W" else FED_VAR) / 3.0), t_ns)
    return made


class Run:
    """A federate walked by hand: starts, commits t = 0, then steps."""

    def __init__(self, fed_w: float = FED_W, **settings: Any) -> None:
        more = {key: settings.pop(key) for key in ("thresholds", "emergency_step_ns", "shedding") if key in settings}
        self.federate = TransmissionFederate(Transmission(CASE39, ONE, FrequencySettings(**settings), **more))
        self.federate.start(0)
        self.fed_w = fed_w
        self.first = self.step(0)

    def step(self, t_ns: int, *commands: dict[str, Any], fed_w: float | None = None) -> dict[str, Any]:
        self.answer = self.federate.step(t_ns, inputs(self.federate, self.fed_w if fed_w is None else fed_w, commands, t_ns))
        return dict(self.answer.outputs)

    def index(self, port: str, name: str) -> int:
        (ids,) = [p.ids for p in self.federate.outputs if p.name == port]
        return ids.index(name)


def test_the_first_commit_draws_what_the_file_says_and_nothing_moves_afterwards() -> None:
    run = Run()
    net = networks.case39()
    for port, column in (("load_p_w", "p_mw"), ("load_q_var", "q_mvar")):
        drawn = {int(bus): power for bus, power in zip(net.load.bus, 1e6 * net.load[column], strict=True)}
        assert run.first[port] == pytest.approx([drawn.get(i, 0.0) for i in range(39)], abs=1e-3)
    pp.runpp(net, numba=False)
    assert run.first["all_v_pu"] == pytest.approx(net.res_bus.vm_pu.to_numpy(), abs=1e-7)
    for k in range(1, 121):
        outputs = run.step(k * S_NS)
        assert outputs["f_hz"][0] == pytest.approx(60.0, abs=1e-6) and run.answer.next_ns is None and outputs["soe"] == []
    assert outputs["all_v_pu"] == pytest.approx(run.first["all_v_pu"], abs=1e-9)


def test_an_outage_moves_voltages_as_pandapower_says() -> None:
    """Up to the losses, which the file's slack takes there and the governed machines share here."""
    run = Run()
    outputs = run.step(S_NS, {"action": "open_line", "line": "15-16"})
    net = networks.case39()
    line = net.line[(net.line.from_bus == 14) & (net.line.to_bus == 15)].index[0]
    net.line.loc[line, "in_service"] = False
    pp.runpp(net, numba=False)
    assert outputs["all_v_pu"] == pytest.approx(net.res_bus.vm_pu.to_numpy(), abs=2e-4)
    assert np.abs(outputs["all_v_pu"] - run.first["all_v_pu"]).max() > 0.01
    assert outputs["line_status"][run.index("line_status", "15-16")] == 0.0
    assert outputs["soe"] == [{"event": "open_line", "line": "15-16"}]
    back = run.step(2 * S_NS, {"action": "close_line", "line": "15-16"})
    assert back["all_v_pu"] == pytest.approx(run.first["all_v_pu"], abs=1e-4)


@pytest.mark.parametrize(("fed_w", "fed_var"), [(40e6, 5e6), (120e6, 90e6), (658e6, 90e6)])
def test_reactive_power_at_a_bus_is_the_files_whatever_its_feeders_draw(fed_w: float, fed_var: float) -> None:
    """Bus 16 states 329 MW and 32.3 Mvar; feeders of twice that leave no native P, and its power factor."""
    network = Network(CASE39)
    p_w, q_var = native_of(network, 15, fed_w, fed_var)
    assert p_w + fed_w == pytest.approx(max(329e6, fed_w)) and q_var + fed_var == pytest.approx(32.3e6 * max(fed_w / 329e6, 1.0))
    assert native_of(network, 1, 5e6, 1e6) == (0.0, 0.0), "bus 2 has no load in the file, and no compensation"


def test_a_generator_at_no_power_is_in_service_until_it_trips() -> None:
    run = Run()
    at = run.index("gen_status", "G30")
    still = run.step(S_NS, {"action": "set_generator", "generator": "G30", "p_w": 0.0})
    assert still["gen_status"].tolist() == [1.0] * 10
    gone = run.step(2 * S_NS, {"action": "trip_generator", "generator": "G30"})
    assert gone["gen_status"][at] == 0.0 and gone["gen_p_w"][at] == 0.0


def test_a_trip_gives_the_initial_slope_and_the_steady_deviation_of_the_closed_forms() -> None:
    """df/dt = -f0 dP / (2 E) of what is left; then droop and native damping share the loss."""
    damping, droop = 1.5, 0.05
    run = Run(native_damping_pu=damping, droop_pu=droop, dead_band_hz=0.0, headroom=1.0, governor="gas")
    model = run.federate._bulk.frequency.model  # type: ignore[union-attr]
    lost_w = float(run.first["gen_p_w"][run.index("gen_p_w", "G30")])
    tripped = run.step(S_NS, {"action": "trip_generator", "generator": "G30"})
    assert tripped["soe"][0] == {"event": "trip_generator", "generator": "G30", "p_w": pytest.approx(lost_w, rel=1e-6)}
    left = [m for m in model.machines if m.name != "G30"]
    slope = -60.0 * lost_w / (2.0 * sum(m.rating_va * m.inertia_s for m in left))
    f_hz = run.step(S_NS + 20 * MS_NS)["f_hz"][0]
    assert (f_hz - 60.0) / 0.02 == pytest.approx(slope, rel=0.03)
    for k in range(2, 90):
        last = run.step(k * S_NS)
    regulation = sum(m.rating_va for m in left if m.governor) / (droop * 60.0)
    native_w = float(run.first["load_p_w"].sum()) - FED_W
    losses_w = float(last["gen_p_w"].sum() - last["load_p_w"].sum()) - float(
        run.first["gen_p_w"].sum() - run.first["load_p_w"].sum()
    )
    expected = -(lost_w + losses_w) / (regulation + damping * native_w / 60.0)
    assert last["f_hz"][0] - 60.0 == pytest.approx(expected, rel=0.01)
    assert last["governor_p_w"][0] == pytest.approx(-regulation * (last["f_hz"][0] - 60.0), rel=0.01)


def test_what_the_feeders_draw_moves_frequency_from_the_moment_it_is_published() -> None:
    """Published at 1 s and seen at 2 s: the whole second counts, at the full slope."""
    run = Run(governed_share=0.0, native_damping_pu=0.0)
    energy = sum(m.rating_va * m.inertia_s for m in run.federate._bulk.frequency.model.machines)  # type: ignore[union-attr]
    assert run.step(S_NS)["f_hz"][0] == pytest.approx(60.0, abs=1e-9)
    f_hz = run.step(2 * S_NS, fed_w=FED_W + 10e6)["f_hz"][0]
    assert f_hz - 60.0 == pytest.approx(-60.0 * 10e6 / (2.0 * energy), rel=1e-6)


def test_native_load_is_damped_once() -> None:
    """Frequency held low by a trip: bus loads without feeders fall by D per unit, the feeders' part does not."""
    run = Run(native_damping_pu=2.0, headroom=1.0)
    run.step(S_NS, {"action": "trip_generator", "generator": "G30"})
    for k in range(2, 40):
        last = run.step(k * S_NS)
    df_pu = last["f_hz"][0] / 60.0 - 1.0
    bus_15, bus_16 = run.index("load_p_w", "15"), run.index("load_p_w", "16")
    assert last["load_p_w"][bus_15] / run.first["load_p_w"][bus_15] - 1.0 == pytest.approx(2.0 * df_pu, rel=1e-6)
    native_w = run.first["load_p_w"][bus_16] - FED_W
    assert last["load_p_w"][bus_16] == pytest.approx(FED_W + native_w * (1.0 + 2.0 * df_pu), rel=1e-9)


def test_native_load_is_shed_by_stage_at_its_time() -> None:
    """A stage of 10 % at 59.9 Hz: it picks up at the first look below, and its breaker opens 180 ms later."""
    block = SheddingBlock(Stage("native", 1, "f_hz", 59.9, 100 * MS_NS, 80 * MS_NS), 0.1)
    run = Run(shedding=(block,), native_damping_pu=0.0)
    rows = run.step(S_NS, {"action": "trip_generator", "generator": "G38"})["soe"]
    t_ns, seen = S_NS, []
    while t_ns < 5 * S_NS:
        t_ns = min(run.answer.next_ns or 2**62, (t_ns // S_NS + 1) * S_NS)
        outputs = run.step(t_ns)
        seen += [(t_ns, row) for row in outputs["soe"] if row["event"].startswith(("relay", "native"))]
    assert rows[0]["event"] == "trip_generator"
    (picked, first), (operated, second), (opened, third) = seen
    assert [row["event"] for row in (first, second, third)] == ["relay_pickup", "relay_operate", "native_load_shed"]
    assert operated == picked + 100 * MS_NS and opened == picked + 180 * MS_NS
    at = run.index("load_p_w", "15")
    assert outputs["load_p_w"][at] == pytest.approx(0.9 * run.first["load_p_w"][at], rel=1e-6)


def test_an_emergency_begins_and_ends_once_and_asks_for_its_steps() -> None:
    thresholds = EmergencyThresholds(deviation_hz=0.05, rocof_hz_per_s=0.05, hold_ns=2 * S_NS)
    run = Run(thresholds=thresholds, secondary_bias_w_per_hz=2e9, secondary_time_s=30.0, headroom=1.0)
    t_ns, rows, sent = S_NS, [], []
    outputs = run.step(t_ns, {"action": "trip_generator", "generator": "G30"})
    while t_ns < 150 * S_NS:
        rows += [row for row in outputs["soe"] if "emergency" in row["event"]]
        sent += list(outputs.get("emergency", []))
        active = bool(sent and sent[-1]["active"])
        assert run.answer.next_ns == ((t_ns // (20 * MS_NS) + 1) * 20 * MS_NS if active else None)
        t_ns = min(run.answer.next_ns or 2**62, (t_ns // S_NS + 1) * S_NS)
        outputs = run.step(t_ns)
    assert [row["event"] for row in rows] == ["emergency_begins", "emergency_ends"]
    assert sent == [{"active": True, "step_ns": 20 * MS_NS}, {"active": False, "step_ns": 20 * MS_NS}]
    assert abs(rows[1]["f_hz"] - 60.0) <= 0.025


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ({"action": "open_line", "line": "1-99"}, "no branch '1-99'"),
        ({"action": "open_line", "line": 7}, "no branch '7'"),
        ({"action": "close_line"}, "the command lacks 'line'"),
        ({"action": "trip_generator", "generator": "G99"}, "no generator 'G99'"),
        ({"action": "set_generator", "generator": "G30", "p_w": float("nan")}, "p_w is nan; give a finite number"),
        ({"action": "set_generator", "generator": "G30", "p_w": "much"}, "could not convert"),
        ({"action": "explode"}, "unknown action; it takes open_line"),
    ],
)
def test_a_refused_command_becomes_a_row_and_changes_nothing(command: dict[str, Any], reason: str) -> None:
    run = Run()
    outputs = run.step(S_NS, command)
    (row,) = outputs["soe"]
    assert (
        row["event"] == "refused" and row["action"] == command["action"] and reason in row["reason"] and row["source"] == "test.out"
    )
    assert outputs["all_v_pu"] == pytest.approx(run.first["all_v_pu"], abs=1e-9)


def test_the_last_inertia_cannot_be_tripped() -> None:
    run = Run()
    names = [m.name for m in run.federate._bulk.frequency.model.machines]  # type: ignore[union-attr]
    engine = run.federate._bulk.network
    for name in names[:-1]:
        run.federate._bulk.frequency.trip(name, 0.0)  # type: ignore[union-attr]
    outputs = run.step(S_NS, {"action": "trip_generator", "generator": names[-1]})
    assert "last inertia" in outputs["soe"][0]["reason"] and engine.is_running(names[-1])


def test_an_unknown_bus_is_said() -> None:
    with pytest.raises(TransmissionError, match="no bus '99' in pandapower:case39; there is 1, 2"):
        TransmissionFederate(Transmission(CASE39, (Attachment("f", "99"),)))


def plausible(port: Port, t_ns: int) -> Any:
    """Feeders that draw about what bus 16 has."""
    if port.kind == "event":
        return [{"action": "open_line", "line": "15-16"}] if t_ns == 2 * S_NS else []
    return np.full(3, (40e6 if port.unit == "W" else 10e6) * (1.0 + 0.01 * np.sin(t_ns / S_NS)))


def test_conforms() -> None:
    assert (
        check_federate(Spec("grid", "federates.field.transmission:TransmissionFederate", Transmission(CASE39, ONE)), plausible)
        == []
    )
