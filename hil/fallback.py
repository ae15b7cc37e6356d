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
REFUSED_RETRY_S = 0.25
GIVE_UP_S = 2.0
REACH_S = 0.5
"""A fallback that could not leave (no connection), or that the device refused (it was busy), is tried again for so long. What the
device then has not answered is owed: it is sent once more when the device answers again, however late, since the device may still
hold what it was commanded; and where that is not answered either, again after `silence_s`."""


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
        """Whether the device never said that it has it: it is sent again when the device answers again."""
        return self.sent is not None and not self.sent.answered


Wanted = tuple[str, str, Order]
"""(point, its fallback, the order)"""


def orders(points: PointMap, guard: Guard) -> tuple[list[Wanted], list[Wanted], list[Fallen]]:
    """Values, in the order to be sent; releases, which come after them; and the rows for which nothing is sent."""
    values: list[Wanted] = []
    releases: list[Wanted] = []
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
        (releases if fallback.kind is FallbackKind.RELEASE else values).append((point.name, str(fallback), order))
    return values, releases, silent


async def send_all(master: Master, points: PointMap, guard: Guard) -> list[Fallen]:
    """Send every fallback, and say what became of each."""
    values, releases, fallen = orders(points, guard)
    give_up_s = time.monotonic() + GIVE_UP_S
    for group in (values, releases):
        fallen += await _send_each(master, guard, group, give_up_s)
    return fallen


async def _send_each(master: Master, guard: Guard, group: Sequence[Wanted], give_up_s: float) -> list[Fallen]:
    """Each once, then again those that could not leave or were refused: a point that cannot be written holds up none of the
    others."""
    done = [Fallen(name, fallback, order.value, await _send(master, guard, order), order=order) for name, fallback, order in group]
    while (again := [one for one in done if not _is_done(one)]) and (left_s := give_up_s - time.monotonic()) > 0:
        if any(one.sent is not None and one.sent.refused for one in again):
            await asyncio.sleep(min(REFUSED_RETRY_S, left_s))
        await master.reach(min(REACH_S, left_s))
        done = [one if _is_done(one) else (await send_owed(master, guard, [one]))[0] for one in done]
        if not all(_is_done(one) for one in done):
            await asyncio.sleep(RETRY_S)
    return done


def _is_done(one: Fallen) -> bool:
    return one.sent is not None and one.sent.sent and not one.sent.refused


async def send_owed(master: Master, guard: Guard, owed: Sequence[Fallen]) -> list[Fallen]:
    """Send each of these once, in their order: the device answers again."""
    return [replace(one, sent=await _send(master, guard, one.order)) for one in owed if one.order is not None]


async def _send(master: Master, guard: Guard, order: Order) -> Sent:
    take_back = guard.sent(order, time.monotonic_ns())
    sent = await master.send(order)
    if not sent.sent:
        take_back()
    guard.answered += sent.answered
    return sent
