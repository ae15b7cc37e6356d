"""The JSON Schema of a scenario explains itself: every key says what it is, every number in what unit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from scenarios.load import json_schema

_UNIT_IN_KEY = re.compile(r"_(s|hz|pu|w|va|wh|kv|pct|c|k|hz_per_s|w_per_hz)$")
_WITHOUT_UNIT = re.compile(
    r"\b(part|per unit|multiple|number|exponent|power|rating|shape|percent|kv|line to|unit of|over|loads|feeders|MVA|seed|random"
    r"|hours|energy|constant|scans|once|raise|steps|bits|baud|address|standard deviation"
    r"|silent|limit|index|code|taps|directions|load|MWh"
    r"|terminals|likewise)\b",
    re.IGNORECASE,
)


def keys() -> Iterator[tuple[str, dict[str, Any]]]:
    """`Model.key` and its schema, for every key of every model; those that only tell models apart are left out."""
    schema = json_schema()
    for name, definition in [("Scenario", schema), *schema["$defs"].items()]:
        for key, about in definition.get("properties", {}).items():
            if "const" not in about:
                yield f"{name}.{key}", about


def numeric(about: dict[str, Any]) -> bool:
    return any(choice.get("type") in ("number", "integer") for choice in (about, *about.get("anyOf", ())))


def test_every_key_has_a_description() -> None:
    without = [name for name, about in keys() if not about.get("description")]
    assert without == [], "write Field(description=...) for these"


def test_every_number_has_its_unit_in_the_key_or_says_what_it_counts() -> None:
    unclear = [
        (name, about.get("description"))
        for name, about in keys()
        if numeric(about) and not _UNIT_IN_KEY.search(name) and not _WITHOUT_UNIT.search(about.get("description", ""))
    ]
    assert unclear == [], "name the unit in the key, or say in the description what is counted or divided by what"
