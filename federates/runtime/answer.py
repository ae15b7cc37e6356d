"""Judging what a federate answers: is it well formed, and is it the same bits as another answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from federates.runtime.port import Document, Event, Port, Sample, by_name, canonical_json


def wrong_outputs(ports: Sequence[Port], outputs: Any) -> list[tuple[str, str]]:
    """(port name, what is wrong and what to do) for each output that cannot be published; the name is empty for the whole."""
    if not isinstance(outputs, Mapping):
        return [("", f"outputs are a {type(outputs).__name__}; give a mapping of port name to value")]
    declared = by_name(ports)
    wrong = []
    for name, value in outputs.items():
        port = declared.get(name)
        if port is None:
            message = f"there is no such output port; there are {', '.join(declared)}"
        else:
            message = _wrong_vector(port, value) if port.kind == "vector" else _wrong_json(port, value)
        if message:
            wrong.append((name, message))
    return wrong


def _wrong_vector(port: Port, value: Any) -> str:
    try:
        sample = value if isinstance(value, Sample) else Sample.of(value, 0)
    except (TypeError, ValueError) as error:
        return f"not numbers: {error}"
    for part in (sample.values, sample.quality, sample.times_ns):
        if part.shape != (port.size,):
            return f"it takes {port.size} values, got shape {part.shape}"
    if sample.values.dtype != np.float64 or sample.quality.dtype != np.uint16:
        return f"values are {sample.values.dtype} and quality {sample.quality.dtype}; use float64 and uint16"
    unflagged = ~np.isfinite(sample.values) & (sample.quality == 0)
    if unflagged.any():
        first = int(np.argmax(unflagged))
        return (
            f"{port.ids[first] if port.ids else 'its value'} is {sample.values[first]} without a quality; flag it LOST or SUSPECT"
        )
    return ""


def _wrong_json(port: Port, value: Any) -> str:
    if port.kind == "event" and (isinstance(value, str | Mapping) or not all(isinstance(payload, Mapping) for payload in value)):
        return "events are a sequence of JSON objects"
    try:
        json.loads(value if isinstance(value, str) else canonical_json(value))
    except (TypeError, ValueError) as error:
        return f"not JSON: {error}"
    return ""


def bits_of(values: Mapping[str, Any], t_ns: int) -> str:
    """A digest of everything in a mapping of inputs or outputs, bit for bit."""
    digest = hashlib.sha256()
    for name in sorted(values):
        value = values[name]
        digest.update(f"{name}\0{type(value).__name__}\0".encode())
        if isinstance(value, Sample):
            for part in (value.values, value.times_ns, value.quality):
                digest.update(part.tobytes())
        elif isinstance(value, Document):
            digest.update(f"{value.text}\0{value.t_ns}\0{value.version}".encode())
        elif isinstance(value, tuple) and all(isinstance(event, Event) for event in value):
            digest.update(canonical_json([[*event.order, event.payload] for event in value]).encode())
        elif isinstance(value, np.ndarray):
            digest.update(Sample.of(value, t_ns).values.tobytes())
        else:
            digest.update(canonical_json(value).encode())
    return digest.hexdigest()


def alike(first: Mapping[str, Any], second: Mapping[str, Any], tolerance: float) -> str:
    """The first output in which two answers differ, empty where none does.

    tolerance: of each vector's values, in parts of its largest one (at least 1); 0 asks for the same bits, and then documents and
    events are compared too. Qualities are always compared.
    """
    for name in sorted({*first, *second}):
        if name not in first or name not in second:
            return name
        if tolerance == 0.0:
            if bits_of({name: first[name]}, 0) != bits_of({name: second[name]}, 0):
                return name
        elif isinstance(first[name], Sample | np.ndarray):
            a, b = (value if isinstance(value, Sample) else Sample.of(value, 0) for value in (first[name], second[name]))
            off = tolerance * max(1.0, float(np.nanmax(np.abs(a.values), initial=0.0)))
            if not (np.array_equal(a.quality, b.quality) and np.allclose(a.values, b.values, rtol=0.0, atol=off, equal_nan=True)):
                return name
    return ""
