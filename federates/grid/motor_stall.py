"""Single-phase motors of air conditioners that stall when the voltage stays low: the cause of delayed voltage recovery.

The performance model of the WECC composite load (`LD1PAC`; NERC, Technical Reference Document: Dynamic Load Modeling, 2016): a
motor runs as any other load does, until the voltage has been below `v_stall_pu` for `t_stall_s`. Stalled it is an impedance,

    P = P_rated r / (r^2 + x^2) V^2        Q = P_rated x / (r^2 + x^2) V^2

and heats: T_heat dtheta/dt = I^2 r - theta. Its thermal protection trips the motors of a load in proportion as theta goes from
`heat_trip_from_pu` to `heat_trip_to_pu`; what has tripped stays off. A part of them, `restart_share`, turns again once the voltage
has been above `v_restart_pu` for `t_restart_s`.

Without supply a motor stands as at any voltage below `v_stall_pu`, and cools. When supply comes back it is stalled, and goes on
from there as above: the model knows no start from rest, however long the supply was away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class MotorStall:
    """Parameters; `share` is the part of every load's power at nominal voltage that is such motors. r, x: pu of rated impedance."""

    share: float
    v_stall_pu: float = 0.6
    t_stall_s: float = 0.033
    restart_share: float = 0.2
    v_restart_pu: float = 0.95
    t_restart_s: float = 0.3
    r_stall_pu: float = 0.124
    x_stall_pu: float = 0.114
    t_heat_s: float = 15.0
    heat_trip_from_pu: float = 0.7
    heat_trip_to_pu: float = 1.9

    def __post_init__(self) -> None:
        if not (0.0 <= self.share <= 1.0 and 0.0 <= self.restart_share <= 1.0):
            raise ValueError("share and restart_share must be between 0 and 1")
        if not (self.v_restart_pu > self.v_stall_pu > 0.0 and self.heat_trip_to_pu > self.heat_trip_from_pu > 0.0):
            raise ValueError("v_restart_pu must be above v_stall_pu, and heat_trip_to_pu above heat_trip_from_pu")


class StallingMotors:
    """The motors of n loads: those that never restart by themselves and those that do, [2, n]."""

    def __init__(self, params: MotorStall, n: int) -> None:
        self.params = params
        z2 = params.r_stall_pu**2 + params.x_stall_pu**2
        self.conductance_pu, self.susceptance_pu = params.r_stall_pu / z2, params.x_stall_pu / z2
        self._part = params.share * np.array([[1.0 - params.restart_share], [params.restart_share]])
        self._stalled = np.zeros((2, n), bool)
        self._heat, self._tripped = np.zeros((2, n)), np.zeros((2, n))
        self._low_s, self._high_s = np.zeros(n), np.zeros(n)
        self._v = np.ones(n)

    def advance(self, dt_s: float, v_pu: FloatArray) -> None:
        """Let `dt_s` pass at the voltages known so far, and see `v_pu` [n], which hold from now on."""
        p, v = self.params, self._v
        self._low_s = np.where(v < p.v_stall_pu, self._low_s + dt_s, 0.0)
        self._high_s = np.where(v > p.v_restart_pu, self._high_s + dt_s, 0.0)
        # exact at a voltage that holds; a motor that turns cools
        end = np.where(self._stalled, p.r_stall_pu * (self.conductance_pu**2 + self.susceptance_pu**2) * v**2, 0.0)
        self._heat = end + (self._heat - end) * np.exp(-dt_s / p.t_heat_s)
        share = np.clip((self._heat - p.heat_trip_from_pu) / (p.heat_trip_to_pu - p.heat_trip_from_pu), 0.0, 1.0)
        self._tripped = np.maximum(self._tripped, share)
        stops = (v < p.v_stall_pu) & (self._low_s >= p.t_stall_s - 1e-9)
        self._stalled |= stops
        self._stalled[1] &= ~((v > p.v_restart_pu) & (self._high_s >= p.t_restart_s - 1e-9))
        self.see(v_pu)

    def see(self, v_pu: FloatArray) -> float:
        """The voltages [n] that hold from now on; gives their largest change."""
        before, self._v = self._v, np.array(v_pu, float)
        return float(np.abs(self._v - before).max(initial=0.0))

    @property
    def any_stalled(self) -> bool:
        """Whether some motor stands still under voltage."""
        return bool(self._stalled.any())

    def running(self) -> FloatArray:
        """Part of each load that is there as it was: everything but motors that stalled or tripped, [n]."""
        return np.asarray(1.0 - (self._part * np.where(self._stalled, 1.0, self._tripped)).sum(axis=0))

    def stalled_pu(self) -> tuple[FloatArray, FloatArray]:
        """P and Q of stalled motors at the voltages last seen, per unit of each load's nominal active power, [n] each."""
        part = (self._part * np.where(self._stalled, 1.0 - self._tripped, 0.0)).sum(axis=0)
        return part * self.conductance_pu * self._v**2, part * self.susceptance_pu * self._v**2

    def shares(self) -> tuple[float, float]:
        """Mean over loads of the part of all load that is stalled, and that has tripped by heat."""
        part = self._part * np.ones_like(self._heat)
        stalled = float((part * np.where(self._stalled, 1.0 - self._tripped, 0.0)).sum(axis=0).mean())
        return stalled, float((part * self._tripped).sum(axis=0).mean())
