"""DNP3 application layer: function codes, indications, and the parsing of fragments (IEEE 1815, clause 4).

A request is an application control octet, a function code and object headers; a response has two octets of internal
indications before its objects. `parse_request` and `parse_objects` never trust a count, a range or a length: what does not
fit raises `ObjectError` with the indication that belongs in the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from .codecs import unpack_bits
from .objects import GROUPS, ObjectType, find

MAX_HEADERS = 64
"""More object headers than this in one request are refused: each could ask for the whole database again."""


class Function(IntEnum):
    """Application function codes."""

    CONFIRM = 0
    READ = 1
    WRITE = 2
    SELECT = 3
    OPERATE = 4
    DIRECT_OPERATE = 5
    DIRECT_OPERATE_NO_ACK = 6
    IMMEDIATE_FREEZE = 7
    IMMEDIATE_FREEZE_NO_ACK = 8
    FREEZE_CLEAR = 9
    FREEZE_CLEAR_NO_ACK = 10
    FREEZE_AT_TIME = 11
    FREEZE_AT_TIME_NO_ACK = 12
    COLD_RESTART = 13
    WARM_RESTART = 14
    INITIALIZE_DATA = 15
    ENABLE_UNSOLICITED = 20
    DISABLE_UNSOLICITED = 21
    ASSIGN_CLASS = 22
    DELAY_MEASURE = 23
    RECORD_CURRENT_TIME = 24
    RESPONSE = 129
    UNSOLICITED_RESPONSE = 130


NO_ACK = {
    Function.DIRECT_OPERATE_NO_ACK,
    Function.IMMEDIATE_FREEZE_NO_ACK,
    Function.FREEZE_CLEAR_NO_ACK,
    Function.FREEZE_AT_TIME_NO_ACK,
}
WITH_DATA = {Function.WRITE, Function.SELECT, Function.OPERATE, Function.DIRECT_OPERATE, Function.DIRECT_OPERATE_NO_ACK}
"""Requests whose object headers are followed by objects; in all others a header stands alone."""


class IIN(IntFlag):
    """Internal indications. The low octet is IIN1, sent first."""

    ALL_STATIONS = 0x0001
    CLASS_1_EVENTS = 0x0002
    CLASS_2_EVENTS = 0x0004
    CLASS_3_EVENTS = 0x0008
    NEED_TIME = 0x0010
    LOCAL_CONTROL = 0x0020
    DEVICE_TROUBLE = 0x0040
    DEVICE_RESTART = 0x0080
    NO_FUNC_CODE_SUPPORT = 0x0100
    OBJECT_UNKNOWN = 0x0200
    PARAMETER_ERROR = 0x0400
    EVENT_BUFFER_OVERFLOW = 0x0800
    ALREADY_EXECUTING = 0x1000
    CONFIG_CORRUPT = 0x2000


class Qualifier(IntEnum):
    """How a header says which points it means."""

    RANGE_8 = 0x00
    RANGE_16 = 0x01
    ALL = 0x06
    COUNT_8 = 0x07
    COUNT_16 = 0x08
    INDEXED_8 = 0x17
    INDEXED_16 = 0x28


class ObjectError(Exception):
    """Objects that cannot be read; `iin` is what the outstation answers."""

    def __init__(self, iin: IIN, text: str) -> None:
        super().__init__(text)
        self.iin = iin


_FIR, _FIN, _CON, _UNS = 0x80, 0x40, 0x20, 0x10


@dataclass(frozen=True, slots=True)
class Control:
    """The application control octet."""

    fir: bool
    fin: bool
    con: bool
    uns: bool
    sequence: int

    @staticmethod
    def decode(octet: int) -> Control:
        return Control(bool(octet & _FIR), bool(octet & _FIN), bool(octet & _CON), bool(octet & _UNS), octet & 0x0F)

    def encode(self) -> int:
        bits = (self.fir and _FIR) | (self.fin and _FIN) | (self.con and _CON) | (self.uns and _UNS)
        return bits | (self.sequence & 0x0F)


@dataclass(frozen=True, slots=True)
class Request:
    """A request fragment. `octets` is the whole of it, which tells a repetition from a new request."""

    control: Control
    function: int
    objects: bytes
    octets: bytes

    @staticmethod
    def decode(fragment: bytes) -> Request | None:
        """None where there are not even a control octet and a function code."""
        if len(fragment) < 2:
            return None
        return Request(Control.decode(fragment[0]), fragment[1], fragment[2:], fragment)


@dataclass(frozen=True, slots=True)
class Response:
    """A response fragment, solicited or not, as a master sees it."""

    control: Control
    function: int
    iin: IIN
    objects: bytes

    @staticmethod
    def decode(fragment: bytes) -> Response:
        """ValueError for a fragment that is no response."""
        if len(fragment) < 4 or fragment[1] not in (Function.RESPONSE, Function.UNSOLICITED_RESPONSE):
            raise ValueError("a response has a control octet, function 129 or 130, and two octets of indications")
        return Response(Control.decode(fragment[0]), fragment[1], IIN(int.from_bytes(fragment[2:4], "little")), fragment[4:])

    def encode(self) -> bytes:
        return bytes((self.control.encode(), self.function)) + int(self.iin).to_bytes(2, "little") + self.objects


@dataclass(frozen=True, slots=True)
class ObjectHeader:
    """One object header with its objects, if any.

    `indexes` are the points meant: a range for qualifiers 00 and 01, a tuple for 17 and 28, None for 06, 07 and 08.
    `limit` is the count of qualifiers 07 and 08. `items` are the octets of each object in the order of `indexes` (bits come as
    one octet each), empty where headers stand alone. `raw` is the header and its objects as received.
    """

    group: int
    variation: int
    qualifier: Qualifier
    indexes: range | tuple[int, ...] | None
    limit: int | None
    items: tuple[bytes, ...]
    raw: bytes

    @property
    def row(self) -> ObjectType | None:
        return find(self.group, self.variation)


def parse_objects(octets: bytes, *, with_data: bool) -> list[ObjectHeader]:
    """The object headers in `octets`.

    Raises ObjectError: PARAMETER_ERROR for truncated or contradictory octets and qualifiers this subset does not use,
    OBJECT_UNKNOWN where data follow of an object of unknown size.
    """
    headers: list[ObjectHeader] = []
    at = 0
    while at < len(octets):
        if len(headers) == MAX_HEADERS:
            raise ObjectError(IIN.PARAMETER_ERROR, f"more than {MAX_HEADERS} object headers")
        header, at = _parse_header(octets, at, with_data)
        headers.append(header)
    return headers


class _Cursor:
    """Reads octets, and refuses to read past their end."""

    def __init__(self, octets: bytes, at: int) -> None:
        self.octets, self.at = octets, at

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.octets):
            raise ObjectError(IIN.PARAMETER_ERROR, f"{count} octets expected, {len(self.octets) - self.at} left")
        self.at += count
        return self.octets[self.at - count : self.at]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")


def _parse_header(octets: bytes, start: int, with_data: bool) -> tuple[ObjectHeader, int]:
    cursor = _Cursor(octets, start)
    group, variation, code = cursor.take(3)
    try:
        qualifier = Qualifier(code)
    except ValueError:
        raise ObjectError(IIN.PARAMETER_ERROR, f"qualifier 0x{code:02X} of g{group}v{variation}") from None
    wide = 2 if qualifier in (Qualifier.RANGE_16, Qualifier.COUNT_16, Qualifier.INDEXED_16) else 1
    indexes: range | tuple[int, ...] | None = None
    limit: int | None = None
    items: tuple[bytes, ...] = ()
    match qualifier:
        case Qualifier.RANGE_8 | Qualifier.RANGE_16:
            first, last = cursor.number(wide), cursor.number(wide)
            if first > last:
                raise ObjectError(IIN.PARAMETER_ERROR, f"range {first} to {last} of g{group}v{variation}")
            indexes = range(first, last + 1)
            if with_data:
                items = _read_items(cursor, group, variation, len(indexes))
        case Qualifier.ALL:
            if with_data:
                raise ObjectError(IIN.PARAMETER_ERROR, "qualifier 06 says no count for the objects that follow")
        case Qualifier.COUNT_8 | Qualifier.COUNT_16:
            limit = cursor.number(wide)
            if with_data:
                items = _read_items(cursor, group, variation, limit)
        case Qualifier.INDEXED_8 | Qualifier.INDEXED_16:
            indexes, items = _read_indexed(cursor, group, variation, wide, with_data)
    return ObjectHeader(group, variation, qualifier, indexes, limit, items, octets[start : cursor.at]), cursor.at


def _row_with_data(group: int, variation: int) -> ObjectType:
    row = find(group, variation)
    if row is None or (not row.size and not row.bits):
        known = "has no octets to write" if row or (variation == 0 and group in GROUPS) else "is unknown, and so is its size"
        raise ObjectError(IIN.OBJECT_UNKNOWN, f"g{group}v{variation} {known}")
    return row


def _read_items(cursor: _Cursor, group: int, variation: int, count: int) -> tuple[bytes, ...]:
    row = _row_with_data(group, variation)
    if row.bits:
        octets = cursor.take((count * row.bits + 7) // 8)
        return tuple(bytes((bit,)) for bit in unpack_bits(octets, count, row.bits))
    octets = cursor.take(count * row.size)
    return tuple(octets[k * row.size : (k + 1) * row.size] for k in range(count))


def _read_indexed(
    cursor: _Cursor, group: int, variation: int, wide: int, with_data: bool
) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
    count = cursor.number(wide)
    if not with_data:
        return tuple(cursor.number(wide) for _ in range(count)), ()
    row = _row_with_data(group, variation)
    if row.bits:
        raise ObjectError(IIN.PARAMETER_ERROR, f"{row.name} is packed in bits and cannot be indexed one by one")
    pairs = [(cursor.number(wide), cursor.take(row.size)) for _ in range(count)]
    return tuple(index for index, _ in pairs), tuple(item for _, item in pairs)
