"""A recorded course of frequency and voltage in place of the bulk system: feeders, relays and DER see what was measured.

Nothing that they do changes it, unless the recorded voltage is said to be behind a reactance: then what they draw pulls the bus
down. What its feeders draw is published by bus, as the transmission federate does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from federates.field.announcer import Announcer
from federates.field.commands import EMERGENCY, SOE
from federates.grid.emergency import EmergencyThresholds
from federates.runtime.federate import MS_NS, S_NS, US_NS, Step
from federates.runtime.port import Inputs, Outputs, Port

PHASES = ("a", "b", "c")


@dataclass(frozen=True)
class Trace:
    """A course in time: t_s rises; linear between points, the first and the last hold beyond. f_hz, v_pu: as long as t_s."""

    t_s: tuple[float, ...]
    f_hz: tuple[float, ...]
    v_pu: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.t_s) == len(self.f_hz) == len(self.v_pu) or len(self.t_s) < 2:
            raise ValueError("a trace needs two points or more, with a frequency and a voltage each")
        if (np.diff(self.t_s) <= 0.0).any():
            raise ValueError("the times of a trace must rise")

    def at(self, t_s: float) -> tuple[float, float, float]:
        """Frequency (Hz), its slope (Hz/s, of the stretch that ends at or contains t) and voltage (pu) at t."""
        k = min(max(int(np.searchsorted(self.t_s, t_s)), 1), len(self.t_s) - 1)
        inside = self.t_s[0] < t_s <= self.t_s[-1]
        slope = (self.f_hz[k] - self.f_hz[k - 1]) / (self.t_s[k] - self.t_s[k - 1]) if inside else 0.0
        return float(np.interp(t_s, self.t_s, self.f_hz)), slope, float(np.interp(t_s, self.t_s, self.v_pu))


@dataclass(frozen=True)
class Player:
    """Parameters of a player. attachments: (feeder, bus) of the distribution federates under it."""

    trace: Trace
    nominal_hz: float = 60.0
    attachments: tuple[tuple[str, str], ...] = ()
    thresholds: EmergencyThresholds = field(default_factory=EmergencyThresholds)
    emergency_step_ns: int = 20 * MS_NS
    period_ns: int = S_NS
    short_circuit_va: float | None = None


def behind_reactance(source_pu: float, p_w: float, q_var: float, short_circuit_va: float) -> float:
    """Voltage (pu) of a bus that draws P + jQ behind a reactance of this short-circuit power; at the nose where there is none.

    V^2 = E^2/2 - QX + sqrt((E^2/2 - QX)^2 - X^2 (P^2 + Q^2)), per unit of the short-circuit power.
    """
    p, q = p_w / short_circuit_va, q_var / short_circuit_va
    half = 0.5 * source_pu**2 - q
    inside = half**2 - p**2 - q**2
    return float(np.sqrt(max(half + np.sqrt(max(inside, 0.0)), 0.0)))


class PlayerFederate:
    """Plays a trace at every bus; leads the coupled group."""

    def __init__(self, params: Player) -> None:
        self.params = params
        self.period_ns = params.period_ns
        self.buses = tuple(dict.fromkeys(bus for _, bus in params.attachments))
        self.inputs: Sequence[Port] = tuple(
            Port(f"{letter}_{feeder}", unit, PHASES, f"drawn at bus {bus} by the feeders like {feeder}")
            for feeder, bus in params.attachments
            for letter, unit in (("p", "W"), ("q", "var"))
        )
        at_buses = (
            Port("v_pu", "pu", self.buses, "voltage magnitude at the buses, of nominal, as recorded"),
            Port("angle_rad", "rad", self.buses, "held at 0"),
            Port("load_p_w", "W", self.buses, "drawn by the feeders at each bus"),
            Port("load_q_var", "var", self.buses, "drawn by the feeders at each bus"),
        )
        frequency = Port("f_hz", "Hz", (), "system frequency, as recorded")
        self.outputs: Sequence[Port] = (*(at_buses if self.buses else ()), frequency, EMERGENCY, SOE)
        self._reset()

    def _reset(self) -> None:
        params = self.params
        self._announcer = Announcer(params.thresholds, params.nominal_hz, params.emergency_step_ns)
        self._onsets_ns = _onsets_ns(params)

    def start(self, t_ns: int) -> Outputs:
        """The first point of the trace."""
        self._reset()
        return self._outputs(t_ns, None)

    def solve(self, t_ns: int, inputs: Inputs) -> Outputs:
        """What was recorded, whatever the feeders draw."""
        return self._outputs(t_ns, inputs)

    def residual(self, before: Outputs, after: Outputs) -> float:
        """Largest change of a bus voltage, pu; none where the record is at the bus."""
        return float(max((abs(a - b) for a, b in zip(before.get("v_pu", ()), after.get("v_pu", ()), strict=True)), default=0.0))

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        """The point at t, and whether it is an emergency."""
        f_hz, rocof, v_pu = self.params.trace.at(t_ns / S_NS)
        outputs = self._outputs(t_ns, inputs)
        emergency, rows, wish_ns = self._announcer.update(t_ns, f_hz, rocof, min(outputs.get("v_pu", [v_pu])))
        wishes = (wish_ns, next((onset_ns for onset_ns in self._onsets_ns if onset_ns > t_ns), None))
        return Step({**outputs, **emergency, "soe": rows}, min((wish for wish in wishes if wish is not None), default=None))

    def stop(self) -> None:
        """Nothing to release."""

    def _outputs(self, t_ns: int, inputs: Inputs | None) -> dict[str, Any]:
        f_hz, _, v_pu = self.params.trace.at(t_ns / S_NS)
        outputs: dict[str, Any] = {"f_hz": [f_hz]}
        if self.buses:
            drawn = self._drawn(inputs)
            outputs |= {
                "v_pu": [self._v_pu(v_pu, p_w, q_var) for p_w, q_var in drawn.T.tolist()],
                "angle_rad": [0.0] * len(self.buses), "load_p_w": drawn[0], "load_q_var": drawn[1],
            }  # fmt: skip
        return outputs

    def _v_pu(self, recorded_pu: float, p_w: float, q_var: float) -> float:
        limit_va = self.params.short_circuit_va
        return recorded_pu if limit_va is None else behind_reactance(recorded_pu, p_w, q_var, limit_va)

    def _drawn(self, inputs: Inputs | None) -> np.ndarray:
        """P and Q at each bus, [2, buses]; a feeder that has said nothing counts as nothing."""
        drawn = np.zeros((2, len(self.buses)))
        for feeder, bus in self.params.attachments if inputs is not None else ():
            for row, letter in enumerate("pq"):
                values = inputs[f"{letter}_{feeder}"].values  # type: ignore[index]  # not None here
                drawn[row, self.buses.index(bus)] += float(values.sum()) if np.isfinite(values).all() else 0.0
        return drawn


def _onsets_ns(params: Player) -> tuple[int, ...]:
    """Points of the trace at which an emergency begins: it plays them at their own time, and not only at the next period."""
    trace, limits = params.trace, params.thresholds
    away = np.abs(np.array(trace.f_hz) - params.nominal_hz) > limits.deviation_hz
    away |= np.array(trace.v_pu) < limits.v_min_pu
    at = np.flatnonzero(away[1:] & ~away[:-1]) + 1
    return tuple(-(-round(trace.t_s[k] * S_NS) // US_NS) * US_NS for k in at.tolist() if trace.t_s[k] > 0.0)
