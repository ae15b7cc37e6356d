"""The whitelist: whether a write may go out. Default deny.

A write is allowed where the map has a `write` row for it, its value lies within the row's limits (or its control code is listed),
it is not faster than the row's rate, not sooner than its minimum interval, and no interlock forbids it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hil.plan import Interlock
from hil.point_dnp3 import CODES, crob_for
from hil.points import MapPoint, PointMap, PointTable
from protocols.dnp3 import Crob

Reading = Callable[[str], float]
"""Name of a `read` row -> its value now; NaN where none is good."""


class Refused(Exception):
    """A write that must not go out; says why."""


@dataclass(frozen=True, slots=True)
class Order:
    """A write that was allowed: the point, its engineering value (the state asked for, of a control), and the control itself."""

    point: MapPoint
    value: float
    crob: Crob | None = None


class Guard:
    """Judges the writes of one device. Times are CLOCK_MONOTONIC, ns."""

    def __init__(self, points: PointMap, interlocks: Sequence[Interlock], reading: Reading) -> None:
        self._points = {point.name: point for point in points.writes}
        self._interlocks = tuple(interlocks)
        self._reading = reading
        self._sent: dict[str, tuple[int, float]] = {}
        self._held: dict[str, tuple[int, float]] = {}
        self.refused = self.answered = 0
        """How many wishes were refused here; how many fallbacks the device has answered."""

    def judge(self, name: str, value: float | str, now_ns: int) -> Order:
        """The order for a wish. `value` is an engineering value, or the name of a control code. Raises Refused."""
        try:
            order = self._order(name, value)
            self._within_time(order, now_ns)
            self._unlocked(order)
        except Refused:
            self.refused += 1
            raise
        return order

    def allows(self, name: str, value: float | str, now_ns: int) -> bool:
        """Whether `judge` would give an order. Counts nothing."""
        try:
            order = self._order(name, value)
            self._within_time(order, now_ns)
            self._unlocked(order)
        except Refused:
            return False
        return True

    def still(self, order: Order, now_ns: int) -> None:
        """Judge an order again that waited for the disk or the line: another may have gone out to its point meanwhile, or an
        interlock have closed. Raises Refused."""
        try:
            self._within_time(order, now_ns)
            self._unlocked(order)
        except Refused:
            self.refused += 1
            raise

    def holds(self, name: str, value: float, now_ns: int) -> None:
        """What the device held before anything was sent: the first change is no faster than the row's rate either."""
        self._held[name] = (now_ns, value)

    def sent(self, order: Order, now_ns: int) -> Callable[..., None]:
        """An order goes out now: what follows is measured against it. Gives what takes that back, if it did not leave after all,
        or (`tried`) the device did not take it: it holds what it held, and its interval counts from now all the same."""
        name, before = order.point.name, self._sent.get(order.point.name)
        self._sent[name] = now = (now_ns, order.value)

        def take_back(*, tried: bool = False) -> None:
            if self._sent.get(name) is now:
                if before is None:
                    del self._sent[name]
                else:
                    self._sent[name] = (now_ns, before[1]) if tried else before

        return take_back

    def last(self, name: str) -> float | None:
        """The last value that went out to a point."""
        return self._sent[name][1] if name in self._sent else None

    def within_rate(self, point: MapPoint, value: float, now_ns: int) -> float | None:
        """The value that may go out now on the way to `value`, at no more than the row's rate; None before its interval is over."""
        known = self._sent.get(point.name) or self._held.get(point.name)
        if known is None:
            return value
        then_ns, before = known
        passed_s = (now_ns - then_ns) / 1e9
        if passed_s < point.min_interval_s and point.name in self._sent:
            return None
        if point.rate_per_s is None:
            return value
        most = point.rate_per_s * passed_s
        return before + max(-most, min(most, value - before))

    def order_of(self, point: MapPoint, value: float) -> Order:
        """The order for a point's fallback, whatever was sent before. Raises Refused for a value that its row does not allow."""
        return self._order(point.name, value)

    def _order(self, name: str, value: float | str) -> Order:
        point = self._points.get(name)
        if point is None:
            raise Refused(f"point {name!r} is not on the whitelist; it has {', '.join(self._points) or 'no points to write'}")
        if point.table is PointTable.BINARY_OUTPUT:
            return self._control(point, value)
        if isinstance(value, str):
            raise Refused(f"point {name!r} takes a number, not the control code {value!r}")
        try:
            value = float(value) + 0.0  # a negative zero is 0: in a register its sign bit is a mark, or a large number
        except OverflowError:
            value = math.inf  # an integer beyond every float
        if not math.isfinite(value):
            raise Refused(f"point {name!r}: {value} is no finite number")
        if point.is_binary:
            if value not in (0.0, 1.0):
                raise Refused(f"point {name!r} takes 0 or 1, not {value:g}")
        elif point.minimum is None or point.maximum is None or not point.minimum <= value <= point.maximum:
            raise Refused(f"point {name!r}: {value:g} is outside its limits {point.minimum} to {point.maximum} {point.unit}")
        return Order(point, value)

    def _control(self, point: MapPoint, value: float | str) -> Order:
        if isinstance(value, str):
            if value not in point.codes:
                raise Refused(f"point {point.name!r} may not be sent {value!r}; allowed: {', '.join(point.codes) or 'no code'}")
            code, state = CODES[value]
            return Order(point, float(state), Crob(code, 1, point.on_ms, point.off_ms))
        crob = crob_for(point, value)
        if crob is None:
            raise Refused(f"point {point.name!r}: none of its codes ({', '.join(point.codes)}) asks for state {value:g}")
        return Order(point, float(value), crob)

    def _within_time(self, order: Order, now_ns: int) -> None:
        name, rate, interval_s = order.point.name, order.point.rate_per_s, order.point.min_interval_s
        known = self._sent.get(name) or self._held.get(name)
        if known is None:
            return
        then_ns, before = known
        passed_s = (now_ns - then_ns) / 1e9
        if passed_s < interval_s and name in self._sent:
            raise Refused(f"point {name!r}: {passed_s:.3f} s after the last command; at least {interval_s:g} s must pass")
        if rate is not None and abs(order.value - before) > rate * passed_s * (1 + 1e-9):
            raise Refused(
                f"point {name!r}: a change of {abs(order.value - before):g} in {passed_s:.3f} s is faster than {rate:g} a second"
            )

    def _unlocked(self, order: Order) -> None:
        for lock in self._interlocks:
            if lock.point == order.point.name and self._reading(lock.when) != lock.equals:
                why = f" ({lock.because})" if lock.because else ""
                now = self._reading(lock.when)
                raise Refused(f"point {lock.point!r} is interlocked: {lock.when!r} must be {lock.equals:g} and is {now:g}{why}")
