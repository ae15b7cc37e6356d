"""The end that reads and writes a Modbus server, by the planner of `protocols.modbus`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from federates.runtime.port import Quality
from hil.clock import DeviceClock, RegisterClock
from hil.drivers.base import Cycle, Sent
from hil.drivers.quality import FROM_STATE
from hil.guard import Order
from hil.plan import DevicePlan
from hil.point_modbus import modbus_point
from hil.relay import Tap
from protocols.modbus import Address, Device, Exchange, NoConnection, PointError, PointState, SerialAddress, WriteState

_QUALITY = np.array([int(FROM_STATE.get(state, Quality.SUSPECT)) for state in PointState], np.uint16)


class ModbusClient:
    """A device behind one connection, of one or several units."""

    def __init__(self, plan: DevicePlan, address: Address, tap: Tap) -> None:
        self._plan, self._tap, self._address = plan, tap, address
        rows = plan.points
        points = [modbus_point(point) for point in rows.points]
        self._device = Device(plan.name, address, points, timeout_s=plan.timeout_s, tap=self._captured)
        self._reads = np.array([number for number, point in enumerate(rows.points) if not point.is_write], np.int64)
        self._error = ""
        self._client = ("127.0.0.1", 49152)
        self._server = ("127.0.0.1", 502) if isinstance(address, SerialAddress) else (address.host, address.port)
        size = len(self._reads)
        self._values, self._raw, self._quality = (
            np.full(size, np.nan),
            np.full(size, np.nan),
            np.full(size, Quality.LOST, np.uint16),
        )
        self._measured_ns = np.zeros(size, np.int64)
        self._clock = DeviceClock()
        marked = (place for place, row in enumerate(rows.reads) if row.clock)
        self._clock_place = next(marked, None)
        self._register = None if self._clock_place is None else RegisterClock(rows.reads[self._clock_place], self._clock)

    @property
    def is_connected(self) -> bool:
        """Also between two cycles, of which the first gave up a connection that said nothing and the next makes another."""
        return self._device.link.connected or self._device.link.gave_up

    @property
    def last_error(self) -> str:
        return self._error

    @property
    def hang_ups(self) -> int:
        """Of TCP and TLS."""
        return self._device.link.hang_ups

    @property
    def clock(self) -> tuple[int, int] | None:
        """By the row that the map marks as the device's clock; None where it marks none, and before it was read."""
        offset = self._clock.offset
        return None if offset is None else (offset.offset_ns, offset.uncertainty_ns)

    async def open(self) -> None:
        """Connections are made by the cycles."""

    async def cycle(self, budget_s: float) -> Cycle:
        """Every `read` row once. What was not read keeps its value, with the state's quality."""
        readings = await self._device.cycle(budget_s)
        states = readings.states[self._reads]
        fresh = (states == int(PointState.GOOD)) | (states == int(PointState.OUT_OF_LIMITS))
        self._values = np.where(fresh, readings.values[self._reads], self._values)
        self._raw = np.where(fresh, readings.raw[self._reads], self._raw)
        self._measured_ns = np.where(fresh, readings.t_ns[self._reads], self._measured_ns)
        self._quality = np.where(np.isfinite(self._values), _QUALITY[states], np.uint16(Quality.LOST)).astype(np.uint16)
        if self._register is not None and self._clock_place is not None and fresh[self._clock_place]:
            value_s, arrived_ns = float(self._values[self._clock_place]), int(self._measured_ns[self._clock_place])
            self._register.read(value_s, arrived_ns, time.time_ns() - time.monotonic_ns())
        if readings.problems:
            self._error = readings.problems[0]
        heard = fresh | (states == int(PointState.NOT_IMPLEMENTED))
        answered = bool(heard.any()) if len(heard) else readings.requests == 0 and not readings.problems
        zeros = np.zeros(len(fresh), np.int64)
        values, raw, quality = self._values.copy(), self._raw.copy(), self._quality.copy()
        measured_ns = self._measured_ns.copy()
        return Cycle(values, raw, quality, measured_ns, zeros, readings.requests, readings.problems, answered=answered)

    async def reach(self, budget_s: float) -> None:
        """Whatever the pauses between attempts say."""
        try:
            await self._device.link.connect(budget_s)
        except NoConnection as error:
            self._error = str(error)

    def hurry(self) -> None:
        """The requests of a cycle follow one another: the rest of them is left out."""
        self._device.cut_short()

    async def send(self, order: Order) -> Sent:
        """One value, read back where its row asks for that. Never sent twice."""
        point = order.point
        value: Any = bool(order.value) if point.is_binary else order.value
        sent_ns = time.monotonic_ns()
        try:
            (result, *_) = await self._device.write(point.unit_id, {point.name: value})
        except PointError as error:
            return Sent(str(error), float("nan"), sent_ns, time.monotonic_ns(), sent=False, answered=True)
        raw = (order.value - point.offset) / point.scale
        outcome = "ok" if result.state is WriteState.DONE else f"{result.state.value}: {result.reason}"
        left = result.state is not WriteState.NOT_SENT
        answered, refused = left and result.state is not WriteState.UNKNOWN, result.state is WriteState.REFUSED
        return Sent(outcome, raw, sent_ns, time.monotonic_ns(), left, answered, refused)

    async def close(self) -> None:
        """Hang up."""
        self._device.close()

    def _captured(self, exchange: Exchange) -> None:
        ahead_ns = time.time_ns() - time.monotonic_ns()
        if self._register is not None:
            self._register.exchanged(exchange.sent_ns, exchange.received_ns)
        if exchange.sent:
            self._tap(self._client, self._server, exchange.sent, exchange.sent_ns + ahead_ns)
        if exchange.received:
            self._tap(self._server, self._client, exchange.received, exchange.received_ns + ahead_ns)
