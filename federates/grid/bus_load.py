"""What the buses of a transmission network draw, as a function of their voltages.

The load of a bus is `feeder + share * native * factor * (V / V0)^n`: what the modelled feeders draw, or a curve says that they do,
plus the native load, which no feeder stands for. V0 is the voltage at which the native load is stated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from federates.grid.transmission_case import FloatArray, IntArray

LoadCurve = Callable[[float], tuple[float, float]]
"""Voltage magnitude at the bus (pu) -> (P in W, Q in var), load positive."""


class BusLoads:
    """The loads of n buses. Arrays [n, 2] hold P in W and Q in var, load positive; `share` [n] is of P and Q alike."""

    def __init__(self, native_p_w: FloatArray, native_q_var: FloatArray, v0_pu: FloatArray, exponents: tuple[float, float]) -> None:
        n = len(native_p_w)
        self.feeder = np.zeros((n, 2))
        self.native = np.column_stack((native_p_w, native_q_var))
        self.factor = np.ones((n, 2))
        self.share = np.ones(n)
        self._v0_pu, self._exponents = v0_pu, np.array(exponents, dtype=float)

    def voltage_dependent(self) -> IntArray:
        """Buses whose native load follows voltage, by number."""
        some = (self.share * np.abs(self.native).sum(axis=1) > 0.0) & bool(self._exponents.any())
        return np.asarray(np.flatnonzero(some), np.int64)

    def answer(self, buses: IntArray, v_pu: FloatArray) -> FloatArray:
        """What the voltages make of the native load at some buses, a factor on P and on Q each, [k, 2]."""
        return np.asarray((v_pu / self._v0_pu[buses])[:, None] ** self._exponents)

    def nominal_w(self) -> FloatArray:
        """All loads with the native ones at their own voltage, [n, 2]."""
        return np.asarray(self.feeder + self.share[:, None] * self.native * self.factor)

    def at(self, curves: Mapping[int, LoadCurve], buses: IntArray, v_pu: FloatArray) -> FloatArray:
        """All loads, [n, 2]; those at `buses` (which include the curves') taken at the voltages `v_pu` [k]."""
        loads = self.nominal_w()
        if len(buses):
            feeder = self.feeder[buses].copy()
            for k, bus in enumerate(buses.tolist()):
                if bus in curves:
                    feeder[k] = curves[bus](float(v_pu[k]))
            native = self.share[buses, None] * self.native[buses] * self.factor[buses]
            loads[buses] = feeder + native * self.answer(buses, v_pu)
        return loads
