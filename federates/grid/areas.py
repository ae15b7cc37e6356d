"""A power system as areas without a network: each one mass with its load and its response, joined by ties that can part.

    2 E_a / f0 * df_a/dt = schedule - load (1 + D_a (f_a - f0) / f0) + governors + profiles - flow over ties
    flow = flow at the start + stiffness * (angle_a - angle_b)             d(angle)/dt = 2 pi (f_a - f_b)

The masses, governors and damping are those of `frequency` (Anderson and Mirheydar 1990); the ties are linear, so that a loss of
synchronism has to be given as the opening of a tie. Here are the parameters; `area_response` runs them.

What acts on frequency: stages of load shedding, which take the generation on the feeders they open with them; customers under
contract to be interrupted; and embedded generation that trips by its own frequency or RoCoF protection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor

import numpy as np

from federates.grid.governor import Governor

MS_NS = 1_000_000
_ON_GRID = 1e-6  # of a step


@dataclass(frozen=True)
class Fleet:
    """Plant of one kind that follows frequency: its governor, its rating (the droop's base), how far it can move up and down, W."""

    governor: Governor
    rating_va: float
    headroom_w: float
    footroom_w: float = 0.0

    def __post_init__(self) -> None:
        if not (self.rating_va > 0.0 and self.headroom_w >= 0.0 and self.footroom_w >= 0.0):
            raise ValueError(f"fleet {self.governor.name!r}: rating_va must be > 0, headroom_w and footroom_w >= 0")
        if self.governor.secondary_share:
            raise ValueError(f"fleet {self.governor.name!r}: areas have no secondary control; give it as a profile")


@dataclass(frozen=True)
class PowerProfile:
    """Power on top of the schedule as a course in time: (s, W), linear between the points, then held. Negative: what is lost."""

    name: str
    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if not self.points or any(b[0] <= a[0] for a, b in pairwise(self.points)) or self.points[0][0] < 0.0:
            raise ValueError(f"profile {self.name!r}: give points (s, W) with times that rise from 0")


@dataclass(frozen=True)
class Shedding:
    """Load that is taken off below a frequency. scheme: `ufls`, or `interruptible` for customers under contract.

    load_w: demand that it disconnects; embedded_w: generation still running on the same feeders, lost with them. reset_hz: how far
    above pickup it drops out again before it has operated.
    """

    scheme: str
    pickup_hz: float
    delay_ns: int
    breaker_ns: int
    load_w: float
    embedded_w: float = 0.0
    reset_hz: float = 0.02


@dataclass(frozen=True)
class Embedded:
    """Embedded generation with the protection of its connection; a limit of None is not there.

    rocof_hz_per_s: of the mean over `window_ns`, as loss-of-mains relays measure it; it has to last for `delay_ns`.
    """

    name: str
    p_w: float
    under_hz: float | None = None
    over_hz: float | None = None
    rocof_hz_per_s: float | None = None
    window_ns: int = 500 * MS_NS
    delay_ns: int = 0


@dataclass(frozen=True)
class Area:
    """One mass. inertia_ws: kinetic energy of what turns, W.s; load_w: demand at nominal frequency, feeders included."""

    name: str
    inertia_ws: float
    load_w: float
    damping_pu: float = 1.0
    fleets: tuple[Fleet, ...] = ()
    profiles: tuple[PowerProfile, ...] = ()
    shedding: tuple[Shedding, ...] = ()
    embedded: tuple[Embedded, ...] = ()

    def __post_init__(self) -> None:
        if not (self.inertia_ws > 0.0 and self.load_w > 0.0 and self.damping_pu >= 0.0):
            raise ValueError(f"area {self.name!r}: inertia_ws and load_w must be > 0, damping_pu >= 0")
        if (shed_w := sum(s.load_w for s in self.shedding)) > self.load_w:
            raise ValueError(f"area {self.name!r}: its stages shed {shed_w / 1e6:g} MW of {self.load_w / 1e6:g} MW")


@dataclass(frozen=True)
class Tie:
    """What joins two areas: W from `a` to `b` at the start, and W more for each radian that `a` runs ahead."""

    name: str
    a: str
    b: str
    p_w: float
    stiffness_w_per_rad: float


@dataclass(frozen=True)
class AreasModel:
    """All of it. step_ns: the grid of time on which everything happens (commands and relays are put on it, profiles are
    linear between its steps)."""

    f0_hz: float
    areas: tuple[Area, ...]
    ties: tuple[Tie, ...] = ()
    step_ns: int = 10 * MS_NS

    def __post_init__(self) -> None:
        names = [area.name for area in self.areas]
        if not names or len(set(names)) < len(names) or len({t.name for t in self.ties}) < len(self.ties):
            raise ValueError("names of areas and of ties must be distinct, and there must be an area")
        for tie in self.ties:
            if tie.a not in names or tie.b not in names or tie.a == tie.b:
                raise ValueError(f"tie {tie.name!r} joins {tie.a!r} and {tie.b!r}; give two of {', '.join(names)}")
            if not tie.stiffness_w_per_rad > 0.0:
                raise ValueError(f"tie {tie.name!r}: stiffness_w_per_rad must be > 0")
        if not (self.f0_hz > 0.0 and self.step_ns > 0):
            raise ValueError("f0_hz and step_ns must be > 0")

    def names(self) -> tuple[str, ...]:
        """Of the areas."""
        return tuple(area.name for area in self.areas)


def slopes(profiles: Sequence[PowerProfile], step_ns: int) -> list[tuple[int, float]]:
    """Where the sum of profiles bends: (grid step, W more per second from there on)."""
    step_s = step_ns * 1e-9
    bends: dict[int, float] = {}
    for profile in profiles:
        for (k, p_w), (after_k, after_w) in pairwise(_on_grid(profile, step_s)):
            slope = (after_w - p_w) / ((after_k - k) * step_s)
            bends[k] = bends.get(k, 0.0) + slope
            bends[after_k] = bends.get(after_k, 0.0) - slope
    return sorted(bends.items())


def _on_grid(profile: PowerProfile, step_s: float) -> list[tuple[int, float]]:
    """Grid steps between which the course is linear, with its power there: each point's own, or those on either side of it. So a
    course with several points within a step goes from what it was at one step to what it is at the next."""
    times_s, powers_w = zip(*profile.points, strict=True)
    knots: dict[int, float] = {}
    for t_s, p_w in profile.points:
        k = round(t_s / step_s)
        if abs(t_s / step_s - k) < _ON_GRID:
            knots[k] = p_w
            continue
        for k in (floor(t_s / step_s), ceil(t_s / step_s)):
            knots.setdefault(k, float(np.interp(k * step_s, times_s, powers_w, left=0.0)))
    first = min(knots)
    if knots[first] != 0.0:  # a first point that is not zero is reached within a step
        if first:
            knots[first - 1] = 0.0
        else:
            knots.setdefault(1, knots[0])
            knots[0] = 0.0
    return sorted(knots.items())
