"""The breakers of the like feeders at a bus: which are open, which came back, and what a returned one takes beyond the solved
feeder.

The solved feeder stands for those in service. It loses its supply when the last one opens, and has it again with the first one
closed. A feeder that returns takes cold-load pickup, and has its DER again when they may enter service; where the solved feeder
was in service all the while, both are added to what it draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federates.field.commands import number
from federates.grid.cold_load import cold_load_factor
from federates.runtime.federate import S_NS

FloatArray = NDArray[np.float64]
_REMEMBERED_S = 6.0 * 3600.0  # after this long a returned feeder is like the others


@dataclass(frozen=True)
class _Returned:
    """Feeders that came back together."""

    feeders: int
    out_s: float
    closed_ns: int


class LikeBreakers:
    """`count` like feeders, all closed at first. der_return_s: how long after it was closed a feeder's DER are back."""

    def __init__(self, count: int, classes: Sequence[str], der_return_s: float) -> None:
        self.count, self.closed = count, count
        self._classes, self._der_return_s = tuple(classes), der_return_s
        self._open: list[tuple[int, int]] = []  # (feeders, when they opened), the latest last
        self._returned: list[_Returned] = []
        self._solved: _Returned | None = None

    @property
    def live(self) -> bool:
        """Whether the solved feeder has supply."""
        return self.closed > 0

    def open(self, payload: Mapping[str, Any], t_ns: int) -> int:
        """Open so many (`feeders`; all that are closed without it), as far as there are. Gives how many."""
        feeders = min(self._wanted(payload, self.closed), self.closed)
        if feeders:
            self.closed -= feeders
            self._open.append((feeders, t_ns))
            self._take_out(feeders)
        if not self.live:
            self._returned, self._solved = [], None
        return feeders

    def _take_out(self, feeders: int) -> None:
        """Those that came back last open first, as those that opened last come back first. The solved feeder stands for its own
        group as long as one feeder is closed."""
        kept: list[_Returned] = []
        for back in reversed(self._returned):
            gone = 0 if back is self._solved else min(back.feeders, feeders)
            feeders -= gone
            if back.feeders > gone:
                kept.append(replace(back, feeders=back.feeders - gone) if gone else back)
        self._returned = kept[::-1]

    def close(self, payload: Mapping[str, Any], t_ns: int) -> int:
        """Close so many, the last opened first. Gives how many."""
        wanted = left = min(self._wanted(payload, self.count - self.closed), self.count - self.closed)
        dead = not self.live
        while left:
            feeders, opened_ns = self._open.pop()
            if feeders > left:
                self._open.append((feeders - left, opened_ns))
            back = _Returned(min(feeders, left), (t_ns - opened_ns) / S_NS, t_ns)
            if dead and self._solved is None:
                self._solved = back
            self._returned.append(back)
            left -= back.feeders
        self.closed += wanted
        return wanted

    @staticmethod
    def _wanted(payload: Mapping[str, Any], otherwise: int) -> int:
        if "feeders" not in payload:
            return otherwise
        feeders = int(number(payload, "feeders"))
        if feeders < 1:
            raise ValueError(f"feeders is {feeders}; give 1 or more, or leave it out for all")
        return feeders

    def cold_load(self, t_ns: int, temperature_c: float) -> FloatArray | float:
        """Factor on the wish of every load of the solved feeder."""
        return self._factor(self._solved, t_ns, temperature_c) if self._solved else 1.0

    def beyond(self, t_ns: int, temperature_c: float, load_w: FloatArray) -> tuple[float, float]:
        """What the returned feeders take beyond `closed` times the solved one at present: (its load that many times over, its DER
        that many times missing)."""
        more_load = missing_der = 0.0
        total = float(load_w.sum())
        own = self.cold_load(t_ns, temperature_c)
        self._returned = [back for back in self._returned if (t_ns - back.closed_ns) / S_NS < _REMEMBERED_S]
        for back in self._returned:
            if back is self._solved:
                continue
            factor = self._factor(back, t_ns, temperature_c) / own - 1.0
            more_load += back.feeders * (float((factor * load_w).sum()) / total if total > 0.0 else 0.0)
            solved_too = self._solved is not None and self._solved.closed_ns == back.closed_ns
            if not solved_too and (t_ns - back.closed_ns) / S_NS < self._der_return_s:
                missing_der += back.feeders
        return more_load, missing_der

    def _factor(self, back: _Returned, t_ns: int, temperature_c: float) -> FloatArray:
        return cold_load_factor(self._classes, temperature_c, back.out_s, (t_ns - back.closed_ns) / S_NS)
