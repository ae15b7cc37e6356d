"""A distribution feeder behind its substation, and the like feeders beside it at the same bus.

One feeder is solved. Of `count` like feeders the bus draws count times its head, corrected by how their gross load differs in size
and time (`profile.LikeFeeders`); their DER behave as the solved one's.

Every step: loads as customers want them at this moment, temperature and frequency; the bus voltage of the transmission system; the
DER as their federate says; then the controls, with their delays. At t = 0 every control has run to rest.

The like feeders have breakers (`breakers.LikeBreakers`), which load shedding opens: the bus then draws what is left of them. With
all of them open the solved feeder is without voltage and draws nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from federates.field.breakers import LikeBreakers
from federates.field.commands import COMMAND, EMERGENCY, SOE, Action, EmergencyClock, carry_out, number
from federates.field.profile import Diversity, LikeFeeders, LoadProfile, LoadWish
from federates.grid.feeder import Feeder, FeederModel
from federates.grid.load import frequency_response
from federates.grid.motor_stall import MotorStall, StallingMotors
from federates.runtime.federate import S_NS, Step
from federates.runtime.port import Inputs, Outputs, Port

PHASES = ("a", "b", "c")
_MOTORS = (Port("motors", "1", ("stalled", "tripped"), "part of the load that is stalled motors, that their heat tripped"),)
_MOTOR_ITERATIONS, _MOTOR_TOLERANCE_PU = 12, 1e-3  # what is left is taken up by the next step


@dataclass(frozen=True)
class Distribution:
    """Parameters of a distribution federate. `start_s`: seconds of the year at t = 0; `stop_s`: length of the run; `der_return_s`:
    how long after a like feeder was closed its DER are back; `wired_ders`: units whose power comes from real devices, each by
    ports of its own.
    """

    model: FeederModel
    bus: str
    count: int = 1
    nominal_hz: float = 60.0
    profile: LoadProfile = field(default_factory=LoadProfile)
    diversity: Diversity = field(default_factory=Diversity)
    start_s: float = 0.0
    stop_s: float = 86_400.0
    der_return_s: float = 300.0
    seed: int = 1
    period_ns: int = S_NS
    wired_ders: tuple[str, ...] = ()
    motors: MotorStall | None = None


class DistributionFederate:
    """One feeder in OpenDSS; follows the transmission federate in the coupled group."""

    def __init__(self, params: Distribution) -> None:
        self.params = params
        self.period_ns = params.period_ns
        self._feeder = feeder = Feeder(params.model)
        self._wish = LoadWish(params.profile, feeder.load_class, feeder.load_p0_w, params.start_s, params.seed)
        self._like = LikeFeeders(self._wish, params.count, params.diversity, params.stop_s)
        self._motors = StallingMotors(params.motors, len(feeder.load_names)) if params.motors else None
        self._taken = np.ones((2, len(feeder.load_names)))
        self._breakers = LikeBreakers(params.count, feeder.load_class, params.der_return_s)
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
        simulated = tuple(name for name in ders if name not in params.wired_ders)
        self._der_inputs = [("der_p_w", "der_q_var", [ders.index(name) for name in simulated])] if simulated else []
        self._der_inputs += [(f"wired_p_w_{name}", f"wired_q_var_{name}", [ders.index(name)]) for name in params.wired_ders]
        der_inputs = [
            Port(port, unit, tuple(ders[i] for i in places), doc)
            for p_port, q_port, places in self._der_inputs
            for port, unit, doc in ((p_port, "W", "generation positive"), (q_port, "var", "injection positive"))
        ]
        self.inputs: Sequence[Port] = (
            Port("v_pu", "pu", (params.bus,), "voltage magnitude of the transmission bus"),
            Port("angle_rad", "rad", (params.bus,), "voltage angle of the transmission bus"),
            Port("f_hz", "Hz", (), "system frequency"),
            *der_inputs,
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
            *(_MOTORS if params.motors else ()),
            Port("feeders_closed", "1", (), f"how many of the {params.count} like feeders have their breaker closed"),
            *((Port("der_v_pu", "pu", der_phases, "voltage to ground of each phase of each DER"),) if ders else ()),
            Port("catalogue", kind="document", doc="names, base voltages and distances of the nodes"),
            SOE,
        )
        self.outputs = tuple(p for p in self.outputs if p.kind != "vector" or p.ids or p.name in ("losses_w", "feeders_closed"))
        self._clock = EmergencyClock()
        self._t_ns = self._now_ns = 0
        self._each_w: dict[str, float] = {}
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
        outputs = self._outputs(t_ns)
        self._remember(t_ns, outputs)
        return {**outputs, "catalogue": catalogue}

    def solve(self, t_ns: int, inputs: Inputs) -> Outputs:
        """Power flow with taps and capacitors as they stand; at t = 0 from the initial state with every control run to rest."""
        self._take(inputs)
        self._drive(t_ns)
        self._relax(t_ns)
        return self._outputs(t_ns)

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        """Carry out commands, advance the controls to t, solve."""
        self._clock.update(inputs["emergency"])
        self._now_ns = t_ns
        self._take(inputs)
        self._drive(t_ns)
        feeder = self._feeder
        if t_ns == 0 and inputs["command"]:  # the start begins anew from what they leave
            feeder.restore(self._initial)
        closed = self._breakers.closed
        rows = carry_out(inputs["command"], self._actions())
        if t_ns == 0 and rows:
            self._initial = feeder.state()
        before = feeder.taps(), feeder.capacitor_states()
        if self._breakers.live:
            if self._breakers.closed > closed:
                self._drive(t_ns)  # a feeder that returns takes cold load
            if t_ns > self._t_ns:
                feeder.step_controls((t_ns - self._t_ns) / S_NS)
            else:
                self._relax(t_ns)
            if t_ns > 0:
                rows += self._moves(*before)
            if self._motors:
                self._solve_motors(self._motors, t_ns)
            self._committed_v = feeder.node_phasor_v()
        elif self._motors:
            self._motors.advance((t_ns - self._t_ns) / S_NS, np.zeros(len(feeder.load_names)))
        self._t_ns = t_ns
        outputs = self._outputs(t_ns)
        self._remember(t_ns, outputs)
        return Step({**outputs, "soe": rows}, self._clock.next_ns(t_ns))

    def stop(self) -> None:
        """Free the engine."""
        self._feeder.close()

    def _take(self, inputs: Inputs) -> None:
        """Voltage, frequency and DER; what is lost keeps its last value."""
        given = [inputs[name].values[0] for name in ("v_pu", "angle_rad", "f_hz")]
        self._source = tuple(new if np.isfinite(new) else old for new, old in zip(given, self._source, strict=True))  # type: ignore[assignment]
        if self._der_inputs:
            whole = self._der[0].copy(), self._der[1].copy()
            for *ports, places in self._der_inputs:
                for values, port in zip(whole, ports, strict=True):
                    given_der = inputs[port].values
                    values[places] = np.where(np.isfinite(given_der), given_der, values[places])
            self._der = whole

    def _drive(self, t_ns: int) -> None:
        """Set source, loads and DER for the moment t."""
        feeder, (v_pu, angle_rad, f_hz) = self._feeder, self._source
        p, q = self._wish.at(t_ns / S_NS)
        cold = self._breakers.cold_load(t_ns, self._wish.temperature_c(t_ns / S_NS))
        p_w, q_var = frequency_response(
            feeder.load_p0_w * p * cold, feeder.load_q0_var * q * cold, feeder.load_class, f_hz, self.params.nominal_hz
        )
        if self._motors:
            p_w, q_var = self._with_motors(self._motors, p_w, q_var)
        feeder.begin_at(self._committed_v)  # so that solves since then leave no trace
        feeder.set_source(v_pu, angle_rad)
        feeder.set_loads(p_w, q_var)
        if feeder.der_names:
            feeder.set_der(*self._der)

    def _with_motors(self, motors: StallingMotors, p_w: np.ndarray, q_var: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nominal powers such that the loads take what runs as ever and, beside it, the stalled motors' impedance at its voltage.

        A load takes its own share of its nominal power at a voltage; what it took of it last stands for what it takes now.
        """
        running, (stalled_p, stalled_q) = motors.running(), motors.stalled_pu()
        stalled = np.array([stalled_p * p_w, stalled_q * p_w]) / self._taken
        self._nominal = running * np.array([p_w, q_var]) + stalled
        return self._nominal[0], self._nominal[1]

    def _solve_motors(self, motors: StallingMotors, t_ns: int) -> None:
        """Let motors stall, restart and heat up; then agree on what stalled ones take with the voltage that it leaves them."""
        feeder = self._feeder
        motors.advance((t_ns - self._t_ns) / S_NS, feeder.load_v_pu())
        for _ in range(_MOTOR_ITERATIONS):
            self._taken = self._share_taken()
            if not motors.any_stalled:
                return
            self._drive(t_ns)
            feeder.solve()
            if motors.see(feeder.load_v_pu()) < _MOTOR_TOLERANCE_PU:
                return

    def _share_taken(self) -> np.ndarray:
        """What each load takes of its nominal P and Q at its voltage, [2, n]; 1 where it has none or is without voltage."""
        taken, nominal = np.array(self._feeder.load_power()), self._nominal
        share = taken / np.where(np.abs(nominal) > 1.0, nominal, np.nan)
        return np.where(np.isfinite(share) & (share > 0.05), share, 1.0)

    def _relax(self, t_ns: int) -> None:
        if t_ns == 0:
            self._feeder.restore(self._initial)
            self._feeder.settle()
        else:
            self._feeder.solve()

    def _outputs(self, t_ns: int) -> dict[str, Any]:
        feeder, closed = self._feeder, self._breakers.closed
        if not closed:
            return self._without_supply()
        head_p, head_q = feeder.head()
        load_p, load_q = feeder.load_power()
        cold, der_out = self._breakers.beyond(t_ns, self._wish.temperature_c(t_ns / S_NS), load_p)
        more = (self._like.at(t_ns / S_NS) - self.params.count) * (closed / self.params.count) + cold
        der_p, der_q = (der_out / 3.0 * x.sum() for x in self._der)
        values = {
            "head_p_w": head_p,
            "head_q_var": head_q,
            "bus_p_w": closed * head_p + more * load_p.sum() * self._phase_share + der_p,
            "bus_q_var": closed * head_q + more * load_q.sum() * self._phase_share + der_q,
            "node_v_pu": feeder.node_v_pu(),
            "load_p_w": load_p,
            "load_q_var": load_q,
            "load_v_pu": feeder.load_v_pu(),
            "tap": feeder.taps().astype(float),
            "capacitor": feeder.capacitor_states().astype(float),
            "switch": feeder.switch_states().astype(float),
            "losses_w": [feeder.losses_w()],
            "feeders_closed": [float(closed)],
        }
        if self._motors:
            values["motors"] = self._motors.shares()
        if feeder.der_names:
            values["der_v_pu"] = feeder.der_v_pu()[self._der_at]
        return {port.name: values[port.name] for port in self.outputs if port.kind == "vector"}

    def _remember(self, t_ns: int, outputs: Mapping[str, Any]) -> None:
        """What each closed feeder stands for at the bus: drawn, its load, its DER; held until the next solution."""
        if closed := self._breakers.closed:
            load_w = self._like.at(t_ns / S_NS) / self.params.count * float(outputs["load_p_w"].sum())
            drawn_w, der_w = float(outputs["bus_p_w"].sum()) / closed, float(self._der[0].sum())
            self._each_w = {"p_w": drawn_w, "load_w": load_w, "der_w": der_w}

    def _without_supply(self) -> dict[str, Any]:
        """Nothing has voltage or draws power; devices stay where they were, motors come to a stand and cool."""
        feeder = self._feeder
        states = {"tap": feeder.taps(), "capacitor": feeder.capacitor_states(), "switch": feeder.switch_states()}
        if self._motors:
            states["motors"] = np.array(self._motors.shares())
        return {
            port.name: states[port.name].astype(float) if port.name in states else np.zeros(port.size)
            for port in self.outputs
            if port.kind == "vector"
        }

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

        return {
            "open_switch": switch(False), "close_switch": switch(True), "set_tap": set_tap, "set_capacitor": set_capacitor,
            "open_breaker": self._breaker(False), "close_breaker": self._breaker(True),
        }  # fmt: skip

    def _breaker(self, closed: bool) -> Action:
        """Feeder breakers. The row says what those that open took with them: drawn at the bus, load and DER, before they opened."""
        breakers = self._breakers

        def act(payload: Mapping[str, Any]) -> dict[str, Any] | None:
            feeders = (breakers.close if closed else breakers.open)(payload, self._now_ns)
            if not feeders:
                return None
            taken = {} if closed else {name: feeders * w for name, w in self._each_w.items()}
            return {"cause": str(payload.get("cause", "operator")), "feeders": feeders, "closed": breakers.closed, **taken}

        return act
