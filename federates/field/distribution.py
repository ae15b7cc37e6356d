"""A distribution feeder behind its substation, and the like feeders beside it at the same bus.

One feeder is solved. Of `count` like feeders the bus draws count times its head, corrected by how their gross load differs in size
and time (`profile.LikeFeeders`); their DER behave as the solved one's.

Every step: loads as customers want them at this moment, temperature and frequency; the bus voltage of the transmission system; the
DER as their federate says; then the controls, with their delays. At t = 0 every control has run to rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from federates.field.commands import COMMAND, EMERGENCY, SOE, Action, EmergencyClock, carry_out, number
from federates.field.profile import Diversity, LikeFeeders, LoadProfile, LoadWish
from federates.grid.feeder import Feeder, FeederModel
from federates.grid.load import frequency_response
from federates.runtime.federate import S_NS, Step
from federates.runtime.port import Inputs, Outputs, Port

PHASES = ("a", "b", "c")


@dataclass(frozen=True)
class Distribution:
    """Parameters of a distribution federate. `start_s`: seconds of the year at t = 0; `stop_s`: length of the run."""

    model: FeederModel
    bus: str
    count: int = 1
    nominal_hz: float = 60.0
    profile: LoadProfile = field(default_factory=LoadProfile)
    diversity: Diversity = field(default_factory=Diversity)
    start_s: float = 0.0
    stop_s: float = 86_400.0
    seed: int = 1
    period_ns: int = S_NS


class DistributionFederate:
    """One feeder in OpenDSS; follows the transmission federate in the coupled group."""

    def __init__(self, params: Distribution) -> None:
        self.params = params
        self.period_ns = params.period_ns
        self._feeder = feeder = Feeder(params.model)
        self._wish = LoadWish(params.profile, feeder.load_class, feeder.load_p0_w, params.start_s, params.seed)
        self._like = LikeFeeders(self._wish, params.count, params.diversity, params.stop_s)
        by_phase = np.zeros(3)
        for p0_w, phases in zip(feeder.load_p0_w, feeder.load_phases, strict=True):
            for phase in phases:
                by_phase[phase - 1] += p0_w / len(phases)
        self._phase_share = by_phase / by_phase.sum() if by_phase.sum() > 0.0 else np.full(3, 1.0 / 3.0)
        present = np.isfinite(feeder.der_v_pu())
        self._der_at = np.nonzero(present)
        der_phases = tuple(f"{feeder.der_names[i]}.{k + 1}" for i, k in zip(*self._der_at, strict=True))
        ders = feeder.der_names
        head = "from the transmission bus, one feeder"
        everyone = f"from the transmission bus, all {params.count} like feeders"
        der_inputs = Port("der_p_w", "W", ders, "generation positive"), Port("der_q_var", "var", ders, "injection positive")
        self.inputs: Sequence[Port] = (
            Port("v_pu", "pu", (params.bus,), "voltage magnitude of the transmission bus"),
            Port("angle_rad", "rad", (params.bus,), "voltage angle of the transmission bus"),
            Port("f_hz", "Hz", (), "system frequency"),
            *(der_inputs if ders else ()),
            EMERGENCY,
            COMMAND,
        )
        self.outputs: Sequence[Port] = (
            Port("head_p_w", "W", PHASES, head),
            Port("head_q_var", "var", PHASES, head),
            Port("bus_p_w", "W", PHASES, everyone),
            Port("bus_q_var", "var", PHASES, everyone),
            Port("node_v_pu", "pu", feeder.node_names, "voltage to ground of every node, of its bus's base"),
            Port("load_p_w", "W", feeder.load_names, "taken by each load"),
            Port("load_q_var", "var", feeder.load_names, "taken by each load"),
            Port("load_v_pu", "pu", feeder.load_names, "voltage across each load, mean of its phases"),
            Port("tap", "1", feeder.reg_names, "tap of each regulator, 0 in the middle"),
            Port("capacitor", "1", feeder.capacitor_names, "steps in service"),
            Port("switch", "1", feeder.switch_names, "1: closed"),
            Port("losses_w", "W", (), "of lines and transformers of one feeder, the substation's included"),
            *((Port("der_v_pu", "pu", der_phases, "voltage to ground of each phase of each DER"),) if ders else ()),
            Port("catalogue", kind="document", doc="names, base voltages and distances of the nodes"),
            SOE,
        )
        self.outputs = tuple(p for p in self.outputs if p.kind != "vector" or p.ids or p.name == "losses_w")
        self._clock = EmergencyClock()
        self._t_ns = 0
        self._source = (1.0, 0.0, params.nominal_hz)
        self._der = np.zeros(len(ders)), np.zeros(len(ders))
        self._initial = feeder.state()
        self._committed_v = feeder.node_phasor_v()

    def start(self, t_ns: int) -> Outputs:
        """At nominal voltage, every control at rest."""
        self._drive(t_ns)
        self._feeder.settle()
        feeder = self._feeder
        self._committed_v = feeder.node_phasor_v()
        catalogue = {
            "bus": self.params.bus,
            "node_names": feeder.node_names,
            "node_distance_m": [None if np.isnan(x) else 1e3 * x for x in feeder.node_distance_km],
            "node_base_kv": [None if np.isnan(x) else x for x in feeder.node_base_kv],
        }
        return {**self._outputs(t_ns), "catalogue": catalogue}

    def solve(self, t_ns: int, inputs: Inputs) -> Outputs:
        """Power flow with taps and capacitors as they stand; at t = 0 from the initial state with every control run to rest."""
        self._take(inputs)
        self._drive(t_ns)
        self._relax(t_ns)
        return self._outputs(t_ns)

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        """Carry out commands, advance the controls to t, solve."""
        self._clock.update(inputs["emergency"])
        self._take(inputs)
        self._drive(t_ns)
        feeder = self._feeder
        if t_ns == 0 and inputs["command"]:  # the start begins anew from what they leave
            feeder.restore(self._initial)
        rows = carry_out(inputs["command"], self._actions())
        if t_ns == 0 and rows:
            self._initial = feeder.state()
        before = feeder.taps(), feeder.capacitor_states()
        if t_ns > self._t_ns:
            feeder.step_controls((t_ns - self._t_ns) / S_NS)
        else:
            self._relax(t_ns)
        if t_ns > 0:
            rows += self._moves(*before)
        self._t_ns, self._committed_v = t_ns, feeder.node_phasor_v()
        return Step({**self._outputs(t_ns), "soe": rows}, self._clock.next_ns(t_ns))

    def stop(self) -> None:
        """Free the engine."""
        self._feeder.close()

    def _take(self, inputs: Inputs) -> None:
        """Voltage, frequency and DER; what is lost keeps its last value."""
        given = [inputs[name].values[0] for name in ("v_pu", "angle_rad", "f_hz")]
        self._source = tuple(new if np.isfinite(new) else old for new, old in zip(given, self._source, strict=True))  # type: ignore[assignment]
        if self._feeder.der_names:
            p, q = inputs["der_p_w"].values, inputs["der_q_var"].values
            self._der = np.where(np.isfinite(p), p, self._der[0]), np.where(np.isfinite(q), q, self._der[1])

    def _drive(self, t_ns: int) -> None:
        """Set source, loads and DER for the moment t."""
        feeder, (v_pu, angle_rad, f_hz) = self._feeder, self._source
        p, q = self._wish.at(t_ns / S_NS)
        p_w, q_var = frequency_response(
            feeder.load_p0_w * p, feeder.load_q0_var * q, feeder.load_class, f_hz, self.params.nominal_hz
        )
        feeder.begin_at(self._committed_v)  # so that solves since then leave no trace
        feeder.set_source(v_pu, angle_rad)
        feeder.set_loads(p_w, q_var)
        if feeder.der_names:
            feeder.set_der(*self._der)

    def _relax(self, t_ns: int) -> None:
        if t_ns == 0:
            self._feeder.restore(self._initial)
            self._feeder.settle()
        else:
            self._feeder.solve()

    def _outputs(self, t_ns: int) -> dict[str, Any]:
        feeder = self._feeder
        head_p, head_q = feeder.head()
        load_p, load_q = feeder.load_power()
        more = self._like.at(t_ns / S_NS) - self.params.count
        values = {
            "head_p_w": head_p,
            "head_q_var": head_q,
            "bus_p_w": self.params.count * head_p + more * load_p.sum() * self._phase_share,
            "bus_q_var": self.params.count * head_q + more * load_q.sum() * self._phase_share,
            "node_v_pu": feeder.node_v_pu(),
            "load_p_w": load_p,
            "load_q_var": load_q,
            "load_v_pu": feeder.load_v_pu(),
            "tap": feeder.taps().astype(float),
            "capacitor": feeder.capacitor_states().astype(float),
            "switch": feeder.switch_states().astype(float),
            "losses_w": [feeder.losses_w()],
        }
        if feeder.der_names:
            values["der_v_pu"] = feeder.der_v_pu()[self._der_at]
        return {port.name: values[port.name] for port in self.outputs if port.kind == "vector"}

    def _moves(self, taps: np.ndarray, capacitors: np.ndarray) -> list[dict[str, Any]]:
        """What the controls moved."""
        feeder, rows = self._feeder, []
        for name, was, now in zip(feeder.reg_names, taps.tolist(), feeder.taps().tolist(), strict=True):
            if was != now:
                rows.append({"event": "tap", "regulator": name, "from": was, "to": now})
        for name, was, now in zip(feeder.capacitor_names, capacitors.tolist(), feeder.capacitor_states().tolist(), strict=True):
            if was != now:
                rows.append({"event": "capacitor", "capacitor": name, "from": was, "to": now})
        return rows

    def _actions(self) -> dict[str, Action]:
        feeder = self._feeder

        def switch(closed: bool) -> Action:
            def act(payload: Mapping[str, Any]) -> dict[str, Any]:
                name = str(payload["switch"])
                feeder.set_switch(name, closed)
                return {"switch": name, "closed": closed}

            return act

        def set_tap(payload: Mapping[str, Any]) -> dict[str, Any]:
            name, taps = str(payload["regulator"]).lower(), feeder.taps()
            if name not in feeder.reg_names:
                raise ValueError(f"no regulator '{name}'; there are {', '.join(feeder.reg_names)}")
            i = feeder.reg_names.index(name)
            before = taps.copy()
            taps[i] = wanted = int(number(payload, "tap"))
            feeder.set_taps(taps)
            if (reached := feeder.taps()[i]) != wanted:
                feeder.set_taps(before)
                raise ValueError(f"regulator {name} has no tap {wanted}; its last one is {reached}")
            return {"regulator": name, "tap": wanted}

        def set_capacitor(payload: Mapping[str, Any]) -> dict[str, Any]:
            name, steps = str(payload["capacitor"]), int(number(payload, "steps"))
            feeder.set_capacitor(name, steps)
            return {"capacitor": name, "steps": steps}

        return {"open_switch": switch(False), "close_switch": switch(True), "set_tap": set_tap, "set_capacitor": set_capacitor}
