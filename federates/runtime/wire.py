"""Bytes on the wire: how samples, documents and events travel between processes.

A value message is a header, the layout (JSON, in the first message of a publication only), and the arrays in little-endian order:

    u8 kind (0 sample, 1 document), u8 flags, u16 unused, u32 layout bytes, u64 layout hash, i64 t_ns, i64 version
    flags & 1: times i64[n] follow     flags & 2: quality u16[n] follows     then values f64[n], or the document's text
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from federates.runtime.federate import FederationError
from federates.runtime.port import Document, Event, Port, Sample, canonical_json

_HEADER = struct.Struct("<BBHIQqq")
_TIMES, _QUALITY = 1, 2


def encode(port: Port, layout_hash: int, value: Sample | Document, *, first: bool) -> bytes:
    """One value message of a publication; `first` adds the layout."""
    layout = canonical_json({"name": port.name, "unit": port.unit, "ids": port.ids, "kind": port.kind}).encode() if first else b""
    if isinstance(value, Document):
        return _HEADER.pack(1, 0, 0, len(layout), layout_hash, value.t_ns, value.version) + layout + value.text.encode()
    flags, parts = 0, [layout]
    t_ns = value.t_ns
    if not isinstance(t_ns, int):
        flags, parts = flags | _TIMES, [*parts, np.ascontiguousarray(t_ns, "<i8").tobytes()]
        t_ns = 0
    if value.quality.any():
        flags, parts = flags | _QUALITY, [*parts, np.ascontiguousarray(value.quality, "<u2").tobytes()]
    parts.append(np.ascontiguousarray(value.values, "<f8").tobytes())
    return _HEADER.pack(0, flags, 0, len(layout), layout_hash, t_ns, 0) + b"".join(parts)


@dataclass(slots=True)
class Reader:
    """Decodes the messages of one publication; learns its layout from the first."""

    where: str
    source: Port | None = None
    layout_hash: int = 0

    def decode(self, message: bytes) -> Sample | Document:
        """The value in a message. FederationError for a layout other than the one announced at start, and for foreign bytes."""
        try:
            value = self._decode(message)
        except (struct.error, ValueError, KeyError, TypeError) as error:
            raise FederationError(f"{self.where}: {len(message)} bytes that are no value of ours: {error}") from error
        if isinstance(value, Sample):
            for part in (value.values, value.quality):
                part.flags.writeable = False
        return value

    def _decode(self, message: bytes) -> Sample | Document:
        kind, flags, unused, layout_bytes, layout_hash, t_ns, version = _HEADER.unpack_from(message)
        at = _HEADER.size
        if kind not in (0, 1) or flags & ~(_TIMES | _QUALITY) or unused:
            raise ValueError("unknown kind of message")
        if layout_bytes:
            layout = json.loads(message[at : at + layout_bytes])
            source = Port(layout["name"], layout["unit"], tuple(layout["ids"]), kind=layout["kind"])
            if source.layout_hash() != layout_hash:
                raise ValueError("a layout that is not the one it announces")
            self.source, self.layout_hash = source, layout_hash
            at += layout_bytes
        if self.source is None or layout_hash != self.layout_hash:
            raise FederationError(f"{self.where}: the layout of the values is not the one announced at start")
        if kind == 1:
            return Document(message[at:].decode(), t_ns, version)
        size = self.source.size
        wanted = at + size * (8 + 8 * bool(flags & _TIMES) + 2 * bool(flags & _QUALITY))
        if len(message) != wanted:
            raise ValueError(f"{wanted} bytes were announced")
        times: int | np.ndarray = t_ns
        if flags & _TIMES:
            times = np.frombuffer(message, "<i8", size, at)
            at += 8 * size
        quality = np.zeros(size, np.uint16)
        if flags & _QUALITY:
            quality = np.frombuffer(message, "<u2", size, at)
            at += 2 * size
        return Sample(np.frombuffer(message, "<f8", size, at), times, quality)


def encode_events(events: Sequence[Event]) -> bytes:
    """What a port sent at one instant."""
    return canonical_json([[event.t_ns, event.source, event.seq, event.payload] for event in events]).encode()


def decode_events(message: bytes) -> tuple[Event, ...]:
    """The events of a message. FederationError for foreign bytes."""
    try:
        rows = json.loads(message)
        if not isinstance(rows, list) or not rows:
            raise ValueError("no list of events")
        return tuple(_event(*fields) for fields in rows)
    except (ValueError, TypeError) as error:
        raise FederationError(f"{len(message)} bytes that are no events of ours: {error}") from error


def _event(t_ns: object, source: object, seq: object, payload: object) -> Event:
    if not (isinstance(t_ns, int) and isinstance(seq, int)):
        raise ValueError("time and sequence are not whole numbers")
    if not (isinstance(source, str) and isinstance(payload, dict)):
        raise ValueError("source is not text, or payload no object")
    return Event(t_ns, source, seq, payload)
