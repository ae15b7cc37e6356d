"""The transmission federate with the dynamics engine: the same ports and start as with the response engine, and what is its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from federates.field.transmission import Attachment, Transmission, TransmissionFederate
from federates.grid.emergency import EmergencyThresholds
from federates.grid.frequency import FrequencyModel, FrequencyResponse, Machine
from federates.grid.governor import Governor
from federates.grid.native_shedding import SheddingBlock
from federates.grid.relay import Stage
from federates.grid.transmission import TransmissionModel
from federates.runtime.conformance import check_federate
from federates.runtime.federate import MS_NS, S_NS, Spec
from federates.runtime.port import Event, Port, Quality, Sample
from tests.grid.dynamics.andes_cases import needs_andes

pytestmark = needs_andes
MODEL = TransmissionModel("andes:ieee39", (1.0, 2.0))
FEEDERS = (Attachment("f", "16"), Attachment("g", "20"))


def made(engine: str, **more: Any) -> Transmission:
    model = more.pop("model", MODEL)
    return Transmission(model, FEEDERS, emergency_step_ns=125 * MS_NS, engine=engine, **more)  # type: ignore[arg-type]


def values(output: Any) -> np.ndarray:
    return np.asarray(output.values if isinstance(output, Sample) else output)


class Run:
    """A federate walked by hand from a committed start; each feeder draws 60 MW and 15 Mvar."""

    def __init__(self, params: Transmission) -> None:
        self.federate = TransmissionFederate(params)
        self.federate.start(0)
        self.first = self.step(0)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_error: object) -> None:
        self.federate.stop()

    def inputs(self, t_ns: int, commands: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for port in self.federate.inputs:
            if port.kind == "event":
                given[port.name] = tuple(Event(t_ns, "test.out", k + 1, payload) for k, payload in enumerate(commands))
            else:
                given[port.name] = Sample.of(np.full(3, 20e6 if port.unit == "W" else 5e6), t_ns)
        return given

    def step(self, t_ns: int, *commands: dict[str, Any]) -> dict[str, Any]:
        self.answer = self.federate.step(t_ns, self.inputs(t_ns, commands))
        return dict(self.answer.outputs)

    def index(self, port: str, name: str) -> int:
        (ids,) = [p.ids for p in self.federate.outputs if p.name == port]
        return ids.index(name)

    def to(self, t_ns: int, stop_ns: int) -> tuple[list[float], list[dict[str, Any]]]:
        """Walk as the runtime does; frequencies and rows."""
        f_hz, rows = [], []
        while t_ns <= stop_ns:
            outputs = self.step(t_ns)
            f_hz.append(outputs["f_hz"][0])
            rows += outputs["soe"]
            t_ns = min(self.answer.next_ns or 2**62, (t_ns // S_NS + 1) * S_NS)
        return f_hz, rows


def test_the_ports_and_the_start_are_those_of_the_response_engine() -> None:
    with Run(made("dynamics")) as dynamics, Run(made("response")) as response:
        described = [
            [(p.name, p.unit, p.ids, p.kind) for p in (*run.federate.inputs, *run.federate.outputs)] for run in (dynamics, response)
        ]
        assert described[0] == described[1]
        for name in ("v_pu", "all_v_pu"):
            assert values(dynamics.first[name]) == pytest.approx(values(response.first[name]), abs=1e-6)
        for name in ("load_p_w", "load_q_var", "gen_p_w"):
            assert values(dynamics.first[name]) == pytest.approx(values(response.first[name]), abs=1e5)


def test_the_nadir_is_that_of_one_mass_with_the_same_inertia_and_turbines(record_property: Any) -> None:
    """G30 (436 MW of 6.1 GW) trips: ten machines against the response model with their inertia, droop and turbine (TGOV1N: valve of
    0.05 s, then (1 + s) / (1 + 2.1 s)), loads of constant power at the voltages that move in the one and not in the other."""
    with Run(made("dynamics", model=TransmissionModel("andes:ieee39", (0.0, 0.0)))) as run:
        bulk = run.federate._bulk
        case = bulk.network.case
        ratings = dict(zip(case.generator_names, case.generator_rating_va.tolist(), strict=True))
        lost_w = float(run.first["gen_p_w"][run.index("gen_p_w", "G30")])
        load_w = float(values(run.first["load_p_w"]).sum())
        run.step(S_NS, {"action": "trip_generator", "generator": "G30"})
        f_hz, _ = run.to(S_NS + 125 * MS_NS, 25 * S_NS)
    turbine = Governor("tgov1n", 0.05, 0.0, ((0.0, 0.05), (1.0, 2.1)))
    energy = {name: (90.692e9 - 4.368e9) / 9 if name != "G30" else 4.368e9 for name in ratings}
    machines = tuple(Machine(n, va, energy[n] / va, "tgov1n", va, va) for n, va in ratings.items())
    losses_w = float(sum(run.first["gen_p_w"])) - load_w
    one_mass = FrequencyResponse(FrequencyModel(60.0, machines, (turbine,), 1.0), 120e6 + losses_w, load_w - 120e6)
    one_mass.trip("G30", lost_w)
    trace = [one_mass.step(125 * MS_NS, 120e6 + losses_w, load_w - 120e6).f_hz for _ in range(8 * 24)]
    record_property("nadir_hz", {"dynamics": min(f_hz), "one mass": min(trace)})
    print(f"nadir {min(f_hz):.4f} Hz by ANDES, {min(trace):.4f} Hz by one mass; after 24 s {f_hz[-1]:.4f} and {trace[-1]:.4f} Hz")
    assert min(f_hz) == pytest.approx(min(trace), abs=0.02)
    assert f_hz[-1] == pytest.approx(trace[-1], abs=0.02)


def test_a_command_between_exchanges_takes_effect_at_the_next_inner_step_and_is_seen_at_the_next_exchange() -> None:
    with Run(made("dynamics")) as run:
        run.step(S_NS)
        outputs = run.step(S_NS + 40 * MS_NS, {"action": "trip_generator", "generator": "G30"})
        (row,) = outputs["soe"]
        assert row["t_grid_ns"] == 1_062_500_000 and row["p_w"] == pytest.approx(436e6, rel=0.01)
        assert set(outputs) == {"soe"} and run.answer.next_ns == S_NS + 125 * MS_NS
        outputs = run.step(S_NS + 125 * MS_NS)
        assert values(outputs["gen_status"])[run.index("gen_status", "G30")] == 0.0 and outputs["f_hz"][0] < 60.0
        again = run.step(S_NS + 250 * MS_NS, {"action": "trip_generator", "generator": "G30"})["soe"]
        assert "trip_generator" not in [row["event"] for row in again], "it is out already"


def test_islanded_buses_are_suspect_and_dead_ones_lost() -> None:
    with Run(made("dynamics")) as run:
        run.step(S_NS, {"action": "open_line", "line": "19-16"})
        run.step(S_NS + 125 * MS_NS)
        parted = run.step(2 * S_NS)
        at_20 = run.index("all_v_pu", "20")
        assert (
            parted["all_v_pu"].quality[at_20] == int(Quality.SUSPECT)
            and parted["all_v_pu"].quality[run.index("all_v_pu", "16")] == 0
        )
        assert parted["v_pu"].quality.tolist() == [0, int(Quality.SUSPECT)]
        assert values(parted["line_status"])[run.index("line_status", "16-19")] == 0.0
        for generator in ("G33", "G34"):
            run.step(2 * S_NS, {"action": "trip_generator", "generator": generator})
        dead = run.step(2 * S_NS + 125 * MS_NS)
        assert dead["v_pu"].values[1] == 0.0 and dead["v_pu"].quality[1] == int(Quality.LOST)
        assert dead["load_p_w"].values[at_20] == 0.0


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ({"action": "open_line", "line": "1-99"}, "no branch '1-99'"),
        ({"action": "trip_generator", "generator": "G99"}, "no generator 'G99'"),
        ({"action": "fault_bus", "bus": "99", "duration_s": 0.1}, "no bus '99'"),
        ({"action": "fault_bus", "bus": "16", "duration_s": -1.0}, "give more than 0"),
        ({"action": "set_generator", "generator": "G30", "p_w": 1e8, "v_pu": 1.0}, "leave v_pu out"),
    ],
)
def test_a_refused_command_becomes_a_row(command: dict[str, Any], reason: str) -> None:
    with Run(made("dynamics")) as run:
        (row,) = run.step(S_NS, command)["soe"]
        assert row["event"] == "refused" and reason in row["reason"]


def test_times_that_the_engine_cannot_keep_are_refused() -> None:
    with pytest.raises(ValueError, match="exchanges at multiples of 125 ms; the period is 100 ms"):
        TransmissionFederate(Transmission(MODEL, FEEDERS, period_ns=100 * MS_NS, emergency_step_ns=125 * MS_NS, engine="dynamics"))


def plausible(port: Port, t_ns: int) -> Any:
    if port.kind == "event":
        return [{"action": "trip_generator", "generator": "G30"}] if t_ns == 2 * S_NS else []
    return np.full(3, (20e6 if port.unit == "W" else 5e6) * (1.0 + 0.01 * np.sin(t_ns / S_NS)))


def test_conforms() -> None:
    assert check_federate(Spec("grid", "federates.field.transmission:TransmissionFederate", made("dynamics")), plausible) == []


def test_a_stage_that_sheds_meanwhile_does_not_hide_the_end_of_a_fault() -> None:
    """The fault is ordered to end at 0.46875 s: until it has been seen, every exchange is asked for."""
    stage = SheddingBlock(Stage("ufls", 1, "f_hz", 61.0, 100 * MS_NS, 80 * MS_NS), 0.01)
    blind = EmergencyThresholds(deviation_hz=50.0, rocof_hz_per_s=1e6, v_min_pu=1e-6)
    with Run(made("dynamics", shedding=(stage,), thresholds=blind)) as run:
        run.step(0, {"action": "fault_bus", "bus": "39", "duration_s": 0.45})
        times, shed_ns, t_ns = [], 0, run.answer.next_ns
        while t_ns is not None:
            rows = run.step(t_ns)["soe"]
            times.append(t_ns)
            shed_ns = shed_ns or (t_ns if any(row["event"] == "native_load_shed" for row in rows) else 0)
            t_ns = run.answer.next_ns
    assert 0 < shed_ns < 400 * MS_NS
    assert times == list(range(125 * MS_NS, times[-1] + 1, 125 * MS_NS)) and times[-1] == 500 * MS_NS
