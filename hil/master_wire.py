"""The wire to a device that we poll and command: the only place from which a write leaves."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from hil.channel import SOE_ROWS, Word
from hil.drivers.base import Cycle, DeviceError, Master, Sent
from hil.fallback import Fallen, send_all, send_owed
from hil.guard import Guard, Order, Refused
from hil.plan import DevicePlan, OnReconnect
from hil.points import MapPoint
from hil.presence import Presence
from hil.safety import SafetyError, State, Warrant
from hil.wire import Surroundings, Wire

Result = TypeVar("Result")
_LISTEN_S = 0.005
_OF_PERIOD = 0.8
_TURN_S = 0.06
"""How long the fallback lets an exchange under way come to its end before it is given up. On a serial line also as long as the
longest frame takes: what is sent into an answer is lost with it, and a line where an answer may still come is left alone for a
while."""
_LONGEST_FRAME_BITS = 11 * 292
_LONGEST_ECHO = 200
"""Characters of a name or wish that go into an answer: a message has 1020 bytes."""


_OK, _DRY = "ok", "dry run: not sent"


def _short(text: object) -> str:
    """A name or a wish as it goes into answers."""
    return str(text)[:_LONGEST_ECHO]


class MasterWire(Wire):
    """One device. `warrant` is None in a dry run: every write is judged and recorded, and not a byte of it is sent."""

    def __init__(
        self, plan: DevicePlan, around: Surroundings, make: Callable[[MasterWire], Master], warrant: Warrant | None
    ) -> None:
        super().__init__(plan, around)
        self.driver = make(self)
        self.warrant = warrant
        self._reads = plan.points.reads
        self._now = [(math.nan, 0)] * len(self._reads)
        place = {point.name: i for i, point in enumerate(self._reads)}
        self.guard = Guard(plan.points, plan.interlocks, lambda name: self._reading(place[name]))
        self._places = [self.number_of[point.name] for point in self._reads]
        self._turn = asyncio.Lock()
        self._presence = Presence(plan.silence_ns, time.monotonic_ns())
        self._owed: list[Fallen] = []
        self._falling = False
        self._refused_wish: dict[str, float] = {}
        self._not_taken_ns: dict[str, int] = {}
        self._under_way: asyncio.Future[Any] | None = None
        self._turn_s = _TURN_S + (_LONGEST_FRAME_BITS / plan.line.baud if plan.is_serial else 0.0)
        self._owed_again_ns = 0
        self._polled = asyncio.Event()

    async def open(self) -> None:
        """Reach the device and read every point once. DeviceError says why that was not possible in the plan's time."""
        await self.driver.open()
        end_s = time.monotonic() + self.plan.start_limit_s
        problem = "no answer"
        while time.monotonic() < end_s:
            cycle = await self.driver.cycle(self.plan.timeout_s)
            if cycle.answered:
                self.channel.put_inward(self.frame(cycle))
                self._remember(cycle)
                self._note_held()
                self.chain.passed_self_test()
                self._presence.met(self.driver.hang_ups, time.monotonic_ns())
                return
            problem = cycle.problems[0] if cycle.problems else self.driver.last_error or problem
            await asyncio.sleep(0.05)
        raise DeviceError(
            f"device {self.plan.name}: not reached within {self.plan.start_limit_s:g} s: {problem}; look at its address "
            f"({self.plan.address}), unit or link addresses, and cable, or try `run_cosim.py device probe`"
        )

    async def arm(self) -> None:
        """Ask for the live run that the warrant allows. SafetyError where it must not be."""
        if self.warrant is None or self.chain.state is not State.READY:
            return
        self.chain.arm(self.warrant, self.plan.lease_s, time.monotonic_ns())
        lease_s = (self.chain.lease_until_ns or 0) / 1e9 - time.monotonic()
        await self.audit("armed", operator=self.warrant.operator, second=self.warrant.second, lease_s=round(lease_s, 3))

    def start(self) -> None:
        """Poll and listen from now on."""
        self.spawn(self._poll(), "polling")
        self.spawn(self._listen(), "commands")
        self.spawn(self._follow_on(), "following")

    def look(self, now_ns: int) -> None:
        """Called often: the lease, and the first step of the solver."""
        if self.chain.lease_is_over(now_ns):
            self.around.fault(self.plan.name, f"the lease of {self.chain.operator} is over")
        elif self.chain.state is State.ARMED and self.channel.get(Word.SOLVER_BEAT):
            self.chain.run()

    # -- reading

    async def _poll(self) -> None:
        async for tick in self.ticks():
            sent_ns = time.monotonic_ns()
            if self._falling:
                self.beat(connected=self.driver.is_connected)
                continue  # the line is for the fallback
            cycle = await self._exclusively(self.driver.cycle(_OF_PERIOD * self.plan.period_ns / 1e9))
            if cycle is None:
                continue  # given up for the fallback
            done_ns = time.monotonic_ns()
            connected = self.driver.is_connected
            self.channel.put_inward(self.frame(cycle))
            self._remember(cycle)
            self.channel.set(Word.ROUND_TRIP, done_ns - sent_ns)
            self.beat(connected=connected)
            self._report(cycle)
            offset = self.driver.clock or (0, -1)
            self.exchange(
                "poll", sent_ns, done_ns, cycle.problems[0] if cycle.problems else "ok",
                requests=cycle.requests, points=self._places,
                raw=cycle.raw.tolist(), values=cycle.values.tolist(), quality=cycle.quality.tolist(),
                device_ns=cycle.device_ns.tolist(), clock_offset_ns=offset[0], clock_uncertainty_ns=offset[1],
            )  # fmt: skip
            await self._judge_line(cycle, done_ns, connected=connected)
            if tick.due_ns + self.plan.period_ns > done_ns:
                self._polled.set()

    def _report(self, cycle: Cycle) -> None:
        """The device's events, several to a message: a device that was away may bring thousands at once."""
        rows = [[self.number_of[name], value, device_ns] for name, value, device_ns in cycle.events]
        for at in range(0, len(rows), SOE_ROWS):
            self.tell({"event": "soe", "rows": rows[at : at + SOE_ROWS]})

    async def _exclusively(self, work: Coroutine[Any, Any, Result]) -> Result | None:
        """One exchange at a time; None where it was given up for the fallback."""
        async with self._turn:
            self._under_way = under_way = asyncio.ensure_future(work)
            await asyncio.wait([under_way])
            return None if under_way.cancelled() else under_way.result()

    async def _judge_line(self, cycle: Cycle, now_ns: int, *, connected: bool) -> None:
        """Notice a device that was lost, and one that answers again."""
        cause = self._presence.polled(
            answered=cycle.answered, connected=connected, hang_ups=self.driver.hang_ups, error=self.driver.last_error,
            now_ns=now_ns,
        )  # fmt: skip
        if cause:
            self.around.lost(self.plan.name, cause)
        elif not self._presence.is_lost and self.chain.fell_because and not self._falling:
            await self._come_back()

    async def _come_back(self) -> None:
        """The device answers again after a fall: it gets what it is owed, and is armed again where its plan says so."""
        if self._owed and time.monotonic_ns() >= self._owed_again_ns:
            sent = await send_owed(self.driver, self.guard, self._owed)
            self._owed = [one for one in sent if one.is_owed]
            self._owed_again_ns = time.monotonic_ns() + self.plan.silence_ns
            await self._account([one for one in sent if one.sent is not None and one.sent.sent])
        if self.plan.on_reconnect is OnReconnect.REARM and self.chain.lease_until_ns is not None and not self.chain.is_for_good:
            if not self.around.may_rearm():
                return
            try:
                self.chain.rearm(time.monotonic_ns())
            except SafetyError as error:
                self.chain.is_for_good = True
                await self.audit("fault", cause=str(error))
                return
            lease_s = ((self.chain.lease_until_ns or 0) - time.monotonic_ns()) / 1e9
            await self.audit("armed", operator=self.chain.operator, again=True, lease_s=round(lease_s, 3))

    @property
    def is_settled(self) -> bool:
        """Whether the device answers, and owes no fallback: it may be armed again, as far as it is concerned."""
        return not self._presence.is_lost and not self._falling and not self._owed

    def _remember(self, cycle: Cycle) -> None:
        rows = zip(cycle.values.tolist(), cycle.quality.tolist(), cycle.measured_ns.tolist(), strict=True)
        self._now = [(value if good == 0 else math.nan, measured_ns) for value, good, measured_ns in rows]

    def _reading(self, place: int) -> float:
        """A reading for the interlocks: NaN where it is not good, or older than what counts as current."""
        value, measured_ns = self._now[place]
        return value if time.monotonic_ns() - max(measured_ns, 0) <= self.plan.stale_ns else math.nan

    def _note_held(self) -> None:
        """What the device holds before we write, where a row reads it at the place of a command."""
        at = {(row.table, row.unit_id, row.wire_address): value for row, (value, _) in zip(self._reads, self._now, strict=True)}
        for point in self.plan.points.writes:
            value = at.get((point.table, point.unit_id, point.wire_address), math.nan)
            if math.isfinite(value):
                self.guard.holds(point.name, value, time.monotonic_ns())

    # -- writing

    async def _listen(self) -> None:
        """Take commands as they come; each is carried out before the next."""
        while True:
            self.pass_on()
            for message in self.channel.take_for_device():
                await self._command(message)
            await asyncio.sleep(_LISTEN_S)

    async def _command(self, message: dict[str, Any]) -> None:
        """One command of the simulation: values or control codes of one or several points, in order. After one that did not succeed
        the rest is refused: half a curve must not be taken into use."""
        command, failed = str(message.get("id", "")), ""
        waited_ns = time.monotonic_ns() - int(message.get("asked_ns", time.monotonic_ns()))
        stale = f"it waited for {waited_ns / 1e9:.2f} s" if waited_ns > self.plan.silence_ns else ""
        if "refused" in message:  # the bridge could not make a command of it
            await self.audit("refused", point="", wish=message["refused"], reason=message["reason"], command=command)
        for name, wish in message.get("values", ()):
            name = str(name)
            if isinstance(wish, int) and abs(wish) > sys.float_info.max:
                wish = math.inf  # which is refused as such; its digits would not fit into an answer
            if stale:
                outcome = f"refused: {stale} (silence_s: {self.plan.silence_ns / 1e9:g})"
                await self.audit("refused", point=name, wish=wish, reason=outcome, command=command)
            elif failed:
                outcome = f"refused: {_short(failed)!r} of the same command did not succeed"
                await self.audit("refused", point=name, wish=wish, reason=outcome, command=command)
            elif isinstance(wish, bool) or not isinstance(wish, int | float | str):
                outcome = f"refused: {wish!r} is neither a number nor a control code"
                await self.audit("refused", point=name, wish=repr(wish), reason=outcome, command=command)
            else:
                outcome = await self._write(name, wish, "command", command)
            failed = failed or ("" if outcome in (_OK, _DRY) else name)
            told = wish if isinstance(wish, int | float) else _short(wish)
            self.tell({"event": "result", "id": command, "point": _short(name), "wish": told, "outcome": outcome[:300]})

    async def _follow_on(self) -> None:
        """After each poll that was in time; beside the polls, since every write waits for the disk."""
        while True:
            await self._polled.wait()
            self._polled.clear()
            await self._follow()

    async def _follow(self) -> None:
        """Numbers that follow a value of the simulation: sent when they have moved, no faster than their rows allow."""
        frame = self.channel.outward()
        if frame is None or (self.warrant is not None and not self.chain.may_write):
            return
        now_ns = time.monotonic_ns()
        for point, value, quality in zip(self.layout.outward, frame.values.tolist(), frame.quality.tolist(), strict=True):
            if quality or not math.isfinite(value):
                continue
            if now_ns - self._not_taken_ns.get(point.name, -(2**62)) < self.plan.silence_ns:
                continue  # the device refused it a moment ago
            wish = self.guard.within_rate(point, value, now_ns)
            if wish is not None and self._is_news(point, wish) and not self._still_refused(point.name, wish):
                await self._write(point.name, wish, "follow", "")

    def _still_refused(self, name: str, wish: float) -> bool:
        """Whether a value that was refused would be again. An interlock may have opened meanwhile, or a limit of time have passed;
        only the first refusal is entered in the audit log."""
        return self._refused_wish.get(name) == wish and not self.guard.allows(name, wish, time.monotonic_ns())

    def _is_news(self, point: MapPoint, wish: float) -> bool:
        last = self.guard.last(point.name)
        return last is None or (wish != last and abs(wish - last) >= point.deadband)

    async def _write(self, name: str, wish: float | str, kind: str, command: str) -> str:
        """Judge, audit, send, record: the way of every write. Gives what became of it."""
        began_ns = time.monotonic_ns()
        try:
            order = self.guard.judge(name, wish, began_ns)
        except Refused as refusal:
            self.channel.set(Word.REFUSED, self.guard.refused)
            self._refused_wish[name] = wish if isinstance(wish, float) else math.nan
            await self.audit("refused", point=name, wish=wish, reason=str(refusal), command=command)
            return f"refused: {refusal}"
        self._refused_wish.pop(name, None)
        if self.warrant is None:
            self.guard.sent(order, time.monotonic_ns())
            await self.audit("dry", point=name, value=order.value, command=command)
            return _DRY
        if not self.chain.may_write:
            why = self.chain.fell_because or "the device is not armed"
            await self.audit("refused", point=name, wish=wish, reason=f"{self.chain.state}: {why}", command=command)
            return f"refused: the device is {self.chain.state} ({why})"
        await self.audit("command", point=name, value=order.value, operator=self.chain.operator, command=command, way=kind)
        sent = await self._exclusively(self._send(order, began_ns))
        if sent is None:
            sent = Sent("given up for the fallback", math.nan, time.monotonic_ns(), time.monotonic_ns())
        if sent.sent:
            self._sent(kind, order, sent)
        await self.audit("done", point=name, value=order.value, outcome=sent.outcome, command=command)
        return sent.outcome

    async def _send(self, order: Order, began_ns: int) -> Sent:
        """Once more: may it? While the disk or the line was busy since `began_ns` the device may have fallen, its lease have ended,
        another order have gone to the same point, or what was right then be so no longer."""
        now_ns = time.monotonic_ns()
        why = self.around.alarm()
        if self.chain.lease_is_over(now_ns):
            why = f"the lease of {self.chain.operator} is over"
        elif not self.chain.may_write:
            why = f"the device is {self.chain.state} ({self.chain.fell_because})"
        elif now_ns - began_ns > self.plan.silence_ns:
            why = f"disk or line were busy for {(now_ns - began_ns) / 1e9:.2f} s (silence_s: {self.plan.silence_ns / 1e9:g})"
        if not why:
            try:
                self.guard.still(order, now_ns)
            except Refused as refusal:
                self.channel.set(Word.REFUSED, self.guard.refused)
                why = str(refusal)
        if why:
            return Sent(f"refused: not sent: {why}", math.nan, now_ns, now_ns, sent=False)
        take_back = self.guard.sent(order, now_ns)
        sent = await self.driver.send(order)
        if sent.refused:
            self._not_taken_ns[order.point.name] = time.monotonic_ns()
            take_back(tried=True)
        elif not sent.sent:
            take_back()
        return sent

    def _sent(self, kind: str, order: Order, sent: Sent) -> None:
        number = self.number_of[order.point.name]
        self.exchange(kind, sent.sent_ns, sent.received_ns, sent.outcome, points=[number], raw=[sent.raw], values=[order.value])

    # -- the way down

    async def fall(self, cause: str, *, for_good: bool = True) -> None:
        """To SAFE: no other write from this moment; the fallback goes out, and only then the audit row."""
        if self.chain.fell_because:
            return
        was_live = self.chain.fall(cause, for_good=for_good)
        self.beat(connected=self.driver.is_connected)
        self._falling = True
        try:
            if was_live and self._under_way is not None and not self._under_way.done():
                self.driver.hurry()
                await asyncio.wait([self._under_way], timeout=self._turn_s)
                self._under_way.cancel()
            fallen = await send_all(self.driver, self.plan.points, self.guard) if was_live else []
            self._owed += [one for one in fallen if one.is_owed]
        finally:
            self._falling = False
        await self.audit("fall", cause=cause, was_live=was_live, operator=self.chain.operator)
        await self._account(fallen)

    async def _account(self, fallen: list[Fallen]) -> None:
        """Fallbacks into the records and the audit log."""
        for one in fallen:
            if one.sent is not None:
                number = self.number_of[one.point]
                self.exchange(
                    "fallback", one.sent.sent_ns, one.sent.received_ns, one.sent.outcome,
                    points=[number], raw=[one.sent.raw], values=[one.value or 0.0],
                )  # fmt: skip
        for one in fallen:
            outcome = one.why_not or (one.sent.outcome if one.sent else "")
            await self.audit("fallback", point=one.point, fallback=one.fallback, value=one.value, outcome=outcome)

    async def close(self) -> None:
        """Hang up."""
        try:
            await super().close()
        finally:
            await self.driver.close()
