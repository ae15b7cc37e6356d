"""The inverters of a feeder: PV under its sky, storage at its set-points, each with its IEEE 1547 functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from federates.field.commands import COMMAND, EMERGENCY, SOE, Action, EmergencyClock, carry_out, number
from federates.grid.der import DerFleet, DerOutput, DerSettings, DerStatus, DerType
from federates.grid.load import pv_profile
from federates.runtime.federate import MS_NS, S_NS, Step
from federates.runtime.port import Inputs, Outputs, Port

_SAMPLE_NS = 20 * MS_NS
"""How long before it was measured an operating point beyond a trip setting is taken to have begun."""


@dataclass(frozen=True)
class Unit:
    """One DER: its name, phases, and for PV the key of its irradiance profile (`load.pv_profiles`, or "flat")."""

    name: str
    phases: tuple[int, ...]
    profile: str = "flat"
    p_set_pu: float = 0.0


@dataclass(frozen=True)
class Ders:
    """Parameters of a ders federate: `settings` of the units, in their order. `start_s`: seconds of the year at t = 0."""

    units: tuple[Unit, ...]
    settings: DerSettings
    nominal_hz: float = 60.0
    start_s: float = 0.0
    period_ns: int = S_NS


class DersFederate:
    """The DER of one feeder; generation and injected vars positive."""

    def __init__(self, params: Ders) -> None:
        self.params = params
        self.period_ns = params.period_ns
        self._fleet = DerFleet(params.settings)
        names = self._names = tuple(unit.name for unit in params.units)
        self._where = [(i, k) for i, unit in enumerate(params.units) for k in range(len(unit.phases))]
        phases = tuple(f"{params.units[i].name}.{params.units[i].phases[k]}" for i, k in self._where)
        self.inputs: Sequence[Port] = (
            Port("v_pu", "pu", phases, "voltage to ground of each phase of each DER"),
            Port("f_hz", "Hz", (), "system frequency"),
            EMERGENCY,
            COMMAND,
        )
        self.outputs: Sequence[Port] = (
            Port("p_w", "W", names, "generation positive"),
            Port("q_var", "var", names, "injection positive"),
            Port(
                "status", "1", names, "IEEE 1547 operating status: " + ", ".join(f"{s.value} {s.name.lower()}" for s in DerStatus)
            ),
            Port("available_w", "W", names, "what PV could deliver, what storage is rated for"),
            Port("soc_wh", "Wh", names, "energy stored; 0 for PV"),
            SOE,
        )
        self._storage = params.settings.NP_TYPE == DerType.STORAGE
        self._p_max_w = params.settings.NP_P_MAX
        self._seen = np.ones((len(names), 3))  # as last heard of, by phase
        self._v = self._seen.copy()
        self._f_hz = params.nominal_hz
        self._clock = EmergencyClock()
        self._t_ns = 0
        storage = np.flatnonzero(self._storage)
        set_points = np.array([unit.p_set_pu for unit in params.units])
        self._fleet.set_p(storage, set_points[storage] * self._p_max_w[storage])
        self._profiles = sorted({u.profile for u, storage in zip(params.units, self._storage, strict=True) if not storage})

    def start(self, t_ns: int) -> Outputs:
        """In service and at rest, at nominal voltage and frequency."""
        self._out = self._fleet.settle(self._v, self._f_hz, self._available(t_ns))
        return self._outputs(t_ns)

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        """Carry out commands and advance to t at the voltages and the frequency given; what is lost keeps its last value."""
        self._clock.update(inputs["emergency"])
        held_v, held_f_hz = self._v.copy(), self._f_hz
        rows = carry_out(inputs["command"], self._actions())
        for (i, k), value in zip(self._where, inputs["v_pu"].values.tolist(), strict=True):
            if np.isfinite(value):
                self._seen[i, k] = value
        for i, unit in enumerate(self.params.units):  # a DER on one or two phases looks at one voltage
            self._v[i] = self._seen[i] if len(unit.phases) == 3 else self._seen[i, : len(unit.phases)].mean()
        if np.isfinite(inputs["f_hz"].scalar):
            self._f_hz = inputs["f_hz"].scalar
        if t_ns > self._t_ns:
            before, dt_ns = self._out, t_ns - self._t_ns
            if dt_ns > _SAMPLE_NS and self._fleet.beyond_trip_settings(self._v, self._f_hz):
                # A fleet's step holds its operating point all through, and would count the long step before it as abnormal too.
                self._fleet.step((dt_ns - _SAMPLE_NS) / S_NS, held_v, held_f_hz, self._available(t_ns - _SAMPLE_NS))
                dt_ns = _SAMPLE_NS
            self._out = self._fleet.step(dt_ns / S_NS, self._v, self._f_hz, self._available(t_ns))
            rows += self._changes(before)
            self._t_ns = t_ns
        return Step({**self._outputs(t_ns), "soe": rows}, self._clock.next_ns(t_ns))

    def _changes(self, before: DerOutput) -> list[dict[str, Any]]:
        """Rows for the DER whose status is another than before."""
        rows = []
        for i in np.flatnonzero(before.status != self._out.status).tolist():
            was, now = DerStatus(before.status[i]), DerStatus(self._out.status[i])
            event = "der_trip" if now == DerStatus.TRIP else "der_status"
            names = {"from": was.name.lower(), "to": now.name.lower()}
            rows.append({"event": event, "der": self._names[i], **names, "p_before_w": float(before.p_w[i])})
        return rows

    def stop(self) -> None:
        """Nothing to release."""

    def _available(self, t_ns: int) -> np.ndarray:
        """Power that PV could deliver at t, W; rated power of storage."""
        irradiance = {
            key: 1.0 if key == "flat" else float(pv_profile(key, t_ns / S_NS + self.params.start_s)) for key in self._profiles
        }
        share = [1.0 if storage else irradiance[u.profile] for u, storage in zip(self.params.units, self._storage, strict=True)]
        return np.asarray(self._p_max_w * np.array(share))

    def _outputs(self, t_ns: int) -> dict[str, Any]:
        return {
            "p_w": self._out.p_w,
            "q_var": self._out.q_var,
            "status": self._out.status.astype(float),
            "available_w": self._available(t_ns),
            "soc_wh": np.where(self._storage, self._fleet.soc_wh, 0.0),
        }

    def _which(self, payload: Mapping[str, Any]) -> np.ndarray:
        """Indices of the units that a command names: names, `all`, `pv` or `storage`."""
        units = payload.get("units", "all")
        groups = {"all": np.ones_like(self._storage), "pv": ~self._storage, "storage": self._storage}
        if isinstance(units, str) and units in groups:
            return np.flatnonzero(groups[units])
        wanted = [units] if isinstance(units, str) else list(units)
        unknown = [name for name in wanted if name not in self._names]
        if unknown:
            raise ValueError(f"no DER {', '.join(map(str, unknown))}; there are {', '.join(self._names[:10])}")
        return np.array([self._names.index(name) for name in wanted], np.intp)

    def _actions(self) -> dict[str, Action]:
        fleet = self._fleet

        def permit(permitted: bool) -> Action:
            def act(payload: Mapping[str, Any]) -> dict[str, Any]:
                which = self._which(payload)
                fleet.permit_service(which, permitted)
                return {"units": [self._names[i] for i in which]}

            return act

        def limit(payload: Mapping[str, Any]) -> dict[str, Any]:
            which, share = self._which(payload), number(payload, "p_pu")
            fleet.limit_p(which, share * self._p_max_w[which])
            return {"units": [self._names[i] for i in which], "p_pu": share}

        def set_power(payload: Mapping[str, Any]) -> dict[str, Any]:
            which, share = self._which({"units": "storage", **payload}), number(payload, "p_pu")
            fleet.set_p(which, share * self._p_max_w[which])
            return {"units": [self._names[i] for i in which], "p_pu": share}

        return {"trip": permit(False), "permit_service": permit(True), "limit": limit, "set_power": set_power}
