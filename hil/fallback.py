"""What is sent when a device falls back to SAFE: the fallback of every `write` row, first and before anything else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hil.drivers.base import Master, Sent
from hil.guard import Guard, Order, Refused
from hil.points import FallbackKind, PointMap

RETRY_S = 0.05
GIVE_UP_S = 1.0
"""A fallback that could not leave (no connection) is tried again for so long. What the device then has not acknowledged is owed: it
is sent once more when the device answers again, however late, since the device may still hold what it was commanded."""


@dataclass(frozen=True, slots=True)
class Fallen:
    """What became of one row's fallback. `sent` is None where there was nothing to send."""

    point: str
    fallback: str
    value: float | None
    sent: Sent | None
    why_not: str = ""
    order: Order | None = None

    @property
    def is_owed(self) -> bool:
        """Whether the device never said that it has it: it is sent once more when the device answers again."""
        return self.sent is not None and not self.sent.answered


def orders(points: PointMap, guard: Guard) -> tuple[list[tuple[str, str, Order]], list[Fallen]]:
    """(point, fallback, order) in the order to be sent, releases last; and the rows for which nothing is sent."""
    first: list[tuple[str, str, Order]] = []
    releases: list[tuple[str, str, Order]] = []
    silent: list[Fallen] = []
    for point in points.writes:
        fallback = point.fallback
        assert fallback is not None  # the map's rules
        value = guard.last(point.name) if fallback.kind is FallbackKind.LAST else fallback.value
        if fallback.kind is FallbackKind.HOLD or value is None:
            why = "the device keeps what it has" if fallback.kind is FallbackKind.HOLD else "nothing was ever sent to it"
            silent.append(Fallen(point.name, str(fallback), None, None, why))
            continue
        try:
            order = guard.order_of(point, value)
        except Refused as refusal:
            silent.append(Fallen(point.name, str(fallback), value, None, str(refusal)))
            continue
        (releases if fallback.kind is FallbackKind.RELEASE else first).append((point.name, str(fallback), order))
    return first + releases, silent


async def send_all(master: Master, points: PointMap, guard: Guard) -> list[Fallen]:
    """Send every fallback, and say what became of each."""
    to_send, fallen = orders(points, guard)
    give_up_s = time.monotonic() + GIVE_UP_S
    for name, fallback, order in to_send:
        sent = await _send(master, guard, order)
        while not sent.sent and time.monotonic() < give_up_s:
            await asyncio.sleep(RETRY_S)
            sent = await _send(master, guard, order)
        fallen.append(Fallen(name, fallback, order.value, sent, order=order))
    return fallen


async def send_owed(master: Master, guard: Guard, owed: Sequence[Fallen]) -> list[Fallen]:
    """Send each of these once, in their order: the device answers again."""
    return [replace(one, sent=await _send(master, guard, one.order)) for one in owed if one.order is not None]


async def _send(master: Master, guard: Guard, order: Order) -> Sent:
    take_back = guard.sent(order, time.monotonic_ns())
    sent = await master.send(order)
    if not sent.sent:
        take_back()
    return sent
