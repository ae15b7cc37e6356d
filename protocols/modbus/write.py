"""Writing points and making sure: each request goes out once, and what the device then holds is read back.

An answer that is missing or wrong leaves open whether the write acted. It is then looked up, never sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from protocols.modbus.adapter import Link, LinkError
from protocols.modbus.pdu import ModbusException, Read, ReadWrite
from protocols.modbus.planner import PlannedWrite, ReadLimits, plan_reads, plan_write
from protocols.modbus.points import Point, Value, default_tolerance, raw_from_registers, value_from_raw

_ONE_BY_ONE = ReadLimits(max_gap=0)


class WriteState(Enum):
    """What became of a write."""

    DONE = "done"  # acknowledged, and read back within tolerance where the point asks for it
    REFUSED = "refused"  # the device answered with an exception: nothing was written
    DIFFERENT = "different"  # acknowledged, but the device holds something else
    UNKNOWN = "unknown"  # no valid answer: it may have acted, or may still
    NOT_SENT = "not sent"  # no connection, a line in use, or an earlier write of the same call did not succeed


@dataclass(frozen=True)
class WriteResult:
    """One request's end: its points, what they were to become, and what they were read back as (None: not read)."""

    points: tuple[str, ...]
    state: WriteState
    wanted: tuple[Value, ...]
    found: tuple[Value | None, ...] | None = None
    reason: str = ""


async def write_points(
    link: Link, points: Sequence[Point], values: Sequence[Value], exponents: Mapping[str, int] | None = None
) -> list[WriteResult]:
    """Write in the given order and stop at the first request that does not succeed; later ones are NOT_SENT. Every value is checked
    before the first byte goes out. Raises PointError."""
    powers = exponents or {}
    planned = plan_write(points, values, powers)
    results: list[WriteResult] = []
    for write in planned:
        if results and results[-1].state is not WriteState.DONE:
            results.append(_result(write, powers, WriteState.NOT_SENT, reason="an earlier write did not succeed"))
        else:
            results.append(await _write(link, write, powers))
    return results


async def _write(link: Link, write: PlannedWrite, powers: Mapping[str, int]) -> WriteResult:
    answer, doubt = b"", ""
    try:
        answer, _ = await link.request(write.unit, write.request)
    except ModbusException as error:
        return _result(write, powers, WriteState.REFUSED, reason=str(error))
    except LinkError as error:
        if not error.sent:
            return _result(write, powers, WriteState.NOT_SENT, reason=str(error))
        doubt = str(error)
    checked = all(point.readback and point.access != "w" for point in write.points)
    if not checked:
        return _result(write, powers, WriteState.UNKNOWN if doubt else WriteState.DONE, reason=doubt)
    try:
        found = await _read_back(link, write, powers, answer)
    except (LinkError, ModbusException) as error:
        reason = f"{doubt}; " if doubt else "acknowledged, but not read back: "
        return _result(write, powers, WriteState.UNKNOWN, reason=reason + str(error))
    agrees = all(_agrees(point, raw, now, powers) for point, raw, now in zip(write.points, write.raws, found, strict=True))
    if agrees:
        return _result(write, powers, WriteState.DONE, found, reason=doubt)
    return _result(write, powers, WriteState.UNKNOWN if doubt else WriteState.DIFFERENT, found, doubt or "read back differs")


async def _read_back(link: Link, write: PlannedWrite, powers: Mapping[str, int], answer: bytes) -> tuple[Value | None, ...]:
    settle_s = max(point.settle_s for point in write.points)
    if settle_s:
        await asyncio.sleep(settle_s)
    elif isinstance(write.request, ReadWrite) and answer:
        return (_value(write.points[0], answer, powers),)
    found: dict[int, Value | None] = {}
    for read in plan_reads(write.points, _ONE_BY_ONE):
        payload, _ = await link.request(write.unit, read.request)
        for i in read.points:
            found[i] = _value(write.points[i], _cut(read.request, payload, write.points[i]), powers)
    return tuple(found[i] for i in range(len(write.points)))


def _cut(request: Read, payload: bytes, point: Point) -> bytes:
    """The point's registers in the answer; for a table of bits, its bit as a byte."""
    at = point.address - request.address
    if point.table.is_bits:
        return bytes((payload[at >> 3] >> (at & 7) & 1,))
    return payload[2 * at : 2 * (at + point.words)]


def _value(point: Point, registers: bytes, powers: Mapping[str, int]) -> Value | None:
    if point.table.is_bits:
        return bool(registers[0])
    raw = raw_from_registers(point, registers)
    return None if raw is None else value_from_raw(point, raw, powers.get(point.scale_factor or "", 0))


def _agrees(point: Point, raw: Value, found: Value | None, powers: Mapping[str, int]) -> bool:
    exponent = powers.get(point.scale_factor or "", 0)
    wanted = value_from_raw(point, raw, exponent)
    if isinstance(wanted, str):
        return (found or "") == wanted  # an empty string reads as not implemented
    if found is None or isinstance(wanted, bool) or isinstance(found, str):
        return found == wanted
    return abs(found - wanted) <= default_tolerance(point, wanted, exponent)


def _result(
    write: PlannedWrite,
    powers: Mapping[str, int],
    state: WriteState,
    found: tuple[Value | None, ...] | None = None,
    reason: str = "",
) -> WriteResult:
    pairs = zip(write.points, write.raws, strict=True)
    wanted = tuple(value_from_raw(point, raw, powers.get(point.scale_factor or "", 0)) for point, raw in pairs)
    return WriteResult(tuple(point.name for point in write.points), state, wanted, found, reason)
