"""The bulk system by AC power flow at each step, with one frequency for all of it.

Frequency at t follows from what was drawn until t; generators carry the governors' and the secondary control's power on top of
their schedules, and what losses leave over, by governor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from federates.field.bulk import BulkState, Fed, Rows, native_of, refusing
from federates.field.commands import carry_out, number
from federates.grid.fleet import FrequencySettings
from federates.grid.frequency import FrequencyResponse
from federates.grid.native_shedding import NativeShedding, SheddingBlock
from federates.grid.transmission import PowerFlow, Transmission, TransmissionModel
from federates.runtime.port import Event

_TOLERANCE_PU = 1e-8  # of native loads' voltages; the exchange with the feeders is coarser by far


class ResponseEngine:
    """lightsim2grid for the network, `FrequencyResponse` for the frequency. Islands are refused."""

    def __init__(self, model: TransmissionModel, frequency: FrequencySettings, blocks: Sequence[SheddingBlock] = ()) -> None:
        self.network = Transmission(model)
        self.settings = frequency
        self._bus = {name: i for i, name in enumerate(self.network.bus_names)}
        self.frequency: FrequencyResponse | None = None
        self._shedding = NativeShedding(blocks)
        self._balanced: dict[str, tuple[float, float]] = {}
        self._t_ns = 0
        self._flow: PowerFlow | None = None
        self._losses_w, self._native_w = 0.0, 0.0
        self._f_hz, self._rocof = frequency.nominal_hz, 0.0

    def start(self) -> BulkState:
        """The network as its file has it, all load native."""
        self._flow = self.network.solve()
        return self._state(self._flow)

    def solve(self, t_ns: int, fed: Fed) -> BulkState:
        """Power flow with what the feeders draw."""
        self._advance(t_ns, fed)
        return self._state(self._power_flow(fed))

    def step(self, t_ns: int, fed: Fed, commands: Sequence[Event]) -> tuple[BulkState, Rows]:
        """Advance frequency to t, shed, carry out commands, solve."""
        self._advance(t_ns, fed)
        if self.frequency is None:
            self._balance(fed)
        rows: Rows = list(self._shedding.update(t_ns, self._f_hz))
        rows += carry_out(commands, self._actions())
        flow = self._power_flow(fed)
        self._keep(fed, flow)
        assert self.frequency is not None
        state = self.frequency.step(0, *self._loads_w(fed))
        self._f_hz, self._rocof = state.f_hz, state.rocof_hz_per_s
        return self._state(flow), rows

    def wish_ns(self, t_ns: int) -> int | None:
        """When a shedding relay or its breaker is due, at the next whole microsecond."""
        due_ns = self._shedding.due_ns
        return None if due_ns is None else max(-(-due_ns // 1000) * 1000, t_ns + 1000)

    def stop(self) -> None:
        """Nothing to release."""

    def _power_flow(self, fed: Fed) -> PowerFlow:
        network = self.network
        for bus, (p_w, q_var) in fed.items():
            network.set_bus_load(bus, p_w, q_var)
            network.set_native(bus, *self._balanced.get(bus, native_of(network, self._bus[bus], p_w, q_var)))
        network.scale_native(self._shedding.kept * self._damped(), self._shedding.kept)
        if self.frequency is not None:
            network.set_response(self.frequency.response_by_machine())
        near_v_pu = self._flow.v_pu if self._flow else None
        return network.solve_with_curves({}, _TOLERANCE_PU, near_v_pu=near_v_pu)

    def _damped(self) -> float:
        return 1.0 + self.settings.native_damping_pu * (self._f_hz / self.settings.nominal_hz - 1.0)

    def _keep(self, fed: Fed, flow: PowerFlow) -> None:
        """Remember a solution: what is not the feeders' holds until the next one."""
        self._flow, self._losses_w = flow, flow.losses_w
        self._native_w = (float(flow.bus_p_w.sum()) - _fed_w(fed)) / self._damped()

    def _loads_w(self, fed: Fed) -> tuple[float, float]:
        """What the feeders draw by now with the network's losses, and the native load as it would be at nominal frequency, W."""
        return _fed_w(fed) + self._losses_w, self._native_w

    def _balance(self, fed: Fed) -> None:
        """Take the first commit as the balanced state: native loads, schedules and who carries the rest stay from here on."""
        flow = self._power_flow(fed)
        network = self.network
        self._balanced = {bus: native_of(network, self._bus[bus], *drawn) for bus, drawn in fed.items()}
        for name, p_w in zip(network.generator_names, flow.generator_p_w.tolist(), strict=True):
            if network.is_running(name):
                network.set_generator(name, p_w)
        model = self.settings.model(network)
        self._keep(fed, flow)
        self.frequency = FrequencyResponse(model, *self._loads_w(fed))
        shares = {m.name: m.rating_va for m in model.machines if m.governor is not None}
        network.set_slack_shares(shares or None)

    def _advance(self, t_ns: int, fed: Fed) -> None:
        """Frequency at t from what was drawn since the last call; asking again at the same t changes nothing.

        The feeders' power that is seen at t was published after the last call, and has been drawn from then on.
        """
        if self.frequency is None or t_ns == self._t_ns:
            return
        state = self.frequency.step(t_ns - self._t_ns, *self._loads_w(fed))
        self._t_ns, self._f_hz, self._rocof = t_ns, state.f_hz, state.rocof_hz_per_s

    def _state(self, flow: PowerFlow) -> BulkState:
        network = self.network
        running = np.array([network.is_running(name) for name in network.generator_names])
        return BulkState(
            t_ns=self._t_ns,
            f_hz=self._f_hz,
            rocof_hz_per_s=self._rocof,
            v_pu=flow.v_pu,
            angle_rad=flow.angle_rad,
            load_w=np.column_stack((flow.bus_p_w, flow.bus_q_var)),
            line_status=np.array([float(network.is_closed(name)) for name in network.branch_names]),
            loading=np.where(np.isfinite(flow.loading), flow.loading, np.nan),
            gen_p_w=np.where(running, flow.generator_p_w, 0.0),
            gen_status=running.astype(float),
            governor_p_w=float(self.frequency.state().governor_p_w.sum()) if self.frequency else 0.0,
            bus_quality=np.zeros(len(flow.v_pu), np.uint16),
        )

    def _actions(self) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
        network = self.network

        def lines(name: str) -> Any:
            def act(payload: Mapping[str, Any]) -> dict[str, Any]:
                line = str(payload["line"])
                before = network.is_closed(line)
                getattr(network, name)(line)
                if lost := network.cut_off():
                    (network.close_line if before else network.open_line)(line)
                    raise ValueError(f"it would cut off bus {', '.join(lost)}; islands are not simulated by the response engine")
                return {"line": line}

            return refusing(act)

        def trip(payload: Mapping[str, Any]) -> dict[str, Any] | None:
            name = str(payload["generator"])
            if not network.is_running(name):
                return None
            if self.frequency is not None:  # first, since it refuses to lose the last inertia
                machine = name if any(m.name == name for m in self.frequency.model.machines) else None
                self.frequency.trip(machine, network.scheduled_w(name))
            return {"generator": name, "p_w": network.trip_generator(name)}

        def schedule(payload: Mapping[str, Any]) -> dict[str, Any]:
            name, p_w = str(payload["generator"]), number(payload, "p_w")
            change_w = p_w - network.scheduled_w(name)
            if not network.is_running(name):
                raise ValueError(f"generator {name} is out of service")
            network.set_generator(name, p_w, number(payload, "v_pu") if payload.get("v_pu") is not None else None)
            if self.frequency is not None:
                self.frequency.schedule(self.frequency.state().scheduled_p_w + change_w)
            return {"generator": name, "p_w": p_w}

        return {
            "open_line": lines("open_line"),
            "close_line": lines("close_line"),
            "trip_generator": refusing(trip),
            "set_generator": refusing(schedule),
        }


def _fed_w(fed: Fed) -> float:
    return sum(p_w for p_w, _ in fed.values())
