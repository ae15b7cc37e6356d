"""AC power flow of the transmission system: bus loads, outages, generator trips, voltage-dependent injections.

lightsim2grid solves; pandapower checked the network when it was read (`transmission_case`). Every solve starts from
the voltages of the network as read, never from the last solution, so that one state gives the same bits whatever
happened before it.

The load of a bus is what its modelled feeders draw plus its native load (`bus_load`).

Angles are relative to the slack generator's bus, which keeps the angle it has in the network as read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from federates.grid.bus_load import BusLoads, LoadCurve
from federates.grid.power_flow import PowerFlow, TransmissionError
from federates.grid.transmission_case import FloatArray, IntArray, NetworkError, TransmissionCase, load_network

__all__ = [
    "ACTIONS", "LoadCurve", "NetworkError", "PowerFlow", "Transmission", "TransmissionError", "TransmissionModel", "load_network",
]  # fmt: skip

ACTIONS = ("open_line", "close_line", "trip_generator", "restore_generator", "set_generator", "set_native", "set_native_share")
"""What an event may ask of this engine; each is a method of `Transmission`."""

_MAX_NEWTON = 20
_KNOWN_CUTS = 4096
_MISMATCH_PU = 1e-9
_STARTS = (1.0, 0.9, 0.8, 0.7, 0.6)


@dataclass(frozen=True)
class TransmissionModel:
    """What is needed to build a `Transmission` in any process.

    `source` as in `load_network`. `native_exponents`: (np, nq) of the native loads, P = P0 (V / V0)^np, where P0 is the load that
    the network states and V0 the voltage that it solves to; (0, 0) is constant power, (2, 2) constant impedance.
    """

    source: str
    native_exponents: tuple[float, float] = (0.0, 0.0)

    def hash(self) -> str:
        """SHA-256 (hex) of the network's content and the options; it reads the network. The path does not enter."""
        return hashlib.sha256(f"{load_network(self.source).content_hash} {self.native_exponents!r}".encode()).hexdigest()


class Transmission:
    """A transmission network with a state that can be changed and solved."""

    def __init__(self, model: TransmissionModel) -> None:
        case = load_network(model.source)
        self.model = model
        self.case: TransmissionCase = case
        self.bus_names, self.branch_names, self.generator_names = case.bus_names, case.branch_names, case.generator_names
        self.base_kv = case.base_kv
        self._bus = {name: i for i, name in enumerate(case.bus_names)}
        self._branch = {name: i for i, name in enumerate(case.branch_names)}
        self._generator = {name: i for i, name in enumerate(case.generator_names)}
        self._grid = case.grid
        self._loads = BusLoads(case.native_p_w, case.native_q_var, np.abs(case.base_v), model.native_exponents)
        self._loaded_mva = np.column_stack((case.native_p_w, case.native_q_var)) / 1e6
        self._closed = case.branch_in_service.copy()
        self._running = case.generator_in_service.copy()
        self._scheduled_w = case.generator_p_w.copy()
        self._response_w = np.zeros(len(case.generator_names))
        self._slack_shares: dict[int, float] = {}
        self._slack_applied = {case.slack_generator: 1.0}
        self._cut_off: tuple[str, ...] | None = None
        self._known_cuts: dict[bytes, tuple[str, ...]] = {}

    def actions(self) -> tuple[str, ...]:
        """The event actions this engine supports."""
        return ACTIONS

    def set_bus_load(self, bus: str, p_w: float, q_var: float) -> None:
        """The total of the modelled feeders at a bus, load positive; the native load comes on top."""
        self._loads.feeder[self._index(self._bus, bus, "bus")] = p_w, q_var

    def set_native_share(self, bus: str, share: float) -> None:
        """The part (0..1) of the bus's native load that is there, P and Q alike."""
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"native share at bus {bus!r} must be in 0..1, not {share}")
        self._loads.share[self._index(self._bus, bus, "bus")] = share

    def set_native(self, bus: str, p_w: float, q_var: float) -> None:
        """The native load of a bus at the voltage of the network as read and a factor of 1, before its share is taken."""
        self._loads.native[self._index(self._bus, bus, "bus")] = p_w, q_var

    def set_native_at(self, v_pu: FloatArray, p_w: FloatArray, q_var: FloatArray) -> None:
        """The native loads of all buses such that they draw `p_w`, `q_var` at the voltages `v_pu`."""
        self._loads.native = np.column_stack((p_w, q_var)) / self._loads.answer(np.arange(len(v_pu)), v_pu)

    def scale_native(self, p_factor: float | FloatArray, q_factor: float | FloatArray | None = None) -> None:
        """Factors on P and Q of the native loads of all buses (one, or one a bus): profile, frequency response."""
        self._loads.factor[:, 0] = p_factor
        self._loads.factor[:, 1] = p_factor if q_factor is None else q_factor

    def open_line(self, name: str) -> None:
        """Take a line or transformer out of service; either order of the bus names will do."""
        self._switch(name, closed=False)

    def close_line(self, name: str) -> None:
        """Put a line or transformer back in service."""
        self._switch(name, closed=True)

    def is_closed(self, name: str) -> bool:
        """Whether a line or transformer is in service."""
        return bool(self._closed[self._branch_index(name)])

    def trip_generator(self, name: str) -> float:
        """Disconnect a generator; returns the active power it was set to, W. The slack passes on if it had it."""
        i = self._index(self._generator, name, "generator")
        lost_w = float(self._scheduled_w[i] + self._response_w[i]) if self._running[i] else 0.0
        self._run(i, running=False)
        return lost_w

    def is_running(self, name: str) -> bool:
        """Whether a generator is in service."""
        return bool(self._running[self._index(self._generator, name, "generator")])

    def has_generator(self, name: str) -> bool:
        """Whether a generator has this name."""
        return name in self._generator

    def restore_generator(self, name: str) -> None:
        """Connect a generator again, at its schedule."""
        self._run(self._index(self._generator, name, "generator"), running=True)

    def scheduled_w(self, name: str) -> float:
        """The schedule of a generator, W."""
        return float(self._scheduled_w[self._index(self._generator, name, "generator")])

    def set_generator(self, name: str, p_w: float, v_pu: float | None = None) -> None:
        """The schedule of a generator: active power, and the voltage it holds (unchanged if not given)."""
        i = self._index(self._generator, name, "generator")
        table, row = self.case.generator_table[i]
        if v_pu is not None:
            if table != "gen":
                raise ValueError(f"generator {name!r} does not hold a voltage: it is an injection of fixed P and Q")
            self._grid.change_v_gen(row, v_pu)
        self._scheduled_w[i] = p_w
        self._set_p(i)

    def set_response(self, p_w: Mapping[str, float]) -> None:
        """Power on top of the schedules, W by generator (governors, secondary control); it replaces the last response."""
        response = np.zeros_like(self._response_w)
        for name, value in p_w.items():
            response[self._index(self._generator, name, "generator")] = value
        for i in np.flatnonzero(response != self._response_w):
            self._response_w[i] = response[i]
            self._set_p(int(i))

    def set_slack_shares(self, shares: Mapping[str, float] | None) -> None:
        """Who carries what is left between schedules, load and losses: shares (> 0) by generator; None: the network's own slack.

        Only generators that hold a voltage can. Those out of service drop out; if none is left, the largest takes it.
        """
        wanted = {self._index(self._generator, name, "generator"): float(share) for name, share in (shares or {}).items()}
        for i, share in wanted.items():
            if share <= 0.0 or self.case.generator_table[i][0] != "gen":
                raise ValueError(
                    f"slack share of {self.generator_names[i]!r} must be positive and of a generator that holds a voltage"
                )
        self._slack_shares = dict(sorted(wanted.items()))
        self._apply_slack()

    def solve(self) -> PowerFlow:
        """The power flow of the present state; changes nothing. Raises `TransmissionError`."""
        return self.solve_with_curves({})

    def solve_with_curves(
        self,
        curves: Mapping[str, LoadCurve],
        tolerance_pu: float = 1e-9,
        max_solves: int = 40,
        near_v_pu: FloatArray | None = None,
    ) -> PowerFlow:
        """The power flow in which the feeders at some buses draw `curves[bus](|V|)` instead of their set load.

        Solves V = powerflow(curve(V)) at these buses by Broyden's method, whose first step is the plain fixed point; a
        step into a region without solution is halved. The result has |V - powerflow(curve(V))| <= `tolerance_pu` there;
        else `TransmissionError` of kind "curves" (with the residual) or "diverged", after at most `max_solves`.
        `near_v_pu` [bus]: voltages at which to begin, for instance of the step before; they save power flows.
        """
        self._require_connected()
        curved = {self._index(self._bus, bus, "bus"): curve for bus, curve in curves.items()}
        at = np.array(sorted({*curved, *self._loads.voltage_dependent().tolist()}), dtype=np.int64)

        # Loads that fall with voltage may have a solution although their power at the starting voltage has none: start lower.
        solves = 0
        for start in _STARTS[: None if len(at) else 1]:
            solves += 1
            v = start * (np.abs(self.case.base_v) if near_v_pu is None else near_v_pu)[at]
            complex_v, loads_w = self._power_flow(curved, at, v)
            if complex_v is not None:
                break
        else:
            raise self._diverged()
        residual = np.abs(complex_v)[at] - v
        inverse = -np.eye(len(at))  # of the Jacobian of the residual: exact where loads do not depend on voltage
        while len(at) and not np.abs(residual).max() <= tolerance_pu:
            step = -inverse @ residual
            while True:
                if solves >= max_solves or not np.isfinite(step).all():
                    worst = int(np.argmax(np.abs(residual)))
                    bus = self.bus_names[at[worst]]
                    what = f"load curves and voltages do not agree after {solves} power flows"
                    raise TransmissionError("curves", f"{what}: {abs(residual[worst]):.2g} pu left at bus {bus!r}", (bus,))
                complex_v, loads_w = self._power_flow(curved, at, v + step)
                solves += 1
                if complex_v is not None:
                    break
                step = step / 2.0
                if np.abs(step).max() <= tolerance_pu:
                    raise self._diverged()
            v = v + step
            new_residual = np.abs(complex_v)[at] - v
            projected = step @ inverse
            denominator = float(projected @ (new_residual - residual))
            if denominator != 0.0:
                inverse = inverse + np.outer(step - inverse @ (new_residual - residual), projected) / denominator
            residual = new_residual
        assert complex_v is not None
        return self._result(complex_v, loads_w, solves)

    def _power_flow(
        self, curved: Mapping[int, LoadCurve], at: IntArray, v: FloatArray
    ) -> tuple[NDArray[np.complex128] | None, FloatArray]:
        """Complex voltages (None: no solution) with the loads at the buses `at` taken at the voltages `v`, and all loads."""
        if not (v > 0.0).all():
            return None, self._loads.nominal_w()
        loads_w = self._loads.at(curved, at, v)
        if not np.isfinite(loads_w).all():
            bad = tuple(self.bus_names[i] for i in np.flatnonzero(~np.isfinite(loads_w).all(axis=1)))
            raise TransmissionError("curves", f"load at buses {list(bad)} is not a finite number", bad)
        loads_mva = loads_w / 1e6
        changed = loads_mva != self._loaded_mva
        for column, change in enumerate((self._grid.change_p_load, self._grid.change_q_load)):
            buses = np.flatnonzero(changed[:, column])
            for bus, mva in zip(buses.tolist(), loads_mva[buses, column].tolist(), strict=True):
                change(bus, mva)
        self._loaded_mva = loads_mva
        solution = self._grid.ac_pf(self.case.base_v.copy(), _MAX_NEWTON, _MISMATCH_PU)
        return (solution if len(solution) and np.isfinite(solution).all() else None), loads_w

    def _result(self, complex_v: NDArray[np.complex128], loads_w: FloatArray, solves: int) -> PowerFlow:
        grid, case = self._grid, self.case
        line_from, line_to, trafo_from, trafo_to = (
            grid.get_line_res1(),
            grid.get_line_res2(),
            grid.get_trafo_res1(),
            grid.get_trafo_res2(),
        )
        from_w = 1e6 * np.concatenate((line_from[0], trafo_from[0]))
        to_w = 1e6 * np.concatenate((line_to[0], trafo_to[0]))
        ratio = case.base_kv[case.branch_to[case.line_count :]] / case.base_kv[case.branch_from[case.line_count :]]
        current_a = 1e3 * np.concatenate((np.maximum(line_from[3], line_to[3]), np.maximum(trafo_from[3], trafo_to[3] * ratio)))
        held, fixed = grid.get_gen_res(), grid.get_sgens_res()
        return PowerFlow(
            v_pu=np.abs(complex_v),
            angle_rad=np.angle(complex_v),
            bus_p_w=loads_w[:, 0].copy(),
            bus_q_var=loads_w[:, 1].copy(),
            p_from_w=from_w,
            p_to_w=to_w,
            loading=current_a / case.rating_a,
            generator_p_w=1e6 * np.concatenate((held[0], fixed[0])),
            generator_q_var=1e6 * np.concatenate((held[1], fixed[1])),
            solves=solves,
        )

    def _switch(self, name: str, *, closed: bool) -> None:
        i = self._branch_index(name)
        if bool(self._closed[i]) == closed:
            return
        self._closed[i], self._cut_off = closed, None
        kind, row = ("powerline", i) if i < self.case.line_count else ("trafo", i - self.case.line_count)
        getattr(self._grid, f"{'reactivate' if closed else 'deactivate'}_{kind}")(row)

    def _run(self, i: int, *, running: bool) -> None:
        if bool(self._running[i]) == running:
            return
        self._running[i] = running
        table, row = self.case.generator_table[i]
        getattr(self._grid, f"{'reactivate' if running else 'deactivate'}_{table}")(row)
        if running:
            self._set_p(i)
        self._apply_slack()

    def _set_p(self, i: int) -> None:
        table, row = self.case.generator_table[i]
        change = self._grid.change_p_gen if table == "gen" else self._grid.change_p_sgen
        change(row, float(self._scheduled_w[i] + self._response_w[i]) / 1e6)

    def _apply_slack(self) -> None:
        """The slack as a function of the state alone: shares asked for, else the network's slack, else the largest left."""
        holding = [i for i, (table, _) in enumerate(self.case.generator_table) if table == "gen" and self._running[i]]
        wanted = {i: share for i, share in self._slack_shares.items() if self._running[i]}
        if not wanted and holding:
            home = self.case.slack_generator
            wanted = {home if self._running[home] else max(holding, key=lambda i: (self.case.generator_p_max_w[i], -i)): 1.0}
        if wanted == self._slack_applied:
            return
        for i in self._slack_applied:
            self._grid.remove_gen_slackbus(self.case.generator_table[i][1])
        for i, share in wanted.items():
            self._grid.add_gen_slackbus(self.case.generator_table[i][1], share)
        if wanted:
            home = self.case.slack_generator
            reference = home if home in wanted else max(wanted, key=lambda i: (self.case.generator_p_max_w[i], -i))
            self._grid.set_reference_slack_bus(int(self.case.generator_bus[reference]))
        self._slack_applied = wanted

    def cut_off(self) -> tuple[str, ...]:
        """Buses that have no path to the largest connected part."""
        if self._cut_off is None:
            self._cut_off = self._known_cuts.get(self._closed.tobytes())
        if self._cut_off is None:
            from scipy.sparse import coo_array
            from scipy.sparse.csgraph import connected_components

            n = len(self.bus_names)
            ends = self.case.branch_from[self._closed], self.case.branch_to[self._closed]
            _, label = connected_components(coo_array((np.ones(len(ends[0])), ends), shape=(n, n)), directed=False)
            main = np.bincount(label).argmax()
            self._cut_off = tuple(self.bus_names[i] for i in np.flatnonzero(label != main))
            if len(self._known_cuts) < _KNOWN_CUTS:
                self._known_cuts[self._closed.tobytes()] = self._cut_off
        return self._cut_off

    def _require_connected(self) -> None:
        if not self._slack_applied:
            raise TransmissionError("no_slack", "no generator that holds a voltage is left in service")
        if self.cut_off():
            raise TransmissionError("islanded", f"buses {list(self.cut_off())} are cut off from the rest", self.cut_off())

    def _diverged(self) -> TransmissionError:
        open_branches = [self.branch_names[i] for i in np.flatnonzero(~self._closed)]
        total_mw = self._loaded_mva[:, 0].sum()
        return TransmissionError(
            "diverged", f"no power flow solution with {total_mw:.1f} MW of load and {open_branches or 'no branch'} out"
        )

    def _branch_index(self, name: str) -> int:
        if name not in self._branch:
            stem, _, number = name.partition("#")
            first, dash, second = stem.partition("-")
            turned = f"{second}{dash}{first}" + (f"#{number}" if number else "")
            if turned in self._branch:
                return self._branch[turned]
        return self._index(self._branch, name, "branch")

    @staticmethod
    def _index(known: Mapping[str, int], name: str, what: str) -> int:
        if name not in known:
            near = get_close_matches(name, known, 3, 0.5) or list(known)[:3]
            raise TransmissionError("unknown", f"no {what} {name!r}; there is {', '.join(map(repr, near))}")
        return known[name]
