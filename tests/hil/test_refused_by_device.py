"""A value that the device refuses is not what it holds: it is offered again, and is not the `last` that a fallback goes back to."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

from test_master_wire import PLAN, Driver, Scene, play, until

from hil.drivers.base import Sent
from hil.guard import Guard, Order
from hil.point_csv import parse_map
from hil.safety import State

LAST = parse_map(
    "name,signal,direction,table,address,type,unit,min,max,min_interval_s,fallback\n"
    "closed,,read,holding,0,u16,1,,,,\n"
    "power,plant.p_w,write,holding,10,u16,W,0,2000,0.1,last\n"
)


class Choosy(Driver):
    """Refuses what is above its limit."""

    limit = 1000.0

    async def send(self, order: Order) -> Sent:
        now_ns = time.monotonic_ns()
        self.sent.append((now_ns, order.value))
        refused = order.value > self.limit
        return Sent("refused: busy" if refused else "ok", order.value, now_ns, now_ns, refused=refused)


def test_a_followed_value_that_was_refused_is_offered_again_and_the_fallback_is_what_was_taken(tmp_path: Path) -> None:
    async def scene(made: Scene) -> None:
        made.wire.driver = driver = Choosy()
        await made.running()
        made.wants(500.0)
        await until(lambda: len(driver.sent) == 1)
        await asyncio.sleep(0.15)
        made.wants(1500.0)
        await until(lambda: len(driver.sent) == 3)
        offered = [t_ns for t_ns, value in driver.sent if value == 1500.0]
        assert len(offered) == 2 and offered[1] - offered[0] >= PLAN.silence_ns, "not at every poll"
        await made.wire.fall("a test")
        assert made.wire.chain.state is State.SAFE and driver.sent[-1][1] == 500.0

    play(tmp_path, scene, replace(PLAN, points=LAST, interlocks=()))


def test_the_interval_counts_from_a_refused_order_too() -> None:
    guard = Guard(LAST, (), lambda name: 0.0)
    guard.sent(guard.judge("power", 500.0, 0), 0)
    guard.sent(guard.judge("power", 1500.0, 10**9), 10**9)(tried=True)
    assert guard.last("power") == 500.0
    assert not guard.allows("power", 600.0, 10**9 + 5 * 10**7) and guard.allows("power", 600.0, 10**9 + 2 * 10**8)
