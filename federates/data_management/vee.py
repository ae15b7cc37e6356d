"""Validation and estimation of interval readings (the V and first E of VEE; there is no editing by hand)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_RATIO_MAX = 3.0
"""Neighbours whose load changed by more than this say nothing about one that is missing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reading may be, in multiples of the meter's nominal power.

    range: |P| and |Q|; spike: change of P from the last valid reading, unless the next one confirms it; total: |P| of all meters of
    one load. v_max_pu: highest average voltage.
    """

    range: float = 10.0
    spike: float = 5.0
    total: float = 2.5
    v_max_pu: float = 1.5


def valid(limits: Limits, nominal_w: Floats, readings: Floats, last_p_w: Floats, doubted_p_w: Floats) -> Bools:
    """True where a reading passes the range and the spike check, bool [n].

    readings: P in W, Q in var, V in pu, [3, n]. last_p_w: last valid reading; doubted_p_w: the one before this that was refused;
    NaN where there is none.
    """
    p_w, q_var, v_pu = readings
    inside = (np.abs(p_w) <= limits.range * nominal_w) & (np.abs(q_var) <= limits.range * nominal_w)
    inside &= (v_pu >= 0.0) & (v_pu <= limits.v_max_pu)
    step = limits.spike * nominal_w
    spike = np.abs(p_w - last_p_w) > step
    confirmed = np.abs(p_w - doubted_p_w) <= 0.5 * step
    passes: Bools = inside & (~spike | confirmed)
    return passes


def estimate(rows: Floats, row: int, nominal_w: Floats, groups: tuple[Ints, ...], gap_rows: int) -> Floats:
    """Readings of one interval with the missing ones estimated, float64 [n]; NaN where nothing at all is known.

    rows: readings of successive intervals, [k, n], NaN where missing. groups: group number of each meter, from the closest
    neighbours (one load) to the widest (all). A gap of at most `gap_rows` between two readings is filled on a straight line.
    Otherwise the meter's last reading is scaled as its closest neighbours that were read both times have changed; a meter
    never read takes its nominal part of what its neighbours have; without neighbours the last reading stands.
    """
    filled: Floats = rows[row].copy()
    missing = np.flatnonzero(np.isnan(filled))
    if not missing.size:
        return filled
    present = ~np.isnan(rows)
    before, after = _nearest(present, row, missing)
    between = (before >= 0) & (after < len(rows)) & (after - before - 1 <= gap_rows)
    m, a, b = missing[between], before[between], after[between]
    part = (row - a) / (b - a)
    filled[m] = rows[a, m] * (1.0 - part) + rows[b, m] * part
    missing, before = missing[~between], before[~between]
    known = present[row]
    for last in np.unique(before):
        members = missing[before == last]
        # A meter never read is compared with its nominal power instead of its last reading.
        base = rows[last] if last >= 0 else nominal_w
        both = known & (present[last] if last >= 0 else True)
        filled[members] = base[members] * _ratio(rows[row], base, both, groups, members, 1.0 if last >= 0 else np.nan)
    return filled


def _nearest(present: Bools, row: int, missing: Ints) -> tuple[Ints, Ints]:
    """Row of the last reading before `row` (-1: none) and of the first after it (len: none), of each missing meter."""
    number = np.arange(len(present))[:, None]
    there = present[:, missing]
    before = np.where(there & (number < row), number, -1).max(axis=0)
    after = np.where(there & (number > row), number, len(present)).min(axis=0)
    return before, after


def _ratio(now: Floats, base: Floats, both: Bools, groups: tuple[Ints, ...], members: Ints, default: float) -> Floats:
    """Sum over neighbours of `now` over their sum of `base`, from the closest group that has one, for each of `members`."""
    ratio: Floats = np.full(members.size, default)
    open_ = np.ones(members.size, np.bool_)
    for group in groups:
        size = int(group.max(initial=0)) + 1
        top = np.bincount(group[both], now[both], size)[group[members]]
        bottom = np.bincount(group[both], base[both], size)[group[members]]
        with np.errstate(invalid="ignore", divide="ignore"):
            quotient = top / bottom
        take = open_ & (np.abs(quotient) <= _RATIO_MAX)
        ratio[take] = quotient[take]
        open_ &= ~take
    return ratio
