"""The bulk system as areas without a network: what there is to say of an event of which only totals were published.

It takes the place of the transmission federate: feeders may hang under its only area, whose name is then their bus, at 1 pu.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from federates.field.announcer import Announcer
from federates.field.commands import COMMAND, EMERGENCY, SOE, Action, carry_out, number
from federates.grid.area_response import AreaResponse, AreaState
from federates.grid.areas import AreasModel
from federates.grid.emergency import EmergencyThresholds
from federates.runtime.federate import MS_NS, S_NS, Step
from federates.runtime.port import Inputs, Outputs, Port

PHASES = ("a", "b", "c")


@dataclass(frozen=True)
class Areas:
    """Parameters of an areas federate. feeders: names of the distribution federates under its only area."""

    model: AreasModel
    feeders: tuple[str, ...] = ()
    thresholds: EmergencyThresholds = field(default_factory=EmergencyThresholds)
    emergency_step_ns: int = 100 * MS_NS
    period_ns: int = S_NS


def frequency_ports(areas: Sequence[str]) -> tuple[str, ...]:
    """Names of the scalar ports that carry the areas' frequencies: `f_hz` of a single one, else `f_hz_<area>`."""
    return ("f_hz",) if len(areas) == 1 else tuple(f"f_hz_{area}" for area in areas)


class AreasFederate:
    """One or several areas; leads the coupled group where feeders hang under it."""

    def __init__(self, params: Areas) -> None:
        if params.feeders and len(params.model.areas) > 1:
            raise ValueError("feeders hang under a single area; give one area, or no feeders")
        self.params = params
        self.period_ns = params.period_ns
        names = self._names = params.model.names()
        ties = tuple(tie.name for tie in params.model.ties)
        at = names if params.feeders else ()
        self.inputs: Sequence[Port] = (
            *(
                Port(f"{letter}_{feeder}", unit, PHASES, f"drawn by the feeders like {feeder}")
                for feeder in params.feeders
                for letter, unit in (("p", "W"), ("q", "var"))
            ),
            COMMAND,
        )
        ports = [
            *(Port(port, "Hz", (), f"frequency of {area}") for port, area in zip(frequency_ports(names), names, strict=True)),
            Port("load_p_w", "W", names, "demand, as frequency has it and less what was shed"),
            Port("gen_p_w", "W", names, "generation: schedule, response, less what was lost"),
            Port("response_p_w", "W", names, "of governors and profiles, on top of the schedule"),
            Port("relief_p_w", "W", names, "load shed by stages, less the generation that went with it"),
            Port("embedded_lost_p_w", "W", names, "embedded generation tripped by its own protection"),
            Port("ufls_stages", "1", names, "stages of under-frequency load shedding that have acted"),
            Port("lowest_hz", "Hz", names, "lowest frequency so far, at every step of the grid"),
            Port("lowest_at_s", "s", names, "when that was"),
            Port("highest_hz", "Hz", names, "highest frequency so far"),
            Port("highest_at_s", "s", names, "when that was"),
            *((Port("tie_p_w", "W", ties, "over each tie, from its first area to its second"),) if ties else ()),
            *((Port("v_pu", "pu", at, "held at nominal"), Port("angle_rad", "rad", at, "held at 0")) if at else ()),
        ]
        self.outputs: Sequence[Port] = (*ports, EMERGENCY, SOE)
        self._reset()

    def _reset(self) -> None:
        params = self.params
        self._response: AreaResponse | None = None
        self._announcer = Announcer(params.thresholds, params.model.f0_hz, params.emergency_step_ns)
        self._always = {*frequency_ports(self._names), "v_pu", "angle_rad"}
        self._said: dict[str, tuple[float, ...]] = {}

    def start(self, t_ns: int) -> Outputs:
        """In balance at nominal frequency."""
        self._reset()
        return self._outputs(AreaResponse(self.params.model).state())

    def solve(self, t_ns: int, inputs: Inputs) -> Outputs:
        """At an instant nothing here depends on what the feeders draw there: frequency follows later."""
        if self._response is None:
            return self._outputs(AreaResponse(self.params.model, self._fed(inputs)).state())
        return self._outputs(self._response.state())

    def residual(self, before: Outputs, after: Outputs) -> float:
        """Voltage is held, so that no iteration changes it."""
        return 0.0

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        """Advance to t, carry out commands, and see whether there is an emergency.

        Powers and extremes are said at every period and when something happens, frequencies at every step.
        """
        fed = self._fed(inputs)
        if self._response is None:
            self._response = AreaResponse(self.params.model, fed)
        response = self._response
        rows = response.advance(t_ns, fed)
        rows += carry_out(inputs["command"], self._actions(response))
        f_hz, rocof = response.frequencies()
        worst = int(np.argmax(np.abs(f_hz - self.params.model.f0_hz)))
        emergency, announced, wish_ns = self._announcer.update(t_ns, float(f_hz[worst]), float(np.abs(rocof).max()), 1.0)
        outputs = self._frequencies(f_hz)
        if rows or t_ns % self.period_ns == 0:
            outputs = self._changed(self._outputs(response.state()))
        return Step({**outputs, **emergency, "soe": rows + announced}, wish_ns)

    def stop(self) -> None:
        """Nothing to release."""

    def _fed(self, inputs: Inputs) -> list[float] | None:
        """What the feeders draw, W; one that has said nothing counts as nothing. None without feeders."""
        if not self.params.feeders:
            return None
        drawn = [inputs[f"p_{feeder}"].values for feeder in self.params.feeders]
        return [sum(float(p.sum()) for p in drawn if np.isfinite(p).all())]

    def _outputs(self, state: AreaState) -> Outputs:
        outputs: dict[str, Any] = {
            "load_p_w": state.load_w, "gen_p_w": state.generation_w, "response_p_w": state.response_w,
            "relief_p_w": state.relief_w, "embedded_lost_p_w": state.embedded_lost_w, "ufls_stages": state.stages_operated,
            "lowest_hz": state.lowest_hz, "lowest_at_s": state.lowest_at_s,
            "highest_hz": state.highest_hz, "highest_at_s": state.highest_at_s,
        }  # fmt: skip
        if self.params.model.ties:
            outputs["tie_p_w"] = state.tie_w
        return {**outputs, **self._frequencies(state.f_hz)}

    def _frequencies(self, f_hz: np.ndarray) -> dict[str, Any]:
        """What is said at every step, with the voltages that feeders see."""
        outputs = {port: [value] for port, value in zip(frequency_ports(self._names), f_hz.tolist(), strict=True)}
        return {**outputs, "v_pu": [1.0], "angle_rad": [0.0]} if self.params.feeders else outputs

    def _changed(self, outputs: Outputs) -> dict[str, Any]:
        """What is not as it was said last: most of it stands still for minutes. Frequencies are always said."""
        said = {port: tuple(values) for port, values in outputs.items()}
        new = {port: outputs[port] for port, values in said.items() if port in self._always or values != self._said.get(port)}
        self._said = said
        return new

    def _actions(self, response: AreaResponse) -> dict[str, Action]:
        def area(payload: Mapping[str, Any]) -> str:
            if "area" not in payload and len(self._names) > 1:
                raise ValueError(f"say which area; there is {', '.join(self._names)}")
            return str(payload.get("area", self._names[0]))

        def lose(payload: Mapping[str, Any]) -> dict[str, Any]:
            where, p_w, inertia_ws = area(payload), number(payload, "p_w"), float(payload.get("inertia_ws", 0.0))
            response.lose(where, p_w, inertia_ws)
            return {"area": where, "p_w": p_w, "inertia_ws": inertia_ws, "cause": str(payload.get("cause", ""))}

        def load(sign: float) -> Action:
            def act(payload: Mapping[str, Any]) -> dict[str, Any]:
                where, p_w, over_s = area(payload), number(payload, "p_w"), float(payload.get("over_s", 0.0))
                response.change_load(where, sign * p_w, round(over_s * S_NS))
                return {"area": where, "p_w": p_w, "over_s": over_s, "cause": str(payload.get("cause", ""))}

            return act

        def part(payload: Mapping[str, Any]) -> dict[str, Any]:
            return {"tie": str(payload["tie"]), "p_w": response.open_tie(str(payload["tie"]))}

        return {"lose_generation": lose, "shed_load": load(-1.0), "restore_load": load(1.0), "open_tie": part}
