"""The native load of areas, at nominal frequency: what is ordered on and off it, at once or evenly over a span, and shed from it.

It never goes below nothing: an order for more than will be there is refused, counted with what is under way; a stage of load
shedding takes what there is; and an order under way ends where a stage has taken what it was to take.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
_STEP_ROUNDING = 1e-6  # of a step
_W = 1e-3  # less is nothing


class NativeLoad:
    """W of each area (`w`) and how fast it changes (`slope`, W/s), on a grid of steps of `step_s`."""

    def __init__(self, w: FloatArray, step_s: float) -> None:
        self.w, self.slope = w.copy(), np.zeros(len(w))
        self._step_s = step_s
        self._ends: list[tuple[int, int, float]] = []  # of orders under way: step, area, slope that ends there

    def left(self, a: int, k: int) -> float:
        """The least that is left of an area's load from step `k` on, with what is under way."""
        load_w = least_w = float(self.w[a])
        slope = float(self.slope[a])
        for end, area, ends in self._ends:
            if area == a:
                load_w += slope * (end - k) * self._step_s
                slope, k = slope - ends, end
                least_w = min(least_w, load_w)
        return least_w

    def change(self, a: int, p_w: float) -> None:
        """At once."""
        self.w[a] += p_w

    def ramp(self, a: int, p_w: float, k: int, steps: int) -> None:
        """Evenly over `steps` from step `k` on."""
        slope = p_w / (steps * self._step_s)
        self.slope[a] += slope
        self._ends = sorted([*self._ends, (k + steps, a, slope)])

    def take(self, a: int, p_w: float) -> float:
        """Take off as much as there is of `p_w`; gives how much that was."""
        taken = min(p_w, float(self.w[a]))
        self.w[a] -= taken
        return taken

    def advance(self, steps: int) -> None:
        """Let so many steps pass."""
        self.w = np.maximum(self.w + self.slope * (steps * self._step_s), 0.0)

    def end(self, k: int) -> list[int]:
        """Areas in which an order ends at step `k` or before, which it does now."""
        areas = []
        while self._ends and self._ends[0][0] <= k:
            _, a, _ = self._ends.pop(0)
            self._slope_again(a)
            areas.append(a)
        return areas

    def next_steps(self, k: int) -> list[int]:
        """Steps after `k` at which an order ends, or the last before one meets nothing."""
        found = [self._ends[0][0]] if self._ends else []
        last = found[-1] if found else k
        for a in np.flatnonzero(self.slope < 0.0).tolist():
            per_step_w = float(-self.slope[a] * self._step_s)
            if self.w[a] < per_step_w * (last - k):  # no use where an end comes first; and a slope may be next to nothing
                found.append(k + int(self.w[a] / per_step_w + _STEP_ROUNDING))
        return [step for step in found if step > k]

    def exhaust(self) -> list[tuple[int, float]]:
        """End orders that take load off where less than they take in a step is left: (area, what that last part was)."""
        done = []
        for a in np.flatnonzero(self.slope < 0.0).tolist():
            if self.w[a] >= -self.slope[a] * self._step_s * (1.0 - _STEP_ROUNDING):
                continue
            falling = [end for end in self._ends if end[1] == a and end[2] < 0.0]
            self._ends = [end for end in self._ends if end not in falling]
            self._slope_again(a)
            done.append((a, self.take(a, float(self.w[a]))))
        return done

    def _slope_again(self, a: int) -> None:
        """From the orders still under way: a difference would leave rounding behind, which falls for ever."""
        self.slope[a] = sum(slope for _, area, slope in self._ends if area == a)

    def short(self, a: int, p_w: float, k: int) -> bool:
        """Whether a change by `p_w` asks for more than there will be."""
        return self.left(a, k) + min(p_w, 0.0) < -_W
