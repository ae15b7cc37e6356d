"""Events in words: one short line for a terminal or a table, whatever the payload holds. Units come from the names of its keys."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_WHAT = ("event", "action", "do")
"""Keys that say what happened; the first that is there opens the line."""
_UNITS = {
    "hz": "Hz",
    "pu": "pu",
    "w": "W",
    "var": "var",
    "va": "VA",
    "wh": "Wh",
    "v": "V",
    "a": "A",
    "s": "s",
    "rad": "rad",
    "pct": "%",
}
_PREFIXED = ("W", "var", "VA", "Wh")


def event_words(source: str, payload: Mapping[str, Any]) -> str:
    """`grid: emergency begins, f 59.9613 Hz, v min 1.02168 pu`. `source`: federate.port, or scenario.federate for what it asks."""
    federate, _, port = source.partition(".")
    who = f"scenario to {port}" if federate == "scenario" else federate
    return f"{who}: {payload_words(payload)}"


def payload_words(payload: Mapping[str, Any]) -> str:
    """The payload alone: what happened, then the rest as names and values; what is empty is left out."""
    if isinstance(payload.get("accepted"), bool) and "seq" in payload:
        reason, *more = str(payload.get("reason") or "no reason given").split("; ")
        why = f"{reason} and {len(more)} reasons more" if more else reason
        verdict = "taken" if payload["accepted"] else f"rejected, {why}"
        return f"TBLM {payload['seq']} of bus {payload.get('bus', '')} {verdict}"
    what = next((key for key in _WHAT if isinstance(payload.get(key), str)), None)
    parts = [payload[what].replace("_", " ")] if what else []
    parts += [_pair(key, value) for key, value in payload.items() if key != what and value not in ("", None)]
    return ", ".join(parts)


def is_news(source: str, payload: Mapping[str, Any]) -> bool:
    """Whether an event is worth a line while a run goes on: neither telemetry that repeats another federate's event, nor an
    acknowledgement of what was expected."""
    repeated = "t_event_ns" in payload and "." in str(payload.get("source", ""))
    return not repeated and payload.get("accepted") is not True


def _pair(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{key}: ({payload_words(value)})"
    name, _, suffix = key.rpartition("_")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and key.endswith("_utc_ns"):
        return f"{name.replace('_', ' ')} {datetime.fromtimestamp(value / 1e9, UTC).strftime('%Y-%m-%d %H:%M:%S.%f')[:-3]}"
    if number and suffix == "ns" and name:
        return f"{name.replace('_', ' ')} {value / 1e9:.6g} s"
    if number and suffix in _UNITS and name:
        return f"{name.replace('_', ' ')} {_quantity(float(value), _UNITS[suffix])}"
    return f"{key.replace('_', ' ')} {_plain(value)}"


def _quantity(value: float, unit: str) -> str:
    if unit in _PREFIXED and abs(value) >= 1e3:
        divisor, prefix = (1e6, "M") if abs(value) >= 1e6 else (1e3, "k")
        return f"{value / divisor:.4g} {prefix}{unit}"
    return f"{value:.6g} {unit}"


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(_plain(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
