"""The transmission system: AC power flow at each step, outages and trips, frequency, and the emergency mode.

The load of a bus is what its feeders draw plus native load. Its native share is set once, at the start, so that the bus draws the
active power of the network file (reactive power follows the share); from then on the feeders move by themselves. Frequency at t
follows from what was drawn until t; generators carry the governors' and the secondary control's power on top of their schedules,
and what losses leave over, by governor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from federates.field.commands import COMMAND, EMERGENCY, SOE, carry_out, number
from federates.grid.emergency import EmergencyDetector, EmergencyThresholds
from federates.grid.fleet import FrequencySettings
from federates.grid.frequency import FrequencyResponse
from federates.grid.transmission import PowerFlow, TransmissionError, TransmissionModel
from federates.grid.transmission import Transmission as Engine
from federates.runtime.federate import S_NS, Step
from federates.runtime.port import Inputs, Outputs, Port, Quality, Sample

PHASES = ("a", "b", "c")
_TOLERANCE_PU = 1e-8  # of native loads' voltages; the exchange with the feeders is coarser by far


@dataclass(frozen=True)
class Attachment:
    """A feeder (name of its distribution federate) at a bus."""

    feeder: str
    bus: str


@dataclass(frozen=True)
class Transmission:
    """Parameters of the transmission federate."""

    model: TransmissionModel
    attachments: tuple[Attachment, ...]
    frequency: FrequencySettings = field(default_factory=FrequencySettings)
    thresholds: EmergencyThresholds = field(default_factory=EmergencyThresholds)
    emergency_step_ns: int = 20_000_000
    period_ns: int = S_NS


class TransmissionFederate:
    """The bulk system; leads the coupled group. Its buses with feeders are the TBLM buses."""

    def __init__(self, params: Transmission) -> None:
        self.params = params
        self.period_ns = params.period_ns
        self._engine = engine = Engine(params.model)
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
            Port("governor_p_w", "W", (), "governors' and secondary control's power together"),
            EMERGENCY,
            SOE,
        )
        self._frequency: FrequencyResponse | None = None
        self._shares: dict[str, float] = {}
        self._t_ns = 0
        self._flow: PowerFlow | None = None
        self._losses_w, self._native_w = 0.0, 0.0
        self._f_hz, self._rocof = params.frequency.nominal_hz, 0.0
        self._detector = EmergencyDetector(params.thresholds, params.frequency.nominal_hz)

    def _bus_index(self, bus: str) -> int:
        try:
            return self._engine.bus_names.index(bus)
        except ValueError:
            known = ", ".join(self._engine.bus_names[:12])
            raise TransmissionError("unknown", f"no bus '{bus}' in {self.params.model.source}; there is {known} ...") from None

    def start(self, t_ns: int) -> Outputs:
        """The network as its file has it, all load native."""
        self._flow = self._engine.solve()
        return self._outputs(self._flow)

    def solve(self, t_ns: int, inputs: Inputs) -> Outputs:
        """Power flow with what the feeders draw."""
        self._advance(t_ns, inputs)
        return self._outputs(self._power_flow(inputs))

    def residual(self, before: Outputs, after: Outputs) -> float:
        """Largest change of a TBLM bus's voltage magnitude or angle, pu and rad."""
        changes = [np.abs(np.asarray(after[name]) - np.asarray(before[name])).max(initial=0.0) for name in ("v_pu", "angle_rad")]
        return float(max(changes))

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        """Advance frequency to t, carry out commands, solve."""
        self._advance(t_ns, inputs)
        if self._frequency is None:
            self._balance(inputs)
        rows = carry_out(inputs["command"], self._actions())
        flow = self._power_flow(inputs)
        self._keep(inputs, flow)
        assert self._frequency is not None
        state = self._frequency.step(0, *self._loads_w(inputs))
        self._f_hz, self._rocof = state.f_hz, state.rocof_hz_per_s
        was = self._detector.active
        v_least = float(flow.v_pu[self._at].min(initial=np.inf))
        active = self._detector.update(t_ns, state.f_hz, state.rocof_hz_per_s, v_least)
        outputs = dict(self._outputs(flow))
        if active != was:
            row = {"active": active, "step_ns": self.params.emergency_step_ns}
            outputs["emergency"] = [row]
            rows.append({"event": "emergency_begins" if active else "emergency_ends", "f_hz": state.f_hz, "v_min_pu": v_least})
        outputs["soe"] = rows
        step_ns = self.params.emergency_step_ns
        return Step(outputs, (t_ns // step_ns + 1) * step_ns if active else None)

    def stop(self) -> None:
        """Nothing to release."""

    def _fed(self, inputs: Inputs) -> dict[str, tuple[float, float]]:
        """What the feeders at each TBLM bus draw, W and var; a feeder that has said nothing counts as nothing."""
        drawn = dict.fromkeys(self.buses, (0.0, 0.0))
        for a in self.params.attachments:
            p, q = inputs[f"p_{a.feeder}"].values, inputs[f"q_{a.feeder}"].values
            if np.isfinite(p).all() and np.isfinite(q).all():
                before = drawn[a.bus]
                drawn[a.bus] = before[0] + float(p.sum()), before[1] + float(q.sum())
        return drawn

    def _power_flow(self, inputs: Inputs) -> PowerFlow:
        engine = self._engine
        for i, (bus, (p_w, q_var)) in zip(self._at, self._fed(inputs).items(), strict=True):
            engine.set_bus_load(bus, p_w, q_var)
            native_w = engine.case.native_p_w[i]
            share = self._shares.get(bus, min(max(1.0 - p_w / native_w, 0.0), 1.0) if native_w > 0.0 else 1.0)
            engine.set_native_share(bus, share)
        settings = self.params.frequency
        engine.scale_native(1.0 + settings.native_damping_pu * (self._f_hz / settings.nominal_hz - 1.0), 1.0)
        if self._frequency is not None:
            engine.set_response(self._frequency.response_by_machine())
        near_v_pu = self._flow.v_pu if self._flow else None
        return engine.solve_with_curves({}, _TOLERANCE_PU, near_v_pu=near_v_pu)

    def _keep(self, inputs: Inputs, flow: PowerFlow) -> None:
        """Remember a solution: what is not the feeders' holds until the next one."""
        damped = 1.0 + self.params.frequency.native_damping_pu * (self._f_hz / self.params.frequency.nominal_hz - 1.0)
        self._flow, self._losses_w = flow, flow.losses_w
        self._native_w = (float(flow.bus_p_w.sum()) - self._fed_w(inputs)) / damped

    def _fed_w(self, inputs: Inputs) -> float:
        return sum(p for p, _ in self._fed(inputs).values())

    def _loads_w(self, inputs: Inputs) -> tuple[float, float]:
        """What the feeders draw by now with the network's losses, and the native load as it would be at nominal frequency, W."""
        return self._fed_w(inputs) + self._losses_w, self._native_w

    def _balance(self, inputs: Inputs) -> None:
        """Take the first commit as the balanced state: native shares, schedules and who carries the rest stay from here on."""
        flow = self._power_flow(inputs)
        engine = self._engine
        for bus, (p_w, _), i in zip(self.buses, self._fed(inputs).values(), self._at, strict=True):
            native_w = engine.case.native_p_w[i]
            self._shares[bus] = min(max(1.0 - p_w / native_w, 0.0), 1.0) if native_w > 0.0 else 1.0
        for name, p_w in zip(engine.generator_names, flow.generator_p_w.tolist(), strict=True):
            if engine.is_running(name):
                engine.set_generator(name, p_w)
        model = self.params.frequency.model(engine)
        self._keep(inputs, flow)
        self._frequency = FrequencyResponse(model, *self._loads_w(inputs))
        shares = {m.name: m.rating_va for m in model.machines if m.governor is not None}
        engine.set_slack_shares(shares or None)

    def _advance(self, t_ns: int, inputs: Inputs) -> None:
        """Frequency at t from what was drawn since the last call; asking again at the same t changes nothing.

        The feeders' power that is seen at t was published after the last call, and has been drawn from then on.
        """
        if self._frequency is None or t_ns == self._t_ns:
            return
        state = self._frequency.step(t_ns - self._t_ns, *self._loads_w(inputs))
        self._t_ns, self._f_hz, self._rocof = t_ns, state.f_hz, state.rocof_hz_per_s

    def _outputs(self, flow: PowerFlow) -> Outputs:
        engine = self._engine
        running = np.array([engine.is_running(name) for name in engine.generator_names])
        loading = np.where(np.isfinite(flow.loading), flow.loading, np.nan)
        unrated = np.where(np.isfinite(loading), 0, int(Quality.LOST)).astype(np.uint16)
        return {
            "v_pu": flow.v_pu[self._at],
            "angle_rad": flow.angle_rad[self._at],
            "f_hz": [self._f_hz],
            "all_v_pu": flow.v_pu,
            "load_p_w": flow.bus_p_w,
            "load_q_var": flow.bus_q_var,
            "line_status": [float(engine.is_closed(name)) for name in engine.branch_names],
            "loading": Sample(loading, self._t_ns, unrated),
            "gen_p_w": np.where(running, flow.generator_p_w, 0.0),
            "governor_p_w": [float(self._frequency.state().governor_p_w.sum()) if self._frequency else 0.0],
        }

    def _actions(self) -> dict[str, Any]:
        engine = self._engine

        def lines(name: str) -> Any:
            def act(payload: Mapping[str, Any]) -> dict[str, Any]:
                line = str(payload["line"])
                before = engine.is_closed(line)
                getattr(engine, name)(line)
                if lost := engine.cut_off():
                    (engine.close_line if before else engine.open_line)(line)
                    raise ValueError(f"it would cut off bus {', '.join(lost)}; islands are not simulated by the response engine")
                return {"line": line}

            return _refusing(act)

        def trip(payload: Mapping[str, Any]) -> dict[str, Any] | None:
            name = str(payload["generator"])
            if not engine.is_running(name):
                return None
            if self._frequency is not None:  # first, since it refuses to lose the last inertia
                machine = name if any(m.name == name for m in self._frequency.model.machines) else None
                self._frequency.trip(machine, engine.scheduled_w(name))
            return {"generator": name, "p_w": engine.trip_generator(name)}

        def schedule(payload: Mapping[str, Any]) -> dict[str, Any]:
            name, p_w = str(payload["generator"]), number(payload, "p_w")
            change_w = p_w - engine.scheduled_w(name)
            if not engine.is_running(name):
                raise ValueError(f"generator {name} is out of service")
            engine.set_generator(name, p_w, number(payload, "v_pu") if payload.get("v_pu") is not None else None)
            if self._frequency is not None:
                self._frequency.schedule(self._frequency.state().scheduled_p_w + change_w)
            return {"generator": name, "p_w": p_w}

        return {
            "open_line": lines("open_line"),
            "close_line": lines("close_line"),
            "trip_generator": _refusing(trip),
            "set_generator": _refusing(schedule),
        }


def _refusing(act: Any) -> Any:
    """An unknown name is a refused command, not a failure."""

    def guarded(payload: Mapping[str, Any]) -> Any:
        try:
            return act(payload)
        except TransmissionError as error:
            raise ValueError(str(error)) from None

    return guarded
