"""SunSpec over Modbus: find out what a device offers (`scan`), and be such a device (`SunSpecServer`).

A map begins with the letters "SunS" at register 40000, 0 or 50000. Models follow one another, each ID, length, points, and the ID
0xFFFF ends them (SunSpec Device Information Model Specification V1.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protocols.modbus.adapter import Link
from protocols.modbus.bank import MemoryBank
from protocols.modbus.pdu import MAX_READ_REGISTERS, Function, ModbusException, Read
from protocols.modbus.points import (
    SCALE_FACTOR_LIMIT,
    Point,
    Table,
    Value,
    ValueType,
    raw_from_registers,
    raw_from_value,
    registers_from_raw,
    value_from_raw,
)
from protocols.modbus.sunspec_model import Layout, SunSpecError, count_points, definition, head_length, lay_out

MARK = b"SunS"
BASES = (40000, 0, 50000)
END_MODEL = 0xFFFF
_MOST_MODELS = 256  # a device that goes on for longer is broken


@dataclass(frozen=True)
class FoundModel:
    """A model of a scanned device. `layout` is None for a model without a definition; `note` says what is odd about it."""

    model_id: int
    address: int
    length: int
    layout: Layout | None
    note: str = ""


@dataclass(frozen=True)
class Scan:
    """What a device offers; `points` are ready to be polled, named `model.point`."""

    base: int
    models: tuple[FoundModel, ...]

    @property
    def points(self) -> list[Point]:
        return [point for model in self.models if model.layout is not None for point in model.layout.points.values()]


async def scan(link: Link, unit: int = 1) -> Scan:
    """Walk a device's models. Raises SunSpecError for no map or one without end; LinkError, ModbusException."""
    base = await _find_base(link, unit)
    address, models = base + 2, list[FoundModel]()
    seen: set[int] = set()
    while len(models) < _MOST_MODELS:
        # ID and length apart: some devices have no length after the end's ID.
        (model_id,) = await _registers(link, unit, address, 1)
        if model_id == END_MODEL:
            return Scan(base, tuple(models))
        (length,) = await _registers(link, unit, address + 1, 1)
        if address + 2 + length >= 0x10000:
            raise SunSpecError(f"model {model_id} at {address} claims {length} registers, past the end of the address space")
        models.append(await _found(link, unit, model_id, address, length, seen))
        seen.add(model_id)
        address += 2 + length
    raise SunSpecError(f"more than {_MOST_MODELS} models from {base} on: not a SunSpec map")


async def _find_base(link: Link, unit: int) -> int:
    refusals = []
    for base in BASES:
        try:
            registers = await _registers(link, unit, base, 2)
        except ModbusException as error:
            refusals.append(f"{base}: {error}")
            continue
        if b"".join(register.to_bytes(2, "big") for register in registers) == MARK:
            return base
        refusals.append(f"{base}: no 'SunS'")
    raise SunSpecError(f"{link.address} unit {unit} has no SunSpec map ({'; '.join(refusals)})")


async def _registers(link: Link, unit: int, address: int, count: int) -> list[int]:
    found = b""
    while len(found) < 2 * count:
        done = len(found) // 2
        part = Read(Function.READ_HOLDING_REGISTERS, address + done, min(count - done, MAX_READ_REGISTERS))
        found += (await link.request(unit, part))[0]
    return [int.from_bytes(found[i : i + 2], "big") for i in range(0, len(found), 2)]


async def _found(link: Link, unit: int, model_id: int, address: int, length: int, seen: set[int]) -> FoundModel:
    if model_id in seen:
        return FoundModel(model_id, address, length, None, "a second instance; the first is used")
    try:
        names, head = count_points(model_id), head_length(model_id)
    except SunSpecError as error:
        return FoundModel(model_id, address, length, None, str(error))
    if length + 2 < head:
        return FoundModel(model_id, address, length, None, f"shorter than the {head} registers that the definition begins with")
    counts: dict[str, int] = {}
    if names:
        registers = await _registers(link, unit, address, head)
        at = 0
        for point in definition(model_id)["points"]:
            if point["name"] in names:
                counts[point["name"]] = 0 if registers[at] == 0xFFFF else registers[at]
            at += int(point["size"])
    try:
        layout = lay_out(model_id, address, unit, counts)
    except SunSpecError as error:
        return FoundModel(model_id, address, length, None, str(error))
    if layout.length != length:
        return FoundModel(
            model_id, address, length, None, f"length {length} where {counts or 'the definition'} makes {layout.length}"
        )
    return FoundModel(model_id, address, length, layout)


class SunSpecServer:
    """A register bank that shows models, filled from plain values and written by clients where the definitions allow it.

    `on_write(values)` is told the flat names and engineering values of the points that a client has written; if it raises
    ModbusException, the write is undone and the client gets the exception.
    """

    def __init__(
        self,
        models: Mapping[int, Mapping[str, Any]],
        *,
        base: int = 40000,
        unit: int = 1,
        on_write: Callable[[dict[str, Value | None]], None] | None = None,
    ) -> None:
        """`models`: model ID -> values (see `sunspec_model`). Points not given are "not implemented"; scale factors are given like
        any other point. Raises SunSpecError for an unknown name, a missing scale factor or a wrong count, PointError for values."""
        self.bank = MemoryBank(self._written)
        self.layouts: dict[int, Layout] = {}
        self._point_at: dict[int, Point] = {}
        self._on_write = on_write
        if base not in BASES:
            raise SunSpecError(f"a SunSpec map begins at one of {BASES}, not {base}")
        self.bank.add(Table.HOLDING, base, MARK)
        address = base + 2
        for model_id, values in models.items():
            counts = _counts(model_id, values)
            layout = lay_out(model_id, address, unit, counts)
            for point in layout.points.values():
                empty = _not_implemented(point)
                self.bank.add(Table.HOLDING, point.address, empty, writable=point.access == "rw")
            self.layouts[model_id] = layout
            self._point_at.update({at: point for point in layout.points.values() for at in range(point.address, point.end)})
            self.update(model_id, {**values, **counts, "ID": model_id, "L": layout.length})
            address += 2 + layout.length
        self.bank.add(Table.HOLDING, address, END_MODEL.to_bytes(2, "big") + b"\0\0")

    def update(self, model_id: int, values: Mapping[str, Any]) -> None:
        """Set points of a model; nothing changes unless all values fit. None means "not implemented". Raises as the constructor."""
        layout = self.layouts[model_id]
        flat = {f"{model_id}.{name}": value for name, value in _flat(values)}
        unknown = [name for name in flat if name not in layout.points]
        if unknown:
            raise SunSpecError(f"model {model_id} has no point {', '.join(unknown)} (or a list has another length than before)")
        images: list[tuple[int, bytes]] = []
        for name, value in flat.items():
            point = layout.points[name]
            if value is None:
                images.append((point.address, _not_implemented(point)))
                continue
            exponent = 0 if point.scale_factor is None else self._exponent(layout, point, flat)
            images.append((point.address, registers_from_raw(point, raw_from_value(point, value, exponent))))
        for address, image in images:
            self.bank.set(Table.HOLDING, address, image)

    def _exponent(self, layout: Layout, point: Point, flat: Mapping[str, Any]) -> int:
        source = layout.points[point.scale_factor or ""]
        exponent = flat[source.name] if source.name in flat else self._raw(source)
        if not isinstance(exponent, int) or abs(exponent) > SCALE_FACTOR_LIMIT:
            raise SunSpecError(
                f"{point.name} needs the scale factor {source.name} as a whole number from -10 to 10, not {exponent}"
            )
        return exponent

    def _raw(self, point: Point) -> Value | None:
        return raw_from_registers(point, self.bank.read(Table.HOLDING, point.address, point.words))

    def value(self, name: str) -> Value | None:
        """What the registers of a point now say, in engineering units; None if not implemented. Raises KeyError."""
        layout = self.layouts[int(name.split(".", 1)[0])]
        point = layout.points[name]
        raw = self._raw(point)
        if raw is None or point.scale_factor is None:
            return raw if raw is None else value_from_raw(point, raw)
        exponent = self._raw(layout.points[point.scale_factor])
        return value_from_raw(point, raw, exponent) if isinstance(exponent, int) else None

    def _written(self, table: Table, address: int, count: int) -> None:
        if self._on_write is None or table is not Table.HOLDING:
            return
        names = dict.fromkeys(self._point_at[at].name for at in range(address, address + count))
        self._on_write({name: self.value(name) for name in names})


def _counts(model_id: int, values: Mapping[str, Any]) -> dict[str, int]:
    """How often each group repeats, from the lists given. Raises SunSpecError where a count and its lists, or two lists, differ."""
    counts: dict[str, int] = {}

    def visit(group: Mapping[str, Any], given: Mapping[str, Any], where: str) -> None:
        for child in group.get("groups", ()):
            inner = given.get(child["name"], [] if "count" in child else {})
            members: Sequence[Mapping[str, Any]] = inner if "count" in child else [inner]
            count = child.get("count")
            if isinstance(count, str) and (inner or where == ""):
                stated = values.get(count, counts.get(count, len(members)))
                if stated != len(members):
                    raise SunSpecError(
                        f"model {model_id}: {where}{child['name']} has {len(members)} members where {count} is {stated}"
                    )
                counts[count] = len(members)
            for i, member in enumerate(members):
                visit(child, member, f"{where}{child['name']}[{i}].")

    visit(definition(model_id), values, "")
    return {name: counts.get(name, values.get(name, 0)) for name in count_points(model_id)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, (list, tuple)):
            for i, member in enumerate(value):
                flat += _flat(member, f"{prefix}{name}[{i}].")
        else:
            flat.append((prefix + name, value))
    return flat


def _not_implemented(point: Point) -> bytes:
    if point.type is ValueType.STRING:
        return b"\0" * (2 * point.words)
    if point.type.is_float:
        return registers_from_raw(point, math.nan)
    return point.sentinels[0].to_bytes(2 * point.words, "big")
