"""A DNP3 frame in prose, for logs, teaching and the desk at which a bench does not work.

    >>> print(explain(bytes.fromhex("056405c001000004e921")))
    Link frame from master 1024 to outstation 1: reset link states, no user data.

The lines go from the outside in: the link frame, the transport segment, the application fragment, then each object header and its
objects. Damage is described, never raised.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from .application import IIN, WITH_DATA, Control, Function, ObjectError, ObjectHeader, Qualifier, parse_objects
from .link import BROADCAST, LinkFrame, LinkParser, Primary, Secondary
from .objects import GROUPS, Kind
from .transport import FIN, FIR
from .values import AnalogCommand, CommandStatus, ControlCode, Crob, DoubleBit, Flag, PointType, Reading

_ANALOG = (PointType.ANALOG_INPUT, PointType.ANALOG_OUTPUT)
_BINARY_INPUTS = (PointType.BINARY_INPUT, PointType.DOUBLE_BIT_INPUT)
_FIELD_WORDS = {
    "i16": "16-bit",
    "i32": "32-bit",
    "u16": "16-bit",
    "u32": "32-bit",
    "f32": "float",
    "f64": "double",
    "bit": "packed",
    "bit2": "packed",
}


def explain(octets: bytes) -> str:
    """What `octets`, one or more link frames, mean; one line per layer and object.

    Fragments that span several frames are explained from their first segment on, as far as it goes; join them with
    `transport.Reassembler` and use `explain_fragment` to see the rest.
    """
    parser = LinkParser()
    lines: list[str] = []
    for frame in parser.feed(octets):
        lines += _frame_lines(frame)
    counts = parser.counts
    if counts.bad_crc:
        lines.append(f"Damaged: {counts.bad_crc} frame(s) with a wrong check word.")
    if counts.bad_length:
        lines.append(f"Damaged: {counts.bad_length} header(s) with a length below 5.")
    if counts.skipped_octets:
        lines.append(f"{counts.skipped_octets} octet(s) outside of any frame.")
    return "\n".join(lines) if lines else f"{len(octets)} octet(s) that make no complete frame."


def explain_fragment(fragment: bytes) -> str:
    """What an application fragment means."""
    return "\n".join(_fragment_lines(fragment))


def _words(name: str) -> str:
    return name.replace("_", " ").lower()


def _flag_words(flags: Flag | IIN) -> str:
    return ", ".join(_words(flag.name or "") for flag in flags)


def _frame_lines(frame: LinkFrame) -> list[str]:
    sender, receiver = ("master", "outstation") if frame.from_master else ("outstation", "master")
    kinds: type[Primary] | type[Secondary] = Primary if frame.primary else Secondary
    known = {int(kind): _words(kind.name) for kind in kinds}
    function = known.get(frame.function, f"reserved function {frame.function}")
    to = "every outstation" if frame.destination in BROADCAST else f"{receiver} {frame.destination}"
    amount = f"{len(frame.user_data)} octets of user data" if frame.user_data else "no user data"
    lines = [f"Link frame from {sender} {frame.source} to {to}: {function}, {amount}."]
    if not frame.user_data:
        return lines
    head = frame.user_data[0]
    place = {FIR | FIN: "the only", FIR: "the first", FIN: "the last", 0: "a middle"}[head & (FIR | FIN)]
    lines.append(f"Transport: {place} segment, number {head & 0x3F}.")
    if head & FIR:
        lines += _fragment_lines(frame.user_data[1:], complete=bool(head & FIN))
    return lines


def _fragment_lines(fragment: bytes, *, complete: bool = True) -> list[str]:
    if len(fragment) < 2:
        return ["Application: too short for a control octet and a function code."]
    control = Control.decode(fragment[0])
    try:
        name = _words(Function(fragment[1]).name)
    except ValueError:
        name = f"unknown function {fragment[1]}"
    notes = [f"sequence {control.sequence}"]
    notes += ["confirmation requested"] if control.con else []
    notes += ["unsolicited"] if control.uns else []
    if not (control.fir and control.fin):
        notes.append("first of several fragments" if control.fir else "last fragment" if control.fin else "middle fragment")
    lines = [f"Application: {name} ({', '.join(notes)})."]
    response = fragment[1] in (Function.RESPONSE, Function.UNSOLICITED_RESPONSE)
    objects = fragment[2:]
    if response:
        if len(fragment) < 4:
            return [*lines, "The internal indications are missing."]
        iin = IIN(int.from_bytes(fragment[2:4], "little") & 0x3FFF)
        lines.append(f"Indications: {_flag_words(iin)}." if iin else "Indications: none.")
        objects = fragment[4:]
    try:
        headers = parse_objects(objects, with_data=response or fragment[1] in WITH_DATA)
    except ObjectError as error:
        missing = "" if complete else " (the fragment goes on in the next segment)"
        return [*lines, f"The objects cannot be read: {error}{missing}."]
    for header in headers:
        lines += _header_lines(header)
    return lines


def _header_lines(header: ObjectHeader) -> list[str]:
    known = GROUPS.get(header.group)
    title = known[2] if known else "unknown object"
    row = header.row
    if header.variation == 0:
        kind = f"any variation of group {header.group}, {title}"
    else:
        kind = f"g{header.group}v{header.variation}, {title}{_layout_words(header)}"
    match header.indexes:
        case range() as span:
            which = f"points {span[0]} to {span[-1]}" if len(span) > 1 else f"point {span[0]}"
        case tuple():
            which = f"{len(header.indexes)} point(s) by index"
        case None:
            which = f"count {header.limit}" if header.qualifier is not Qualifier.ALL else "all"
    if header.group == 60:
        kind = f"class {header.variation - 1} data" if header.variation else "class data"
    lines = [f"  {kind}: {which}."]
    if row is None:
        return lines
    indexes = header.indexes if header.indexes is not None else range(len(header.items))
    for index, item in zip(indexes, header.items, strict=False):
        lines.append(f"    [{index}] {_item_words(header, item)}")
    return lines


def _layout_words(header: ObjectHeader) -> str:
    row = header.row
    if row is None or row.kind not in (Kind.STATIC, Kind.EVENT, Kind.COMMAND):
        return ""
    words = [_FIELD_WORDS[field] for field in row.layout.split() if field in _FIELD_WORDS]
    parts = ["flags"] if row.flagged else []
    parts += ["relative time"] if row.relative_time else ["time"] if row.timed else []
    words += [f"with {' and '.join(parts)}"] if parts else []
    return f" ({' '.join(words)})" if words else ""


def _item_words(header: ObjectHeader, item: bytes) -> str:
    row = header.row
    assert row is not None
    if row.bits:
        if header.group == 80:
            return f"set to {item[0]}"
        return _words(DoubleBit(item[0]).name) if row.bits == 2 else ("on" if item[0] else "off")
    value = row.decode(item)
    if isinstance(value, Crob):
        times = f"{value.count} time(s), {value.on_ms} ms on, {value.off_ms} ms off"
        return f"{_control_words(value.code)}, {times}, {_status_words(value.status)}"
    if isinstance(value, AnalogCommand):
        return f"{value.value:g}, {_status_words(value.status)}"
    assert isinstance(value, Reading)
    if row.group == 52:
        return f"{value.time_ms} {'s' if row.variation == 1 else 'ms'}"
    if row.kind is Kind.TIME:
        return _time_words(value.time_ms or 0)
    return _reading_words(row.point, row.flagged, value, row.relative_time)


def _reading_words(point: PointType | None, flagged: bool, reading: Reading, relative: bool) -> str:
    match reading.value:
        case bytes() as text:
            words = repr(text)
        case bool() as state:
            words = "on" if state else "off"
        case int() as state if point is PointType.DOUBLE_BIT_INPUT:
            words = _words(DoubleBit(state).name)
        case float() as number:
            words = f"{number:.9g}"
        case other:
            words = str(other)
    if flagged:
        words += f" ({_quality_words(point, reading.flags)})"
    if reading.time_ms is not None:
        words += f" {reading.time_ms} ms later" if relative else f" at {_time_words(reading.time_ms)}"
    return words


def _quality_words(point: PointType | None, flags: int) -> str:
    bit5 = "over range" if point in _ANALOG else "chatter filter" if point in _BINARY_INPUTS else "rollover"
    bit6 = "reference error" if point in _ANALOG else "discontinuity"
    names = {1: "online", 2: "restart", 4: "communication lost", 8: "remote forced", 16: "local forced", 32: bit5, 64: bit6}
    return ", ".join(name for bit, name in names.items() if flags & bit) or "offline"


def _control_words(code: int) -> str:
    try:
        return _words(ControlCode(code).name)
    except ValueError:
        return f"control code 0x{code:02X}"


def _status_words(status: int) -> str:
    try:
        return f"status {_words(CommandStatus(status).name)}"
    except ValueError:
        return f"status {status}"


def _time_words(time_ms: int) -> str:
    try:
        moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=time_ms)
    except OverflowError:
        return f"{time_ms} ms since 1970"
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{time_ms % 1000:03d} UTC"
