"""Point maps as CSV: the columns, reading with every error at once, and writing what reads back as the same.

points = load_map(Path("recloser.csv"))        # MapError: `recloser.csv:3: max: ...`, a line for each thing that is wrong
text = map_text(points)                        # parse_map(text) == points
"""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from hil.points import (
    Direction,
    Fallback,
    FallbackKind,
    MapError,
    MapPoint,
    MapProblem,
    Operate,
    PointMap,
    PointTable,
    Protocol,
    Signal,
)

BOTH = frozenset(Protocol)
_DNP3, _MODBUS = frozenset((Protocol.DNP3,)), frozenset((Protocol.MODBUS,))


def _name(text: str) -> str:
    if any(not character.isprintable() or character.isspace() for character in text):
        raise ValueError(f"{text!r} has spaces or signs that cannot be printed; write a name without them")
    return text


def _whole(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"{text!r} is no whole number; write for instance 12 or 0x0C") from None


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is no finite number; write for instance 0.5")
    return number


def _yes_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError(f"{text!r} is neither yes nor no")
    return text == "yes"


def _word(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is not known; {choice(text, words)}")
        return text

    return parse


def _list(parse: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    return lambda text: tuple(parse(part.strip()) for part in text.split("|"))


def _fallback(text: str) -> Fallback:
    kind, equals, value = text.partition("=")
    if kind not in tuple(FallbackKind) or bool(equals) != (kind in ("value", "release")):
        raise ValueError(f"{text!r} is no fallback; write hold, last, value=NUMBER or release=NUMBER")
    return Fallback(FallbackKind(kind), _number(value) if equals else None)


def choice(wrong: str, known: tuple[str, ...]) -> str:
    """`did you mean x?` where something is like it, else what there is."""
    close = difflib.get_close_matches(wrong.lower(), known, n=1, cutoff=0.7)
    return f"did you mean {close[0]}?" if close else f"write one of {', '.join(known)}"


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "|".join(map(str, value))
    return repr(value) if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, the field of `MapPoint`, what it means, how a cell is read, and which protocols have it."""

    name: str
    field: str
    doc: str
    parse: Callable[[str], Any]
    protocols: frozenset[Protocol] = BOTH


_CODES = ("latch_on", "latch_off", "pulse_on", "pulse_off", "close", "trip")
_TYPES = ("u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64", "bit", "string", "i16", "i32")
COLUMNS: tuple[Column, ...] = (
    Column("name", "name", "unique in the map", _name),
    Column("signal", "signal", "what it stands for in the simulation: federate.port:id (empty: nothing)", Signal.parse),
    Column("direction", "direction", "read, or write for a command (default read)", lambda t: Direction(_word(*Direction)(t))),
    Column("table", "table", f"where it is: {', '.join(PointTable)}", lambda t: PointTable(_word(*PointTable)(t))),
    Column("address", "address", "register, bit or index; 0x for hexadecimal", _whole),
    Column("address_base", "address_base", "what the first address is called: 0 (default), 1, 40001, ...", _whole, _MODBUS),
    Column("unit_id", "unit_id", "Modbus unit, 0 to 255 (default 1)", _whole, _MODBUS),
    Column(
        "type", "type", "Modbus: u16 s16 u32 s32 u64 s64 f32 f64 bit string. Analog output of DNP3: i16 i32 f32 f64", _word(*_TYPES)
    ),
    Column("order", "order", "bytes on the wire: ABCD (default), CDAB, BADC, DCBA", _word("ABCD", "CDAB", "BADC", "DCBA"), _MODBUS),
    Column("bit", "bit", "bit of a register, 0 (least) to 15", _whole, _MODBUS),
    Column("length", "length", "registers of a string", _whole, _MODBUS),
    Column("write_function", "write_function", "5, 6, 15, 16, 22 or 23 (default: chosen)", _whole, _MODBUS),
    Column("scale", "scale", "engineering value = raw x scale + offset (default 1)", _number),
    Column("offset", "offset", "see scale (default 0)", _number),
    Column("scale_factor", "scale_factor", "name of the point that holds the SunSpec power of ten", _name, _MODBUS),
    Column("sentinels", "sentinels", "raw bit patterns that mean 'not implemented', as 0x8000|0xFFFF", _list(_whole), _MODBUS),
    Column("unit", "unit", "unit of the engineering value, as in a port (default 1)", str),
    Column("min", "minimum", "smallest value that may be sent; needed to write a number", _number),
    Column("max", "maximum", "largest value that may be sent; needed to write a number", _number),
    Column("rate_per_s", "rate_per_s", "largest change of the commanded value in a second (empty: any)", _number),
    Column("min_interval_s", "min_interval_s", "shortest time between two commands (default 0)", _number),
    Column(
        "codes", "codes", f"control codes that may be sent, as trip|close, of {', '.join(_CODES)}", _list(_word(*_CODES)), _DNP3
    ),
    Column("operate", "operate", "sbo (select before operate, default) or direct", lambda t: Operate(_word(*Operate)(t)), _DNP3),
    Column("on_ms", "on_ms", "length of a pulse (default 100)", _whole, _DNP3),
    Column("off_ms", "off_ms", "pause after a pulse (default 100)", _whole, _DNP3),
    Column("fallback", "fallback", "hold, last, value=NUMBER or release=NUMBER; needed to write", _fallback),
    Column("deadband", "deadband", "smallest change that is an event when we are the device (default 0)", _number),
    Column("class", "event_class", "event class 1 (default), 2, 3; 0: no events", _whole, _DNP3),
    Column(
        "static_variation", "static_variation", "number within the static group (default: with flags, analogs f32)", _whole, _DNP3
    ),
    Column("event_variation", "event_variation", "number within the event group (default: with time)", _whole, _DNP3),
    Column("readback", "readback", "yes (default) or no: read a written value back", _yes_no),
    Column("tolerance", "tolerance", "largest difference read back (default: half a raw step)", _number),
    Column("settle_s", "settle_s", "time until a written value can be read back (default 0)", _number),
    Column(
        "clock",
        "clock",
        "the row is the device's clock: s since the beginning of 1970 or 2000, UTC",
        _word("1970", "2000"),
        _MODBUS,
    ),
    Column("note", "note", "for people", str),
)
BY_NAME: Mapping[str, Column] = {column.name: column for column in COLUMNS}
_NEEDED = ("name", "table", "address")
_DEFAULTS = {f.name: f.default for f in fields(MapPoint) if f.default is not MISSING}


def load_map(path: Path | str) -> PointMap:
    """Reads and checks a map. MapError with all problems, also for a file that cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise MapError([MapProblem(str(path), 1, "file", f"cannot be read: {error.strerror or error}")]) from error
    except UnicodeDecodeError as error:
        raise MapError([MapProblem(str(path), 1, "file", f"is not UTF-8 text: {error}; save it as UTF-8 CSV")]) from error
    return parse_map(text, str(path))


def parse_map(text: str, file: str = "map.csv") -> PointMap:
    """Reads and checks the text of a map. MapError with all problems, each with its line in `file`."""
    from hil.point_rules import check_map

    problems: list[MapProblem] = []
    points: list[MapPoint] = []
    whole = True
    for line, cells in _rows(text, file, problems):
        before = len(problems)
        point = _point(cells, file, line, problems)
        if point is not None:
            points.append(point)
        whole = whole and len(problems) == before
    if not points and not problems:
        problems.append(MapProblem(file, 2, "name", "the map has no points; write a row for each point of the device"))
    found = PointMap(tuple(points), file)
    # Rows that could not be read are left out of the checks; the others are told what is wrong with them at once.
    problems += check_map(found, rows_missing=not whole)
    if problems:
        raise MapError(problems)
    return found


def _rows(text: str, file: str, problems: list[MapProblem]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line of its beginning, cells by column) of each row that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begins = 1
    names: list[str] | None = None
    try:
        for cells in reader:
            line, begins = begins, reader.line_num + 1
            stripped = [cell.strip() for cell in cells]
            if not any(stripped):
                continue
            if names is None:
                names = stripped
                if not _good_head(names, file, line, problems):
                    return
            elif len(stripped) > len(names) and any(stripped[len(names) :]):
                extra = f"the row has {len(stripped)} cells under {len(names)} columns; put quotes around a cell with a comma"
                problems.append(MapProblem(file, line, "row", extra))
            else:
                yield line, {name: cell for name, cell in zip(names, stripped, strict=False) if cell}
    except csv.Error as error:
        problems.append(MapProblem(file, begins, "row", f"is no CSV: {error}"))
    if names is None and not problems:
        problems.append(MapProblem(file, 1, "file", f"is empty; begin with a line of columns: {','.join(_NEEDED)}, ..."))


def _good_head(names: list[str], file: str, line: int, problems: list[MapProblem]) -> bool:
    before = len(problems)
    for name in sorted(set(names)):
        if name not in BY_NAME:
            problems.append(MapProblem(file, line, name or "(empty)", f"there is no such column; {choice(name, tuple(BY_NAME))}"))
        elif names.count(name) > 1:
            problems.append(MapProblem(file, line, name, f"the column is there {names.count(name)} times; keep one"))
    for name in _NEEDED:
        if name not in names:
            problems.append(MapProblem(file, line, name, "the column is missing; every point needs it"))
    return len(problems) == before


def _point(cells: dict[str, str], file: str, line: int, problems: list[MapProblem]) -> MapPoint | None:
    """The row as a point; None where a cell cannot be read or belongs to the other protocol."""
    values: dict[str, Any] = {}
    before = len(problems)
    for name, cell in cells.items():
        column = BY_NAME[name]
        try:
            values[column.field] = column.parse(cell)
        except ValueError as error:
            problems.append(MapProblem(file, line, name, str(error)))
    for name in _NEEDED:
        if name not in cells:
            problems.append(MapProblem(file, line, name, "is empty; every point needs it"))
    table = values.get("table")
    if table is not None:
        for name in cells:
            if table.protocol not in BY_NAME[name].protocols:
                other = f"belongs to {next(iter(BY_NAME[name].protocols))}, and {table} is {table.protocol}: leave it empty"
                problems.append(MapProblem(file, line, name, other))
    return None if len(problems) > before else MapPoint(**values, line=line)


def map_text(point_map: PointMap) -> str:
    """The map as CSV: the columns that any point uses, cells empty where a point has the default."""
    rows = [{column.name: _cell(point, column) for column in COLUMNS} for point in point_map.points]
    used = [column.name for column in COLUMNS if column.name in _NEEDED or any(row[column.name] for row in rows)]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, used, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _cell(point: MapPoint, column: Column) -> str:
    value = getattr(point, column.field)
    return "" if column.field in _DEFAULTS and value == _DEFAULTS[column.field] else _show(value)
