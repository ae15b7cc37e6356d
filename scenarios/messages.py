"""From pydantic's errors to a sentence that says what is wrong and what to write instead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from scenarios.document import Document
from scenarios.problem import Place, Problem, did_you_mean


def problems_of(error: ValidationError, document: Document, base: Place, schema: Mapping[str, Any]) -> list[Problem]:
    """The problems behind a validation error of the part of the document at `base`; `schema` is the part's JSON Schema."""
    found = []
    value = _at(document.data, base)
    for detail in error.errors(include_url=False):
        place = _place(detail["loc"], value, detail["type"] == "missing")
        if detail["type"].startswith("union_tag"):
            place = (*place, str(detail["ctx"]["discriminator"]).strip("'"))
        elif (detail["loc"][-1:] != place[-1:] and _other_choice(detail)) or _only_wrong_within(detail):
            continue
        found.append(document.problem(base + place, _message(detail, place, value, schema)))
    return found


def _other_choice(detail: ErrorDetails) -> bool:
    """A complaint of the choice of a union that the user did not mean: text where the other choice is a list, and the reverse."""
    return detail["type"] in ("literal_error", "string_type") and isinstance(detail["input"], list)


def _only_wrong_within(detail: ErrorDetails) -> bool:
    """pydantic counts the entries of a list that are right: one too short for that has problems of its own."""
    return detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]


def _place(loc: tuple[int | str, ...], value: Any, missing: bool) -> Place:
    """pydantic's location in `value`, without the tags of unions that it puts in between."""
    here: list[str | int] = []
    for n, part in enumerate(loc):
        inside = (
            part in value if isinstance(value, dict) else isinstance(part, int) and isinstance(value, list) and part < len(value)
        )
        if inside:
            value = value[part]
            here.append(part)
        elif missing and n == len(loc) - 1:
            here.append(part)
    return tuple(here)


def _at(data: Any, place: Place) -> Any:
    for part in place:
        data = data[part]
    return data


_WANTED = {
    "float_type": "a number", "int_type": "a whole number", "int_from_float": "a whole number", "bool_type": "true or false",
    "string_type": "text", "tuple_type": "a list: [..., ...]", "list_type": "a list", "dict_type": "keys and values",
    "model_type": "keys and values", "model_attributes_type": "keys and values", "datetime_type": "a time: 2024-07-01T12:00:00",
    "datetime_parsing": "a time: 2024-07-01T12:00:00", "datetime_from_date_parsing": "a time: 2024-07-01T12:00:00",
    "finite_number": "a finite number",
}  # fmt: skip
_BOUND = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "of at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "of at most"),
}


def _message(detail: ErrorDetails, place: Place, value: Any, schema: Mapping[str, Any]) -> str:
    kind, written, context = detail["type"], detail["input"], detail.get("ctx", {})
    key = str(place[-1]) if place else "scenario"
    if kind in _BOUND:
        bound, words = _BOUND[kind]
        return f"{written} is not allowed; write a number {words} {context[bound]:g}"
    if kind == "union_tag_not_found":
        return f"is missing; write one of {', '.join(_tags(schema, key))}"
    if kind == "missing" and isinstance(place[-1], int):
        return f"is missing: the list is too short; write at least {place[-1] + 1} entries"
    if kind == "missing":
        return f"is missing; write {_example(key, schema)}"
    if kind == "extra_forbidden":
        return f"there is no such key here; {did_you_mean(key, _keys_beside(schema, value, place))}"
    if kind in ("literal_error", "union_tag_invalid"):
        if kind == "union_tag_invalid":
            allowed = [tag.strip(" '") for tag in str(context["expected_tags"]).split(",")]
            written = str(context["tag"])
        else:
            allowed = [word.strip(" '") for word in str(context["expected"]).replace(" or ", ", ").split(",")]
        return f"{_shown(written)} is not known; {did_you_mean(str(written), allowed)}"
    if kind in _WANTED:
        hint = f', in quotes: "{written}"' if kind == "string_type" and isinstance(written, int | float) else ""
        return f"{_shown(written)} is {_type_name(written)}; write {_WANTED[kind]}{hint}"
    if kind == "string_pattern_mismatch":
        dotted = "\\." in str(context["pattern"])
        wanted = "federate.port" if dotted else "lower-case letters, digits and _, a letter first"
        return f"{_shown(written)} does not fit; write {wanted}"
    if kind == "too_long":
        return f"{context['actual_length']} entries; write {context['max_length']}"
    if kind in ("too_short", "missing_argument"):
        return f"is empty; write at least {context.get('min_length', 1)} entry, see `run_cosim.py show tiny`"
    if kind == "value_error":
        return str(context["error"])
    return f"{_shown(written)}: {detail['msg']}; see `run_cosim.py schema`"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return repr(text[:60]) if isinstance(value, str) else text[:60]


def _type_name(value: Any) -> str:
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "keys and values"}
    return names.get(type(value), "empty")


def _example(key: str, schema: Mapping[str, Any]) -> str:
    """`key: <what it is>`, from the description in the schema."""
    for definition in (schema, *schema.get("$defs", {}).values()):
        about = definition.get("properties", {}).get(key)
        if about and (about.get("description") or about.get("type")):
            return f"{key}: ({about.get('description') or about['type']})"
    return f"{key}: ..."


def _tags(node: Any, key: str) -> list[str]:
    """What the schema allows for the key that tells the choices of a union apart."""
    if isinstance(node, list):
        return next((tags for child in node if (tags := _tags(child, key))), [])
    if not isinstance(node, Mapping):
        return []
    decider = node.get("discriminator", {})
    if isinstance(decider, Mapping) and decider.get("propertyName") == key:
        return list(decider["mapping"])
    return _tags(list(node.values()), key)


def _keys_beside(schema: Mapping[str, Any], value: Any, place: Place) -> list[str]:
    """The keys that the schema allows beside the last part of `place`; `value` chooses between kinds."""
    nodes = _options(schema, value, schema)
    for part in place[:-1]:
        value = value[part]
        nodes = [option for node in nodes for child in _children(node, part) for option in _options(child, value, schema)]
    return sorted({key for node in nodes for key in node.get("properties", {})})


def _children(node: Mapping[str, Any], part: str | int) -> list[Mapping[str, Any]]:
    child = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part, node.get("additionalProperties"))
    return [child] if isinstance(child, dict) else []


def _options(node: Mapping[str, Any], value: Any, schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The node itself, what it refers to, and the choices it leaves: one where a discriminator decides."""
    if "$ref" in node:
        return _options(schema["$defs"][node["$ref"].rsplit("/", 1)[1]], value, schema)
    decider = node.get("discriminator")
    if decider and isinstance(value, dict) and value.get(decider["propertyName"]) in decider["mapping"]:
        return _options({"$ref": decider["mapping"][value[decider["propertyName"]]]}, value, schema)
    return [
        node,
        *(option for word in ("oneOf", "anyOf") for choice in node.get(word, ()) for option in _options(choice, value, schema)),
    ]


def validate(adapter: TypeAdapter[Any], document: Document, base: Place = ()) -> tuple[Any, list[Problem]]:
    """The part of the document at `base` as the adapter's model, or None and what is wrong with it.

    The text goes in as JSON, which is strict about types and still takes lists for tuples and text for times.
    """
    try:
        return adapter.validate_json(json.dumps(_at(document.data, base))), []
    except ValidationError as error:
        return None, problems_of(error, document, base, adapter.json_schema())
