"""The discrete building blocks: lag, rate limit, timer, piecewise linear curve. Over n DERs at once, for any time step."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from federates.grid.der.parameters import BoolArray, FloatArray


class Lag(NamedTuple):
    """Coefficients of y[k] = now u[k] + before u[k-1] + held y[k-1], each of shape (n,)."""

    now: FloatArray
    before: FloatArray
    held: FloatArray


def lag(olrt_s: FloatArray, dt_s: float) -> Lag:
    """First order lag with open loop response time `olrt_s` (90 % of a step), by the trapezoidal rule over `dt_s`.

    90 % is reached after 2.3 time constants, hence 2 tau = olrt / 1.15. A lag with tau under half a step would ring: it passes
    its input.
    """
    two_tau_s = olrt_s / 1.15
    direct = olrt_s < 1.15 * dt_s
    gain = dt_s / (dt_s + two_tau_s)
    return Lag(
        np.where(direct, 1.0, gain), np.where(direct, 0.0, gain), np.where(direct, 0.0, (two_tau_s - dt_s) / (dt_s + two_tau_s))
    )


def settled_lag(olrt_s: FloatArray, horizon_s: float) -> Lag:
    """The lag after `horizon_s` seen from afar: run to rest if its response time is no longer than that, else not begun."""
    done = (olrt_s <= horizon_s).astype(np.float64)
    return Lag(done, np.zeros_like(done), 1.0 - done)


def low_pass(memory: FloatArray, u: FloatArray, coefficients: Lag) -> FloatArray:
    """One step of a lag. `memory` (2, n) holds last input and output and is updated. Returns the output, an array of its own."""
    y = coefficients.now * u
    y += coefficients.before * memory[0]
    y += coefficients.held * memory[1]
    memory[0] = u
    memory[1] = y
    return y


def rate(time_s: FloatArray, dt_s: float) -> FloatArray:
    """Largest change in one step of a quantity that takes `time_s` for 1 pu; unlimited where that is 0."""
    with np.errstate(divide="ignore"):
        return np.where(time_s > 0.0, dt_s / time_s, np.inf)


def timer(elapsed_s: FloatArray, condition: BoolArray, limit_s: FloatArray, dt_s: float) -> BoolArray | None:
    """Advance a timer that runs while `condition` holds and clears when it does not; `elapsed_s` is updated.

    Returns where it has reached `limit_s`, or None if `condition` holds nowhere. The step in which a condition is first seen
    counts in full.
    """
    if not condition.any():
        elapsed_s.fill(0.0)
        return None
    np.minimum(limit_s, elapsed_s + dt_s, out=elapsed_s)
    reached = condition & (elapsed_s >= limit_s)
    elapsed_s *= condition
    return reached


class Curve(NamedTuple):
    """Piecewise linear curves of n DERs, flat outside: y = y0 + sum over segments of slope times the part of the segment passed."""

    y0: FloatArray
    start: tuple[FloatArray, ...]
    length: tuple[FloatArray, ...]
    slope: tuple[FloatArray, ...]

    @classmethod
    def through(cls, xs: tuple[FloatArray, ...], ys: tuple[FloatArray, ...]) -> Curve:
        """Through the points xs[k], ys[k], each of shape (n,), xs rising. A segment of no length has no effect."""
        lengths = tuple(b - a for a, b in pairwise(xs))
        rises = tuple(b - a for a, b in pairwise(ys))
        slopes = tuple(np.divide(rise, dx, out=np.zeros_like(dx), where=dx > 0.0) for rise, dx in zip(rises, lengths, strict=True))
        moving = [k for k, slope in enumerate(slopes) if slope.any()]
        return cls(ys[0], tuple(xs[k] for k in moving), tuple(lengths[k] for k in moving), tuple(slopes[k] for k in moving))

    def at(self, x: FloatArray) -> FloatArray:
        """Value at x, shape (n,)."""
        y = self.y0.copy()
        for start, length, slope in zip(self.start, self.length, self.slope, strict=True):
            passed = x - start
            np.maximum(passed, 0.0, out=passed)
            np.minimum(passed, length, out=passed)
            passed *= slope
            y += passed
        return y


def circle_intercept(
    radius: FloatArray, xs: tuple[FloatArray, ...], ys: tuple[FloatArray, ...], side: float
) -> tuple[FloatArray, FloatArray]:
    """Outermost point with x on `side` (+1 or -1) where the curve through xs, ys (flat outside) meets the circle of `radius`.

    Returns x and |y|, shape (n,). Where they meet nowhere the curve is outside the circle on that side: x is 0.
    """
    if side < 0:
        x, y = circle_intercept(radius, tuple(-x for x in reversed(xs)), tuple(reversed(ys)), 1.0)
        return -x, y
    best_x, best_y = np.zeros_like(radius), np.minimum(np.abs(ys[0]), radius)
    flat = np.sqrt(np.maximum(radius**2 - ys[-1] ** 2, 0.0))
    for (x0, x1), (y0, y1) in zip(pairwise(xs), pairwise(ys), strict=True):
        dx, dy = x1 - x0, y1 - y0
        a, b, c = dx**2 + dy**2, x0 * dx + y0 * dy, x0**2 + y0**2 - radius**2
        disc = b**2 - a * c
        part = np.divide(np.sqrt(np.maximum(disc, 0.0)) - b, a, out=np.full_like(a, np.nan), where=a > 0.0)
        x, y = x0 + part * dx, y0 + part * dy
        better = (disc >= 0.0) & (part >= 0.0) & (part <= 1.0) & (x > best_x)
        best_x, best_y = np.where(better, x, best_x), np.where(better, np.abs(y), best_y)
    beyond = flat > xs[-1]
    return np.where(beyond, flat, best_x), np.where(beyond, np.abs(ys[-1]), best_y)
