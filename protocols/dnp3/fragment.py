"""Writes the objects of a response into fragments: headers opened, grown and closed as points come along.

The writer is told one point at a time and says whether it still fits. Neighbours of one variation share a header: static points
a range (qualifiers 00 and 01), events a count with index prefixes (17 and 28). Events with relative time get the common
time of occurrence (group 51) they refer to.
"""

from __future__ import annotations

from typing import Any

from .application import Qualifier
from .codecs import TIME_MASK, pack_bits
from .objects import ObjectType

_MAX_RELATIVE_MS = 0xFFFF
_TIME_HEADER = 10  # g51, qualifier 07, count 1, six octets of time


class FragmentWriter:
    """Up to `capacity` octets of objects for one fragment. Where there is no room an `add_*` returns False and changes nothing."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._octets = bytearray()
        self._row: ObjectType | None = None
        self._qualifier = Qualifier.ALL
        self._count_at = 0
        self._count = 0
        self._next_index = -1
        self._bits: list[int] = []
        self._common_time: tuple[int, bool] | None = None

    def finish(self) -> bytes:
        """The octets written so far; the writer starts anew."""
        self._close()
        octets = bytes(self._octets)
        self._octets.clear()
        self._common_time = None
        return octets

    def add_block(self, octets: bytes) -> bool:
        """A complete header with its objects, as is."""
        if self._used() + len(octets) > self.capacity:
            return False
        self._close()
        self._octets += octets
        return True

    def add_static(self, row: ObjectType, index: int, value: Any, flags: int, time_ms: int) -> bool:
        """One point of a range. Points must come in rising order of index to share a header."""
        wide = index > 0xFF
        qualifier = Qualifier.RANGE_16 if wide else Qualifier.RANGE_8
        joins = row is self._row and index == self._next_index and qualifier is self._qualifier
        if row.bits:
            growth = 1 if not joins or len(self._bits) * row.bits % 8 == 0 else 0
            octets = b""
        else:
            octets = row.pack(value, flags, time_ms)
            growth = len(octets)
        if not joins:
            growth += 7 if wide else 5
        if self._used() + growth > self.capacity:
            return False
        if not joins:
            self._open(row, qualifier)
            self._octets += index.to_bytes(2, "little") * 2 if wide else bytes((index, index))
        self._next_index = index + 1
        if row.bits:
            self._bits.append(value)
        else:
            self._octets += octets
        return True

    def add_event(
        self, row: ObjectType, index: int, value: Any, flags: int, time_ms: int, *, wide: bool = True, synchronized: bool = True
    ) -> bool:
        """One event. `wide` chooses 16-bit index prefixes for the whole header, `synchronized` says of which kind its time is."""
        qualifier = Qualifier.INDEXED_16 if wide else Qualifier.INDEXED_8
        joins = row is self._row and qualifier is self._qualifier and (wide or self._count < 0xFF)
        new_base = row.relative_time and not self._in_reach(time_ms, synchronized)
        if new_base:
            joins = False
        if row.relative_time:
            base = time_ms if new_base or self._common_time is None else self._common_time[0]
            octets = row.pack(value, flags, time_ms - base)
        else:
            octets = row.pack(value, flags, time_ms)
        growth = len(octets) + (2 if wide else 1)
        if not joins:
            growth += (5 if wide else 4) + (_TIME_HEADER if new_base else 0)
        if len(self._octets) + growth + len(self._bits) > self.capacity:
            return False
        if new_base:
            self._close()
            self._octets += bytes((51, 1 if synchronized else 2, Qualifier.COUNT_8, 1))
            self._octets += (time_ms & TIME_MASK).to_bytes(6, "little")
            self._common_time = (time_ms, synchronized)
        if not joins:
            self._open(row, qualifier)
            self._octets += b"\0\0" if wide else b"\0"
        self._count += 1
        self._octets += index.to_bytes(2, "little") if wide else bytes((index,))
        self._octets += octets
        return True

    def _in_reach(self, time_ms: int, synchronized: bool) -> bool:
        if self._common_time is None or self._common_time[1] != synchronized:
            return False
        return 0 <= time_ms - self._common_time[0] <= _MAX_RELATIVE_MS

    def _used(self) -> int:
        bits = self._row.bits if self._row else 0
        return len(self._octets) + (len(self._bits) * bits + 7) // 8

    def _open(self, row: ObjectType, qualifier: Qualifier) -> None:
        self._close()
        self._octets += bytes((row.group, row.variation, qualifier))
        self._row, self._qualifier = row, qualifier
        self._count_at, self._count = len(self._octets), 0

    def _close(self) -> None:
        """Writes what only the end of a header tells: the last index of a range, the count, the packed bits."""
        if self._row is None:
            return
        at = self._count_at
        match self._qualifier:
            case Qualifier.RANGE_8:
                self._octets[at + 1] = self._next_index - 1
            case Qualifier.RANGE_16:
                self._octets[at + 2 : at + 4] = (self._next_index - 1).to_bytes(2, "little")
            case Qualifier.INDEXED_8:
                self._octets[at] = self._count
            case _:
                self._octets[at : at + 2] = self._count.to_bytes(2, "little")
        self._octets += pack_bits(self._bits, self._row.bits)
        self._bits.clear()
        self._row, self._next_index = None, -1
