"""A simulated inverter with the functions of IEEE 1547-2018 that a SunSpec master most often sets. Sans-IO; time is passed in.

It has a rating, an available power, and terminals with a voltage and a frequency. It obeys a limit of active power, a fixed
reactive power, a fixed power factor, a volt-var and a volt-watt curve; reactive power follows its target as a first-order lag that
has covered 90 % of a step after the curve's response time (the standard's open loop response time); reactive power has priority.
Generation and injection are positive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Curve = tuple[tuple[float, float], ...]
"""(abscissa, ordinate), rising in the abscissa; flat beyond its ends. Per cent."""


def at(curve: Curve, x: float) -> float:
    """The curve's value at `x`, straight lines between its points. Where two points share an abscissa the later one counts."""
    if x < curve[0][0]:
        return curve[0][1]
    below = max(i for i, (abscissa, _) in enumerate(curve) if abscissa <= x)
    if below == len(curve) - 1:
        return curve[-1][1]
    (x0, y0), (x1, y1) = curve[below], curve[below + 1]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


@dataclass(frozen=True, slots=True)
class Rating:
    """Three-phase; `v_ln_v` is line to neutral."""

    p_max_w: float = 50_000.0
    s_max_va: float = 55_000.0
    q_max_var: float = 24_000.0
    v_ln_v: float = 277.0


DEFAULT_RATING = Rating()


@dataclass(slots=True)
class Settings:
    """What masters have set. Curves: volts in per cent of nominal, reactive power of `q_max_var`, active power of `p_max_w`."""

    enter_service: bool = True
    p_limit_pct: float | None = None
    q_set_var: float | None = None
    power_factor: tuple[float, bool] | None = None
    """(power factor, over-excited)"""
    volt_var: Curve | None = None
    volt_var_response_s: float = 5.0
    volt_watt: Curve | None = None


@dataclass(slots=True)
class Inverter:
    """`step` brings it to a time; p_w and q_var are what it then does."""

    rating: Rating = field(default_factory=Rating)
    settings: Settings = field(default_factory=Settings)
    v_pu: float = 1.0
    f_hz: float = 60.0
    available_w: float = 40_000.0
    p_w: float = 0.0
    q_var: float = 0.0
    energy_wh: float = 0.0
    _t_s: float = math.nan

    @property
    def target_q_var(self) -> float:
        """What reactive power is wanted now; of several functions the first of fixed var, power factor, volt-var."""
        settings, rating = self.settings, self.rating
        if settings.q_set_var is not None:
            wanted = settings.q_set_var
        elif settings.power_factor is not None:
            factor, over_excited = settings.power_factor
            wanted = self.target_p_w * math.tan(math.acos(min(abs(factor), 1.0))) * (1 if over_excited else -1)
        elif settings.volt_var is not None:
            wanted = at(settings.volt_var, 100.0 * self.v_pu) / 100.0 * rating.q_max_var
        else:
            wanted = 0.0
        return max(-rating.q_max_var, min(rating.q_max_var, wanted))

    @property
    def target_p_w(self) -> float:
        """Active power before what reactive power leaves of the rating."""
        settings, rating = self.settings, self.rating
        limits = [self.available_w, rating.p_max_w]
        if settings.p_limit_pct is not None:
            limits.append(settings.p_limit_pct / 100.0 * rating.p_max_w)
        if settings.volt_watt is not None:
            limits.append(at(settings.volt_watt, 100.0 * self.v_pu) / 100.0 * rating.p_max_w)
        return max(0.0, min(limits))

    @property
    def is_throttled(self) -> bool:
        return self.settings.enter_service and self.target_p_w < min(self.available_w, self.rating.p_max_w)

    def step(self, t_s: float) -> None:
        """Go on to `t_s`. The first call sets the time, with reactive power at its target."""
        if not self.settings.enter_service:
            self.p_w = self.q_var = 0.0
        else:
            self._follow(t_s)
            left_w = math.sqrt(max(self.rating.s_max_va**2 - self.q_var**2, 0.0))
            self.p_w = min(self.target_p_w, left_w)
        if not math.isnan(self._t_s):
            self.energy_wh += self.p_w * max(t_s - self._t_s, 0.0) / 3600.0
        self._t_s = t_s

    def _follow(self, t_s: float) -> None:
        lag_s = self.settings.volt_var_response_s / math.log(10.0)
        if math.isnan(self._t_s) or lag_s <= 0:
            self.q_var = self.target_q_var
        else:
            rest = math.exp(-max(t_s - self._t_s, 0.0) / lag_s)
            self.q_var = self.target_q_var + (self.q_var - self.target_q_var) * rest


class Reversion:
    """A timer that undoes what a master has set unless the master comes again within `rvrt_s` (0: never)."""

    def __init__(self, undo: Callable[[], None]) -> None:
        self._undo = undo
        self._due_s = math.inf

    def start(self, now_s: float, rvrt_s: float) -> None:
        """From now; a new start takes the place of the old."""
        self._due_s = now_s + rvrt_s if rvrt_s > 0 else math.inf

    def remaining_s(self, now_s: float) -> float:
        """Time left, 0 where it does not run."""
        return 0.0 if math.isinf(self._due_s) else max(self._due_s - now_s, 0.0)

    def advance(self, now_s: float) -> bool:
        """Undoes if it is time; whether it did."""
        if now_s < self._due_s:
            return False
        self._due_s = math.inf
        self._undo()
        return True


def checked_curve(points: Sequence[tuple[float | None, float | None]]) -> Curve:
    """The points as a curve. ValueError unless there are two or more, all known, with abscissas that do not fall."""
    known = tuple((x, y) for x, y in points if x is not None and y is not None)
    if len(known) < len(points) or len(known) < 2 or any(b[0] < a[0] for a, b in pairwise(known)):
        raise ValueError("a curve has two or more points, whose voltages do not fall")
    return known
