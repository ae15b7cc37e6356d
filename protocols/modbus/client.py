"""Polling devices: one cycle reads every point of every device within a time budget, and writes are checked by reading back.

Each connection is its own task, so a dead host delays nobody else. On one connection requests follow one another: units that answer
go first, in order of who has waited longest; a unit that was silent is asked last, and ever more rarely. So a unit that dies
costs the others on its line at most the rest of one cycle.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.modbus.adapter import DEFAULT_TIMEOUT_S, BadAnswer, Exchange, LineBusy, Link, LinkError, NoAnswer, NoConnection
from protocols.modbus.address import Address
from protocols.modbus.blocks import BlockDecoder, Floats, PointState, Scaler, States
from protocols.modbus.pdu import ExceptionCode, ModbusException, Read
from protocols.modbus.planner import PlannedRead, Range, ReadLimits, boundary, halves, plan_reads
from protocols.modbus.points import SCALE_FACTOR_LIMIT, Point, PointError, Value, raw_from_registers
from protocols.modbus.write import WriteResult, WriteState, write_points

RETRY_FIRST_S, RETRY_LAST_S = 0.25, 30.0  # a lost connection or silent unit: doubling from one to the other
_END_S = 0.002  # requests end this long before the cycle, so that silence is seen as such
_SPLIT_ON = (ExceptionCode.ILLEGAL_DATA_ADDRESS, ExceptionCode.ILLEGAL_DATA_VALUE)  # devices use either for "not that range"
_SILENT_ON = (ExceptionCode.GATEWAY_PATH_UNAVAILABLE, ExceptionCode.GATEWAY_TARGET_FAILED)


class Readings(NamedTuple):
    """What one cycle brought, by index into the device's points. `values` are engineering values, NaN where `states` (PointState)
    says that there is none, `raw` the values before scaling; `t_ns` is the monotonic time of arrival, 0 before the first; strings
    are in `texts`."""

    values: Floats
    states: States
    t_ns: NDArray[np.int64]
    texts: Mapping[int, str]
    requests: int
    problems: tuple[str, ...]
    raw: Floats


@dataclass
class _Backoff:
    """When something that failed may be tried again."""

    wait_s: float = 0.0
    not_before_s: float = 0.0

    def failed(self, now_s: float) -> None:
        self.wait_s = min(max(2 * self.wait_s, RETRY_FIRST_S), RETRY_LAST_S)
        self.not_before_s = now_s + self.wait_s

    def worked(self) -> None:
        self.wait_s = self.not_before_s = 0.0


@dataclass(frozen=True, slots=True)
class _Block:
    """A planned request, ready to be sent and decoded."""

    read: PlannedRead
    request: Read
    decoder: BlockDecoder


@dataclass
class _Unit:
    number: int
    points: list[int]
    plan: list[_Block] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    backoff: _Backoff = field(default_factory=_Backoff)
    asked_s: float = 0.0

    @property
    def is_silent(self) -> bool:
        return self.backoff.wait_s > 0


class _OutOfTime(Exception):
    """The cycle's budget is used up."""


class Device:
    """The points behind one connection, of one or several units."""

    def __init__(
        self,
        name: str,
        address: Address,
        points: Sequence[Point],
        *,
        limits: ReadLimits | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retry_refused_s: float = 60.0,
        tap: Callable[[Exchange], None] | None = None,
    ) -> None:
        """`retry_refused_s`: when points that the device refused are tried again. Raises PointError for points that do not fit
        together."""
        self.name = name
        self.points = tuple(points)
        self.link = Link(address, timeout_s=timeout_s, tap=tap)
        self._limits = limits or ReadLimits()
        self._retry_refused_s = retry_refused_s
        self._scaler = Scaler(self.points)
        self._raw = np.zeros(len(self.points))
        self._states = np.full(len(self.points), PointState.NOT_READ, dtype=np.uint8)
        self._t_ns = np.zeros(len(self.points), dtype=np.int64)
        self._texts: dict[int, str] = {}
        self._index = {(point.unit, point.name): i for i, point in enumerate(self.points)}
        self._connecting = _Backoff()
        self._refused: list[Range] = []
        self._seams: dict[Range, Range] = {}  # where a refused range was cut -> that range, until the cause is found
        self._refused_until_s = 0.0
        self._units = [
            _Unit(number, [i for i, point in enumerate(self.points) if point.unit == number])
            for number in sorted({point.unit for point in self.points})
        ]
        for unit in self._units:
            self._plan(unit)
        self._requests = 0
        self._problems: list[str] = []
        self._deadline_s = 0.0
        self._fair_s = timeout_s

    def _plan(self, unit: _Unit) -> None:
        plan = plan_reads(self.points, self._limits, [*self._refused, *self._seams], unit.points)
        unit.plan = [self._block(read) for read in plan]
        planned = {i for read in plan for i in read.points}
        unit.refused = [i for i in unit.points if i not in planned and self.points[i].access != "w"]

    def _block(self, read: PlannedRead) -> _Block:
        return _Block(read, read.request, BlockDecoder(self.points, read.points, read.range.start))

    def point(self, unit: int, name: str) -> Point:
        """The point of that name. Raises PointError if there is none."""
        if (unit, name) not in self._index:
            raise PointError(f"device {self.name!r} has no point {name!r} in unit {unit}")
        return self.points[self._index[unit, name]]

    async def cycle(self, budget_s: float) -> Readings:
        """Read every point once, in at most `budget_s` seconds. Never raises for what a device or network does: states say it."""
        start_s = time.monotonic()
        self._deadline_s = start_s + budget_s - min(_END_S, budget_s / 20)
        self._fair_s = min(self.link.timeout_s, budget_s / 2)
        self._requests, self._problems = 0, []
        self._states[:] = PointState.NOT_READ
        if (self._refused or self._seams) and start_s >= self._refused_until_s:
            self._refused.clear()
            self._seams.clear()
            for unit in self._units:
                self._plan(unit)
        try:
            if await self._connect(start_s):
                await self._read_units(start_s)
        except (LineBusy, _OutOfTime):
            self._problems.append(f"{self.name}: the cycle's {budget_s:g} s are used up")
        states = self._states.copy()
        values = self._scaler.scale(self._raw, states)
        return Readings(
            values, states, self._t_ns.copy(), dict(self._texts), self._requests, tuple(self._problems), self._raw.copy()
        )

    def cut_short(self) -> None:
        """End the cycle under way after the request that is on the line: what is left of it is not read."""
        self._deadline_s = 0.0

    async def _connect(self, now_s: float) -> bool:
        if self.link.connected:
            return True
        if now_s >= self._connecting.not_before_s:
            try:
                await self.link.connect(self._remaining_s())
            except NoConnection as error:
                self._connecting.failed(time.monotonic())
                self._problems.append(str(error))
            else:
                if all(unit.is_silent for unit in self._units):  # it was the connection, not the units
                    for unit in self._units:
                        unit.backoff.worked()
                return True
        self._states[:] = PointState.NO_CONNECTION
        return False

    def _remaining_s(self) -> float:
        remaining_s = self._deadline_s - time.monotonic()
        if remaining_s <= 0:
            raise _OutOfTime
        return min(self.link.timeout_s, remaining_s)

    async def _read_units(self, now_s: float) -> None:
        for unit in sorted(self._units, key=lambda unit: (unit.is_silent, unit.asked_s, unit.number)):
            if unit.is_silent and now_s < unit.backoff.not_before_s and len(self._units) > 1:
                self._states[unit.points] = PointState.NO_ANSWER
                continue
            unit.asked_s = time.monotonic()  # asked is what counts: a unit that dies goes to the back
            try:
                await self._read_unit(unit)
            except NoAnswer as error:
                self._states[self._unread(unit)] = PointState.NO_ANSWER
                self._problems.append(str(error))
                unit.backoff.failed(time.monotonic())
            except NoConnection as error:
                self._states[self._states == PointState.NOT_READ] = PointState.NO_CONNECTION
                self._problems.append(str(error))
                self._connecting.failed(time.monotonic())
                return
            else:
                unit.backoff.worked()
                self._connecting.worked()  # only now: a server that accepts and hangs up has not worked

    async def _read_unit(self, unit: _Unit) -> None:
        """Read the unit's blocks. Raises NoAnswer, NoConnection, LineBusy, _OutOfTime."""
        if unit.refused:
            self._states[unit.refused] = PointState.REFUSED
        known, done = (len(self._refused), len(self._seams)), 0
        try:
            for block in unit.plan:
                await self._read(block)
                done += 1
        finally:
            turn = done or 1  # the block that failed goes first in the next cycle; if it was first, last
            unit.plan = unit.plan[turn:] + unit.plan[:turn]
            if known != (len(self._refused), len(self._seams)):
                self._refused_until_s = time.monotonic() + self._retry_refused_s
                self._plan(unit)

    def _unread(self, unit: _Unit) -> list[int]:
        return [i for i in unit.points if self._states[i] == PointState.NOT_READ]

    async def _read(self, block: _Block) -> bool:
        """Read a block; False if some of it was not read. Raises NoAnswer, NoConnection, LineBusy, _OutOfTime."""
        granted_s = self._remaining_s()
        self._requests += 1
        try:
            payload, t_ns = await self.link.request(block.read.range.unit, block.request, granted_s)
        except ModbusException as error:
            if error.code in _SILENT_ON:
                raise NoAnswer(str(error)) from None
            return await self._refusal(block.read, error)
        except BadAnswer as error:
            self._states[block.decoder.indices] = PointState.MALFORMED
            self._problems.append(str(error))
            return False
        except NoAnswer:
            if granted_s < self._fair_s:  # it was given less time than is fair, so it is not called silent
                self._states[block.decoder.indices] = PointState.NO_ANSWER
                raise _OutOfTime from None
            raise
        self._t_ns[block.decoder.indices] = t_ns
        block.decoder.decode(payload, self._raw, self._states, self._texts)
        return True

    async def _refusal(self, read: PlannedRead, error: ModbusException) -> bool:
        """Find what in a refused block is bad, by halves: a point, or a hole between points that may not be read over."""
        self._states[list(read.points)] = PointState.REFUSED
        if error.code not in _SPLIT_ON:
            self._problems.append(f"{self.name}: {error}")
            return False  # busy or failing: no fault of the range
        if len(read.points) == 1:
            self._know(read.range)
            self._problems.append(f"{self.name}: point {self.points[read.points[0]].name!r}: {error}")
            return False
        left, right = halves(self.points, read)
        wall = boundary(read.range, left.range, right.range)
        self._seams[wall] = read.range  # if time runs out now, the next cycle goes on with the halves
        left_good = await self._read(self._block(left))
        right_good = await self._read(self._block(right))
        if left_good and right_good:
            self._know(wall)
        return False

    def _know(self, bad: Range) -> None:
        """A cause is found; seams made while looking for it are needed no more."""
        self._refused.append(bad)
        self._seams = {wall: whole for wall, whole in self._seams.items() if not whole.contains(bad)}

    async def write(self, unit: int, values: Mapping[str, Value]) -> list[WriteResult]:
        """Write points of one unit, in the order given, and read them back; see `write.write_points`. Nothing is sent unless all
        values fit. Raises PointError (an unknown or read-only point, a value out of limits, a scale factor that is none)."""
        points = [self.point(unit, name) for name in values]
        factors = sorted({point.scale_factor for point in points if point.scale_factor})
        try:
            exponents = {name: await self._exponent(unit, name) for name in factors}
        except (LinkError, ModbusException) as error:
            reason = f"scale factors cannot be read: {error}"
            return [WriteResult(tuple(values), WriteState.NOT_SENT, tuple(values.values()), reason=reason)]
        return await write_points(self.link, points, list(values.values()), exponents)

    async def _exponent(self, unit: int, name: str) -> int:
        """The scale factor, from the device: one that changed since the last cycle must not scale a command. Raises LinkError,
        ModbusException, PointError."""
        point = self.point(unit, name)
        (read,) = plan_reads([point], self._limits)
        payload, _ = await self.link.request(unit, read.request)
        exponent = raw_from_registers(point, payload)
        if not isinstance(exponent, int) or abs(exponent) > SCALE_FACTOR_LIMIT:
            raise PointError(f"scale factor {name!r} is {exponent}, not a power of ten from -10 to 10: nothing was written")
        return exponent

    def close(self) -> None:
        """Close the connection."""
        self.link.close()


async def poll(devices: Sequence[Device], budget_s: float) -> list[Readings]:
    """One cycle of all devices side by side, over after `budget_s` at the latest. Call it once per period with a little less."""
    return await asyncio.gather(*(device.cycle(budget_s) for device in devices))
