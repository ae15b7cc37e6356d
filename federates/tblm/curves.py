"""P and Q over V x f as a table: refined until it is good enough, and cut where the flow has no solution.

How a table is made from full solves, which may be dear:

1. Along V at nominal frequency, cells are halved, the worst first, until their middle is within tolerance of the straight
   line. Every solved point becomes a grid point. Where the state of the DER differs between neighbours the jump is located; in
   the fast set its place is given twice on the axis.
2. Along f at the snapshot's voltage, likewise; the trip settings of the DER are known and need no search.
3. Elsewhere only the *change* from nominal frequency is tabulated, on as few voltages as it needs: it is smooth in V.

A point that does not converge ends the axis there. `range_ok` ends before the first jump along V on either side: its place
moves a little with frequency, which a table on fixed axes cannot follow. Beyond it the table goes on, for nominal frequency.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from federates.tblm.axis import BREAK_V_PU, Axis, largest, p_q
from federates.tblm.model import Axes, Breakpoint, Curve, CurveSet, Range
from federates.tblm.study import Point, StudyError

Floats = NDArray[np.float64]
Solve = Callable[[float, float], Point]

_SETTLED_BREAK_V_PU = 4e-3  # and in the settled one, which ends there (see `Axis.sound`)
_BREAK_HZ = 1e-4
_EDGE_V_PU = 4e-3  # and the end of convergence to this
_LEAST_DF_HZ = 0.1
_MOST_F = 40
_BESIDE_V0_PU = 0.015
_APART_V_PU = 0.025  # what frequency changes is checked in cells of V no narrower than this


@dataclass(frozen=True)
class CurveOptions:
    """What a table covers and how fine it is. Tolerances in % of S_base; they hold within `core_v_pu` and are `OUTSIDE_FACTOR`
    times wider outside. settled_f_hz: what may last for minutes."""

    v_pu: tuple[float, float] = (0.85, 1.15)
    f_hz: tuple[float, float] = (57.0, 61.8)
    settled_f_hz: tuple[float, float] = (59.0, 61.0)
    core_v_pu: tuple[float, float] = (0.9, 1.1)
    v_points: int = 7
    tolerance_pct: float = 0.15
    least_dv_pu: float = 0.002
    fast_solves: int = 150
    settled_solves: int = 26
    """The most points solved along V; cells near the operating point come first, and what is left shows in `error_pct` and
    `breakpoints`."""

    def __post_init__(self) -> None:
        for name in ("v_pu", "f_hz", "settled_f_hz", "core_v_pu"):
            low, high = getattr(self, name)
            if not 0.0 < low < high:
                raise ValueError(f"curve options: {name} = ({low:g}, {high:g}); give two positive numbers, the lower first")
        if self.tolerance_pct <= 0.0 or self.least_dv_pu <= 0.0 or self.v_points < 3:
            raise ValueError("curve options: tolerance_pct and least_dv_pu must be positive, v_points at least 3")


class _Sampler:
    """Solves points, remembers them, and counts; None where there is no solution."""

    def __init__(self, solve: Solve) -> None:
        self.solve, self.count = solve, 0
        self.failures: list[str] = []
        self._known: dict[tuple[float, float], Point | None] = {}

    def __call__(self, v: float, f: float) -> Point | None:
        key = (v, f)
        if key not in self._known:
            self.count += 1
            try:
                self._known[key] = self.solve(v, f)
            except StudyError as error:
                self.failures.append(str(error))
                self._known[key] = None
        return self._known[key]


def build_curve(
    which: CurveSet,
    solve: Solve,
    v0: float,
    f0: float,
    s_va: float,
    options: CurveOptions,
    f_breaks: Sequence[float] = (),
    load_band_pu: tuple[float, float] = (0.0, 9.0),
) -> Curve:
    """The table of `solve` (head power at (v, f)) around v0, at nominal frequency f0 Hz; tolerances are % of s_va.

    f_breaks: frequencies at which P, Q may jump or bend (Hz). load_band_pu: where loads leave their voltage model; a crossing
    is recorded as a breakpoint. StudyError when not even (v0, f0) has a solution.
    """
    f_low, f_high = options.f_hz if which == "fast" else options.settled_f_hz
    if not f_low < f0 < f_high:
        raise ValueError(f"curve options: {f_low:g} to {f_high:g} Hz does not contain the nominal {f0:g} Hz")
    sample = _Sampler(solve)
    if sample(v0, f0) is None:
        raise StudyError(sample.failures[0])
    allowed, least_dv = options.tolerance_pct / 100.0 * s_va, options.least_dv_pu

    most = options.fast_solves if which == "fast" else options.settled_solves
    located = BREAK_V_PU if which == "fast" else _SETTLED_BREAK_V_PU
    v_line = Axis(lambda v: sample(v, f0), allowed, least_dv, located, most, options.core_v_pu)
    v_line.span(_start_points(v0, options), v0, _EDGE_V_PU)
    v_line.guard(v0)
    known = [x for f in f_breaks if f_low + 0.01 < f < f_high - 0.01 for x in (f - 0.5 * _BREAK_HZ, f + 0.5 * _BREAK_HZ)]
    f_line = Axis(lambda f: sample(v0, f), allowed, _LEAST_DF_HZ, _BREAK_HZ, _MOST_F)
    f_line.span(sorted({f_low, f0, f_high, *known}), f0, _LEAST_DF_HZ)
    f_line.keep_needed(f0)

    v, f = v_line.solved, f_line.solved
    nominal_points = [v_line.points[x] for x in v]
    nominal = np.array([p_q(point) for point in nominal_points]).T
    changes: dict[int, Floats] = {f.index(f0): np.zeros_like(nominal)}
    worst = max(v_line.worst, f_line.worst)
    sound = v_line.sound(v0)
    ends = {min(range(len(v)), key=lambda i: abs(v[i] - x)) for x in (sound[0], v0, sound[1])}
    for side in (range(f.index(f0)), range(len(f) - 1, f.index(f0), -1)):
        # Inwards: the change is largest at the ends, and voltages that are enough there are enough within. Outside the sound
        # range of voltages it is held.
        anchors, refine = ends, True
        for j in side:
            small = not refine and largest(p_q(f_line.points[f[j]]) - nominal[:, v.index(v0)]) < allowed
            found = _change(sample, v, f[j], f0, ends if small else anchors, allowed if refine else math.inf, sound)
            if found is not None:
                changes[j], needed, error = found
                anchors = needed if refine else anchors
                worst, refine = max(worst, error), False
    columns = _contiguous(list(changes), f.index(f0))
    if len(columns) < 2:
        raise StudyError(f"no solution at any frequency but {f0:g} Hz: {sample.failures[0]}")
    table = np.stack([nominal + changes[j] for j in columns], axis=2)
    f = [f[j] for j in columns]
    f_pairs = [(a, b) for a, b in f_line.pairs if f[0] < a and b < f[-1]]
    f_line.pairs = f_pairs
    v_grid, f_grid = _joined(v, v_line.pairs), _joined(f, f_pairs)
    return Curve(
        which,
        Axes(v_grid, f_grid),
        _rows(table[0]),
        _rows(table[1]),
        Range(sound, (f_grid[0], f_grid[-1])),
        (*v_line.breakpoints("V_pu"), *f_line.breakpoints("f_Hz"), *_band_crossings(nominal_points, v, load_band_pu)),
        options.tolerance_pct,
        100.0 * worst / s_va,
        sample.count,
    )


def dense_table(solve: Solve, v_pu: Sequence[float], f_hz: Sequence[float]) -> Floats:
    """P and Q by a full solve at every point, [2, nv, nf]; neighbours follow each other, so that the engine starts warm."""
    table = np.empty((2, len(v_pu), len(f_hz)))
    forward = list(range(len(v_pu)))
    for j, f in enumerate(f_hz):
        for i in forward if j % 2 == 0 else reversed(forward):
            point = solve(v_pu[i], f)
            table[0, i, j], table[1, i, j] = point.p_w, point.q_var
    return table


def _change(
    sample: _Sampler, v: Sequence[float], f: float, f0: float, anchors: set[int], allowed: float, sound: tuple[float, float]
) -> tuple[Floats, set[int], float] | None:
    """What P and Q change by from f0 to f on the voltages v, [2, nv], the voltages it took, and the largest error seen. Without
    a bound on what is allowed nothing is checked, nor outside the `sound` range. None where a point has no solution."""
    change: dict[int, Floats] = {}
    needed, worst = set(anchors), 0.0

    def solve(i: int) -> bool:
        point, nominal = sample(v[i], f), sample(v[i], f0)
        if point is None or nominal is None:
            return False
        change[i] = p_q(point) - p_q(nominal)
        return True

    def refine(a: int, b: int) -> bool:
        nonlocal worst
        if b - a < 2 or v[b] - v[a] < _APART_V_PU or v[b] <= sound[0] or v[a] >= sound[1]:
            return True
        target = 0.5 * (v[a] + v[b])
        m = min(range(a + 1, b), key=lambda i: abs(v[i] - target))
        if not solve(m):
            return False
        part = (v[m] - v[a]) / (v[b] - v[a])
        error = largest(change[m] - (1.0 - part) * change[a] - part * change[b])
        if error <= allowed:
            worst = max(worst, error)
            return True
        needed.add(m)
        return refine(a, m) and refine(m, b)

    first = sorted(anchors)
    if not all(solve(i) for i in first):
        return None
    if math.isfinite(allowed) and not all(refine(a, b) for a, b in pairwise(first)):
        return None
    known = sorted(change)
    x = np.array(v)
    return np.array([np.interp(x, x[known], [change[i][k] for i in known]) for k in range(2)]), needed, worst


def _start_points(v0: float, options: CurveOptions) -> list[float]:
    """Even steps over the range, and v0 with a point on either side: regulators leave their bands close to it."""
    low, high = min(options.v_pu[0], v0 - 2.0 * _BESIDE_V0_PU), max(options.v_pu[1], v0 + 2.0 * _BESIDE_V0_PU)
    near = [v0 - _BESIDE_V0_PU, v0, v0 + _BESIDE_V0_PU]
    even = np.linspace(low, high, options.v_points)[1:-1].tolist()
    return sorted({low, high, *near, *(x for x in even if min(abs(x - y) for y in near) >= 0.5 * _BESIDE_V0_PU)})


def _contiguous(columns: Sequence[int], origin: int) -> list[int]:
    """The run of neighbouring indices around `origin`."""
    have, low, high = set(columns), origin, origin
    while low - 1 in have:
        low -= 1
    while high + 1 in have:
        high += 1
    return list(range(low, high + 1))


def _joined(solved: Sequence[float], pairs: Sequence[tuple[float, float]]) -> tuple[float, ...]:
    """The axis as published: both sides of a jump at one value."""
    moved: dict[float, float] = {}
    for a, b in pairs:
        if a not in moved:  # a jump right behind another stays a steep cell
            moved[a] = moved[b] = 0.5 * (a + b)
    return tuple(moved.get(x, x) for x in solved)


def _rows(table: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in table.tolist())


def _band_crossings(points: Sequence[Point], v: Sequence[float], band_pu: tuple[float, float]) -> list[Breakpoint]:
    """Where the first load leaves the band in which it keeps its voltage model: a bend of P and Q."""
    out = []
    for below, above, a, b in zip(points, points[1:], v, v[1:], strict=False):
        for limit, x, y in ((band_pu[0], below.load_v_min, above.load_v_min), (band_pu[1], below.load_v_max, above.load_v_max)):
            if (x < limit) != (y < limit) and y != x:
                at = a + (b - a) * (limit - x) / (y - x)
                out.append(Breakpoint("V_pu", at, 0.5 * (b - a), f"loads leave their voltage model at {limit:g} pu", 0.0, 0.0))
    return out
