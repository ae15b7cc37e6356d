"""The load of a bus in the form that ANDES takes: constant power, constant current and constant impedance, P and Q each.

What the feeders draw is constant power from one exchange to the next; they say what they draw at the new voltage at the next one.
Native load follows its voltage exponents, and frequency by its damping. ANDES has no floor under constant power in the time
domain: at a faulted bus it has no solution. Below `low_v_pu` a load is therefore the impedance that draws the same at `low_v_pu`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
_HYSTERESIS_PU = 0.02


@dataclass(frozen=True)
class NativeModel:
    """Voltage exponents of native P and Q, damping (pu of P per pu of frequency), the voltage under which load is impedance."""

    p_exponent: float = 1.0
    q_exponent: float = 2.0
    damping_pu: float = 1.0
    low_v_pu: float = 0.7


class ZipLoads:
    """Loads at n buses. Arrays are [n, 2]: P and Q, pu of the system's base, load positive."""

    def __init__(self, model: NativeModel, v0_pu: FloatArray, stated_v_pu: FloatArray, native: FloatArray, fed: FloatArray) -> None:
        """`v0_pu` [n]: voltages at the start; `native`: at the voltages `stated_v_pu` [n] and nominal frequency; `fed`: what the
        feeders draw."""
        self.model, self.native, self.fed = model, native, fed
        self.low = v0_pu < model.low_v_pu
        exponents = np.array([model.p_exponent, model.q_exponent])
        # value and slope of (V / stated)^n at the starting voltage, by the two terms next to n: exact where n is 0, 1 or 2
        v, stated = v0_pu[:, None], stated_v_pu[:, None]
        value = (v / stated) ** exponents
        slope = exponents * value / v
        upper = exponents > 1.0
        current = np.where(upper, 2.0 * value / v - slope, slope)
        self._terms = np.stack(
            (np.where(upper, 0.0, value - slope * v), current, np.where(upper, (slope - value / v) / v, 0.0)), axis=-1
        )

    def coefficients(self, f_deviation_pu: float, kept: float, soft_v_pu: FloatArray | None = None) -> FloatArray:
        """[n, 2, 3]: what multiplies 1, V and V^2, at this frequency deviation, with the part `kept` of native load.

        `soft_v_pu` [n]: all loads as the impedance that draws the same at these voltages, for a step that has no solution
        otherwise.
        """
        scale = kept * np.array([1.0 + self.model.damping_pu * f_deviation_pu, 1.0])
        made = self._terms * (self.native * scale)[:, :, None]
        made[:, :, 0] += self.fed
        at = np.full(len(self.low), self.model.low_v_pu) if soft_v_pu is None else np.maximum(soft_v_pu, self.model.low_v_pu)
        powers = np.stack((np.ones_like(at), at, at**2), axis=-1)
        drawn = (made * powers[:, None, :]).sum(axis=-1)
        impedance = np.zeros_like(made)
        impedance[:, :, 2] = drawn / powers[:, None, 2]
        soft = self.low if soft_v_pu is None else np.ones_like(self.low)
        return np.where(soft[:, None, None], impedance, made)

    def see(self, v_pu: FloatArray) -> bool:
        """Take the voltages [n] of a solution; whether a load went under `low_v_pu` or came back over it."""
        low = v_pu < self.model.low_v_pu + np.where(self.low, _HYSTERESIS_PU, 0.0)
        changed = bool((low != self.low).any())
        self.low = low
        return changed


def drawn(coefficients: FloatArray, v_pu: FloatArray) -> FloatArray:
    """P and Q [n, 2] of coefficients [n, 2, 3] at voltages [n], pu."""
    return np.asarray((coefficients * np.stack((np.ones_like(v_pu), v_pu, v_pu**2), axis=-1)[:, None, :]).sum(axis=-1))
