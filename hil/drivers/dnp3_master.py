"""The end that polls and commands a DNP3 outstation: the master on yadnp3, behind the relay."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from federates.runtime.port import Quality
from hil.clock import DeviceClock, TimeReader
from hil.drivers.base import Cycle, DeviceError, Sent
from hil.drivers.quality import from_flags
from hil.guard import Order
from hil.plan import DevicePlan
from hil.point_dnp3 import TYPE_OF_GROUP, command_encoding, reports, value_from_report, wire_command
from hil.points import Operate, PointTable
from hil.read_only import Dnp3ReadOnly
from hil.relay import Relay, Tap
from hil.serial_relay import LINE, SerialRelay
from protocols.dnp3.master import Master, MasterStack
from protocols.dnp3.master_config import MasterConfig, MasterError, SerialLine
from protocols.dnp3.values import CommandStatus, Crob
from protocols.dnp3.yadnp3_callbacks import PointReport

_ANALOG = (PointTable.ANALOG_INPUT, PointTable.ANALOG_OUTPUT)
_MS = 1_000_000
_TIMES_ASKED = 3
_LOOK_S = 0.01


class Dnp3Master:
    """`stack` is the process's only one. Its octets pass a relay, of TCP or of a serial line, which lets nothing but reading pass
    in a dry run (`live` False)."""

    def __init__(
        self, plan: DevicePlan, stack: MasterStack, target: tuple[str, int], tap: Tap, *, live: bool, tls: Any = None
    ) -> None:
        self._plan, self._stack, self._live = plan, stack, live
        self._clock = DeviceClock()
        self._reader = TimeReader(LINE if plan.is_serial else target, self._clock, tap)
        gate = None if live else Dnp3ReadOnly
        self._relay: Relay | SerialRelay = (
            SerialRelay(plan.address, plan.line, tap=self._reader, gate=gate)
            if plan.is_serial
            else Relay(target, tap=self._reader, gate=gate, tls=tls)
        )
        self._master: Master | None = None
        self._rows = plan.points.reads
        places = {point: place for place, point in enumerate(self._rows)}
        row_of = reports(plan.points)
        self._place_of = {
            (group, index): places[row]
            for group, kind in TYPE_OF_GROUP.items()
            for (of, index), row in row_of.items()
            if of is kind
        }
        self._states: dict[int, float | None] = {place: None for place, point in enumerate(self._rows) if point.is_binary}
        """Place of a point of two or four states -> the last one reported; None before the first."""
        size = len(self._rows)
        self._values, self._raw = np.full(size, np.nan), np.full(size, np.nan)
        self._quality = np.full(size, int(Quality.LOST), np.uint16)
        self._measured_ns, self._device_ns = np.zeros(size, np.int64), np.zeros(size, np.int64)
        self._integrity_ns = 0
        self._error = ""
        self._untold = 0

    @property
    def is_connected(self) -> bool:
        return self._master is not None and self._master.is_connected and self._relay.connected > 0

    @property
    def hang_ups(self) -> int:
        """Those that the relay saw, and restarts that the device tells of: a serial line ends for none."""
        return self._relay.hang_ups + (0 if self._master is None else self._master.restarts)

    @property
    def last_error(self) -> str:
        return (self._relay.last_error if not self._relay.connected else "") or self._error

    @property
    def clock(self) -> tuple[int, int] | None:
        offset = self._clock.offset
        return None if offset is None else (offset.offset_ns, offset.uncertainty_ns)

    async def open(self) -> None:
        """Start the session; it connects by itself, again and again with growing pauses."""
        plan = self._plan
        (host, port), serial = ("", 0), None
        if isinstance(self._relay, SerialRelay):
            serial = SerialLine(await self._relay.start(), plan.line.baud)
        else:
            host, port = await self._relay.start()
        config = MasterConfig(
            name=plan.name,
            host=host,
            port=port,
            outstation=plan.dnp3_address,
            address=plan.dnp3_master,
            serial=serial,
            time_sync="lan" if plan.time_sync else None,
            response_timeout_s=plan.timeout_s,
            reconnect_s=(0.25, 5.0),
            passive=not self._live,
        )
        self._master = await self._stack.add(config)

    async def cycle(self, budget_s: float) -> Cycle:
        """Events, and from time to time everything. Reports that came unasked are taken with them."""
        master = self._need()
        cycle = Cycle(self._values, self._raw, self._quality, self._measured_ns, self._device_ns)
        now_ns = time.monotonic_ns()
        if not self.is_connected:
            cycle.problems = (f"{self._plan.name}: {self.last_error or 'not connected'}",)
            self._integrity_ns = 0
            return self._copied(cycle)
        whole = now_ns >= self._integrity_ns or master.handover.overflown
        try:
            async with asyncio.timeout(max(budget_s, self._plan.timeout_s) if whole else budget_s):
                await (master.integrity() if whole else master.scan((1, 2, 3)))
            cycle.requests, cycle.answered = 1, True
            if whole and self._untold < _TIMES_ASKED:
                await self._read_clock(master, budget_s)
            if whole:
                master.handover.overflown = False
                self._integrity_ns = now_ns + self._plan.integrity_ns
        except (MasterError, TimeoutError) as error:
            self._error = str(error) or f"{self._plan.name}: no answer within {budget_s:g} s"
            cycle.problems = (self._error,)
        self._take(master.handover.take(), cycle)
        return self._copied(cycle)

    async def reach(self, budget_s: float) -> None:
        """The stack pauses between its attempts; a session that is begun anew does not."""
        master = self._need()
        if self.is_connected:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(budget_s):
                if not master.is_connected:
                    await master.connect_anew()
                while not self.is_connected:
                    await asyncio.sleep(_LOOK_S)

    def hurry(self) -> None:
        """A cycle is one request, whose answer the stack waits for in any case."""

    def _copied(self, cycle: Cycle) -> Cycle:
        cycle.values, cycle.raw, cycle.quality = self._values.copy(), self._raw.copy(), self._quality.copy()
        cycle.measured_ns, cycle.device_ns = self._measured_ns.copy(), self._device_ns.copy()
        return cycle

    async def _read_clock(self, master: Master, budget_s: float) -> None:
        """Ask for the device's time; one that never tells it is not asked for ever."""
        before = self._reader.answers
        async with asyncio.timeout(max(budget_s, self._plan.timeout_s)):
            await master.read_time()
        self._untold = self._untold + 1 if self._reader.answers == before else 0

    def _take(self, taken: Sequence[PointReport], cycle: Cycle) -> None:
        """Every change of state becomes an event, and of each point the latest report its value."""
        latest: dict[int, PointReport] = {}
        places, states = self._place_of, self._states
        for report in taken:
            group, _, index, value, _, time_ms, _, is_event = report
            place = places.get((group, index))
            if place is None or isinstance(value, bytes):
                continue
            latest[place] = report
            if place in states and value != states[place]:
                states[place] = value
                if is_event:
                    cycle.events.append((self._rows[place].name, float(value), (time_ms or 0) * _MS))
        now_ns, utc_ns = time.monotonic_ns(), time.time_ns()
        for i, report in latest.items():
            point, device_ns = self._rows[i], (report.time_ms or 0) * _MS
            assert not isinstance(report.value, bytes)
            self._values[i], self._raw[i] = value_from_report(point, report.value), float(report.value)
            self._quality[i] = from_flags(report.flags or 0, analog=point.table in _ANALOG)
            self._device_ns[i] = device_ns
            self._measured_ns[i] = self._measured(now_ns, utc_ns, device_ns, report.event and report.synchronized)
        if cycle.answered:  # what the device did not report has not changed until now
            known = self._measured_ns > 0
            known[list(latest)] = False
            self._measured_ns[known] = now_ns

    def _measured(self, now_ns: int, utc_ns: int, device_ns: int, is_timed: bool) -> int:
        """When a value was measured, by the device's clock corrected for its offset; never in the future."""
        offset = self._clock.offset
        if not (is_timed and device_ns and offset is not None):
            return now_ns
        return now_ns - max(0, min(utc_ns - (device_ns - offset.offset_ns), 60_000 * _MS))

    async def send(self, order: Order) -> Sent:
        """A control or analog output, by the row's way of operating."""
        master, point = self._need(), order.point
        sent_ns = time.monotonic_ns()
        try:
            what = order.crob if order.crob is not None else wire_command(point, order.value)
        except ValueError as error:
            return Sent(f"refused: {error}", float("nan"), sent_ns, sent_ns, sent=False)
        raw = float(what.code if isinstance(what, Crob) else what)
        if not self.is_connected:  # nothing leaves, and the stack must not keep it for later
            why = f"not sent: {self.last_error or 'not connected'}"
            return Sent(why, raw, sent_ns, sent_ns, sent=False, answered=False)
        try:
            select = point.operate is Operate.SELECT
            result = await master.operate(point.wire_address, what, select=select, encoding=command_encoding(point))
        except (MasterError, ValueError) as error:
            left = not isinstance(error, ValueError)
            return Sent(str(error), raw, sent_ns, time.monotonic_ns(), sent=left, answered=not left)
        outcome = "ok" if result.success else f"{result.state.lower()}, status {CommandStatus(result.status).name}"
        return Sent(outcome, raw, sent_ns, time.monotonic_ns(), refused=not result.success)

    async def close(self) -> None:
        """The relay ends here, the session with the stack."""
        await self._relay.close()

    def _need(self) -> Master:
        if self._master is None:
            raise DeviceError(f"{self._plan.name}: the DNP3 master is not open")
        return self._master
