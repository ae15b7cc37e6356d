"""SunSpec information models laid out in registers. The definitions are the JSON files inside the package pysunspec2.

Values of a model are plain data: `{"W": 4200, "W_SF": 0}`, groups as nested mappings, repeating groups as lists of mappings:
`{"NCrv": 1, "Crv": [{"ActPt": 2, "Pt": [{"V": 92, "Var": 30}, {"V": 108, "Var": -30}]}]}`. In flat form the same points are named
`Crv[0].Pt[1].V`. Values are engineering values wherever the model defines a scale factor.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocols.modbus.points import Point, PointError, Table, ValueType

SERVED_MODELS = (1, *range(701, 715))

# SunSpec type -> our type and the bit pattern of "not implemented" (SunSpec Device Information Model Specification, point types).
_TYPES: dict[str, tuple[ValueType, int | None]] = {
    "int16": (ValueType.S16, 0x8000),
    "uint16": (ValueType.U16, 0xFFFF),
    "count": (ValueType.U16, 0xFFFF),
    "acc16": (ValueType.U16, 0),
    "enum16": (ValueType.U16, 0xFFFF),
    "bitfield16": (ValueType.U16, 0xFFFF),
    "sunssf": (ValueType.S16, 0x8000),
    "pad": (ValueType.U16, 0x8000),
    "int32": (ValueType.S32, 0x8000_0000),
    "uint32": (ValueType.U32, 0xFFFF_FFFF),
    "acc32": (ValueType.U32, 0),
    "enum32": (ValueType.U32, 0xFFFF_FFFF),
    "bitfield32": (ValueType.U32, 0xFFFF_FFFF),
    "ipaddr": (ValueType.U32, 0),
    "int64": (ValueType.S64, 0x8000_0000_0000_0000),
    "uint64": (ValueType.U64, 0xFFFF_FFFF_FFFF_FFFF),
    "acc64": (ValueType.U64, 0),
    "float32": (ValueType.F32, None),
    "float64": (ValueType.F64, None),
    "string": (ValueType.STRING, None),
    "eui48": (ValueType.U64, 0xFFFF_FFFF_FFFF),
}


class SunSpecError(ValueError):
    """A model, its values, or what a device shows does not follow SunSpec; the message says where."""


@functools.cache
def definition(model_id: int) -> dict[str, Any]:
    """The top group of a model's definition. Raises SunSpecError if pysunspec2 is not installed or has no such model."""
    package = importlib.util.find_spec("sunspec2")
    if package is None or not package.submodule_search_locations:
        raise SunSpecError("SunSpec model definitions are not installed: pip install pysunspec2")
    path = Path(package.submodule_search_locations[0]) / "models" / "json" / f"model_{model_id}.json"
    if not path.is_file():
        raise SunSpecError(f"there is no definition of SunSpec model {model_id} in {path.parent}")
    group: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["group"]
    return group


@dataclass(frozen=True)
class Layout:
    """A model at an address: its points by flat name, its length after the two registers ID and L."""

    model_id: int
    address: int
    points: Mapping[str, Point]
    length: int


def count_points(model_id: int) -> list[str]:
    """Names of the points of the top group that say how often groups repeat, in order of address."""
    names = {group.get("count") for group in _all_groups(definition(model_id))}
    return [point["name"] for point in definition(model_id)["points"] if point["name"] in names]


def head_length(model_id: int) -> int:
    """Registers of the top group's own points, with which every instance of the model begins."""
    return sum(int(point["size"]) for point in definition(model_id)["points"])


def _all_groups(group: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    inner: Sequence[Mapping[str, Any]] = group.get("groups", ())
    return [*inner, *(deeper for child in inner for deeper in _all_groups(child))]


def lay_out(model_id: int, address: int, unit: int, counts: Mapping[str, int]) -> Layout:
    """Points of the model whose ID register is at `address`. `counts`: how often groups repeat, by the name of the count point.
    Names are prefixed with the model, `705.Crv[0].Pt[1].V`, so that all models of a unit share one map. Raises SunSpecError."""
    builder = _Builder(model_id, unit, counts, address)
    try:
        builder.group(definition(model_id), f"{model_id}.")
    except PointError as error:
        raise SunSpecError(f"model {model_id} cannot be served or read: {error}") from error
    return Layout(model_id, address, builder.points, builder.at - address - 2)


class _Builder:
    def __init__(self, model_id: int, unit: int, counts: Mapping[str, int], address: int) -> None:
        self.model_id, self.unit, self.counts = model_id, unit, counts
        self.at = address
        self.points: dict[str, Point] = {}

    def group(self, group: Mapping[str, Any], prefix: str) -> None:
        """Place a group's points, then those of the groups in it."""
        for point in group["points"]:
            own = any(other["name"] == point.get("sf") for other in group["points"])
            self._point(point, prefix, prefix if own else f"{self.model_id}.")
        for child in group.get("groups", ()):
            count = child.get("count")
            if count is None:
                self.group(child, f"{prefix}{child['name']}.")
                continue
            for i in range(self._repetitions(child["name"], count)):
                self.group(child, f"{prefix}{child['name']}[{i}].")

    def _repetitions(self, name: str, count: int | str) -> int:
        repetitions = self.counts.get(count) if isinstance(count, str) else count
        if repetitions is None or not 0 <= repetitions < 0xFFFF:
            raise SunSpecError(f"model {self.model_id}: group {name} repeats {count} times, and that is {repetitions}")
        return repetitions

    def _point(self, point: Mapping[str, Any], prefix: str, factor_prefix: str) -> None:
        name, size, factor = prefix + point["name"], int(point["size"]), point.get("sf")
        if point["type"] not in _TYPES:
            raise SunSpecError(f"model {self.model_id}: {name} is of type {point['type']}, which is not supported")
        type_, sentinel = _TYPES[point["type"]]
        if self.at + size > 0x10000:
            raise SunSpecError(f"model {self.model_id}: {name} lies past register 65535")
        self.points[name] = Point(
            name,
            Table.HOLDING,
            self.at,
            type_,
            unit=self.unit,
            length=size if type_ is ValueType.STRING else 0,
            scale=10.0**factor if isinstance(factor, int) else 1.0,
            scale_factor=factor_prefix + factor if isinstance(factor, str) else None,
            sentinels=() if sentinel is None else (sentinel,),
            unit_of_measure=point.get("units", ""),
            access="rw" if point.get("access") == "RW" else "r",
        )
        self.at += size
