"""One wire by itself, with a driver that does as it is told: what waits, what is refused for now, what is owed."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hil import exchanges
from hil.audit import AuditLog, load_or_make_key
from hil.channel import SOE_ROWS, Channel, Frame, Word, channel_path
from hil.drivers.base import Cycle, Sent
from hil.guard import Order
from hil.master_wire import MasterWire
from hil.plan import DevicePlan, Interlock, OnReconnect, Role
from hil.point_csv import parse_map
from hil.safety import EmergencyStop, State, Warrant
from hil.wire import MOST_UNTOLD, Surroundings

POINTS = parse_map(
    "name,signal,direction,table,address,type,unit,min,max,fallback\n"
    "closed,,read,holding,0,u16,1,,,\n"
    "power,plant.p_w,write,holding,10,u16,W,0,2000,value=777\n"
)
PLAN = DevicePlan(
    "dev", Role.CLIENT, "127.0.0.1:1", POINTS, 20_000_000, silence_ns=400_000_000, lease_s=60.0,
    interlocks=(Interlock("power", "closed", 1.0),),
)  # fmt: skip


class Driver:
    """Answers at once, unless told otherwise."""

    def __init__(self) -> None:
        self.closed = 1.0
        self.events: list[tuple[str, float, int]] = []
        self.sent: list[tuple[int, float]] = []
        self.cycles: list[int] = []
        self.hurried = 0
        self.answers_writes = True
        self.write_takes_s = 0.0
        self.cycle_takes_s = 0.0
        self.is_connected, self.last_error, self.hang_ups, self.clock = True, "", 0, None

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def hurry(self) -> None:
        self.hurried += 1

    async def reach(self, budget_s: float) -> None: ...

    async def cycle(self, budget_s: float) -> Cycle:
        self.cycles.append(time.monotonic_ns())
        await asyncio.sleep(self.cycle_takes_s)
        now = np.array([time.monotonic_ns()])
        events, self.events = self.events, []
        value = np.array([self.closed])
        return Cycle(value, value, np.zeros(1, np.uint16), now, np.zeros(1, np.int64), 1, (), events, answered=True)

    async def send(self, order: Order) -> Sent:
        now_ns = time.monotonic_ns()
        self.sent.append((now_ns, order.value))
        await asyncio.sleep(self.write_takes_s)
        return Sent("ok" if self.answers_writes else "no answer", order.value, now_ns, now_ns, answered=self.answers_writes)


class Scene:
    """The wire, its driver, and the bridge's end of the channel."""

    def __init__(self, folder: Path, plan: DevicePlan, *, live: bool = True) -> None:
        self.faults: list[str] = []
        self.log = AuditLog(folder / "audit" / "dev.jsonl", "run", load_or_make_key(folder / "key.pem"))
        self.driver = Driver()
        around = Surroundings(
            folder, folder, self.log, EmergencyStop(folder / "STOP"), lambda name, cause: self.faults.append(cause),
            lambda name, cause: self.faults.append(cause), lambda: "", lambda: self.wire.is_settled,
        )  # fmt: skip
        self.wire = MasterWire(plan, around, lambda wire: self.driver, Warrant("A Tester") if live else None)
        self.bridge = Channel(channel_path(folder, "dev"), 1, 1, make=False)

    async def running(self) -> None:
        await self.wire.open()
        await self.wire.arm()
        self.wire.chain.run()
        self.bridge.set(Word.SOLVER_BEAT, time.monotonic_ns())
        self.wire.start()

    def wants(self, power_w: float) -> None:
        self.bridge.put_outward(Frame(np.array([power_w]), np.array([time.monotonic_ns()]), np.zeros(1, np.uint16)))

    def audit(self, kind: str) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in self.log.path.read_text().splitlines()]
        return [row for row in rows if row["kind"] == kind]

    @property
    def powers(self) -> list[float]:
        return [value for _, value in self.driver.sent]


def play(folder: Path, scene: Callable[[Scene], Coroutine[Any, Any, None]], plan: DevicePlan = PLAN, *, live: bool = True) -> None:
    async def whole() -> None:
        made = Scene(folder, plan, live=live)
        try:
            await scene(made)
        finally:
            await made.wire.close()
            made.bridge.close()
            made.log.close()

    asyncio.run(whole())


async def until(done: Callable[[], Any], limit_s: float = 5.0) -> None:
    async with asyncio.timeout(limit_s):
        while not done():
            await asyncio.sleep(0.005)


def test_a_followed_value_goes_out_once_its_interlock_opens(tmp_path: Path) -> None:
    """The wish does not change meanwhile, and is refused only once in the audit log."""

    async def scene(made: Scene) -> None:
        made.driver.closed = 0.0
        await made.running()
        made.wants(500.0)
        await until(lambda: len(made.driver.cycles) > 15)
        assert made.powers == [] and len(made.audit("refused")) == 1
        made.driver.closed = 1.0
        await until(lambda: made.powers)
        assert made.powers == [500.0] and len(made.audit("refused")) == 1

    play(tmp_path, scene)


def test_a_dry_run_judges_the_same_way_and_sends_nothing(tmp_path: Path) -> None:
    async def scene(made: Scene) -> None:
        made.driver.closed = 0.0
        await made.wire.open()
        made.wire.start()
        made.wants(500.0)
        await until(lambda: made.audit("refused"))
        made.driver.closed = 1.0
        await until(lambda: made.audit("dry"))
        assert made.driver.sent == []

    play(tmp_path, scene, live=False)


def test_a_command_that_waited_too_long_is_not_carried_out(tmp_path: Path) -> None:
    """The line was busy with the one before: what was right two seconds ago may trip the wrong breaker now."""

    async def scene(made: Scene) -> None:
        await made.running()
        made.driver.write_takes_s = 0.5
        for number, value in enumerate((100.0, 200.0, 300.0)):
            made.bridge.send_to_device({"id": f"c{number}", "values": [["power", value]], "asked_ns": time.monotonic_ns()})
        await until(lambda: made.audit("refused"))
        assert made.powers == [100.0]
        assert "it waited for 0." in made.audit("refused")[0]["reason"]
        told: list[dict[str, Any]] = []
        await until(lambda: told.extend(made.bridge.take_for_bridge()) or len(told) == 3)
        assert [message["outcome"].startswith("refused: it waited") for message in told] == [False, True, True]
        made.driver.write_takes_s = 0.0
        made.bridge.send_to_device({"id": "c9", "values": [["power", 900.0]], "asked_ns": time.monotonic_ns()})
        await until(lambda: made.powers == [100.0, 900.0])

    play(tmp_path, scene)


def test_an_order_that_waited_for_the_disk_is_not_sent(tmp_path: Path) -> None:
    async def scene(made: Scene) -> None:
        await made.running()
        append = made.log.append

        def slow(kind: str, **facts: Any) -> int:
            if kind == "command":
                time.sleep(0.6)
            return append(kind, **facts)

        made.log.append = slow  # type: ignore[method-assign]
        made.bridge.send_to_device({"id": "c", "values": [["power", 100.0]], "asked_ns": time.monotonic_ns()})
        await until(lambda: made.audit("done"))
        assert made.powers == [] and "were busy for 0.6" in made.audit("done")[0]["outcome"]

    play(tmp_path, scene)


def test_a_fallback_that_is_never_acknowledged_stays_owed_and_bars_the_way_back(tmp_path: Path) -> None:
    async def scene(made: Scene) -> None:
        await made.running()
        made.wants(500.0)
        await until(lambda: made.powers)
        made.driver.answers_writes = False
        await made.wire.fall("the connection was lost", for_good=False)
        count = len(made.powers)
        await until(lambda: len(made.powers) > count + 1)
        assert set(made.powers[1:]) == {777.0}
        times = [t_ns for t_ns, value in made.driver.sent if value == 777.0]
        assert times[-1] - times[-2] >= PLAN.silence_ns, "not at every poll"
        assert made.wire.chain.state is State.SAFE and not made.wire.is_settled
        made.driver.answers_writes = True
        await until(lambda: made.wire.chain.state is State.ARMED)
        assert made.audit("fallback")[-1]["outcome"] == "ok" and made.audit("armed")[-1]["again"]

    play(tmp_path, scene, replace(PLAN, on_reconnect=OnReconnect.REARM))


def test_the_line_is_for_the_fallback_alone(tmp_path: Path) -> None:
    """No poll of ours delays the fallbacks that are still to come."""

    async def scene(made: Scene) -> None:
        await made.running()
        made.wants(500.0)
        await until(lambda: made.powers)
        made.driver.write_takes_s = 0.3
        made.driver.cycle_takes_s = 0.03
        polls = len(made.driver.cycles)
        began_ns = time.monotonic_ns()
        beat_ns = made.bridge.get(Word.GATE_BEAT)
        await made.wire.fall("a cause")
        sent_ns = made.driver.sent[-1][0]
        during = [t_ns for t_ns in made.driver.cycles[polls:] if sent_ns < t_ns < sent_ns + 280_000_000]
        assert during == [] and made.powers[-1] == 777.0
        assert sent_ns - began_ns < 100_000_000
        assert made.bridge.get(Word.GATE_BEAT) > beat_ns + 200_000_000, "and the bridge knows that the gatekeeper lives"

    play(tmp_path, scene)


def test_a_burst_of_events_after_an_outage_is_no_fault(tmp_path: Path) -> None:
    """More than shared memory holds, in one poll, while the solver does not step."""
    burst = 256 * SOE_ROWS + 1000

    async def scene(made: Scene) -> None:
        await made.wire.open()
        made.driver.events = [("closed", float(n % 2), n) for n in range(burst)]
        made.wire.start()
        await until(lambda: len(made.driver.cycles) > 5)
        assert made.faults == []
        got: list[int] = []
        while len(got) < burst:
            for message in made.bridge.take_for_bridge(10):
                got += [device_ns for _, _, device_ns in message["rows"]]
            await asyncio.sleep(0)
        assert got == list(range(burst))
        for _ in range(3):
            assert made.faults == []
            polls, made.driver.events = len(made.driver.cycles), [("closed", 1.0, n) for n in range(MOST_UNTOLD * SOE_ROWS // 2)]
            await until(lambda polls=polls: len(made.driver.cycles) > polls + 2)  # type: ignore[misc]
        assert "messages wait for it" in made.faults[0], "bounded, and named where it is too much"
        assert len(made.wire._untold) <= MOST_UNTOLD

    play(tmp_path, scene, live=False)


def test_interlocks_hold_without_a_reading(tmp_path: Path) -> None:
    async def scene(made: Scene) -> None:
        made.driver.closed = math.nan
        await made.running()
        made.wants(500.0)
        await until(lambda: made.audit("refused"))
        assert "must be 1 and is nan" in made.audit("refused")[0]["reason"] and made.powers == []

    play(tmp_path, scene)


def test_where_nothing_can_be_recorded_nothing_piles_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk ends the record, which is a fault; the rows to come do not wait in memory for ever."""
    monkeypatch.setattr(exchanges, "FLUSH_S", 0.02)

    async def scene(made: Scene) -> None:
        def full() -> None:
            raise OSError(28, "No space left on device")

        await made.wire.open()
        made.wire.record.flush = full  # type: ignore[method-assign]
        made.wire.start()
        await until(lambda: made.faults)
        count, polls = len(made.wire.record._rows), len(made.driver.cycles)
        await until(lambda: len(made.driver.cycles) > polls + 20)
        assert len(made.wire.record._rows) <= count + 1 and "No space left" in made.faults[0]
        del made.wire.record.flush

    play(tmp_path, scene, live=False)


def test_a_slow_disk_does_not_hold_up_the_polls(tmp_path: Path) -> None:
    """Every write waits for its audit row; the readings do not."""

    async def scene(made: Scene) -> None:
        await made.running()
        append = made.log.append

        def slow(kind: str, **facts: Any) -> int:
            time.sleep(0.15)
            return append(kind, **facts)

        made.log.append = slow  # type: ignore[method-assign]
        polls, began_s = len(made.driver.cycles), time.monotonic()
        for k in range(40):
            made.wants(500.0 + k)
            await asyncio.sleep(0.02)
        took_s = time.monotonic() - began_s
        assert len(made.powers) > 1 and len(made.driver.cycles) - polls > 0.5 * took_s / 0.02
        made.log.append = append  # type: ignore[method-assign]

    play(tmp_path, scene)
