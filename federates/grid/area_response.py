"""The running model of `areas`: exact on a grid of time, mode by mode.

Between the moments at which a dead band is left, a limit reached or something switched, the system is linear and is advanced by the
matrix exponential of a step, as many steps at once as nothing happens in; what happens is put on the next step of the grid (10 ms
unless told otherwise). Results do not depend on how the caller slices time, to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federates.grid.area_load import NativeLoad
from federates.grid.area_protection import Protection, Watched
from federates.grid.areas import AreasModel, Embedded, Shedding, slopes

FloatArray = NDArray[np.float64]
Rows = list[dict[str, Any]]
_CHUNK = 256


@dataclass(frozen=True)
class AreaState:
    """At `t_ns`. Arrays over areas in their order, `tie_w` over ties; W, Hz, Hz/s, s.

    `response_w` is governors and profiles, `relief_w` load shed less the generation lost with it; `lowest_hz`, `highest_hz` so far.
    """

    t_ns: int
    f_hz: FloatArray
    rocof_hz_per_s: FloatArray
    load_w: FloatArray
    generation_w: FloatArray
    response_w: FloatArray
    relief_w: FloatArray
    embedded_lost_w: FloatArray
    stages_operated: FloatArray
    lowest_hz: FloatArray
    lowest_at_s: FloatArray
    highest_hz: FloatArray
    highest_at_s: FloatArray
    tie_w: FloatArray


@dataclass
class _Linear:
    """One mode (dead bands left, limits that hold): dz/dt = matrix z. `seen` [k, areas, n]: deviations after k + 1 steps."""

    matrix: FloatArray
    fleets: FloatArray
    seen: FloatArray
    step: FloatArray
    powers: dict[int, FloatArray] = field(default_factory=dict)

    def over(self, steps: int) -> FloatArray:
        if steps not in self.powers:
            self.powers[steps] = np.linalg.matrix_power(self.step, steps)
        return self.powers[steps]


class AreaResponse:
    """Starts in balance at nominal frequency. Its state: deviations, angles of ties, governors, imbalances, their slopes, 1."""

    def __init__(self, model: AreasModel, fed_w: Sequence[float] | None = None) -> None:
        """fed_w: what the feeders of a federation draw in each area at the start, part of its `load_w`."""
        self.model, areas = model, model.areas
        n = len(areas)
        self._step_s = model.step_ns * 1e-9
        self._base_w = sum(area.inertia_ws for area in areas)  # so that the matrices are well scaled
        self._place = {area.name: a for a, area in enumerate(areas)}
        self._inertia = np.array([area.inertia_ws for area in areas])
        self._fed = np.zeros(n) if fed_w is None else np.array(fed_w, float)
        native = np.array([area.load_w for area in areas]) - self._fed
        if (native < 0.0).any():
            a = int(np.argmin(native))
            raise ValueError(f"area {areas[a].name!r}: its feeders draw {self._fed[a] / 1e6:g} MW, its load_w is less")
        self._load = NativeLoad(native, self._step_s)
        self._damping = np.array([area.damping_pu for area in areas])
        self._closed = {tie.name: True for tie in model.ties}
        self._fleets = [(a, fleet) for a, area in enumerate(areas) for fleet in area.fleets]
        self._of = np.array([a for a, _ in self._fleets], np.intp)
        self._band = np.array([f.governor.dead_band_hz for _, f in self._fleets])
        self._gain = np.array([f.rating_va / (f.governor.droop_pu * model.f0_hz) for _, f in self._fleets]) / self._base_w
        self._head = np.array([f.headroom_w for _, f in self._fleets]) / self._base_w
        self._foot = np.array([f.footroom_w for _, f in self._fleets]) / self._base_w
        self._stages_at = n + len(model.ties)
        lags = sum(len(f.governor.lags) for _, f in self._fleets)
        self._u_at = self._stages_at + lags
        self._order = self._u_at + 2 * n + 1
        self._z = np.zeros(self._order)
        self._z[-1] = 1.0
        exports = np.zeros(n)
        for tie in model.ties:
            exports[self._place[tie.a]] += tie.p_w
            exports[self._place[tie.b]] -= tie.p_w
        self._schedule = native + self._fed + exports
        bends = ((k, a, slope) for a, area in enumerate(areas) for k, slope in slopes(area.profiles, model.step_ns))
        self._bends = sorted(bends)  # step, area, change of the slope of profiles, W/s
        self._delivered = np.zeros(n)  # of profiles, W
        self._slope = np.zeros(n)
        self._protection = Protection(model)
        self._opening: list[tuple[int, Watched]] = []
        self._shed, self._taken, self._tripped = np.zeros(n), np.zeros(n), np.zeros(n)
        self._operated = np.zeros(n)
        self._gone: set[int] = set()
        self._extremes = [(0.0, 0, 0.0, 0)] * n  # lowest deviation and its step, highest and its step
        self._cache: dict[tuple[int, ...], _Linear] = {}
        self._k = 0
        self._bend()

    @property
    def t_ns(self) -> int:
        """Where it stands."""
        return self._k * self.model.step_ns

    def advance(self, t_ns: int, fed_w: Sequence[float] | None = None) -> Rows:
        """To the last step of the grid that is not after `t_ns`, feeders drawing `fed_w` from now; what relays and plant did."""
        if fed_w is not None:
            self._shift(self._fed - np.array(fed_w, float))
            self._fed = np.array(fed_w, float)
        rows: Rows = []
        end = t_ns // self.model.step_ns
        while self._k < end:
            steps = min(end, self._next(end)) - self._k
            self._stretch(max(min(steps, _CHUNK), 1), rows)
            self._bend()
            self._open(rows)
            self._exhaust(rows)
        return rows

    def lose(self, area: str, p_w: float, inertia_ws: float = 0.0) -> None:
        """Scheduled generation is gone, and with it the inertia. ValueError for more inertia than there is."""
        a = self._at(area)
        if inertia_ws >= self._inertia[a]:
            raise ValueError(f"area {area} has {self._inertia[a] / 1e9:g} GW.s left; give less than that")
        self._schedule[a] -= p_w
        self._inertia[a] -= inertia_ws
        self._shift_one(a, -p_w)
        self._cache.clear()

    def change_load(self, area: str, p_w: float, over_ns: int = 0) -> None:
        """Native load goes up by `p_w` at nominal frequency (negative: is shed), evenly over a span; damping follows at its end.

        ValueError for more than there is, with what is under way.
        """
        a, load = self._at(area), self._load
        if load.short(a, p_w, self._k):
            left_w = load.left(a, self._k)
            under_way = " when what is ordered has been done" if left_w < load.w[a] else ""
            raise ValueError(f"area {area} has {left_w / 1e6:g} MW of native load left{under_way}; shed no more than that")
        if steps := over_ns // self.model.step_ns:
            load.ramp(a, p_w, self._k, steps)
            self._slopes(a)
            self._cache.clear()
            return
        load.change(a, p_w)
        self._shift_one(a, -p_w)
        self._cache.clear()

    def open_tie(self, name: str) -> float:
        """Part two areas; gives the W that flowed. ValueError for a tie that is not there or open."""
        tie = next((t for t in self.model.ties if t.name == name), None)
        if tie is None or not self._closed[name]:
            raise ValueError(
                f"no closed tie '{name}'; there is {', '.join(t for t, closed in self._closed.items() if closed) or 'none'}"
            )
        flow_w = float(self._tie_w()[self.model.ties.index(tie)])
        self._closed[name] = False
        # what was scheduled over it is now a surplus here and a deficit there
        self._shift_one(self._place[tie.a], tie.p_w)
        self._shift_one(self._place[tie.b], -tie.p_w)
        self._cache.clear()
        return flow_w

    def frequencies(self) -> tuple[FloatArray, FloatArray]:
        """Frequency (Hz) and RoCoF (Hz/s) of each area now; RoCoF is the one right after the last change."""
        n = len(self.model.areas)
        return self.model.f0_hz + self._z[:n], self._linear(self._mode(self._z)).matrix[:n] @ self._z

    def state(self) -> AreaState:
        """The present state."""
        linear = self._linear(self._mode(self._z))
        n, f0_hz, step_s = len(self.model.areas), self.model.f0_hz, self._step_s
        deviation = self._z[:n]
        governed = np.zeros(n)
        np.add.at(governed, self._of, self._base_w * (linear.fleets @ self._z))
        extremes = np.array(self._extremes, float)
        return AreaState(
            self.t_ns, f0_hz + deviation, linear.matrix[:n] @ self._z,
            self._load.w * (1.0 + self._damping * deviation / f0_hz) + self._fed,
            self._schedule + self._delivered + governed - self._taken - self._tripped,
            governed + self._delivered, self._shed - self._taken, self._tripped.copy(), self._operated.copy(),
            f0_hz + extremes[:, 0], extremes[:, 1] * step_s, f0_hz + extremes[:, 2], extremes[:, 3] * step_s, self._tie_w(),
        )  # fmt: skip

    def _at(self, area: str) -> int:
        if area not in self._place:
            raise ValueError(f"no area '{area}'; there is {', '.join(self._place)}")
        return self._place[area]

    def _tie_w(self) -> FloatArray:
        angle = self._z[len(self.model.areas) : self._stages_at].tolist()
        return np.array(
            [(t.p_w + t.stiffness_w_per_rad * x) * self._closed[t.name] for t, x in zip(self.model.ties, angle, strict=True)]
        )

    def _shift(self, p_w: FloatArray) -> None:
        """Change the areas' imbalances, W, surplus positive."""
        self._z[self._u_at : self._u_at + len(p_w)] += p_w / self._base_w

    def _shift_one(self, a: int, p_w: float) -> None:
        self._z[self._u_at + a] += p_w / self._base_w

    def _next(self, end: int) -> int:
        """The next step at which something is known to happen."""
        known = [*([self._bends[0][0]] if self._bends else []), *self._load.next_steps(self._k)]
        known += [-(-t_ns // self.model.step_ns) for t_ns, _ in self._opening]
        if (due_ns := self._protection.due_ns) is not None:
            known.append(-(-due_ns // self.model.step_ns))
        return min((k for k in known if k > self._k), default=end)

    def _stretch(self, steps: int, rows: Rows) -> None:
        """Advance up to `steps`, to the first at which the mode or an element changes."""
        n = len(self.model.areas)
        mode = self._mode(self._z)
        linear = self._linear(mode)
        seen = linear.seen[:steps] @ self._z
        first = self._protection.first(seen)
        if mode and (switched := (self._modes(seen) != np.array(mode)).any(axis=1)).any():
            steps = int(switched.argmax()) + 1
        if first is not None:
            steps = min(steps, first + 1)
        seen = seen[:steps]
        self._z = linear.over(steps) @ self._z
        self._delivered = self._delivered + self._slope * (steps * self._step_s)
        self._load.advance(steps)
        for a in range(n):
            low, low_k, high, high_k = self._extremes[a]
            least, most = int(seen[:, a].argmin()), int(seen[:, a].argmax())
            if seen[least, a] < low:
                low, low_k = float(seen[least, a]), self._k + least + 1
            if seen[most, a] > high:
                high, high_k = float(seen[most, a]), self._k + most + 1
            self._extremes[a] = low, low_k, high, high_k
        self._k += steps
        for w, row in self._protection.update(self.t_ns, seen):
            rows.append(row)
            if row["event"] == "relay_operate":
                self._opening.append((row["t_relay_ns"] + w.element.stage.breaker_ns, w))

    def _bend(self) -> None:
        """Profiles and ramps of load whose point is reached."""
        while self._bends and self._bends[0][0] <= self._k:
            _, a, slope = self._bends.pop(0)
            self._slope[a] += slope
            self._slopes(a)
        for a in self._load.end(self._k):
            self._slopes(a)
            self._cache.clear()

    def _slopes(self, a: int) -> None:
        self._z[self._u_at + len(self.model.areas) + a] = (self._slope[a] - self._load.slope[a]) / self._base_w

    def _exhaust(self, rows: Rows) -> None:
        """Orders under way that meet nothing more, since a stage has taken load in the meantime."""
        for a, rest_w in self._load.exhaust():
            self._slopes(a)
            self._shift_one(a, rest_w)
            self._cache.clear()
            reason = "no native load is left: what was still ordered off is not done"
            rows.append({"event": "load_order_ends", "area": self.model.areas[a].name, "reason": reason})

    def _open(self, rows: Rows) -> None:
        """Breakers whose time has come."""
        now = [opening for opening in self._opening if opening[0] <= self.t_ns]
        for t_ns, w in now:
            does, a = w.does, w.area
            if isinstance(does, Shedding):
                load_w = self._load.take(a, does.load_w)
                self._shed[a] += load_w
                self._taken[a] += does.embedded_w
                self._operated[a] += does.scheme == "ufls"
                self._shift_one(a, load_w - does.embedded_w)
                row: dict[str, Any] = {"event": "load_shed", "relay": w.cause, "t_relay_ns": t_ns}
                row |= {"load_w": load_w, "embedded_w": does.embedded_w}
                if load_w < does.load_w:
                    row["reason"] = f"of its {does.load_w / 1e6:g} MW, no more native load was left (feeders are not part of it)"
                rows.append(row)
            elif id(does) not in self._gone:
                self._trip(w, does, t_ns, rows)
        if now:
            self._opening = [opening for opening in self._opening if opening[0] > self.t_ns]
            self._cache.clear()

    def _trip(self, w: Watched, plant: Embedded, t_ns: int, rows: Rows) -> None:
        self._gone.add(id(plant))  # one of its limits was enough
        self._tripped[w.area] += plant.p_w
        self._shift_one(w.area, -plant.p_w)
        rows.append({"event": "embedded_trip", "relay": w.cause, "t_relay_ns": t_ns, "p_w": plant.p_w})

    def _modes(self, deviation: FloatArray) -> NDArray[np.int64]:
        """[sample, 2 fleets]: each fleet's dead band (-1, 0, 1; 1 where it has none) and limit (-1, 0, 1)."""
        own = deviation[:, self._of]
        region = np.where(self._band == 0.0, 1, 1 * (own > self._band) - 1 * (own < -self._band))
        order = -self._gain * (np.abs(region) * own - region * self._band)
        return np.hstack((region, 1 * (order > self._head) - 1 * (order < -self._foot)))

    def _mode(self, z: FloatArray) -> tuple[int, ...]:
        return tuple(self._modes(z[None, : len(self.model.areas)])[0].tolist()) if self._fleets else ()

    def _linear(self, mode: tuple[int, ...]) -> _Linear:
        if mode not in self._cache:
            from scipy.linalg import expm

            matrix, fleets = self._equations(mode)
            step = expm(matrix * self._step_s)
            seen, jump = step[None, : len(self.model.areas)], step
            while len(seen) < _CHUNK:
                seen = np.concatenate((seen, seen @ jump))
                jump = jump @ jump
            self._cache[mode] = _Linear(matrix, fleets, seen, step)
        return self._cache[mode]

    def _equations(self, mode: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
        """The matrix of dz/dt, and each fleet's power as a row over z."""
        n, count, f0_hz = len(self.model.areas), len(self._fleets), self.model.f0_hz
        matrix, fleets = np.zeros((self._order, self._order)), np.zeros((count, self._order))
        at = self._stages_at
        for g, (a, fleet) in enumerate(self._fleets):
            region, limited = mode[g], mode[count + g]
            signal = np.zeros(self._order)
            if limited:
                signal[-1] = self._head[g] if limited > 0 else -self._foot[g]
            else:
                signal[a] = -self._gain[g] * abs(region)
                signal[-1] = self._gain[g] * region * self._band[g]
            for lead_s, lag_s in fleet.governor.lags:
                own = np.zeros(self._order)
                own[at] = 1.0
                matrix[at] = (signal - own) / lag_s
                signal = own + lead_s / lag_s * (signal - own)
                at += 1
            fleets[g] = signal
        for a in range(n):
            balance = fleets[self._of == a].sum(axis=0)
            balance[a] -= self._damping[a] * self._load.w[a] / f0_hz / self._base_w
            balance[self._u_at + a] += 1.0
            for k, tie in enumerate(self.model.ties):
                if self._closed[tie.name] and self.model.areas[a].name in (tie.a, tie.b):
                    balance[n + k] -= (1.0 if self.model.areas[a].name == tie.a else -1.0) * tie.stiffness_w_per_rad / self._base_w
            matrix[a] = f0_hz / (2.0 * self._inertia[a] / self._base_w) * balance
            matrix[self._u_at + a, self._u_at + n + a] = 1.0
        for k, tie in enumerate(self.model.ties):
            if self._closed[tie.name]:
                matrix[n + k, self._place[tie.a]] += 2.0 * np.pi
                matrix[n + k, self._place[tie.b]] -= 2.0 * np.pi
        return matrix, fleets
