"""Ports, and what travels through them: samples, documents and events."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
NEVER_NS = 2**62
"""A time that no run reaches: 'do not call me again'."""


class Quality(IntFlag):
    """Quality of one value. Several bits may be set; 0 is good."""

    GOOD = 0
    STALE = 1
    ESTIMATED = 2
    SUBSTITUTED = 4
    SUSPECT = 8
    FORCED = 16
    OVERFLOW = 32
    RESTART = 64
    LOST = 128


QUALITY_MEANING: Mapping[Quality, tuple[int, str]] = {
    # quality: (DNP3 object flag, IEEE 1815-2012 table 11-1; word used in a TBLM)
    Quality.GOOD: (0x01, "good"),
    Quality.STALE: (0x00, "questionable"),
    Quality.ESTIMATED: (0x01, "estimated"),
    Quality.SUBSTITUTED: (0x09, "estimated"),
    Quality.SUSPECT: (0x41, "questionable"),
    Quality.FORCED: (0x11, "questionable"),
    Quality.OVERFLOW: (0x21, "bad"),
    Quality.RESTART: (0x02, "bad"),
    Quality.LOST: (0x04, "bad"),
}
_WORD_ORDER = ("good", "estimated", "questionable", "bad")


def quality_word(quality: int) -> str:
    """The worst TBLM word (`good`, `estimated`, `questionable`, `bad`) among the bits that are set in `quality`."""
    words = [QUALITY_MEANING[bit][1] for bit in Quality if bit and quality & bit]
    return max(words, key=_WORD_ORDER.index, default="good")


Kind = Literal["vector", "document", "event"]


@dataclass(frozen=True, slots=True)
class Port:
    """A named way in or out of a federate.

    `vector`: float64 over `ids` (an empty `ids` is a scalar, an array of one), the last value held.
    `document`: JSON text, the last version held. `event`: a queue, each event handed over once.
    `max_age_ns`: an input older than this is marked STALE by the runtime before the federate sees it.
    """

    name: str
    unit: str = "1"
    ids: tuple[str, ...] = ()
    doc: str = ""
    kind: Kind = "vector"
    max_age_ns: int | None = None

    @property
    def size(self) -> int:
        """Number of values in a sample of this port."""
        return len(self.ids) or 1

    def layout_hash(self) -> int:
        """64 bits over kind, unit and ids: equal on both ends of a link, or the link is refused at start."""
        text = json.dumps([self.kind, self.unit, list(self.ids)])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Values of a vector port with the time of their measurement (not of their publication) and their quality.

    values: float64 [n]. t_ns: int for all, or int64 [n]. quality: uint16 [n] of `Quality` bits.
    The arrays are read-only once the sample has been published.
    """

    values: Floats
    t_ns: int | NDArray[np.int64]
    quality: NDArray[np.uint16]

    @classmethod
    def of(cls, values: ArrayLike, t_ns: int | NDArray[np.int64], quality: ArrayLike | int = 0) -> Sample:
        """A sample from anything array-like; one quality word serves for all values."""
        v = np.atleast_1d(np.array(values, dtype=np.float64))
        q = np.zeros(v.shape, np.uint16) if isinstance(quality, int) and quality == 0 else np.empty(v.shape, np.uint16)
        if q.size and not (isinstance(quality, int) and quality == 0):
            q[...] = quality
        return cls(v, t_ns, q)

    @classmethod
    def missing(cls, size: int) -> Sample:
        """What an input holds before anything has arrived: NaN, LOST, measured at 0."""
        return cls(np.full(size, np.nan), 0, np.full(size, int(Quality.LOST), np.uint16))

    @property
    def scalar(self) -> float:
        """The only value of a scalar port."""
        return float(self.values[0])

    @property
    def times_ns(self) -> NDArray[np.int64]:
        """Measurement time of each value, int64 [n]."""
        return np.broadcast_to(np.asarray(self.t_ns, np.int64), self.values.shape)

    def age_ns(self, t_ns: int) -> NDArray[np.int64]:
        """Age of each value at `t_ns`, int64 [n]."""
        return t_ns - self.times_ns

    def good(self) -> NDArray[np.bool_]:
        """True where the value is finite and no quality bit is set, bool [n]."""
        good: NDArray[np.bool_] = (self.quality == 0) & np.isfinite(self.values)
        return good


@dataclass(frozen=True, slots=True)
class Document:
    """A version of a JSON document. `version` counts from 1 per port; 0 means that none has arrived (text is empty)."""

    text: str
    t_ns: int
    version: int

    def load(self) -> Any:
        """The document as Python objects; ValueError where the text is not JSON."""
        return json.loads(self.text)


NO_DOCUMENT = Document("", 0, 0)


@dataclass(frozen=True, slots=True)
class Event:
    """A command, alarm, request or sequence-of-events row: delivered exactly once, in the order of (t_ns, source, seq).

    `t_ns` is when it was sent, `source` is `federate.port`, `seq` counts from 1 per source, `payload` is a JSON object.
    """

    t_ns: int
    source: str
    seq: int
    payload: Mapping[str, Any]

    @property
    def order(self) -> tuple[int, str, int]:
        """The key that events are sorted by."""
        return (self.t_ns, self.source, self.seq)


def canonical_json(value: Any) -> str:
    """JSON text with sorted keys and no spaces; floats round-trip exactly. TypeError names what is not JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


Input = Sample | Document | tuple[Event, ...]
Inputs = Mapping[str, Any]
"""Port name -> Sample, Document or tuple of Event, by the port's kind. Always complete."""
Outputs = Mapping[str, Any]
"""Port name -> array, Sample, JSON-able object (document), or sequence of JSON objects (events). A port left out is held."""


def by_name(ports: Sequence[Port]) -> dict[str, Port]:
    """Ports by name; ValueError when a name is used twice."""
    table = {port.name: port for port in ports}
    if len(table) != len(ports):
        names = [port.name for port in ports]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"port names used twice: {', '.join(twice)}")
    return table
