"""System frequency: one equivalent mass, governor groups, damping of native load, secondary control.

    2 E / f0 * df/dt = P_scheduled + sum P_group - P_fixed - P_native (1 + D (f - f0) / f0)

The model is the low-order one of Anderson and Mirheydar (IEEE Trans. Power Systems 5(3), 1990), with several governor
groups, dead bands, headroom and secondary control. Between the moments at which a dead band is left or a limit
reached it is linear: it is integrated there exactly (matrix exponential), and those moments are found on a grid of 5 ms
and then located to a picosecond. Results therefore do not depend on how the caller slices time, to rounding. A dead
band left and entered again within one grid step goes unseen.

Counted once: `p_fixed_w` is what the modelled feeders draw, as they are at this frequency, plus network losses; only the
native load is damped here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from federates.grid.governor import SHORTEST_LAG_S, Governor

FloatArray = NDArray[np.float64]

_GRID_S = SHORTEST_LAG_S
_GRID_NS = round(_GRID_S * 1e9)
_CHUNK = 256
_TAYLOR_TERMS = 24
_RESOLUTION_S = 1e-12
_MAX_SWITCHES = 64
_DAMPING_STEP = 1e-3


@dataclass(frozen=True)
class Machine:
    """A synchronous machine: rating (VA), inertia constant H (s), its governor's group (None: none), room to move (W)."""

    name: str
    rating_va: float
    inertia_s: float
    governor: str | None = None
    headroom_w: float = 0.0
    footroom_w: float = 0.0


@dataclass(frozen=True)
class ScheduledLoss:
    """Generation lost at a set time (ns from the start): a machine by name, or an embedded one (None); `p_w` is what it fed in."""

    t_ns: int
    p_w: float
    machine: str | None = None


@dataclass(frozen=True)
class FrequencyModel:
    """The parameters; immutable and picklable.

    `native_damping_pu`: D, per-unit native load per per-unit frequency. Secondary control: its power integrates
    -`secondary_bias_w_per_hz` * (f - f0) / `secondary_time_s`, within +-`secondary_limit_w`; a bias of 0 is none.
    """

    f0_hz: float
    machines: tuple[Machine, ...]
    governors: tuple[Governor, ...] = ()
    native_damping_pu: float = 1.0
    secondary_bias_w_per_hz: float = 0.0
    secondary_time_s: float = 60.0
    secondary_limit_w: float = float("inf")
    losses: tuple[ScheduledLoss, ...] = ()

    def __post_init__(self) -> None:
        groups, names = [g.name for g in self.governors], [m.name for m in self.machines]
        if len(set(groups)) < len(groups) or len(set(names)) < len(names):
            raise ValueError("names of governors and of machines must be distinct")
        for m in self.machines:
            if m.governor is not None and m.governor not in groups:
                raise ValueError(f"machine {m.name!r}: no governor {m.governor!r}; there is {groups}")
            if not (m.rating_va > 0.0 and m.inertia_s >= 0.0 and m.headroom_w >= 0.0 and m.footroom_w >= 0.0):
                raise ValueError(f"machine {m.name!r}: rating_va must be > 0, inertia_s, headroom_w and footroom_w >= 0")
        for loss in self.losses:
            if loss.machine is not None and loss.machine not in names:
                raise ValueError(f"scheduled loss at {loss.t_ns} ns: no machine {loss.machine!r}")
        if not sum(m.rating_va * m.inertia_s for m in self.machines) > 0.0:
            raise ValueError("the machines have no inertia: the frequency would be undefined")
        if not (
            self.f0_hz > 0.0
            and self.native_damping_pu >= 0.0
            and self.secondary_bias_w_per_hz >= 0.0
            and self.secondary_time_s > 0.0
        ):
            raise ValueError("f0_hz and secondary_time_s must be > 0, native_damping_pu and secondary_bias_w_per_hz >= 0")
        if self.secondary_bias_w_per_hz > 0.0 and not sum(g.secondary_share for g in self.governors) > 0.0:
            raise ValueError("secondary control needs a governor with a secondary_share")


@dataclass(frozen=True)
class FrequencyState:
    """At the end of a step. `governor_p_w` by governor group is on top of the schedule; `native_p_w` is as damped."""

    t_ns: int
    f_hz: float
    rocof_hz_per_s: float
    governor_p_w: FloatArray
    secondary_p_w: float
    scheduled_p_w: float
    native_p_w: float


@dataclass
class _Linear:
    """The system in one mode (which dead bands are left, which limits hold): dz/dt = matrix z."""

    matrix: FloatArray
    groups: FloatArray  # [group, n]: each governor group's power
    step: FloatArray  # over one grid step
    seen: FloatArray  # [k, 2, n]: frequency deviation and secondary power after k + 1 grid steps
    powers: dict[int, FloatArray] = field(default_factory=dict)

    def over(self, grid_steps: int) -> FloatArray:
        if grid_steps not in self.powers:
            self.powers[grid_steps] = np.linalg.matrix_power(self.step, grid_steps)
        return self.powers[grid_steps]


class FrequencyResponse:
    """The running model. It starts in balance at nominal frequency with the load given."""

    def __init__(self, model: FrequencyModel, p_fixed_w: float, p_native_w: float) -> None:
        self.model = model
        self.t_ns = 0
        self._in_service = {m.name: m for m in model.machines}
        # Powers are per unit of the kinetic energy per second, so that the matrices are well scaled.
        self._base_w = self._kinetic_energy()
        self._scheduled_w = p_fixed_w + p_native_w
        self._damping_step = _DAMPING_STEP * model.native_damping_pu * p_native_w
        self._losses = sorted(model.losses, key=lambda loss: (loss.t_ns, loss.machine or "", loss.p_w))
        self._lags = [g.lags for g in model.governors]
        self._order = 4 + sum(map(len, self._lags))  # deviation, secondary, stages, imbalance, 1
        self._z = np.zeros(self._order)
        self._z[-1] = 1.0
        self._damping_w = self._rounded_damping(p_native_w)
        self._fixed_w, self._native_w = p_fixed_w, p_native_w
        self._rebuild()

    def trip(self, machine: str | None, p_w: float) -> None:
        """Lose `p_w` of scheduled generation now, and with a machine its inertia, its share of its governor and its response."""
        if machine is not None:
            self._remove(machine)
        self._scheduled_w -= p_w

    def _remove(self, machine: str) -> None:
        if machine not in self._in_service:
            raise ValueError(f"machine {machine!r} is not in service; there is {sorted(self._in_service)}")
        if not any(m.inertia_s > 0.0 for m in self._in_service.values() if m.name != machine):
            raise ValueError(f"with machine {machine!r} the last inertia is lost: the frequency would be undefined")
        lost = self._in_service.pop(machine)
        at = 2
        for g, lags in zip(self.model.governors, self._lags, strict=True):
            if g.name == lost.governor:
                left = self._group_rating(g.name)
                self._z[at : at + len(lags)] *= left / (left + lost.rating_va)
            at += len(lags)
        self._rebuild()

    def schedule(self, p_w: float) -> None:
        """Set the scheduled generation of all machines together, W (a new dispatch)."""
        self._scheduled_w = p_w

    def step(self, dt_ns: int, p_fixed_w: float, p_native_w: float) -> FrequencyState:
        """Advance by `dt_ns` with the loads held: modelled feeders and losses as they are, native load at nominal frequency, W."""
        if dt_ns < 0:
            raise ValueError(f"dt_ns must not be negative, not {dt_ns}")
        end_ns = self.t_ns + dt_ns
        damping_w = self._rounded_damping(p_native_w)
        self._fixed_w, self._native_w = p_fixed_w, p_native_w
        if damping_w != self._damping_w:
            self._damping_w = damping_w
            self._rebuild()
        while self._losses and self._losses[0].t_ns <= end_ns:
            loss = self._losses.pop(0)
            self._advance(max(loss.t_ns - self.t_ns, 0))
            self.trip(loss.machine, loss.p_w)
        self._advance(end_ns - self.t_ns)
        return self.state()

    def state(self) -> FrequencyState:
        """The present state; its RoCoF is the one right after the last change of an input."""
        self._z[-2] = self._imbalance()
        linear = self._linear(self._mode(self._z[0], self._z[1]))
        deviation_hz = float(self._z[0])
        return FrequencyState(
            t_ns=self.t_ns,
            f_hz=self.model.f0_hz + deviation_hz,
            rocof_hz_per_s=float(linear.matrix[0] @ self._z),
            governor_p_w=self._base_w * (linear.groups @ self._z),
            secondary_p_w=float(self._base_w * self._z[1]),
            scheduled_p_w=self._scheduled_w,
            native_p_w=self._native_w + self._damping_w * deviation_hz / self.model.f0_hz,
        )

    def response_by_machine(self) -> dict[str, float]:
        """Power on top of the schedule of every machine in service that has a governor, W: its group's, by rating."""
        power = dict(zip([g.name for g in self.model.governors], self.state().governor_p_w.tolist(), strict=True))
        governed = [(m, m.governor) for m in self._in_service.values() if m.governor is not None]
        return {m.name: power[group] * m.rating_va / self._group_rating(group) for m, group in governed}

    def _advance(self, dt_ns: int) -> None:
        self._z[-2] = self._imbalance()
        self.t_ns += dt_ns
        while dt_ns >= _GRID_NS:
            steps = min(dt_ns // _GRID_NS, _CHUNK)
            mode = self._mode(self._z[0], self._z[1])
            linear = self._linear(mode)
            seen = linear.seen[:steps] @ self._z
            switched = np.flatnonzero((self._modes(seen[:, 0], seen[:, 1]) != np.array(mode)).any(axis=1))
            whole = int(switched[0]) if len(switched) else steps
            if whole:
                self._z = linear.over(whole) @ self._z
            dt_ns -= whole * _GRID_NS
            if len(switched):
                self._within_grid(_GRID_S)
                dt_ns -= _GRID_NS
        if dt_ns:
            self._within_grid(dt_ns * 1e-9)

    def _within_grid(self, span_s: float) -> None:
        """Advance by at most one grid step, locating each change of mode."""
        for _ in range(_MAX_SWITCHES):
            mode = self._mode(self._z[0], self._z[1])
            series = self._series(mode)
            end = _at(series, span_s)
            if self._mode(end[0], end[1]) == mode:
                self._z = end
                return
            before, after = 0.0, span_s
            while after - before > _RESOLUTION_S:
                middle = 0.5 * (before + after)
                z = _at(series, middle)
                before, after = (middle, after) if self._mode(z[0], z[1]) == mode else (before, middle)
            self._z = _at(series, after)
            span_s -= after
            if span_s <= 0.0:
                return
        # On the edge of a mode to rounding; both sides agree there to rounding, so that either may finish the step.
        self._z = _at(self._series(self._mode(self._z[0], self._z[1])), span_s)

    def _series(self, mode: tuple[int, ...]) -> FloatArray:
        matrix = self._linear(mode).matrix
        series = np.empty((_TAYLOR_TERMS, self._order))
        series[0] = self._z
        for k in range(1, _TAYLOR_TERMS):
            series[k] = matrix @ series[k - 1] / k
        return series

    def _modes(self, deviation_hz: FloatArray, secondary: FloatArray) -> NDArray[np.int64]:
        """[sample, 1 + 2 groups]: secondary held at a limit (-1, 0, 1); each group's dead band (-1, 0, 1) and limit (-1, 0, 1)."""
        limit = self.model.secondary_limit_w / self._base_w
        held = 1 * ((secondary >= limit) & (deviation_hz < 0.0)) - 1 * ((secondary <= -limit) & (deviation_hz > 0.0))
        below, above = deviation_hz[:, None] < -self._band_hz, deviation_hz[:, None] > self._band_hz
        # Without a dead band there is nothing to leave: the governor is always in action.
        region = np.where(self._band_hz == 0.0, 1, 1 * above - 1 * below)
        error_hz = np.abs(region) * deviation_hz[:, None] - region * self._band_hz
        order = self._secondary_share * secondary[:, None] - self._gain * error_hz
        limited = 1 * (order > self._head) - 1 * (order < -self._foot)
        return np.hstack((held[:, None], region, limited))

    def _mode(self, deviation_hz: float, secondary: float) -> tuple[int, ...]:
        """`_modes` of one sample, in plain numbers: a search for a change of mode asks thirty times."""
        deviation_hz, secondary = float(deviation_hz), float(secondary)
        limit = float(self.model.secondary_limit_w / self._base_w)
        held = (secondary >= limit and deviation_hz < 0.0) - (secondary <= -limit and deviation_hz > 0.0)
        region, limited = [], []
        for band_hz, share, gain, head, foot in self._group_numbers:
            inside = 1 if band_hz == 0.0 else (deviation_hz > band_hz) - (deviation_hz < -band_hz)
            order = share * secondary - gain * (abs(inside) * deviation_hz - inside * band_hz)
            region.append(inside)
            limited.append((order > head) - (order < -foot))
        return held, *region, *limited

    def _linear(self, mode: tuple[int, ...]) -> _Linear:
        if mode not in self._cache:
            from scipy.linalg import expm

            matrix, groups = self._equations(mode)
            step = expm(matrix * _GRID_S)
            seen = step[None, :2]
            jump = step
            while len(seen) < _CHUNK:
                seen = np.concatenate((seen, seen @ jump))
                jump = jump @ jump
            self._cache[mode] = _Linear(matrix, groups, step, seen)
        return self._cache[mode]

    def _equations(self, mode: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
        """The matrix of dz/dt, and each group's power as a row over z."""
        n_groups = len(self.model.governors)
        matrix, groups = np.zeros((self._order, self._order)), np.zeros((n_groups, self._order))
        at = 2
        for g, lags in enumerate(self._lags):
            region, limited = mode[1 + g], mode[1 + n_groups + g]
            signal = np.zeros(self._order)
            if limited:
                signal[-1] = self._head[g] if limited > 0 else -self._foot[g]
            else:
                signal[0] = -self._gain[g] * abs(region)
                signal[1] = self._secondary_share[g]
                signal[-1] = self._gain[g] * region * self._band_hz[g]
            for lead_s, lag_s in lags:
                own = np.zeros(self._order)
                own[at] = 1.0
                matrix[at] = (signal - own) / lag_s
                signal = own + lead_s / lag_s * (signal - own)
                at += 1
            groups[g] = signal
        balance = groups.sum(axis=0)
        balance[0] -= self._damping_w / self.model.f0_hz / self._base_w
        balance[-2] += 1.0
        matrix[0] = self.model.f0_hz / (2.0 * self._kinetic_energy() / self._base_w) * balance
        if mode[0] == 0:
            matrix[1, 0] = -self.model.secondary_bias_w_per_hz / self.model.secondary_time_s / self._base_w
        return matrix, groups

    def _rebuild(self) -> None:
        groups = self.model.governors
        members = [[m for m in self._in_service.values() if m.governor == g.name] for g in groups]
        weight = np.array([g.secondary_share if members[i] else 0.0 for i, g in enumerate(groups)])
        self._secondary_share = weight / weight.sum() if weight.any() else weight
        self._band_hz = np.array([g.dead_band_hz for g in groups])
        droop_hz = np.array([g.droop_pu * self.model.f0_hz for g in groups])
        self._gain = np.array([sum(m.rating_va for m in ms) for ms in members]) / self._base_w / droop_hz
        self._head = np.array([sum(m.headroom_w for m in ms) for ms in members]) / self._base_w
        self._foot = np.array([sum(m.footroom_w for m in ms) for ms in members]) / self._base_w
        numbers = (self._band_hz, self._secondary_share, self._gain, self._head, self._foot)
        self._group_numbers = list(zip(*(column.tolist() for column in numbers), strict=True))
        self._cache: dict[tuple[int, ...], _Linear] = {}

    def _kinetic_energy(self) -> float:
        return sum(m.rating_va * m.inertia_s for m in self._in_service.values())

    def _group_rating(self, group: str) -> float:
        return sum(m.rating_va for m in self._in_service.values() if m.governor == group)

    def _imbalance(self) -> float:
        return (self._scheduled_w - self._fixed_w - self._native_w) / self._base_w

    def _rounded_damping(self, p_native_w: float) -> float:
        # To a thousandth of its first value: far below what is known of D, and the matrices hold while a load profile moves.
        exact = self.model.native_damping_pu * p_native_w
        return round(exact / self._damping_step) * self._damping_step if self._damping_step > 0.0 else exact


def _at(series: FloatArray, t_s: float) -> FloatArray:
    """The Taylor series at t_s (Horner)."""
    value: FloatArray = series[-1]
    for term in series[-2::-1]:
        value = term + t_s * value
    return value
