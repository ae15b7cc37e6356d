"""The transmission system as one bus sees it: a source behind an impedance, found from solved power flows.

Between V at the bus and P, Q drawn there, all per unit:  E^2 = (V + (R P + X Q) / V)^2 + ((X P - R Q) / V)^2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Thevenin:
    """Source E in pu behind R + jX in pu of `s_base_va`. A voltage-controlled bus has no impedance. ValueError for a source or a
    base that is not positive, and for what is not finite."""

    e_pu: float
    r_pu: float
    x_pu: float
    s_base_va: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.e_pu, self.r_pu, self.x_pu, self.s_base_va))) or min(self.e_pu, self.s_base_va) <= 0.0:
            raise ValueError(f"{self} is no equivalent: E and the base are positive, and everything is finite")

    def voltage_pu(self, p_w: float, q_var: float) -> float | None:
        """Voltage at the bus that draws P and Q, upper solution; None past the nose, where there is none."""
        p, q = p_w / self.s_base_va, q_var / self.s_base_va
        a, b = self.r_pu * p + self.x_pu * q, self.x_pu * p - self.r_pu * q
        half = 0.5 * self.e_pu**2 - a
        square = half * half - a * a - b * b
        return math.sqrt(half + math.sqrt(square)) if square >= 0.0 and half + math.sqrt(square) > 0.0 else None

    def behind(self, v_pu: float, p_w: float, q_var: float) -> Thevenin:
        """The same impedance with the source that makes the bus this voltage while it draws P and Q. ValueError for no voltage."""
        if not v_pu > 0.0:
            raise ValueError(f"V = {v_pu:g} pu: a bus without voltage says nothing of the source behind it")
        p, q = p_w / self.s_base_va, q_var / self.s_base_va
        e = complex(
            v_pu + (self.r_pu * p + self.x_pu * q) / v_pu,
            (self.x_pu * p - self.r_pu * q) / v_pu,
        )
        return Thevenin(abs(e), self.r_pu, self.x_pu, self.s_base_va)


def fitted(points: Sequence[tuple[float, float, float]], s_base_va: float) -> tuple[Thevenin, float]:
    """The equivalent that fits solved points (V in pu, P in W, Q in var) best, and the largest voltage that it misses, pu.

    ValueError for fewer than three points. Least squares on V; generators that hold their voltages are why R and X are those of no
    single path, and why they are found from whole power flows.
    """
    from scipy.optimize import least_squares

    if len(points) < 3:
        raise ValueError(f"{len(points)} solved points; an equivalent needs three or more")
    v, p, q = np.array(points, float).T
    p, q = p / s_base_va, q / s_base_va

    def miss(x: np.ndarray) -> np.ndarray:
        a, b = x[1] * p + x[2] * q, x[2] * p - x[1] * q
        half = 0.5 * x[0] ** 2 - a
        return np.asarray(np.sqrt(np.maximum(half + np.sqrt(np.maximum(half * half - a * a - b * b, 0.0)), 0.0)) - v)

    # V^2 = E^2 - 2 R P - 2 X Q - Z^2 S^2 / V^2, of which the last is little as long as voltages fall little: with it and without it
    # this is where searches begin, since near the nose one of them alone may begin, and stay, where there is no voltage
    columns = np.column_stack((np.ones_like(v), -2.0 * p, -2.0 * q, -(p * p + q * q) / (v * v)))
    starts = [np.linalg.lstsq(columns[:, :n], v * v, rcond=None)[0] for n in (3, 4)]
    searches = [
        least_squares(miss, [math.sqrt(max(first[0], 1e-6)), first[1], first[2]], xtol=1e-12, ftol=1e-12, gtol=1e-12)
        for first in starts
    ]
    found = min(searches, key=lambda search: float(search.cost))
    e, r, x = (float(value) for value in found.x)
    return Thevenin(abs(e), r, x, s_base_va), float(np.abs(miss(found.x)).max())
