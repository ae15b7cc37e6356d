"""What is wrong with a point map: each row by itself, then the rows together. Every problem names its column and what to write."""

from __future__ import annotations

from collections.abc import Iterator

from federates.runtime.units import UNITS
from hil.point_dnp3 import CODES, code_for, default_variations, variation_exists
from hil.points import Direction, FallbackKind, MapPoint, MapProblem, PointMap, PointTable, Protocol

Found = Iterator[tuple[str, str]]
"""(column, message)"""

_BASES = {
    0: tuple(PointTable),
    1: tuple(PointTable),
    10001: (PointTable.DISCRETE,), 100001: (PointTable.DISCRETE,),
    30001: (PointTable.INPUT,), 300001: (PointTable.INPUT,),
    40001: (PointTable.HOLDING,), 400001: (PointTable.HOLDING,),
}  # fmt: skip
_REGISTERS = {"u16": 1, "s16": 1, "bit": 1, "u32": 2, "s32": 2, "f32": 2, "u64": 4, "s64": 4, "f64": 4}
_PREFIXES = {"k": 1e3, "M": 1e6, "G": 1e9, "m": 1e-3}
_COMMAND_RANGE = {
    "i16": (-0x8000, 0x7FFF),
    "i32": (-0x8000_0000, 0x7FFF_FFFF),
    "f32": (-3.4e38, 3.4e38),
    "f64": (-1.7e308, 1.7e308),
}
_COMMAND_TYPES = tuple(_COMMAND_RANGE)
_CLOCK_TYPES = ("u32", "s32", "u64", "s64")
_NOT_NEGATIVE = (
    ("min_interval_s", "min_interval_s"),
    ("deadband", "deadband"),
    ("tolerance", "tolerance"),
    ("settle_s", "settle_s"),
)
_ONLY_WRITE = (
    ("min", "minimum", None), ("max", "maximum", None), ("rate_per_s", "rate_per_s", None),
    ("min_interval_s", "min_interval_s", 0.0), ("codes", "codes", ()), ("fallback", "fallback", None),
    ("tolerance", "tolerance", None), ("settle_s", "settle_s", 0.0), ("write_function", "write_function", None),
)  # fmt: skip
U32_MAX = 0xFFFF_FFFF


def check_map(point_map: PointMap, *, rows_missing: bool = False) -> list[MapProblem]:
    """Everything wrong with the map. `rows_missing`: some rows could not be read, so a name that is not found is not reported."""
    problems = []
    for point in point_map.points:
        rows = list(_row(point))
        if not rows and point.table.protocol is Protocol.MODBUS:
            rows += _modbus_type_holds(point)
        problems += [MapProblem(point_map.file, point.line, column, message) for column, message in rows]
    together = [*_one_protocol(point_map), *_names(point_map), *_places(point_map)]
    if not rows_missing:
        together += _scale_factors(point_map)
    problems += [MapProblem(point_map.file, point.line, column, message) for point, column, message in together]
    return problems


def _row(point: MapPoint) -> Found:
    yield from _common(point)
    yield from _dnp3(point) if point.table.protocol is Protocol.DNP3 else _modbus(point)
    yield from _command(point) if point.is_write else _reading(point)


def _common(point: MapPoint) -> Found:
    if point.unit not in UNITS:
        yield "unit", _unit_message(point.unit)
    if point.is_write and not point.table.is_writable:
        yield "direction", f"a point of table {point.table} is only read; write read"
    if point.scale == 0:
        yield "scale", "a scale of 0 makes every value the offset; write what one raw step is worth"
    is_state = point.is_binary or point.table is PointTable.DOUBLE_BIT_INPUT
    if (is_state or point.is_text) and (point.scale != 1 or point.offset):
        yield "scale", "a state or a text is not scaled; leave scale and offset empty"
    for column, name in _NOT_NEGATIVE:
        value = getattr(point, name)
        if value is not None and value < 0:
            yield column, f"{value:g} is negative; write 0 or more"
    if point.rate_per_s is not None and point.rate_per_s <= 0:
        yield "rate_per_s", f"{point.rate_per_s:g} allows no change at all; write more than 0, or leave it empty for any"
    for column, value in (("on_ms", point.on_ms), ("off_ms", point.off_ms)):
        if not 0 <= value <= U32_MAX:
            yield column, f"{value} is not in 0..{U32_MAX}"
    if point.is_text and point.signal is not None:
        yield "signal", "no signal carries text; leave it empty"


def _unit_message(unit: str) -> str:
    if unit[:1] in _PREFIXES and unit[1:] in UNITS:
        return f"{unit!r} is not known; write {unit[1:]} and multiply scale and offset by {_PREFIXES[unit[0]]:g}"
    return f"{unit!r} is not known; write one of {', '.join(UNITS)}"


def _dnp3(point: MapPoint) -> Found:
    if not 0 <= point.address <= 0xFFFF:
        yield "address", f"{point.address} is no index; write 0 to 65535"
    if not 0 <= point.event_class <= 3:
        yield "class", f"{point.event_class} is no class; write 1, 2, 3, or 0 for no events"
    if point.type and not (point.table is PointTable.ANALOG_OUTPUT and point.type in _COMMAND_TYPES):
        yield (
            "type",
            f"is for analog outputs, one of {', '.join(_COMMAND_TYPES)}; the variation says how a value is sent to masters",
        )
    for column, variation in (("static_variation", point.static_variation), ("event_variation", point.event_variation)):
        if variation and not variation_exists(point.table, column == "event_variation", variation):
            default = default_variations(point.table)[column == "event_variation"]
            yield column, f"{point.table} has no variation {variation} of that kind; leave it empty for {default}"


def _modbus(point: MapPoint) -> Found:
    is_bits = point.table.is_binary
    if point.address_base not in _BASES:
        yield "address_base", f"{point.address_base} is not known; write one of {', '.join(map(str, _BASES))}"
    elif point.table not in _BASES[point.address_base]:
        yield "address_base", f"{point.address_base} counts {_BASES[point.address_base][0]} points, and this one is {point.table}"
    elif not 0 <= point.wire_address <= 0x10000 - registers(point):
        first, last = point.address_base, point.address_base + 0x10000 - registers(point)
        yield "address", f"{point.address} is outside {first}..{last}, where a point of this length can be"
    if not 0 <= point.unit_id <= 255:
        yield "unit_id", f"{point.unit_id} is not in 0..255"
    if is_bits and point.type not in ("", "bit"):
        yield "type", f"a {point.table} is one bit; leave it empty"
    if not is_bits and point.type not in (*_REGISTERS, "string"):
        yield "type", f"a register needs a type; write one of {', '.join(_REGISTERS)}, string"
    if (point.bit is not None) != (point.type == "bit" and not is_bits):
        yield "bit", "a bit number belongs to type bit in a register, and is needed there"
    elif point.bit is not None and not 0 <= point.bit <= 15:
        yield "bit", f"{point.bit} is not in 0..15"
    if (point.type == "string") != (point.length > 0):
        yield "length", "registers of a string: needed there, 1 to 125, and empty elsewhere"
    if point.scale_factor and (is_bits or point.type in ("bit", "string")):
        yield "scale_factor", "a bit or a text is not scaled; leave it empty"
    if point.clock:
        yield from _clock(point)


def _clock(point: MapPoint) -> Found:
    if point.is_write:
        yield "clock", "a device's clock is read here, not set; write it in a row of direction read"
    if point.type not in _CLOCK_TYPES or point.scale_factor:
        yield (
            "clock",
            f"needs a whole number that is not scaled by another point; write one of {', '.join(_CLOCK_TYPES)} as its type",
        )
    if point.unit != "s":
        yield (
            "unit",
            f"a clock counts seconds, not {point.unit}; write s, and a scale of 0.001 where the register counts milliseconds",
        )


def _modbus_type_holds(point: MapPoint) -> Found:
    """What only the protocol package knows: write functions, sentinels, strings, and whether the limits fit the type."""
    from hil.point_modbus import modbus_point
    from protocols.modbus import PointError
    from protocols.modbus.points import raw_from_value, registers_from_raw

    try:
        compiled = modbus_point(point)
    except PointError as error:
        message = str(error).split(": ", 1)[-1]
        column = next(
            (name for name in ("sentinels", "write_function", "order", "length") if name.split("_")[0] in message), "type"
        )
        yield column, message.replace("write function", "function")
        return
    if not point.is_write or point.scale_factor or point.is_binary or point.is_text:
        return
    values = [("min", point.minimum), ("max", point.maximum)]
    if point.fallback is not None:
        values.append(("fallback", point.fallback.value))
    for column, value in values:
        try:
            if value is not None:
                registers_from_raw(compiled, raw_from_value(compiled, value))
        except PointError as error:
            yield column, f"{value:g} cannot be sent: {str(error).split(': ', 1)[-1]}"


def _reading(point: MapPoint) -> Found:
    for column, name, default in _ONLY_WRITE:
        if getattr(point, name) != default:
            yield column, "is for points that are commanded; leave it empty, or set direction to write"


def _command(point: MapPoint) -> Found:
    if point.fallback is None:
        yield "fallback", "is needed to write: hold, last, value=NUMBER or release=NUMBER, for when the run or its lease ends"
    if point.table is PointTable.BINARY_OUTPUT and not point.codes:
        yield "codes", f"is needed to operate it: what the device takes, of {'|'.join(CODES)}"
    if point.table is not PointTable.BINARY_OUTPUT and point.codes:
        yield "codes", "is for binary outputs of DNP3; leave it empty"
    if len(set(point.codes)) < len(point.codes):
        yield "codes", "names a code twice"
    value = None if point.fallback is None else point.fallback.value
    if point.is_binary:
        yield from _binary_command(point, value)
    elif not point.is_text:
        yield from _number_command(point, value)


def _binary_command(point: MapPoint, fallback: float | None) -> Found:
    for column, limit in (("min", point.minimum), ("max", point.maximum), ("rate_per_s", point.rate_per_s)):
        if limit is not None:
            yield column, "a point of two states has none; leave it empty"
    if fallback is not None and fallback not in (0, 1):
        yield "fallback", f"{fallback:g} is no state; write 0 or 1"
    elif fallback is not None and point.codes and code_for(point, fallback) is None:
        yield "fallback", f"no code in {'|'.join(point.codes)} sends {fallback:g}; add one, or write another fallback"


def _number_command(point: MapPoint, fallback: float | None) -> Found:
    for column, limit in (("min", point.minimum), ("max", point.maximum)):
        if limit is None:
            yield column, "is needed to write a number; nothing outside the limits is ever sent"
    if point.minimum is None or point.maximum is None:
        return
    if point.table is PointTable.ANALOG_OUTPUT and point.scale:
        low, high = _COMMAND_RANGE[point.type or "f32"]
        for column, limit in (("min", point.minimum), ("max", point.maximum)):
            if not low <= (limit - point.offset) / point.scale <= high:
                encoding = point.type or "f32"
                yield (
                    column,
                    f"{limit:g} does not fit into {encoding} at a scale of {point.scale:g}; choose a wider type or narrower limits",
                )
    if point.minimum > point.maximum:
        yield "min", f"{point.minimum:g} is above max {point.maximum:g}; exchange them"
    elif fallback is not None and not point.minimum <= fallback <= point.maximum and _is_limited(point):
        yield "fallback", f"{fallback:g} is outside {point.minimum:g}..{point.maximum:g}; write a value that may be sent"


def _is_limited(point: MapPoint) -> bool:
    """HOLD and LAST send nothing new."""
    return point.fallback is not None and point.fallback.kind in (FallbackKind.VALUE, FallbackKind.RELEASE)


Together = Iterator[tuple[MapPoint, str, str]]


def _one_protocol(point_map: PointMap) -> Together:
    for point in point_map.points[1:]:
        if point.table.protocol is not point_map.protocol:
            first = point_map.points[0]
            other = f"{point.table} is {point.table.protocol}, and line {first.line} is {point_map.protocol}: write two maps"
            yield point, "table", other


def _names(point_map: PointMap) -> Together:
    seen: dict[str, MapPoint] = {}
    for point in point_map.points:
        first = seen.setdefault(point.name, point)
        if first is not point:
            yield point, "name", f"{point.name!r} is already on line {first.line}; names are unique in a map"


def registers(point: MapPoint) -> int:
    """Registers (or bits) that a Modbus point takes."""
    return point.length or _REGISTERS.get(point.type, 1)


def _places(point_map: PointMap) -> Together:
    """Points where others are already. Reading back at the place of a command is what a second row may do."""
    by_table: dict[tuple[PointTable, int], list[MapPoint]] = {}
    for point in point_map.points:
        by_table.setdefault((point.table, point.unit_id), []).append(point)
    for members in by_table.values():
        members.sort(key=lambda point: (point.wire_address, point.line))
        open_: list[MapPoint] = []
        for point in members:
            open_ = [other for other in open_ if other.wire_address + registers(other) > point.wire_address]
            clash = next((other for other in open_ if not _may_share(other, point)), None)
            if clash is not None:
                later, earlier = sorted((point, clash), key=lambda one: -one.line)
                yield later, "address", _clash_message(later, earlier)
            open_.append(point)


def _may_share(one: MapPoint, other: MapPoint) -> bool:
    same = (one.wire_address, registers(one), one.type, one.order, one.bit) == (
        other.wire_address, registers(other), other.type, other.order, other.bit,
    )  # fmt: skip
    if one.table.protocol is Protocol.DNP3 or same:
        return {one.direction, other.direction} == set(Direction)
    bits_apart = one.bit is not None and other.bit is not None and one.bit != other.bit
    bit_and_register = (one.bit is None) != (other.bit is None) and registers(one) == registers(other) == 1
    return bits_apart or bit_and_register


def _clash_message(point: MapPoint, other: MapPoint) -> str:
    if point.wire_address == other.wire_address and registers(point) == registers(other):
        return (
            f"{point.address} is already {other.name!r} of line {other.line}; one place is one row, or one to read and one to write"
        )
    last = other.address + registers(other) - 1
    return f"{point.address} lies in {other.name!r} of line {other.line}, which takes {other.address}..{last}"


def _scale_factors(point_map: PointMap) -> Together:
    by_name = {point.name: point for point in point_map.points}
    for point in point_map.points:
        if not point.scale_factor:
            continue
        source = by_name.get(point.scale_factor)
        if source is None:
            yield point, "scale_factor", f"there is no point {point.scale_factor!r} in the map; add its row (type s16)"
        elif source.type != "s16" or source.unit_id != point.unit_id or source.is_write or source.scale_factor or source.scale != 1:
            yield (
                point,
                "scale_factor",
                f"{source.name!r} on line {source.line} must be read, an unscaled s16 and of the same unit_id",
            )
