"""The transmission system: voltages, frequency, outages and trips, by the engine of choice, and the emergency mode.

The load of a bus is what its feeders draw plus native load. The native load is set once, at the start, so that the bus draws what
the network file states, P and Q (see `bulk.native_of`); from then on the feeders move by themselves. How the bulk system answers is
the engine's (`bulk.Bulk`): its ports are the same for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from federates.field.bulk import Bulk, BulkState
from federates.field.commands import COMMAND, EMERGENCY, SOE
from federates.field.response_engine import ResponseEngine
from federates.grid.emergency import EmergencyDetector, EmergencyThresholds
from federates.grid.fleet import FrequencySettings
from federates.grid.native_shedding import SheddingBlock
from federates.grid.transmission import TransmissionError, TransmissionModel
from federates.runtime.federate import S_NS, Step
from federates.runtime.port import Inputs, Outputs, Port, Quality, Sample

PHASES = ("a", "b", "c")


@dataclass(frozen=True)
class Attachment:
    """A feeder (name of its distribution federate) at a bus."""

    feeder: str
    bus: str


@dataclass(frozen=True)
class Transmission:
    """Parameters of the transmission federate. `steps_per_s`, `low_v_pu`: of the dynamics engine, see `DynamicsSettings`."""

    model: TransmissionModel
    attachments: tuple[Attachment, ...]
    frequency: FrequencySettings = field(default_factory=FrequencySettings)
    thresholds: EmergencyThresholds = field(default_factory=EmergencyThresholds)
    emergency_step_ns: int = 20_000_000
    period_ns: int = S_NS
    engine: Literal["response", "dynamics"] = "response"
    shedding: tuple[SheddingBlock, ...] = ()
    steps_per_s: int = 32
    low_v_pu: float = 0.7


def make_engine(params: Transmission) -> Bulk:
    """The engine that the parameters ask for. ValueError for times that it cannot keep."""
    if params.engine == "response":
        return ResponseEngine(params.model, params.frequency, params.shedding)
    from federates.field.dynamics_engine import DynamicsEngine, DynamicsSettings
    from federates.grid.dynamics.cases import EXCHANGE_NS

    for what, span_ns in (("period", params.period_ns), ("emergency step", params.emergency_step_ns)):
        if span_ns % EXCHANGE_NS:
            exchange_ms = EXCHANGE_NS // 1_000_000
            raise ValueError(f"the dynamics engine exchanges at multiples of {exchange_ms} ms; the {what} is {span_ns / 1e6:g} ms")
    settings = DynamicsSettings(params.steps_per_s, params.low_v_pu)
    return DynamicsEngine(params.model, params.frequency, settings, params.shedding)


class TransmissionFederate:
    """The bulk system; leads the coupled group. Its buses with feeders are the TBLM buses."""

    def __init__(self, params: Transmission) -> None:
        self.params = params
        self.period_ns = params.period_ns
        self._bulk = make_engine(params)
        engine = self._bulk.network
        self.buses = tuple(dict.fromkeys(a.bus for a in params.attachments))
        self._at = [self._bus_index(bus) for bus in self.buses]
        power_ports = []
        for a in params.attachments:
            power_ports.append(Port(f"p_{a.feeder}", "W", PHASES, f"drawn at bus {a.bus} by the feeders like {a.feeder}"))
            power_ports.append(Port(f"q_{a.feeder}", "var", PHASES, f"drawn at bus {a.bus} by the feeders like {a.feeder}"))
        self.inputs: Sequence[Port] = (*power_ports, COMMAND)
        self.outputs: Sequence[Port] = (
            Port("v_pu", "pu", self.buses, "voltage magnitude at the TBLM buses, of nominal"),
            Port("angle_rad", "rad", self.buses, "voltage angle there, against the reference machine's"),
            Port("f_hz", "Hz", (), "system frequency"),
            Port("all_v_pu", "pu", engine.bus_names, "voltage magnitude at every bus, of nominal"),
            Port("load_p_w", "W", engine.bus_names, "load of every bus, load positive"),
            Port("load_q_var", "var", engine.bus_names, "load of every bus, load positive"),
            Port("line_status", "1", engine.branch_names, "1: in service"),
            Port("loading", "1", engine.branch_names, "current over rating; LOST where the file states no rating"),
            Port("gen_p_w", "W", engine.generator_names, "generation positive; 0 when out of service"),
            Port("gen_status", "1", engine.generator_names, "1: in service"),
            Port("governor_p_w", "W", (), "governors' and secondary control's power together"),
            EMERGENCY,
            SOE,
        )
        self._detector = EmergencyDetector(params.thresholds, params.frequency.nominal_hz)

    def _bus_index(self, bus: str) -> int:
        names = self._bulk.network.bus_names
        try:
            return names.index(bus)
        except ValueError:
            known = ", ".join(names[:12])
            raise TransmissionError("unknown", f"no bus '{bus}' in {self.params.model.source}; there is {known} ...") from None

    def start(self, t_ns: int) -> Outputs:
        """The network as its file has it, all load native."""
        return self._outputs(self._bulk.start())

    def solve(self, t_ns: int, inputs: Inputs) -> Outputs:
        """The bulk system with what the feeders draw."""
        return self._outputs(self._bulk.solve(t_ns, self._fed(inputs)))

    def residual(self, before: Outputs, after: Outputs) -> float:
        """Largest change of a TBLM bus's voltage magnitude or angle, pu and rad."""
        changes = [np.abs(_values(after[name]) - _values(before[name])).max(initial=0.0) for name in ("v_pu", "angle_rad")]
        return float(max(changes))

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        """Advance to t, carry out commands, and see whether there is an emergency."""
        state, rows = self._bulk.step(t_ns, self._fed(inputs), inputs["command"])
        was, step_ns = self._detector.active, self.params.emergency_step_ns
        live = state.bus_quality[self._at] & int(Quality.LOST) == 0
        v_least = float(state.v_pu[self._at][live].min(initial=np.inf))
        active = self._detector.update(t_ns, state.f_hz, state.rocof_hz_per_s, v_least)
        outputs = dict(self._outputs(state)) if state.t_ns == t_ns else {}
        if active != was:
            outputs["emergency"] = [{"active": active, "step_ns": step_ns}]
            rows.append({"event": "emergency_begins" if active else "emergency_ends", "f_hz": state.f_hz, "v_min_pu": v_least})
        outputs["soe"] = rows
        wishes = ((t_ns // step_ns + 1) * step_ns if active else None, self._bulk.wish_ns(t_ns))
        return Step(outputs, min((wish for wish in wishes if wish is not None), default=None))

    def stop(self) -> None:
        """Release the engine."""
        self._bulk.stop()

    def _fed(self, inputs: Inputs) -> dict[str, tuple[float, float]]:
        """What the feeders at each TBLM bus draw, W and var; a feeder that has said nothing counts as nothing."""
        drawn = dict.fromkeys(self.buses, (0.0, 0.0))
        for a in self.params.attachments:
            p, q = inputs[f"p_{a.feeder}"].values, inputs[f"q_{a.feeder}"].values
            if np.isfinite(p).all() and np.isfinite(q).all():
                before = drawn[a.bus]
                drawn[a.bus] = before[0] + float(p.sum()), before[1] + float(q.sum())
        return drawn

    def _outputs(self, state: BulkState) -> Outputs:
        unrated = np.where(np.isfinite(state.loading), 0, int(Quality.LOST)).astype(np.uint16)
        everywhere = list(range(len(state.v_pu)))

        def of_buses(values: np.ndarray, buses: list[int]) -> np.ndarray | Sample:
            quality = state.bus_quality[buses]
            return Sample.of(values[buses], state.t_ns, quality) if quality.any() else values[buses]

        return {
            "v_pu": of_buses(state.v_pu, self._at),
            "angle_rad": of_buses(state.angle_rad, self._at),
            "f_hz": [state.f_hz],
            "all_v_pu": of_buses(state.v_pu, everywhere),
            "load_p_w": of_buses(state.load_w[:, 0], everywhere),
            "load_q_var": of_buses(state.load_w[:, 1], everywhere),
            "line_status": state.line_status,
            "loading": Sample(state.loading, state.t_ns, unrated),
            "gen_p_w": state.gen_p_w,
            "gen_status": state.gen_status,
            "governor_p_w": [state.governor_p_w],
        }


def _values(output: object) -> np.ndarray:
    return output.values if isinstance(output, Sample) else np.asarray(output)
