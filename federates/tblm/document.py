"""Frozen dataclasses as strict JSON, and their JSON Schema.

A document is decoded by the types of its dataclass and by nothing else: a field that is missing, unknown or of another type is
an error that names it. The same types give the schema, so the two cannot drift apart. Understood: nested dataclasses, `float`,
`int`, `str`, `bool`, `Literal`, `X | None` and `tuple[X, ...]` or `tuple[X, Y]`.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class TblmError(ValueError):
    """A document that is not a TBLM. The message starts with the path of the field to blame."""


@cache
def _types(cls: type) -> Mapping[str, Any]:
    return get_type_hints(cls, include_extras=True)


def encode(value: Any) -> Any:
    """A dataclass as plain JSON objects. TblmError for a number that is not finite: JSON has none."""
    if is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise TblmError(f"{value} in a document; leave the field null or mark the document bad")
    return value


def decode(cls: type[T], text: str) -> T:
    """The dataclass `cls` from JSON text; TblmError names the first field that does not fit."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise TblmError("$: nested too deeply for a TBLM") from error
    except ValueError as error:
        raise TblmError(f"$: not JSON ({error})") from error
    result: T = _decode(cls, value, "$")
    return result


def _refuse_constant(name: str) -> float:
    raise TblmError(f"$: {name} is not a JSON number; write a finite one or null")


def _decode(kind: Any, value: Any, path: str) -> Any:
    origin = get_origin(kind)
    if origin is Annotated:
        return _decode(get_args(kind)[0], value, path)
    if is_dataclass(kind):
        return _decode_object(kind, value, path)  # type: ignore[arg-type]
    if origin is tuple:
        return _decode_tuple(get_args(kind), value, path)
    if origin in (Union, UnionType):
        if value is None:
            return None
        (inner,) = (arg for arg in get_args(kind) if arg is not NoneType)
        return _decode(inner, value, path)
    if origin is Literal:
        if value not in get_args(kind):
            raise TblmError(f"{path}: {value!r:.40} is none of {', '.join(map(str, get_args(kind)))}")
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) > sys.float_info.max:
            raise TblmError(f"{path}: {value!s:.20}... is beyond what a number can hold")
        return float(value)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise TblmError(f"{path}: wanted {_WORD[kind]}, got {value!r:.40}")


_WORD = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
_SCHEMA_TYPE = {float: "number", int: "integer", str: "string", bool: "boolean"}


def _decode_object(cls: type, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise TblmError(f"{path}: wanted an object, got {value!r:.40}")
    types = _types(cls)
    names = [field.name for field in fields(cls)]
    missing = [name for name in names if name not in value]
    unknown = [name for name in value if name not in names]
    if missing:
        raise TblmError(f"{path}.{missing[0]}: missing")
    if unknown:
        raise TblmError(f"{path}.{unknown[0]}: unknown; the fields here are {', '.join(names)}")
    try:
        return cls(**{name: _decode(types[name], value[name], f"{path}.{name}") for name in names})
    except TblmError as error:
        raise TblmError(str(error) if str(error).startswith("$") else f"{path}: {error}") from None


def _decode_tuple(args: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise TblmError(f"{path}: wanted a list, got {value!r:.40}")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_decode(args[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if len(value) != len(args):
        raise TblmError(f"{path}: wanted {len(args)} values, got {len(value)}")
    return tuple(_decode(kind, item, f"{path}[{i}]") for i, (kind, item) in enumerate(zip(args, value, strict=True)))


def schema(cls: type, title: str) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the dataclass; a field's description is the text of its `Annotated`."""
    definitions: dict[str, Any] = {}
    root = _schema(cls, definitions)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": title}
    return {**head, **root, "$defs": dict(sorted(definitions.items()))}


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _schema(args[0], definitions) | {"description": args[1]}
    if is_dataclass(kind):
        if kind.__name__ not in definitions:  # type: ignore[union-attr]
            definitions[kind.__name__] = _object_schema(kind, definitions)  # type: ignore[arg-type, union-attr]
        return {"$ref": f"#/$defs/{kind.__name__}"}  # type: ignore[union-attr]
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return {"type": "array", "items": _schema(args[0], definitions)}
        prefix = [_schema(arg, definitions) for arg in args]
        return {"type": "array", "prefixItems": prefix, "minItems": len(args), "maxItems": len(args)}
    if origin in (Union, UnionType):
        return {"anyOf": [_schema(arg, definitions) if arg is not NoneType else {"type": "null"} for arg in args]}
    if origin is Literal:
        return {"enum": list(args)}
    return {"type": _SCHEMA_TYPE[kind]}


def _object_schema(cls: type, definitions: dict[str, Any]) -> dict[str, Any]:
    types, properties = _types(cls), {}
    for field in fields(cls):
        properties[field.name] = _schema(types[field.name], definitions)
    text = (cls.__doc__ or "").strip().split("\n")[0]
    return {
        "type": "object",
        "description": text,
        "properties": properties,
        "required": [field.name for field in fields(cls)],
        "additionalProperties": False,
    }
