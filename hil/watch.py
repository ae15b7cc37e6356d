"""Live points of a device by its map, with quality and age. Reads only, and takes no events from a DNP3 device's own master."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Protocol as TypingProtocol

from federates.runtime.port import Quality
from hil.address import DeviceAddress
from hil.dnp3_line import Dnp3Line
from hil.drivers.base import DeviceError
from hil.point_dnp3 import POINT_TYPE, value_from_report
from hil.points import MapPoint, PointMap, PointTable, Protocol

_LOST_AFTER = 3
"""Cycles without an answer until a value is LOST rather than STALE."""


@dataclass(frozen=True, slots=True)
class LivePoint:
    """A point now. `value` None: it was never read. `measured_s` is monotonic, when it was last read."""

    row: MapPoint
    value: float | str | None = None
    quality: Quality = Quality.LOST
    measured_s: float | None = None

    def missed(self, cycles: int) -> LivePoint:
        """The point after so many cycles without an answer."""
        return replace(
            self, quality=self.quality | (Quality.LOST if cycles >= _LOST_AFTER or self.value is None else Quality.STALE)
        )


class Watch(TypingProtocol):
    """`poll` gives all points; DeviceError where a cycle brought nothing, and `points` then says what is still known."""

    points: list[LivePoint]

    async def poll(self) -> list[LivePoint]: ...
    def close(self) -> None: ...


def watch(address: DeviceAddress, point_map: PointMap, *, timeout_s: float = 1.0) -> Watch:
    """A watch for the address. ValueError where map and address are of different protocols, or there is nothing to read."""
    if point_map.protocol is not address.protocol:
        raise ValueError(f"{point_map.file} is a map of {point_map.protocol}, and {address} is {address.protocol}")
    if address.protocol is Protocol.DNP3:
        return Dnp3Watch(address, point_map, timeout_s)
    return ModbusWatch(address, point_map, timeout_s)


class ModbusWatch:
    """Rows that can be read, by the planner's requests. A `write` row that may be read back is shown too."""

    def __init__(self, address: DeviceAddress, point_map: PointMap, timeout_s: float) -> None:
        from hil.point_modbus import modbus_point
        from protocols.modbus import Device

        rows = [row for row in point_map.points if not row.is_write or row.readback]
        if not rows:
            raise ValueError(f"{point_map.file} has nothing to read")
        if address.station is not None:
            wrong = next((row for row in rows if row.unit_id != address.station), None)
            if wrong is not None:
                raise ValueError(
                    f"{point_map.file}:{wrong.line}: unit_id: is {wrong.unit_id}, and the address names {address.station}; "
                    "leave the unit out of the address to watch them all"
                )
        self.points = [LivePoint(row) for row in rows]
        self._budget_s = 2 * timeout_s
        self._device = Device(str(address), address.modbus(), [modbus_point(row) for row in rows], timeout_s=timeout_s)
        self._missed = 0

    async def poll(self) -> list[LivePoint]:
        from hil.drivers.quality import FROM_STATE
        from protocols.modbus import PointState

        readings = await self._device.cycle(self._budget_s)
        heard = readings.states <= max(PointState.GOOD, PointState.NOT_IMPLEMENTED)
        self._missed = 0 if heard.any() else self._missed + 1
        for i, known in enumerate(self.points):
            state = PointState(int(readings.states[i]))
            if state in (PointState.GOOD, PointState.OUT_OF_LIMITS):
                value = readings.texts.get(i) if known.row.is_text else float(readings.values[i])
                quality = Quality.GOOD if state is PointState.GOOD else Quality.SUSPECT
                self.points[i] = LivePoint(known.row, value, quality, int(readings.t_ns[i]) / 1e9)
            elif state in (PointState.REFUSED, PointState.NOT_IMPLEMENTED, PointState.MALFORMED):
                self.points[i] = replace(known, quality=Quality(FROM_STATE[state]))
            else:
                self.points[i] = known.missed(self._missed)
        if self._missed:
            raise DeviceError(readings.problems[0] if readings.problems else f"{self._device.name}: no answer")
        return self.points

    def close(self) -> None:
        self._device.close()


class Dnp3Watch:
    """Static values by class 0, and by range those that class 0 leaves out."""

    def __init__(self, address: DeviceAddress, point_map: PointMap, timeout_s: float) -> None:
        if not point_map.reads:
            raise ValueError(f"{point_map.file} has nothing to read")
        self.points = [LivePoint(row) for row in point_map.reads]
        self._at = {(POINT_TYPE[row.table], row.address): i for i, row in enumerate(point_map.reads)}
        self._line = Dnp3Line(address, timeout_s)
        self._ranges: list[bytes] | None = None
        self._missed = 0

    async def poll(self) -> list[LivePoint]:
        from protocols.dnp3.inquiry import CLASS_0

        try:
            if not self._line.is_open:
                await self._line.open()
            seen = await self._take(CLASS_0)
            if self._ranges is None:
                self._ranges = self._left_out(seen)
            for objects in self._ranges:
                seen |= await self._take(objects)
        except DeviceError:
            self._line.close()
            self._missed += 1
            self.points = [known.missed(self._missed) for known in self.points]
            raise
        self._missed = 0
        for i in set(range(len(self.points))) - seen:
            self.points[i] = self.points[i].missed(_LOST_AFTER)
        return self.points

    async def _take(self, objects: bytes) -> set[int]:
        """Reads, and shows what came; which points those are."""
        from hil.drivers.quality import from_flags

        answers = await self._line.read(objects)
        now_s, seen = time.monotonic(), set[int]()
        for static in (value for answer in answers for value in answer.values):
            i = self._at.get((static.kind, static.point))
            if i is None:
                continue
            row, raw = self.points[i].row, static.reading.value
            value = raw.rstrip(b"\0").decode("latin-1") if isinstance(raw, bytes) else value_from_report(row, raw)
            analog = row.table in (PointTable.ANALOG_INPUT, PointTable.ANALOG_OUTPUT)
            self.points[i] = LivePoint(row, value, Quality(from_flags(static.reading.flags, analog=analog)), now_s)
            seen.add(i)
        return seen

    def _left_out(self, seen: set[int]) -> list[bytes]:
        """Reads for the points that class 0 did not bring."""
        from protocols.dnp3.inquiry import read_range
        from protocols.dnp3.objects import STATIC_GROUP

        missing = [row for i, row in enumerate(known.row for known in self.points) if i not in seen]
        return [read_range(STATIC_GROUP[POINT_TYPE[row.table]], row.address, row.address) for row in missing]

    def close(self) -> None:
        self._line.close()
