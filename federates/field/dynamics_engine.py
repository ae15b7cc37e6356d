"""The bulk system by ANDES: electromechanical dynamics between exchanges, islands, faults (extra `dynamics`).

The start is the power flow that the response engine would have, which ANDES must confirm. From then on ANDES advances from
exchange to exchange, at multiples of 125 ms, with what the feeders said last; a command takes effect at the next inner step, and
is seen at the next exchange, which follows at once. Every bus outside the main island is flagged: SUSPECT where it is alive, since
the frequency that is published is the main island's, LOST (and 0 V) where it is dead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from federates.field.bulk import BulkState, Fed, FloatArray, Rows, native_of, refusing
from federates.field.commands import carry_out, number
from federates.grid.dynamics.cases import EXCHANGE_NS, case_of
from federates.grid.dynamics.client import Dynamics
from federates.grid.dynamics.loads import NativeModel
from federates.grid.dynamics.secondary import SecondaryControl
from federates.grid.fleet import FrequencySettings
from federates.grid.native_shedding import SheddingBlock
from federates.grid.transmission import PowerFlow, Transmission, TransmissionModel
from federates.runtime.federate import S_NS
from federates.runtime.port import Event, Quality

_TOLERANCE_PU = 1e-10
_ROCOF_NS = 500_000_000


@dataclass(frozen=True)
class DynamicsSettings:
    """`steps_per_s`: inner steps, a power of two; `low_v_pu`: the voltage under which load is an impedance."""

    steps_per_s: int = 32
    low_v_pu: float = 0.7


class DynamicsEngine:
    """A case of ANDES in a process of its own. Of `frequency` it takes damping and secondary control."""

    def __init__(
        self,
        model: TransmissionModel,
        frequency: FrequencySettings,
        settings: DynamicsSettings,
        blocks: Sequence[SheddingBlock] = (),
    ) -> None:
        self.network = Transmission(model)
        self.settings, self._frequency, self._blocks = settings, frequency, tuple(blocks)
        self._case = case_of(model.source)
        self._step_ns = S_NS // settings.steps_per_s
        self._bus = {name: i for i, name in enumerate(self.network.bus_names)}
        self._secondary = SecondaryControl(frequency.nominal_hz, frequency.secondary_bias_w_per_hz, frequency.secondary_time_s)
        self._dynamics: Dynamics | None = None
        self._t_ns = 0
        self._begun = False
        self._last: BulkState | None = None
        self._ordered_ns: int | None = None
        self._tripped: set[str] = set()

    def start(self) -> BulkState:
        """Start the process (and, the first time, the generation of its code); the network as its file has it."""
        if self._dynamics is None:
            self._dynamics = Dynamics(self._case, self.settings.steps_per_s)
        # lines are joined by the number of their row, and what the power flow of the network knows by its order
        static = self._dynamics.static
        self._branch = dict(zip(static.branch_names(), static.branch_order(), strict=True))
        self._generator = {name: k for k, name in enumerate(static.generator_names())}
        self._base_va = static.base_va
        return self._of_flow(self.network.solve())

    def solve(self, t_ns: int, fed: Fed) -> BulkState:
        """At t = 0 the power flow with what the feeders draw; later the last exchange, since ANDES cannot go back."""
        return self._of_flow(self._power_flow(fed)) if self._last is None else self._last

    def step(self, t_ns: int, fed: Fed, commands: Sequence[Event]) -> tuple[BulkState, Rows]:
        """At an exchange: advance. At any time: take commands."""
        rows: Rows = []
        if not self._begun:
            self._begin(fed)
        elif t_ns % EXCHANGE_NS == 0 and t_ns > self._t_ns:
            rows += self._advance(t_ns, fed)
        assert self._last is not None
        rows += carry_out(commands, self._actions(t_ns))
        return self._last, rows

    def wish_ns(self, t_ns: int) -> int | None:
        """The next exchange, while something that was ordered has not been seen."""
        if self._ordered_ns is None or self._t_ns > self._ordered_ns:
            return None
        return (t_ns // EXCHANGE_NS + 1) * EXCHANGE_NS

    def stop(self) -> None:
        """End the process."""
        if self._dynamics is not None:
            self._dynamics.close()

    # Start

    def _power_flow(self, fed: Fed) -> PowerFlow:
        for bus, (p_w, q_var) in fed.items():
            self.network.set_bus_load(bus, p_w, q_var)
            self.network.set_native(bus, *native_of(self.network, self._bus[bus], p_w, q_var))
        return self.network.solve_with_curves({}, _TOLERANCE_PU)

    def _begin(self, fed: Fed) -> None:
        assert self._dynamics is not None
        flow = self._power_flow(fed)
        case = self.network.case
        native = np.column_stack((case.native_p_w, case.native_q_var))
        for bus, drawn in fed.items():
            native[self._bus[bus]] = native_of(self.network, self._bus[bus], *drawn)
        native_model = NativeModel(*self.network.model.native_exponents, self._frequency.native_damping_pu, self.settings.low_v_pu)
        state = self._dynamics.begin(
            self._array(fed), native / self._base_va, np.abs(case.base_v), flow.v_pu, flow.generator_p_w / self._base_va,
            native_model, self._blocks,
        )  # fmt: skip
        self._begun = True
        self._last = self._of_state(state, 0.0)

    def _array(self, fed: Fed) -> FloatArray:
        array = np.zeros((len(self._bus), 2))
        for bus, drawn in fed.items():
            array[self._bus[bus]] = drawn
        return array / self._base_va

    # Exchange

    def _advance(self, t_ns: int, fed: Fed) -> Rows:
        assert self._dynamics is not None and self._last is not None
        secondary = self._secondary.p_w / self._base_va
        state, happened, f_hz = self._dynamics.advance(t_ns // self._step_ns, self._array(fed), secondary)
        self._secondary.advance((t_ns - self._t_ns) / S_NS, float(f_hz[-1]))
        # over half a second where there is as much: rotors swing against each other at a few hertz
        trace = np.concatenate(([self._last.f_hz], f_hz))
        span = min(len(f_hz), _ROCOF_NS // self._step_ns)
        rocof = float(trace[-1] - trace[-1 - span]) / (span * self._step_ns / S_NS)
        self._t_ns = t_ns
        self._last = self._of_state(state, rocof)
        rows = [{**row, "t_grid_ns": row["t_ns"]} for row in happened]
        for row in rows:
            del row["t_ns"]
            if row["event"] == "native_load_shed":
                self._ordered_ns = max(t_ns, self._ordered_ns or 0)
        return rows

    def _of_flow(self, flow: PowerFlow) -> BulkState:
        network = self.network
        running = np.array([network.is_running(name) for name in network.generator_names])
        return BulkState(
            t_ns=0,
            f_hz=self._frequency.nominal_hz,
            rocof_hz_per_s=0.0,
            v_pu=flow.v_pu,
            angle_rad=flow.angle_rad,
            load_w=np.column_stack((flow.bus_p_w, flow.bus_q_var)),
            line_status=np.array([float(network.is_closed(name)) for name in network.branch_names]),
            loading=np.full(len(network.branch_names), np.nan),
            gen_p_w=np.where(running, flow.generator_p_w, 0.0),
            gen_status=running.astype(float),
            governor_p_w=0.0,
            bus_quality=np.zeros(len(flow.v_pu), np.uint16),
        )

    def _of_state(self, state: Mapping[str, Any], rocof: float) -> BulkState:
        quality = np.where(state["dead"], int(Quality.LOST), np.where(state["apart"], int(Quality.SUSPECT), 0))
        order = np.array(list(self._branch.values()))
        return BulkState(
            t_ns=self._t_ns,
            f_hz=self._frequency.nominal_hz * state["f_pu"],
            rocof_hz_per_s=rocof,
            v_pu=state["v_pu"],
            angle_rad=state["angle_rad"],
            load_w=state["load"] * self._base_va,
            line_status=state["closed"][order].astype(float),
            loading=np.full(len(order), np.nan),
            gen_p_w=state["p"] * self._base_va,
            gen_status=state["running"].astype(float),
            governor_p_w=state["governor"] * self._base_va,
            bus_quality=quality.astype(np.uint16),
        )

    # Commands

    def _order(self, t_ns: int, action: str, *arguments: Any) -> int:
        """Have it done at the first inner step at or after `t_ns`; gives its time."""
        assert self._dynamics is not None
        k = -(-t_ns // self._step_ns)
        self._dynamics.order(k, action, *arguments)
        self._ordered_ns = max(k * self._step_ns, self._ordered_ns or 0)
        return k * self._step_ns

    def _actions(self, t_ns: int) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
        network = self.network

        def lines(closed: bool) -> Callable[[Mapping[str, Any]], Any]:
            def act(payload: Mapping[str, Any]) -> dict[str, Any]:
                name = str(payload["line"])
                network.is_closed(name)  # refuses a name that does not exist
                row = self._branch.get(name)
                if row is None:
                    stem, hash_sign, number_of = name.partition("#")
                    row = self._branch["-".join(reversed(stem.split("-"))) + hash_sign + number_of]
                return {"line": name, "t_grid_ns": self._order(t_ns, "switch", row, closed)}

            return refusing(act)

        def trip(payload: Mapping[str, Any]) -> dict[str, Any] | None:
            name = str(payload["generator"])
            network.is_running(name)
            assert self._last is not None
            k = self._generator[name]
            if not self._last.gen_status[k] or name in self._tripped:
                return None
            self._tripped.add(name)
            return {
                "generator": name,
                "p_w": float(self._last.gen_p_w[k]),
                "t_grid_ns": self._order(t_ns, "trip", k),
            }

        def schedule(payload: Mapping[str, Any]) -> dict[str, Any]:
            name, p_w = str(payload["generator"]), number(payload, "p_w")
            change_w = p_w - network.scheduled_w(name)
            if payload.get("v_pu") is not None:
                raise ValueError("the dynamics engine does not change what an exciter holds; leave v_pu out")
            if name in self._tripped:
                raise ValueError(f"generator {name} is out of service")
            network.set_generator(name, p_w)
            t_grid_ns = self._order(t_ns, "schedule", self._generator[name], change_w / self._base_va)
            return {"generator": name, "p_w": p_w, "t_grid_ns": t_grid_ns}

        def fault(payload: Mapping[str, Any]) -> dict[str, Any]:
            name, duration_s = str(payload["bus"]), number(payload, "duration_s")
            if name not in self._bus:
                raise ValueError(f"no bus '{name}'")
            if duration_s <= 0.0:
                raise ValueError(f"duration_s is {duration_s:g}; give more than 0")
            begins_ns = self._order(t_ns, "fault", self._bus[name])
            ends_ns = self._order(begins_ns + round(duration_s * S_NS), "clear", self._bus[name])
            return {"bus": name, "t_grid_ns": begins_ns, "t_cleared_ns": ends_ns}

        return {
            "open_line": lines(False),
            "close_line": lines(True),
            "trip_generator": refusing(trip),
            "set_generator": refusing(schedule),
            "fault_bus": fault,
        }
