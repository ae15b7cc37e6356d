"""Outages inferred from last gasps, and what is known of when each meter had voltage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federates.grid.channel import LOST_NS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Outages:
    """Which meters and transformers are without voltage, as far as the messages that have been delivered tell.

    A transformer is out when `gasps` of its meters have sent a last gasp within `window_ns`. Any later sign of life of one of its
    meters (a restoration, a reading of an interval that ended later) ends that.
    """

    def __init__(self, transformer: Ints, names: tuple[str, ...], gasps: int, window_ns: int, t_ns: int) -> None:
        """transformer: number of each meter's transformer, [n]; names: of the transformers; all are alive before `t_ns`."""
        self._transformer, self._names, self._need, self._window_ns = transformer, names, gasps, window_ns
        self._gasp_ns, self._alive_ns = np.full(transformer.size, LOST_NS), np.full(transformer.size, t_ns - 1, np.int64)
        self._out_ns = np.full(len(names), LOST_NS)
        self._ended: list[tuple[int, Ints]] = []

    def gasp(self, meter: int, at_ns: int) -> bool:
        """A last gasp, sent at `at_ns`, was delivered. False where the meter was alive later than that."""
        if at_ns <= self._alive_ns[meter]:
            return False
        self._gasp_ns[meter] = at_ns
        return True

    def infer(self, transformers: Iterable[int]) -> list[dict[str, Any]]:
        """Outages that begin, looking at these transformers: {"event": "outage", "transformer", "t_first_ns", "gasps"}."""
        news = []
        for k in sorted(transformers):
            at_ns = np.sort(self._gasp_ns[self._transformer == k])
            at_ns = at_ns[at_ns != LOST_NS]
            close = at_ns[self._need - 1 :] - at_ns[: max(at_ns.size - self._need + 1, 0)] <= self._window_ns
            if close.any() and self._out_ns[k] == LOST_NS:
                first_ns = int(at_ns[int(np.argmax(close))])
                self._out_ns[k] = first_ns
                news.append({"event": "outage", "transformer": self._names[k], "t_first_ns": first_ns, "gasps": at_ns.size})
        return news

    def prove_alive(self, meters: Ints, at_ns: int) -> list[dict[str, Any]]:
        """These meters had voltage at `at_ns`; gives the outages that end: {"event": "restored", "transformer", "t_event_ns"}."""
        dead_ns = self._dead_since()
        self._alive_ns[meters] = np.maximum(self._alive_ns[meters], at_ns)
        back = np.unique(self._transformer[meters])
        back = back[self._out_ns[back] < at_ns]
        self._out_ns[back] = LOST_NS
        ended = np.isin(self._transformer, back)
        ended[meters] = True
        ended &= dead_ns < at_ns
        if ended.any():
            self._ended.append((at_ns, np.where(ended, dead_ns, at_ns)))
            self._gasp_ns[ended] = LOST_NS
        return [{"event": "restored", "transformer": self._names[k], "t_event_ns": at_ns} for k in back.tolist()]

    def served(self, start_ns: int, end_ns: int) -> Floats:
        """Part of [start_ns, end_ns) in which each meter had voltage, in outages that last and in those that have ended, [n]."""
        dead_ns = end_ns - np.clip(self._dead_since(), start_ns, end_ns)
        for to_ns, from_ns in self._ended:
            dead_ns = dead_ns + np.maximum(min(to_ns, end_ns) - np.maximum(from_ns, start_ns), 0)
        served: Floats = np.maximum(1.0 - dead_ns / (end_ns - start_ns), 0.0)
        return served

    def forget(self, before_ns: int) -> None:
        """Drop outages that ended by then."""
        self._ended = [outage for outage in self._ended if outage[0] > before_ns]

    def _dead_since(self) -> Ints:
        """LOST_NS where a meter is alive."""
        out_ns = self._out_ns[self._transformer]
        dead_ns: Ints = np.minimum(self._gasp_ns, np.where(out_ns > self._alive_ns, out_ns, LOST_NS))
        return dead_ns
