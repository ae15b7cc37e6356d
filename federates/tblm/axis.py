"""Solved points along one axis of a table: where they are set, where P and Q jump, and as far as the axis holds."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from federates.tblm.model import Breakpoint
from federates.tblm.study import Point

Floats = NDArray[np.float64]

BREAK_V_PU = 2.5e-4  # a jump along V is located to this in the fast set
_MOVES_V_PU = 0.015  # how far jumps along V move with frequency
OUTSIDE_FACTOR = 5.0
"""How much wider the tolerance is outside the core of voltages."""
_COARSE_V_PU = 0.02  # no cell outside the core is halved below this


class Axis:
    """Solved points along one axis. solve: None where there is no solution; allowed: W or var; least: no cell is halved below twice
    this; break_width: to which a jump is located; most: points to solve; core: where the tolerance holds as it is."""

    def __init__(
        self,
        solve: Callable[[float], Point | None],
        allowed: float,
        least: float,
        break_width: float,
        most: int,
        core: tuple[float, float] = (-math.inf, math.inf),
    ) -> None:
        self.solve, self.allowed, self.least = solve, allowed, least
        self.break_width, self.most, self.core = break_width, most, core
        self.points: dict[float, Point] = {}
        self.pairs: list[tuple[float, float]] = []  # both sides of a jump
        self.worst = 0.0
        self._failed: list[float] = []
        self._spare: set[float] = set()  # middles that lay on the line
        self._unsound: list[tuple[float, float]] = []  # cells left with more than the tolerance outside the core

    @property
    def solved(self) -> list[float]:
        """Where, in order."""
        return sorted(self.points)

    def span(self, start: Sequence[float], origin: float, edge_width: float) -> None:
        """Solve the start points from `origin` outwards as far as there is a solution, then refine between them."""
        for direction in (1, -1):
            good = origin
            for x in [x for x in sorted(start, key=lambda x: direction * x) if direction * (x - origin) >= 0.0]:
                point = self.solve(x)
                if point is None:
                    self._find_edge(good, x, edge_width)
                    break
                self.points[x], good = point, x
        self._refine(origin)
        low = max((min(x for x in self.points if x > failed) for failed in self._failed if failed < origin), default=-np.inf)
        high = min((max(x for x in self.points if x < failed) for failed in self._failed if failed > origin), default=np.inf)
        self.points = {x: self.points[x] for x in self.solved if low <= x <= high}
        self.pairs = [(a, b) for a, b in self.pairs if low < a and b < high]

    def _find_edge(self, good: float, bad: float, width: float) -> None:
        while abs(bad - good) > width:
            middle = 0.5 * (good + bad)
            point = self.solve(middle)
            if point is None:
                bad = middle
            else:
                self.points[middle], good = point, middle

    def keep_needed(self, origin: float) -> None:
        """Leave out the points that straight lines between the others give well enough, and one of two at a known place where
        nothing jumps."""
        self.points = {x: self.points[x] for x in self.solved if x not in self._spare}
        sides = {x for pair in self.pairs for x in pair} | {origin}
        for a, b in pairwise(self.solved):
            if b - a <= self.break_width * 1.01 and a not in sides:
                del self.points[a]

    def _refine(self, origin: float) -> None:
        """Halve cells, those nearest `origin` first, until all are good, or as narrow as they may be, or enough has been solved.

        With a core, what lies beyond the first jump on either side of `origin` is outside it: the range in which the table holds
        ends there anyway (see `sound`), and jumps beyond it are not located.
        """
        cells = [(_apart(origin, a, b), a, b, 0.0) for a, b in pairwise(self.solved)]
        heapq.heapify(cells)
        low_end, high_end = self.core
        while cells:
            _, a, b, expected = heapq.heappop(cells)
            low, high = self.points[a], self.points[b]
            jumps, inside = low.mark != high.mark, b > low_end and a < high_end
            allowed = self.allowed if inside else OUTSIDE_FACTOR * self.allowed
            if jumps and b - a <= self.break_width * 1.01:
                (self.pairs if self.break_width <= BREAK_V_PU else self._unsound).append((a, b))
                if math.isfinite(self.core[0]):
                    low_end, high_end = (max(low_end, b), high_end) if b <= origin else (low_end, min(high_end, a))
                continue
            narrow = 2.0 * self.least if inside else _COARSE_V_PU
            if (b - a < narrow and not (jumps and inside)) or len(self.points) >= self.most:
                if jumps or expected > OUTSIDE_FACTOR * self.allowed:
                    self._unsound.append((a, b))
                elif inside:
                    self.worst = max(self.worst, expected)
                continue
            middle = 0.5 * (a + b)
            point = self.solve(middle)
            if point is None:
                self._failed.append(middle)
                continue
            self.points[middle] = point
            error = largest(p_q(point) - 0.5 * (p_q(low) + p_q(high)))
            if error > allowed or (jumps and error > 0.25 * allowed):
                # half a cell has a quarter of the error; beside a jump it tells nothing of the halves
                expected = 0.0 if jumps else 0.25 * error
                heapq.heappush(cells, (_apart(origin, a, middle), a, middle, expected))
                heapq.heappush(cells, (_apart(origin, middle, b), middle, b, expected))
            else:
                self._spare.add(middle)
                self.worst = max(self.worst, error) if inside else self.worst

    def _jumps(self) -> list[tuple[float, float]]:
        return sorted(self.pairs + self._unsound)

    def guard(self, origin: float) -> None:
        """Solve a point at either end of the sound range, as far off the nearest jumps as those move with frequency."""
        for x in self.sound(origin):
            if x not in self.points and self.solved[0] < x < self.solved[-1]:
                point = self.solve(x)
                if point is not None:
                    self.points[x] = point

    def sound(self, origin: float) -> tuple[float, float]:
        """The range around `origin` that is clear of jumps, wherever frequency moves them, and of cells left with a large
        error."""
        solved = self.solved
        low = max((b + _MOVES_V_PU for _, b in self._jumps() if b < origin), default=solved[0])
        high = min((a - _MOVES_V_PU for a, _ in self._jumps() if a >= origin), default=solved[-1])
        return min(max(low, solved[0]), origin), max(min(high, solved[-1]), origin)

    def breakpoints(self, axis: Literal["V_pu", "f_Hz"]) -> list[Breakpoint]:
        """Every place between two points at which the state, and with it P and Q, changes at once."""
        out = []
        for a, b in pairwise(self.solved):
            low, high = self.points[a], self.points[b]
            if low.mark == high.mark:
                continue
            jump = (p_q(high) - p_q(low)).round(1)
            cause = "DER trips or ceases, or a capacitor switches"
            out.append(Breakpoint(axis, 0.5 * (a + b), 0.5 * (b - a), cause, float(jump[0]), float(jump[1])))
        return out


def p_q(point: Point) -> Floats:
    """P and Q of a point, [2]."""
    return np.array((point.p_w, point.q_var))


def _apart(origin: float, a: float, b: float) -> float:
    """Distance of the cell (a, b) from `origin`; 0 for one that holds it."""
    return max(a - origin, origin - b, 0.0)


def largest(difference: Floats) -> float:
    """The largest size among differences."""
    return float(np.abs(difference).max())
