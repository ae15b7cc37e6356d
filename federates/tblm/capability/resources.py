"""What can be moved: the P-Q set of each DER, storage or request, and how soon it moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from federates.tblm.capability.table import CapabilityTable

Floats = NDArray[np.float64]
Quantile = Literal["P10", "P50", "P90"]
QUANTILES: tuple[Quantile, ...] = ("P10", "P50", "P90")


@dataclass(frozen=True)
class Resource:
    """One DER site of the feeder model, generation positive, W and var.

    name: of the site. p_min_w .. p_max_w: active power at the middle of what is expected; p_max_p10_w and p_max_p90_w: what is
    exceeded with a chance of nine in ten and of one in ten (None: as p_max_w). s_va: apparent power, the radius of the P-Q circle.
    q_min_var .. q_max_var: further bounds of reactive power. q_per_p: Q follows P in this ratio (a load that is shed, a DER at
    fixed power factor); None: free. table: capability over voltage and P, which then bounds Q. p_now_w, q_now_var: where it
    stands, and stays while it is not called. notice_s: time from call to delivery. energy_up_wh, energy_down_wh: what storage can
    still give and take, which has to last for as long as is asked for.
    """

    name: str
    p_min_w: float
    p_max_w: float
    s_va: float
    q_min_var: float = -np.inf
    q_max_var: float = np.inf
    p_max_p10_w: float | None = None
    p_max_p90_w: float | None = None
    q_per_p: float | None = None
    table: CapabilityTable | None = None
    p_now_w: float = 0.0
    q_now_var: float = 0.0
    notice_s: float = 0.0
    energy_up_wh: float = np.inf
    energy_down_wh: float = np.inf

    def __post_init__(self) -> None:
        highest = [p for p in (self.p_max_p10_w, self.p_max_w, self.p_max_p90_w) if p is not None]
        if not self.s_va > 0.0:
            raise ValueError(f"{self.name}: an apparent power of {self.s_va:g} VA; give a positive one")
        if self.p_min_w > highest[0] or highest != sorted(highest):
            raise ValueError(f"{self.name}: p_min <= p_max_p10 <= p_max <= p_max_p90 does not hold")
        if self.q_min_var > self.q_max_var:
            raise ValueError(f"{self.name}: q_min is above q_max")
        if not (self.energy_up_wh >= 0.0 and self.energy_down_wh >= 0.0):
            raise ValueError(f"{self.name}: an energy below 0")
        if (self.energy_up_wh < np.inf and self.p_min_w > 0.0) or (self.energy_down_wh < np.inf and self.p_max_w < 0.0):
            raise ValueError(f"{self.name}: it cannot stand still, and its energy ends")

    def at(self, quantile: Quantile, lasts_s: float = 0.0) -> Resource:
        """With the highest active power of a quantile, and no more either way than its energy bears for `lasts_s` seconds."""
        given = {"P10": self.p_max_p10_w, "P50": None, "P90": self.p_max_p90_w}[quantile]
        p_max_w, p_min_w = self.p_max_w if given is None else given, self.p_min_w
        if lasts_s > 0.0:
            p_max_w = min(p_max_w, self.energy_up_wh * 3600.0 / lasts_s)
            p_min_w = max(p_min_w, -self.energy_down_wh * 3600.0 / lasts_s)
        if (p_max_w, p_min_w) == (self.p_max_w, self.p_min_w):
            return self
        return replace(self, p_min_w=p_min_w, p_max_w=p_max_w, p_max_p10_w=None, p_max_p90_w=None)

    def excess_va(self, p_w: float, q_var: float, v_pu: float) -> float:
        """By how much (p, q) at terminal voltage v is outside; not positive inside."""
        out = max(self.p_min_w - p_w, p_w - self.p_max_w, self.q_min_var - q_var, q_var - self.q_max_var)
        out = max(out, float(np.hypot(p_w, q_var)) - self.s_va)
        if self.table is not None:
            a, b = self.table.facets(v_pu)
            out = max(out, float((a @ np.array((p_w, q_var)) - b).max()))
        return out


def held(resources: Sequence[Resource], delivery_s: float) -> NDArray[np.bool_]:
    """Which of them cannot deliver within `delivery_s` seconds, [n]."""
    return np.array([resource.notice_s > delivery_s for resource in resources], bool)
