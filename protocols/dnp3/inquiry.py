"""A master that only asks: sans-IO, and unable to write. It sends READ, and CONFIRM for what carries no events.

For looking at a device that somebody else operates: it clears no indication, sets no time, changes no reporting, and takes no
events away, since it confirms none. Octets in, octets out:

    inquiry = Inquiry(master=1, outstation=10)
    send(inquiry.read(CLASS_0))
    answers = inquiry.receive(octets); send(inquiry.data_to_send())      # until an answer with control.fin
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .application import IIN, Control, Function, ObjectError, ObjectHeader, Response, parse_objects
from .link import LinkFrame, LinkParser, Primary, Secondary
from .objects import EVENT_GROUP, STATIC_GROUP, Kind
from .transport import Reassembler, segment
from .values import Flag, PointType, Reading

CLASS_0 = bytes((60, 1, 6))
ALL_ATTRIBUTES = bytes((0, 254, 0, 0, 0))
"""g0v254, every device attribute, of point 0."""
_TYPE_OF_STATIC = {group: kind for kind, group in STATIC_GROUP.items()}
_EVENT_GROUPS = frozenset(EVENT_GROUP.values())
_MAX_FRAGMENT = 65535
ATTRIBUTE_NAMES = {
    252: "manufacturer", 250: "product", 249: "subset and conformance", 248: "serial number", 247: "device name",
    246: "ID code", 245: "location", 243: "hardware version", 242: "software version",
    241: "largest fragment received", 240: "largest fragment sent",
}  # fmt: skip
"""Variation of group 0 -> what it says (IEEE 1815-2012, table A-1)."""


class StaticValue(NamedTuple):
    """A static object of an answer."""

    kind: PointType
    point: int
    variation: int
    reading: Reading


def read_range(group: int, first: int, last: int) -> bytes:
    """Objects for a read of a range of static points in whatever variation the device has."""
    return bytes((group, 0, 1)) + struct.pack("<HH", first, last)


@dataclass(frozen=True, slots=True)
class Answer:
    """A fragment of a solicited answer; `values` are static objects, `events` the number of event objects that came unasked."""

    response: Response
    values: tuple[StaticValue, ...]
    events: int
    attributes: dict[int, str]

    @property
    def is_last(self) -> bool:
        return self.response.control.fin

    @property
    def iin(self) -> IIN:
        return self.response.iin


class Inquiry:
    """The session. One read at a time."""

    def __init__(self, master: int = 1, outstation: int = 10) -> None:
        self.master, self.outstation = master, outstation
        self.problems: list[str] = []
        """What was wrong with what came: for people."""
        self.heard_from: set[int] = set()
        """Link addresses of other outstations on the line."""
        self.unsolicited = 0
        """Unsolicited responses with events that were left to another master. An outstation answers no read while one is waiting
        for its confirmation."""
        self.link_answered = False
        """Whether the link layer of the outstation has answered."""
        self._parser = LinkParser()
        self._reassembler = Reassembler(_MAX_FRAGMENT)
        self._sequence = -1
        self._transport = 0
        self._out = bytearray()

    def read(self, objects: bytes) -> bytes:
        """The octets of a READ of these object headers. What was not answered before is forgotten."""
        self._sequence = (self._sequence + 1) & 0x0F
        self._reassembler.clear()
        control = Control(fir=True, fin=True, con=False, uns=False, sequence=self._sequence)
        return self._frames(bytes((control.encode(), Function.READ)) + objects)

    def link_status(self) -> bytes:
        """The octets of a request for the link's status, which any outstation answers whatever its application does."""
        frame = LinkFrame(self.outstation, self.master, Primary.REQUEST_LINK_STATUS, primary=True, from_master=True)
        return frame.encode()

    def receive(self, octets: bytes) -> list[Answer]:
        """The answers completed by these octets."""
        answers: list[Answer] = []
        for frame in self._parser.feed(octets):
            if frame.from_master or frame.destination != self.master:
                continue
            if frame.source != self.outstation:
                self.heard_from.add(frame.source)
                continue
            data = self._link(frame)
            fragment = self._reassembler.receive(data) if data else None
            if fragment is not None:
                answers += self._fragment(fragment)
        if self._parser.counts.bad_crc:
            self.problems.append(f"{self._parser.counts.bad_crc} frame(s) with a wrong check word")
            self._parser.counts.bad_crc = 0
        return answers

    def data_to_send(self) -> bytes:
        """Confirmations and answers of the link layer that are due."""
        octets = bytes(self._out)
        self._out.clear()
        return octets

    def _link(self, frame: LinkFrame) -> bytes | None:
        if not frame.primary:
            self.link_answered = True
            return None
        if frame.function == Primary.REQUEST_LINK_STATUS:
            self._out += self._secondary(Secondary.LINK_STATUS)
        elif frame.function in (Primary.CONFIRMED_USER_DATA, Primary.RESET_LINK_STATES):
            self._out += self._secondary(Secondary.ACK)
        return frame.user_data or None

    def _secondary(self, function: Secondary) -> bytes:
        return LinkFrame(self.outstation, self.master, function, primary=False, from_master=True).encode()

    def _fragment(self, fragment: bytes) -> Iterator[Answer]:
        try:
            response = Response.decode(fragment)
        except ValueError as error:
            self.problems.append(str(error))
            return
        if response.function == Function.UNSOLICITED_RESPONSE:
            self._unsolicited(response)
            return
        if response.control.sequence != self._sequence:
            return  # late
        attributes: dict[int, str] = {}
        headers: list[ObjectHeader] = []
        try:
            rest = _attributes(response.objects, attributes)
            headers = parse_objects(rest, with_data=True)
        except ObjectError as error:
            self.problems.append(f"objects that cannot be read: {error}")
        values = tuple(_static_values(headers))
        events = sum(len(header.items) for header in headers if header.group in _EVENT_GROUPS)
        if response.control.con and not events:
            self._confirm(response.control)
        if not response.control.fin:
            self._sequence = (self._sequence + 1) & 0x0F
        yield Answer(response, values, events, attributes)

    def _unsolicited(self, response: Response) -> None:
        """The empty one with which an outstation begins takes no event away; one with events stays unconfirmed."""
        if response.objects:
            self.unsolicited += 1
        elif response.control.con:
            self._confirm(response.control)

    def _confirm(self, asked: Control) -> None:
        control = Control(fir=True, fin=True, con=False, uns=asked.uns, sequence=asked.sequence)
        self._out += self._frames(bytes((control.encode(), Function.CONFIRM)))

    def _frames(self, fragment: bytes) -> bytes:
        octets = bytearray()
        for part in segment(fragment, self._transport):
            frame = LinkFrame(
                self.outstation, self.master, Primary.UNCONFIRMED_USER_DATA, primary=True, from_master=True, user_data=part
            )
            octets += frame.encode()
            self._transport = (self._transport + 1) & 0x3F
        return bytes(octets)


def _static_values(headers: list[ObjectHeader]) -> Iterator[StaticValue]:
    for header in headers:
        row, kind = header.row, _TYPE_OF_STATIC.get(header.group)
        if row is None or kind is None or row.kind is not Kind.STATIC or header.indexes is None:
            continue
        for index, item in zip(header.indexes, header.items, strict=True):
            yield StaticValue(kind, index, header.variation, _reading(kind, row.bits, row.decode, item))


def _reading(kind: PointType, bits: int, decode: object, item: bytes) -> Reading:
    if bits:  # packed states carry no flags: by the standard they are online
        return Reading(item[0] if kind is PointType.DOUBLE_BIT_INPUT else bool(item[0]), int(Flag.ONLINE))
    reading = decode(item)  # type: ignore[operator]
    assert isinstance(reading, Reading)
    return reading


def _attributes(objects: bytes, found: dict[int, str]) -> bytes:
    """Takes device attributes (group 0, whose objects say their own length) from the front; the objects behind them.

    ObjectError where they are cut."""
    at = 0
    while objects[at : at + 1] == b"\0":
        if objects[at + 2 : at + 3] not in (b"\0", b"\x17") or at + 7 > len(objects):
            raise ObjectError(IIN.PARAMETER_ERROR, f"device attribute with qualifier {objects[at + 2 : at + 3].hex()}")
        variation, kind, length = objects[at + 1], objects[at + 5], objects[at + 6]
        data = objects[at + 7 : at + 7 + length]
        if len(data) < length:
            raise ObjectError(IIN.PARAMETER_ERROR, f"device attribute {variation} is cut")
        found[variation] = _attribute_text(kind, data)
        at += 7 + length
    return objects[at:]


def _attribute_text(kind: int, data: bytes) -> str:
    """The value of an attribute by its type code (IEEE 1815-2012, clause A.1)."""
    match kind:
        case 1:
            return data.decode("latin-1").strip("\0 ")
        case 2 | 3:
            return str(int.from_bytes(data, "little", signed=kind == 3))
        case 4 if len(data) in (4, 8):
            return f"{struct.unpack('<f' if len(data) == 4 else '<d', data)[0]:g}"
    return data.hex()
