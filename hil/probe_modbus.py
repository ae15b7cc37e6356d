"""What is at a Modbus address: which units answer, what SunSpec models they show, which ranges can be read. Reads only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from hil.address import DeviceAddress
from hil.drivers.base import DeviceError
from protocols.modbus import (
    ExceptionCode,
    Function,
    Link,
    LinkError,
    ModbusException,
    NoAnswer,
    NoConnection,
    Scan,
    SunSpecError,
    Table,
    scan,
)
from protocols.modbus.pdu import Read

GATEWAY = (ExceptionCode.GATEWAY_PATH_UNAVAILABLE, ExceptionCode.GATEWAY_TARGET_FAILED)
DEFAULT_UNITS = (1, *range(2, 11), 247, 255, 0)
SAMPLE = {Table.HOLDING: 5, Table.INPUT: 5, Table.COIL: 16, Table.DISCRETE: 16}
"""In a block that cannot be read as a whole, one address in so many is tried."""
_BLOCK = {Table.HOLDING: 100, Table.INPUT: 100, Table.COIL: 800, Table.DISCRETE: 800}


@dataclass(frozen=True, slots=True)
class FoundRange:
    """Addresses [start, end) of a table that can be read."""

    table: Table
    start: int
    end: int


@dataclass(slots=True)
class UnitReport:
    """A unit that answers. `refused`: tables it does not have. `is_complete`: all addresses asked for were looked at."""

    unit: int
    sunspec: Scan | None = None
    ranges: list[FoundRange] = field(default_factory=list)
    refused: list[Table] = field(default_factory=list)
    is_complete: bool = True


@dataclass(slots=True)
class ModbusReport:
    """`silent`: units that did not answer."""

    units: list[UnitReport] = field(default_factory=list)
    silent: list[int] = field(default_factory=list)
    requests: int = 0
    role: str | None = None
    """Of the server's certificate."""


async def probe_modbus(
    address: DeviceAddress,
    units: Sequence[int] = (),
    *,
    last_address: int = 999,
    max_requests: int = 2000,
    thorough: bool = False,
    timeout_s: float = 1.0,
) -> ModbusReport:
    """Looks at the address's unit, or at `units` where it names none. DeviceError where there is nothing to look at.

    Addresses 0 to `last_address` are read in blocks; a block that is refused is sampled (`SAMPLE`), or with `thorough` tried
    address by address.
    """
    if address.station is not None:
        units = (address.station,)
    link = Link(address.modbus(), timeout_s=timeout_s)
    try:
        await link.connect()
        return await _Prober(address, link, max_requests, thorough).look(units or DEFAULT_UNITS, last_address)
    except NoConnection as error:
        raise DeviceError(str(error)) from error
    finally:
        link.close()


class _Prober:
    def __init__(self, address: DeviceAddress, link: Link, max_requests: int, thorough: bool) -> None:
        self._address, self._link, self._max_requests, self._thorough = address, link, max_requests, thorough
        self.report = ModbusReport(role=link.role)

    async def look(self, units: Sequence[int], last_address: int) -> ModbusReport:
        reasons: list[str] = []
        for unit in units:
            if self._address.serial is not None and unit == 0:
                continue  # a broadcast, which nobody answers
            reason = await self._is_there(unit)
            if reason:
                reasons.append(reason)
                self.report.silent.append(unit)
            else:
                self.report.units.append(UnitReport(unit))
        if not self.report.units:
            asked = f"unit {units[0]} does not answer" if len(units) == 1 else f"none of units {', '.join(map(str, units))} answers"
            raise DeviceError(f"{self._address}: {asked}: {reasons[0] if reasons else 'unit 0 is a broadcast'}")
        for found in self.report.units:
            await self._look_at(found, last_address)
        if all(set(found.refused) == set(Table) for found in self.report.units):
            hint = "; has the role in this certificate any rights there?" if self._address.tls is not None else ""
            raise DeviceError(f"{self._address}: every function that reads is refused as illegal{hint}")
        return self.report

    async def _request(self, unit: int, read: Read) -> None:
        self.report.requests += 1
        await self._link.request(unit, read)

    async def _is_there(self, unit: int) -> str:
        """Empty, or why the unit is taken to be absent. Any answer but a gateway's own is one."""
        try:
            await self._request(unit, Read(Function.READ_HOLDING_REGISTERS, 0, 1))
        except ModbusException as error:
            return str(error) if error.code in GATEWAY else ""
        except NoConnection:
            raise
        except NoAnswer as error:
            return str(error)
        except LinkError as error:
            raise DeviceError(f"{error}; is this a Modbus device?") from error
        return ""

    async def _look_at(self, found: UnitReport, last_address: int) -> None:
        try:
            found.sunspec = await scan(self._link, found.unit)
        except (SunSpecError, ModbusException, NoAnswer):
            found.sunspec = None
        except LinkError as error:
            raise DeviceError(str(error)) from error
        for table in Table:
            try:
                for start in range(0, last_address + 1, _BLOCK[table]):
                    await self._block(found, table, start, min(start + _BLOCK[table], last_address + 1))
            except _NoTable:
                found.refused.append(table)
            except _UsedUp:
                found.is_complete = False

    async def _block(self, found: UnitReport, table: Table, start: int, end: int) -> None:
        """Adds what can be read of addresses [start, end): all of it, or the ranges around those of its samples that can."""
        if await self._can(found.unit, table, start, end):
            self._add(found, FoundRange(table, start, end))
            return
        step = 1 if self._thorough else SAMPLE[table]
        at = start
        while at < end:
            if await self._can(found.unit, table, at, at + 1):
                around = await self._around(found.unit, table, at, start, end)
                self._add(found, around)
                at = around.end - 1
            at += step - at % step

    async def _around(self, unit: int, table: Table, at: int, start: int, end: int) -> FoundRange:
        """The range that can be read around `at`, within [start, end)."""

        async def back(count: int) -> bool:
            return await self._can(unit, table, at - count, at + 1)

        async def on(count: int) -> bool:
            return await self._can(unit, table, at, at + 1 + count)

        return FoundRange(table, at - await self._reach(back, at - start), at + 1 + await self._reach(on, end - at - 1))

    @staticmethod
    async def _reach(can: Callable[[int], Awaitable[bool]], most: int) -> int:
        """The largest number up to `most` for which `can`, true at 0 and never true again after it was false."""
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if await can(middle) else (low, middle - 1)
        return low

    async def _can(self, unit: int, table: Table, start: int, end: int) -> bool:
        """Whether addresses [start, end) can be read together. _NoTable, _UsedUp, DeviceError."""
        if self.report.requests >= self._max_requests:
            raise _UsedUp
        try:
            await self._request(unit, Read(table.read_function, start, end - start))
        except ModbusException as error:
            if error.code == ExceptionCode.ILLEGAL_FUNCTION:
                raise _NoTable from None
            return False
        except LinkError as error:
            raise DeviceError(f"{error} (while reading {table.value} {start} to {end - 1})") from error
        return True

    @staticmethod
    def _add(found: UnitReport, new: FoundRange) -> None:
        last = found.ranges[-1] if found.ranges else None
        if last is not None and last.table is new.table and last.end >= new.start:
            found.ranges[-1] = FoundRange(new.table, min(last.start, new.start), max(last.end, new.end))
        else:
            found.ranges.append(new)


class _NoTable(Exception):
    """The device does not have the table."""


class _UsedUp(Exception):
    """So many requests were enough."""
