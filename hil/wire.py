"""One wired device inside its gatekeeper: the loop on the grid, what both ends have in common, and the loop of each.

    MasterWire      polls, passes readings to the bridge, lets whitelisted writes out, sends the fallback
    OutstationWire  shows the simulation's values, passes commands of the device to the bridge

Nothing here waits for the simulation: values come from shared memory as they are.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from federates.runtime.pace import GridTimer, Tick
from federates.runtime.port import Quality
from hil.audit import AuditLog
from hil.channel import Channel, Frame, Word, channel_path
from hil.drivers.base import Cycle, DeviceError, Outstation
from hil.exchanges import Exchange, ExchangeRecorder
from hil.layout import Layout, layout
from hil.plan import CATCH_UP_LIMIT, DevicePlan, Policy
from hil.safety import Chain, EmergencyStop, State

STATES = tuple(State)
MOST_UNTOLD = 4096
"""Messages that may wait for the solver, besides those in shared memory."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a wire is given by its gatekeeper. `fault(device, cause)` reports one that concerns the run, `lost(device, cause)` a
    connection that may come back; `alarm()` looks at everything a live run depends on, and says what is wrong; `may_rearm()` says
    whether all of the group may be armed again. `rank`: how the process is scheduled."""

    directory: Path
    run_dir: Path
    audit: AuditLog
    stop: EmergencyStop
    fault: Callable[[str, str], None]
    lost: Callable[[str, str], None]
    alarm: Callable[[], str]
    may_rearm: Callable[[], bool]
    rank: str = ""


class Wire:
    """What both ends share."""

    def __init__(self, plan: DevicePlan, around: Surroundings) -> None:
        self.plan, self.around = plan, around
        self.layout: Layout = layout(plan.points, plan.role)
        path = channel_path(around.directory, plan.name)
        self.channel = Channel(path, len(self.layout.inward), len(self.layout.outward), make=True)
        self.chain = Chain(plan.name, around.stop)
        names = [point.name for point in plan.points.points]
        facts = {
            "role": str(plan.role), "address": plan.address, "period_ns": plan.period_ns, "points": names,
            "stand_in": plan.is_stand_in, "policy": str(plan.policy), "audit": around.audit.path.name,
            "rank": around.rank, "clock": next((point.name for point in plan.points.reads if point.clock), ""),
        }  # fmt: skip
        self.record = ExchangeRecorder(around.run_dir, plan.name, facts)
        self.number_of = {name: number for number, name in enumerate(names)}
        self.tick = Tick(0, 0, 0, 0)
        self.overruns = 0
        self._untold: deque[Mapping[str, Any]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._entries: set[asyncio.Task[None]] = set()
        self._entering = asyncio.Lock()

    async def ticks(self) -> AsyncIterator[Tick]:
        """The instants of the grid, each once, by the device's policy for those that were missed."""
        loop, come = asyncio.get_running_loop(), asyncio.Event()
        timer = GridTimer(self.plan.period_ns)
        loop.add_reader(timer.fileno(), come.set)
        try:
            while True:
                await come.wait()
                come.clear()
                tick = timer.take()
                if tick is None:
                    continue
                self.tick, self.overruns = tick, timer.overruns
                self.channel.set(Word.OVERRUNS, self.overruns)
                self.channel.set(Word.LATENESS, tick.lateness_ns)
                if tick.missed and self.plan.policy is Policy.ABORT:
                    self.around.fault(
                        self.plan.name, f"{tick.missed} instants of the {self.plan.period_ns / 1e6:g} ms grid were missed"
                    )
                again = min(tick.missed, CATCH_UP_LIMIT) if self.plan.policy is Policy.CATCH_UP else 0
                for _ in range(again + 1):
                    yield tick
        finally:
            loop.remove_reader(timer.fileno())
            timer.close()

    def spawn(self, work: Any, what: str) -> asyncio.Task[None]:
        """Start a task whose failure is a fault of the device, never silence."""

        async def guarded() -> None:
            try:
                await work
            except (DeviceError, OSError) as error:
                self.around.fault(self.plan.name, str(error))
            except Exception as error:
                self.around.fault(self.plan.name, f"{what} failed: {type(error).__name__}: {error}")

        task = asyncio.create_task(guarded(), name=f"{self.plan.name} {what}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def beat(self, *, connected: bool) -> None:
        """Tell the bridge that this loop lives."""
        self.channel.set(Word.GATE_BEAT, time.monotonic_ns())
        self.channel.set(Word.CONNECTED, int(connected))
        self.channel.set(Word.CHAIN, STATES.index(self.chain.state))

    def tell(self, message: Mapping[str, Any]) -> None:
        """A message to the bridge. What finds no place in shared memory waits here for the next steps of the solver; where too much
        waits that is a fault: events are never lost silently."""
        if len(self._untold) >= MOST_UNTOLD:
            self.around.fault(self.plan.name, f"the solver takes no events any more: {MOST_UNTOLD} messages wait for it")
            return
        self._untold.append(message)
        self.pass_on()

    def pass_on(self) -> None:
        """Hand over what waits, as far as there is place."""
        while self._untold and self.channel.send_to_bridge(self._untold[0]):
            self._untold.popleft()

    async def audit(self, kind: str, **facts: Any) -> None:
        """A record of the audit log, on the disk when this returns; the loop goes on meanwhile."""
        await asyncio.shield(self.enter(kind, **facts))

    def enter(self, kind: str, **facts: Any) -> asyncio.Task[None]:
        """Have a record made, after those that were asked for before. Whoever asked may end meanwhile: `close` waits for it."""
        entry = asyncio.create_task(self._enter(kind, facts), name=f"{self.plan.name} audit {kind}")
        self._entries.add(entry)
        entry.add_done_callback(self._entries.discard)
        return entry

    async def _enter(self, kind: str, facts: Mapping[str, Any]) -> None:
        async with self._entering:  # first come, first served
            await asyncio.to_thread(self.around.audit.append, kind, device=self.plan.name, **facts)

    def exchange(self, kind: str, sent_ns: int, received_ns: int, outcome: str, **more: Any) -> None:
        """A row of the record, with the grid's instant that it belongs to."""
        if self.record.failed is not None:
            self.around.fault(self.plan.name, f"its exchanges cannot be recorded: {self.record.failed}; free space")
        tick = self.tick
        self.record.add(
            Exchange(
                kind=kind, t_ns=self.channel.get(Word.SOLVER_T), sent_ns=sent_ns, received_ns=received_ns, wall_ns=time.time_ns(),
                round_trip_ns=received_ns - sent_ns, lateness_ns=tick.lateness_ns, deadline_ns=tick.due_ns + self.plan.period_ns,
                overruns=self.overruns, outcome=outcome, **{"attempt": 1, "requests": 1, **more},
            )
        )  # fmt: skip

    def frame(self, cycle: Cycle) -> Frame:
        """A cycle's readings as the bridge gets them."""
        return Frame(cycle.values, cycle.measured_ns, cycle.quality)

    async def close(self) -> None:
        """End the tasks, and write what is still to be recorded. AuditError where a record could not be made."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        ended = await asyncio.gather(*self._entries, return_exceptions=True)
        self.record.close()
        self.channel.close()
        for failure in ended:
            if isinstance(failure, Exception):
                raise failure


class OutstationWire(Wire):
    """We play the device. Its commands act on the simulation alone, so there is nothing to arm."""

    def __init__(self, plan: DevicePlan, around: Surroundings, make: Callable[[OutstationWire], Outstation]) -> None:
        super().__init__(plan, around)
        self.driver = make(self)
        self._heard: dict[str, int] = {}

    async def open(self) -> None:
        """Listen. DeviceError with the address where that is not possible."""
        try:
            await self.driver.open()
        except OSError as error:
            raise DeviceError(f"device {self.plan.name}: {error.strerror or error}; is the port in use?") from error
        self.chain.passed_self_test()

    def start(self) -> None:
        """Show values from now on."""
        self.spawn(self._serve(), "serving")

    async def _serve(self) -> None:
        async for tick in self.ticks():
            frame = self.channel.outward()
            if frame is not None:
                self.driver.show(self._aged(frame, tick.woke_ns), tick.woke_ns)
            self.beat(connected=self.driver.masters > 0)
            done_ns = time.monotonic_ns()
            if frame is not None:
                places = [self.number_of[point.name] for point in self.layout.outward]
                values, quality = frame.values.tolist(), frame.quality.tolist()
                self.exchange(
                    "shown", tick.woke_ns, done_ns, self.driver.last_error or "ok", points=places, values=values, quality=quality
                )

    def _aged(self, frame: Frame, now_ns: int) -> Frame:
        """What the simulation no longer tells is stale, and lost when it has been silent for longer."""
        silent_ns = now_ns - self.channel.get(Word.SOLVER_BEAT)
        worse = (
            Quality.LOST if silent_ns > self.plan.silence_ns else Quality.STALE if silent_ns > self.plan.stale_ns else Quality.GOOD
        )
        if not worse:
            return frame
        return Frame(frame.values, np.full_like(frame.measured_ns, now_ns), frame.quality | np.uint16(worse))

    def command(self, name: str, value: float, details: Mapping[str, Any]) -> str:
        """A master of ours commands a point: pass it on, unless its row's interval forbids; gives why it is refused."""
        now_ns = time.monotonic_ns()
        point = self.plan.points.point(name)
        refusal = ""
        beyond = point.minimum is not None and point.maximum is not None and not point.minimum <= value <= point.maximum
        if beyond or not math.isfinite(value):
            refusal = f"{value:g} is outside {point.minimum} to {point.maximum}"
        elif now_ns - self._heard.get(name, -(2**62)) < point.min_interval_s * 1e9:
            refusal = f"sooner than {point.min_interval_s:g} s after the last"
        elif not self.channel.send_to_bridge({"event": "command", "point": name, "value": value, **details}):
            refusal = "the solver takes no commands"
        if not refusal:
            self._heard[name] = now_ns
        self.exchange(
            "served", now_ns, time.monotonic_ns(), refusal or "ok", points=[self.number_of[name]], values=[value], raw=[value]
        )
        entry = self.enter("served", point=name, value=value, outcome=refusal or "ok", **details)
        self.spawn(asyncio.shield(entry), "audit")
        return refusal

    async def fall(self, cause: str, *, for_good: bool = True) -> None:
        """The values become lost for the device's masters; nothing is sent to equipment from here."""
        if self.chain.fell_because:
            return
        self.chain.fall(cause, for_good=for_good)
        await self.audit("fall", cause=cause, was_live=False)

    async def close(self) -> None:
        """Stop listening."""
        await self.driver.close()
        await super().close()
