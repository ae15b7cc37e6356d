"""What the bus can give, as part of the document: P-Q regions and the dispatch stack. Powers are of the bus, load positive.

Part of `federates.tblm.model`, which imports it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from federates.tblm.document import TblmError


@dataclass(frozen=True)
class CapabilityRegion:
    """P and Q that the bus can be brought to within the limits of its network: a convex polygon, counter-clockwise."""

    V_pu: Annotated[float, "voltage at the bus for which it holds"]
    delivery_s: Annotated[float, "how soon: 2 inverters, 60 taps and capacitors too, 900 what has to be asked for too"]
    quantile: Annotated[Literal["P10", "P50", "P90"], "of what resources have available; P10 is there nine times in ten"]
    P_W: tuple[float, ...]
    Q_var: tuple[float, ...]
    verified: Annotated[bool, "every corner held all limits in a full three-phase power flow"]
    gap_pct: Annotated[float, "area that may be missing at most between the corners, %"]

    def __post_init__(self) -> None:
        if len(self.P_W) != len(self.Q_var):
            raise TblmError(f"P_W has {len(self.P_W)} corners, Q_var {len(self.Q_var)}")


@dataclass(frozen=True)
class DispatchBlock:
    """A block of the dispatch stack, with everything of its direction before it dispatched too; losses are in its power."""

    direction: Annotated[Literal["up", "down"], "up: less load at the bus, down: more"]
    P_W: Annotated[float, "change of bus load by it, positive in either direction"]
    Q_var: Annotated[float, "change of the bus's reactive load that comes with it"]
    cost_per_MWh: Annotated[float, "at the bus; not falling along the stack"]
    notice_s: float
    ramp_W_per_s: Annotated[float | None, "null: no limit given"]
    duration_s: Annotated[float | None, "null: no limit given"]
    energy_Wh: Annotated[float | None, "null: no limit given"]
    rebound: Annotated[float, "part of the energy that comes back afterwards"]
    resources: int


@dataclass(frozen=True)
class Flexibility:
    """What the bus can give, as computed at `t_ns`; every like feeder does the same as the solved one."""

    t_ns: int
    capability: tuple[CapabilityRegion, ...]
    dispatchable: Annotated[tuple[DispatchBlock, ...], "up from the cheapest, then down from the cheapest"]
    reasons: Annotated[tuple[str, ...], "why a region or a stack is missing"]
