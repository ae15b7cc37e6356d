"""A DNP3 master on yadnp3, with asyncio in front.

    async with MasterStack() as stack:
        master = await stack.add(MasterConfig(name="RTU", host="127.0.0.1", port=20000, outstation=10))
        await master.connected()
        await master.integrity()
        for report in await master.reports(): ...
        result = await master.operate(3, Crob(ControlCode.TRIP_PULSE_ON, 1, 100, 100))

The C++ stack runs in threads of its own; what they report is handed over as plain tuples (`yadnp3_callbacks.py`). Requests of one
master go out one after the other. The stack's own periodic scans are not used, because they stop for many seconds after an
unreadable answer: poll from a task of your own. An outstation whose answers make the stack react without end (a restart
indication that never falls, resets in mid-answer) is given a rest that doubles each time.

One stack per process; it must be closed, else the process hangs at its end (an exit handler stands behind that). The wheel of
yadnp3 bundles OpenSSL 1.1.1k, which is out of support: where TLS matters, end it in Python or in a proxy.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from .master_config import CommandResult, MasterConfig, MasterError
from .values import CommandStatus, Crob
from .yadnp3_callbacks import Application, Handover, PointReport, SoeHandler, opendnp3

REACTIONS_PER_S = 40
"""More tasks of its own, or connections, than this, and a session is given a rest."""
_WATCH_S = 0.25
_REST_S = (1.0, 30.0)
_FORGIVEN_AFTER_S = 60.0


_TIME_SYNC: dict[str | None, str] = {None: "None", "lan": "LAN", "delay": "NonLAN"}
_ANALOG = {
    "i16": opendnp3.AnalogOutputInt16,
    "i32": opendnp3.AnalogOutputInt32,
    "f32": opendnp3.AnalogOutputFloat32,
    "f64": opendnp3.AnalogOutputDouble64,
}
_open: list[MasterStack] = []


def _ms(seconds: float) -> Any:
    return opendnp3.TimeDuration.Milliseconds(round(seconds * 1000))


class MasterStack:
    """The C++ stack with its threads, and the masters on it. RuntimeError where one is already open in this process."""

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._manager: Any = None
        self._masters: list[Master] = []
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> MasterStack:
        if _open:
            raise RuntimeError("a DNP3 master stack is already open in this process; add masters to it instead")
        self._manager = opendnp3.DNP3Manager(self._threads)
        _open.append(self)
        self._watch = asyncio.create_task(self._watch_reactions())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        for master in self._masters:
            master.stack_closes()
        await asyncio.to_thread(self.shutdown)

    def shutdown(self) -> None:
        """Ends the stack's threads; blocks until they have ended. Closing twice is harmless."""
        manager, self._manager = self._manager, None
        if manager is not None:
            manager.Shutdown()
            _open.remove(self)

    async def add(self, config: MasterConfig, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> Master:
        """A master that starts connecting at once; `now_ms` is the time it gives to its outstation."""
        if self._manager is None:
            raise RuntimeError(f"{config.name}: the DNP3 master stack is not open; use `async with MasterStack()`")
        master = Master(config, self._channel(config), now_ms)
        self._masters.append(master)
        await asyncio.to_thread(master.enable)
        return master

    def _channel(self, config: MasterConfig) -> Any:
        quiet, retry = opendnp3.levels.NOTHING, opendnp3.ChannelRetry(_ms(config.reconnect_s[0]), _ms(config.reconnect_s[1]))
        # Without it a line that is reset again and again is opened again and again without a pause.
        retry.reconnectDelay = _ms(config.reconnect_s[0])
        if config.serial is not None:
            settings = opendnp3.SerialSettings()
            settings.deviceName, settings.baud = config.serial.device, config.serial.baud
            return self._manager.AddSerial(config.name, quiet, retry, settings, None)
        ends = [opendnp3.IPEndpoint(config.host, config.port)]
        if config.tls is not None:
            files = opendnp3.TLSConfig(str(config.tls.peer), str(config.tls.certificate), str(config.tls.key))
            return self._manager.AddTLSClient(config.name, quiet, retry, ends, "0.0.0.0", files, None)
        return self._manager.AddTCPClient(config.name, quiet, retry, ends, "0.0.0.0", None)

    async def _watch_reactions(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            for master in self._masters:
                master.watch()


@atexit.register
def _close_at_exit() -> None:
    for stack in list(_open):
        stack.shutdown()


class Master:
    """One master session. Made by `MasterStack.add`; used from that loop only."""

    def __init__(self, config: MasterConfig, channel: Any, now_ms: Callable[[], int]) -> None:
        self.config = config
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._line = asyncio.Event()
        self._turn = asyncio.Lock()
        self._ended: asyncio.Future[str] | None = None
        self._result: asyncio.Future[Any] | None = None
        self._ends_to_come = 0
        self._closed = False
        self._rest_s = _REST_S[0]
        self._rested_at_s = float("-inf")
        self._resting: asyncio.Task[None] | None = None
        self._seen_reactions = 0
        self._refresh: asyncio.Task[None] | None = None
        self.rests = 0
        """How often the session was given a rest because it reacted without end."""
        self.handover = Handover(self._loop, config.queue_limit, self._news.set)
        # The stack calls these; they must live as long as the session.
        self._soe = SoeHandler(self.handover)
        self._application = Application(self.handover, now_ms, self._task_ended, self._line_changed)
        stack = opendnp3.MasterStackConfig()
        stack.link.LocalAddr, stack.link.RemoteAddr = config.address, config.outstation
        stack.master.responseTimeout = _ms(config.response_timeout_s)
        stack.master.timeSyncMode = opendnp3.TimeSyncMode.__members__[_TIME_SYNC[None if config.passive else config.time_sync]]
        stack.master.ignoreRestartIIN = config.passive
        stack.master.disableUnsolOnStartup = not config.passive
        self._master = channel.AddMaster(config.name, self._soe, self._application, stack)

    # -- state

    @property
    def is_connected(self) -> bool:
        return self._line.is_set()

    @property
    def iin(self) -> int:
        """The internal indications last received."""
        return self.handover.last_iin

    @property
    def restarts(self) -> int:
        """How often the outstation began to say that it has restarted; the first time may be from before we knew it."""
        return self.handover.restarts

    async def connected(self) -> None:
        """Returns once there is a connection."""
        await self._line.wait()

    async def reports(self) -> list[PointReport]:
        """What has been reported since the last call; waits for the first. After an overflow an integrity poll is under way."""
        while True:
            self._news.clear()
            taken = self.handover.take()
            if self.handover.overflown and self._refresh is None:
                self.handover.overflown = False
                self._refresh = asyncio.create_task(self._refresh_all())
            if taken:
                return taken
            await self._news.wait()

    async def _refresh_all(self) -> None:
        try:
            await self.integrity()
        except MasterError:
            # The line is down; the stack polls everything by itself when it is up again.
            self.handover.overflown = not self.is_connected
        finally:
            self._refresh = None

    # -- requests; MasterError where the exchange fails

    async def integrity(self) -> None:
        """Reads classes 1, 2, 3 and 0."""
        await self.scan((1, 2, 3, 0))

    async def scan(self, classes: tuple[int, ...]) -> None:
        """Reads classes 0 to 3."""
        field = opendnp3.ClassField(*(number in classes for number in range(4)))
        await self._exchange(lambda: self._master.ScanClasses(field, self._soe))

    async def read(self, group: int, variation: int, start: int | None = None, stop: int | None = None) -> None:
        """Reads the points of a group from `start` to `stop`, or all of them."""
        what = opendnp3.GroupVariationID(group, variation)
        if start is None or stop is None:
            await self._exchange(lambda: self._master.ScanAllObjects(what, self._soe))
        else:
            await self._exchange(lambda: self._master.ScanRange(what, start, stop, self._soe))

    async def operate(self, index: int, command: Crob | float, *, select: bool = True, encoding: str = "f64") -> CommandResult:
        """Commands a binary output by a Crob, an analog output by a number encoded as i16, i32, f32 or f64.

        By select before operate unless `select` is False. A refusal is a result, not an error.
        """
        function = self._master.SelectAndOperate if select else self._master.DirectOperate
        sent = _crob(command) if isinstance(command, Crob) else _ANALOG[encoding](command)

        def read(result: Any) -> list[tuple[str, int]]:
            return [(point.state.name, point.status.value) for point in result.to_list()]

        (state, status), *_ = await self._exchange(lambda done: function(sent, index, done), read)
        known = CommandStatus(status) if status in CommandStatus.__members__.values() else CommandStatus.UNDEFINED
        return CommandResult(state, known)

    async def read_time(self) -> None:
        """Asks for the outstation's time (g50v1). The stack does not hand it over, and calls the answer bad: it is for whoever
        reads the octets on the line."""
        with contextlib.suppress(MasterError):
            await self._perform("read time", "READ", [opendnp3.Header.Count8(50, 1, 1)])

    async def restart(self, *, cold: bool = True) -> float:
        """Restarts the outstation; the seconds it says it needs."""
        kind = opendnp3.RestartType.COLD if cold else opendnp3.RestartType.WARM

        def read(result: Any) -> float:
            # The binding's duration tells its milliseconds only as text.
            return int(str(result.restartTime)) / 1000

        delay_s = await self._exchange(lambda done: self._master.Restart(kind, done), read)
        return float(delay_s)

    async def freeze(self, *, clear: bool = False) -> None:
        """Freezes all counters, and clears them."""
        kind = opendnp3.FreezeType.FreezeAndClear if clear else opendnp3.FreezeType.ImmediateFreeze
        await self._exchange(lambda: self._master.Freeze(kind, [opendnp3.Header.AllObjects(20, 0)]))

    async def assign_class(self, event_class: int, group: int, start: int | None = None, stop: int | None = None) -> None:
        """Puts the points of a static group, all or a range, into a class."""
        which = (
            opendnp3.Header.AllObjects(group, 0)
            if start is None or stop is None
            else opendnp3.Header.Range16(group, 0, start, stop)
        )
        await self._perform("assign class", "ASSIGN_CLASS", [opendnp3.Header.AllObjects(60, event_class + 1), which])

    async def enable_unsolicited(self, classes: tuple[int, ...] = (1, 2, 3), *, enable: bool = True) -> None:
        """Switches unsolicited reports of event classes on or off."""
        headers = [opendnp3.Header.AllObjects(60, number + 1) for number in classes]
        await self._perform("unsolicited", "ENABLE_UNSOLICITED" if enable else "DISABLE_UNSOLICITED", headers)

    async def write_deadband(self, index: int, deadband: float) -> None:
        """Writes the dead band of an analog input, in wire units."""
        band = opendnp3.IndexedAnalogInputDeadband(opendnp3.AnalogInputDeadband(deadband), index)
        await self._exchange(lambda done: self._master.WriteDeadBands([band], done), str)

    async def link_status(self) -> bool:
        """Whether the outstation's link layer answers."""
        async with self._turn:
            self._check_open()
            answered = self._result = self._loop.create_future()
            settle = self.handover.guarded(lambda good: self.handover.call(_settle, answered, (str(good), bool(good))))
            self._master.CheckLinkStatus(settle)
            try:
                _, good = await self._within(answered, "link status")
            finally:
                self._result = None
            return bool(good)

    def _check_open(self) -> None:
        if self._closed:
            raise MasterError(f"{self.config.name}: the DNP3 master stack is closed (no_comms)")

    async def _perform(self, name: str, function: str, headers: list[Any]) -> None:
        code = opendnp3.FunctionCode.__members__[function]
        await self._exchange(lambda: self._master.PerformFunction(name, code, headers))

    async def _exchange(self, start: Callable[..., Any], read: Callable[[Any], Any] | None = None) -> Any:
        """Starts one task of the stack and waits for its end, or with `read` for its result, copied in the stack's thread."""
        async with self._turn:
            self._check_open()
            ended = self._ended = self._loop.create_future()
            result = self._result = self._loop.create_future()
            if read is None:
                start()
            else:
                start(self.handover.guarded(lambda given: self.handover.call(_settle, result, (given.summary.name, read(given)))))
            try:
                if read is None:
                    outcome, value = await self._within(ended, "a request"), None
                else:
                    outcome, value = await self._within(result, "a result")
            finally:
                # The stack will still tell the end of this task; that must not pass for the end of the next.
                self._ends_to_come += ended.cancelled() or not ended.done()
                self._ended = self._result = None
            if outcome != "SUCCESS":
                raise MasterError(f"{self.config.name}: the outstation did not answer as it should: {outcome.lower()}")
            return value

    async def connect_anew(self) -> None:
        """Ends the session and begins it at once, without the pause before the stack's next attempt to connect."""
        self._check_open()
        await asyncio.to_thread(self._master.Disable)
        await asyncio.to_thread(self._master.Enable)

    async def _within(self, future: asyncio.Future[Any], what: str) -> Any:
        """The future's result; a session that reports nothing at all is rebuilt."""
        try:
            # A task may wait 10 s to start, and answer in several fragments and two steps.
            async with asyncio.timeout(12.0 + 6 * self.config.response_timeout_s):
                return await future
        except TimeoutError:
            await asyncio.to_thread(self._master.Disable)
            await asyncio.to_thread(self._master.Enable)
            raise MasterError(f"{self.config.name}: {what} was never finished by the stack; its session was rebuilt") from None

    # -- called in the loop on behalf of the stack

    def enable(self) -> None:
        self._master.Enable()

    def stack_closes(self) -> None:
        """What still waits is told that nothing will come; what comes later is refused."""
        self._closed = True
        self._line.clear()
        for task in (self._resting, self._refresh):
            if task is not None:
                task.cancel()
        if self._ended is not None:
            _settle(self._ended, "FAILURE_NO_COMMS")
        if self._result is not None:
            _settle(self._result, ("FAILURE_NO_COMMS", None))

    def watch(self) -> None:
        """Gives the session a rest where the stack has reacted too often since the last look."""
        fresh = self.handover.reactions - self._seen_reactions
        self._seen_reactions = self.handover.reactions
        if self._resting is None and fresh > REACTIONS_PER_S * _WATCH_S:
            self._resting = asyncio.create_task(self._rest())

    async def _rest(self) -> None:
        self.rests += 1
        forgiven = self._loop.time() - self._rested_at_s > _FORGIVEN_AFTER_S
        self._rest_s = _REST_S[0] if forgiven else min(2 * self._rest_s, _REST_S[1])
        await asyncio.to_thread(self._master.Disable)
        await asyncio.sleep(self._rest_s)
        await asyncio.to_thread(self._master.Enable)
        self._rested_at_s = self._loop.time()
        self._resting = None

    def _task_ended(self, outcome: str) -> None:
        if self._ends_to_come:
            self._ends_to_come -= 1
        elif self._ended is not None:
            _settle(self._ended, outcome)

    def _line_changed(self, open_: bool) -> None:
        if open_:
            self._line.set()
        else:
            self._line.clear()


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _crob(command: Crob) -> Any:
    """The binding's own block. ValueError for codes that it cannot express."""
    operation, trip_close = command.code & 0x0F, command.code >> 6
    if operation > 4 or command.code & 0x10:
        raise ValueError(f"control code 0x{command.code:02X} cannot be sent: the operation is 0 to 4, and there is no queue")
    return opendnp3.ControlRelayOutputBlock(
        opendnp3.OperationType(operation),
        opendnp3.TripCloseCode(trip_close),
        bool(command.code & 0x20),
        command.count,
        command.on_ms,
        command.off_ms,
    )
