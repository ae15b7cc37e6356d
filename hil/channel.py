"""Shared memory between a bridge (in the solver's process) and its gatekeeper. Neither ever waits for the other.

    header     int64 words, each with one writer
    inward     readings of the device: value, quality, when measured (CLOCK_MONOTONIC), for each point of the inward layout
    outward    values for the device likewise
    two rings  messages as JSON: commands one way, results and events the other

Readings and values are kept twice: the writer fills the half that is not current, then makes it current by one aligned store of the
counter. A reader copies the current half and looks at the counter again; a half is written anew only two updates later, so a copy
during which the counter moved by less than two is whole, and each half carries a checksum for the rest. A ring belongs to one
writer and one reader; what does not fit is refused, never overwritten.

Words that the other side looks at are stored through a memoryview of int64, in one aligned piece. `struct` with a given byte order
writes octet by octet: a reader that looked in between saw a count that never was, went back, and took 256 messages again.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federates.runtime.port import Floats, canonical_json

Ints = NDArray[np.int64]
Qualities = NDArray[np.uint16]

_MAGIC = 0x47544348414E0001
_HEADER_WORDS = 32
_SLOTS, _SLOT = 256, 1024
_RING = 16 + _SLOTS * _SLOT
_TRIES = 4
SOE_ROWS = 16
"""Most events of a device in one message: [number of the point in its map, value, UTC in ns by the device's clock] each."""


class Word(IntEnum):
    """The header. Of the gatekeeper: MAGIC to LATENESS; of the bridge: SOLVER_PID to OVER."""

    MAGIC = 0
    GATE_BEAT = 1
    """CLOCK_MONOTONIC, ns, of the last cycle."""
    CHAIN = 2
    """Index of the safety state."""
    CONNECTED = 3
    OVERRUNS = 4
    REFUSED = 5
    ROUND_TRIP = 6
    LATENESS = 7
    SOLVER_PID = 8
    SOLVER_BEAT = 9
    """CLOCK_MONOTONIC, ns, of the bridge's last step; 0 before the first."""
    SOLVER_T = 10
    """Simulated time of it."""
    OVER = 11
    """1: the run has ended in good order."""
    IN_COUNT = 16
    OUT_COUNT = 17


@dataclass(frozen=True, slots=True)
class Frame:
    """Values of all points of one direction. `measured_ns` is CLOCK_MONOTONIC, 0 for never."""

    values: Floats
    measured_ns: Ints
    quality: Qualities

    @classmethod
    def empty(cls, size: int, quality: int) -> Frame:
        return cls(np.full(size, np.nan), np.zeros(size, np.int64), np.full(size, quality, np.uint16))


def _size(count: int) -> int:
    return 8 + 18 * count


class Channel:
    """One end of the shared memory of one device. `inward`, `outward`: number of points each way."""

    def __init__(self, path: Path, inward: int, outward: int, *, make: bool) -> None:
        """Make it (the gatekeeper) or open it (the bridge). FileNotFoundError where there is none yet; ValueError where it is
        another's."""
        self._in_count, self._out_count = inward, outward
        self._in_at = _HEADER_WORDS * 8
        self._out_at = self._in_at + 2 * _size(inward)
        self._to_device = (self._out_at + 2 * _size(outward) + 63) // 64 * 64
        self._from_device = self._to_device + _RING
        total = self._from_device + _RING
        if make:
            partial = path.with_name(path.name + ".part")
            partial.write_bytes(bytes(total))
            with partial.open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), 0)
            os.replace(partial, path)
        else:
            with path.open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), 0)
        self._words = memoryview(self._map)[: _HEADER_WORDS * 8].cast("q")
        self._counts = {ring: memoryview(self._map)[ring : ring + 16].cast("q") for ring in (self._to_device, self._from_device)}
        if make:
            self._words[Word.MAGIC] = _MAGIC
        elif len(self._map) != total or self._words[Word.MAGIC] != _MAGIC:
            raise ValueError(f"{path}: the shared memory of another point map")

    def get(self, word: Word) -> int:
        """A word of the header."""
        return self._words[word]

    def set(self, word: Word, value: int) -> None:
        """Set a word of the header; only its own side may."""
        self._words[word] = value

    # -- readings and values

    def put_inward(self, frame: Frame) -> None:
        """The gatekeeper: new readings."""
        self._put(frame, Word.IN_COUNT, self._in_at, self._in_count)

    def inward(self) -> Frame | None:
        """The bridge: the latest readings; None where there are none, or none could be read whole."""
        return self._get(Word.IN_COUNT, self._in_at, self._in_count)

    def put_outward(self, frame: Frame) -> None:
        """The bridge: new values for the device."""
        self._put(frame, Word.OUT_COUNT, self._out_at, self._out_count)

    def outward(self) -> Frame | None:
        """The gatekeeper: the latest values; None as above."""
        return self._get(Word.OUT_COUNT, self._out_at, self._out_count)

    def _put(self, frame: Frame, word: Word, at: int, count: int) -> None:
        number = self._words[word] + 1
        body = frame.values.tobytes() + frame.measured_ns.tobytes() + frame.quality.tobytes()
        start = at + (number % 2) * _size(count)
        self._map[start : start + _size(count)] = struct.pack("=q", zlib.crc32(body)) + body
        self._words[word] = number

    def _get(self, word: Word, at: int, count: int) -> Frame | None:
        for _ in range(_TRIES):
            number = self._words[word]
            if number == 0:
                return None
            start = at + (number % 2) * _size(count)
            copy = self._map[start : start + _size(count)]
            if self._words[word] - number < 2 and zlib.crc32(copy[8:]) == struct.unpack_from("=q", copy)[0]:
                body = memoryview(copy)[8:]
                return Frame(
                    np.frombuffer(body, np.float64, count),
                    np.frombuffer(body, np.int64, count, 8 * count),
                    np.frombuffer(body, np.uint16, count, 16 * count),
                )
        return None

    # -- messages

    def send_to_device(self, message: Mapping[str, Any]) -> bool:
        """The bridge: a command. False where the ring is full."""
        return self._push(self._to_device, message)

    def take_for_device(self) -> list[dict[str, Any]]:
        """The gatekeeper: the commands that have come."""
        return self._pop(self._to_device)

    def send_to_bridge(self, message: Mapping[str, Any]) -> bool:
        """The gatekeeper: a result or an event. False where the ring is full."""
        return self._push(self._from_device, message)

    def take_for_bridge(self, most: int = _SLOTS) -> list[dict[str, Any]]:
        """The bridge: what has come from the gatekeeper, `most` messages of it; the rest stays."""
        return self._pop(self._from_device, most)

    def _push(self, ring: int, message: Mapping[str, Any]) -> bool:
        text = canonical_json(message).encode()
        if len(text) > _SLOT - 4:
            raise ValueError(f"a message of {len(text)} bytes; {_SLOT - 4} fit: {text[:80]!r}")
        counts = self._counts[ring]
        head, tail = counts[0], counts[1]
        if head - tail >= _SLOTS:
            return False
        at = ring + 16 + (head % _SLOTS) * _SLOT
        self._map[at : at + 4 + len(text)] = struct.pack("=i", len(text)) + text
        counts[0] = head + 1
        return True

    def _pop(self, ring: int, most: int = _SLOTS) -> list[dict[str, Any]]:
        counts = self._counts[ring]
        tail = counts[1]
        head = min(counts[0], tail + most)
        taken = []
        for number in range(tail, head):
            at = ring + 16 + (number % _SLOTS) * _SLOT
            (size,) = struct.unpack_from("=i", self._map, at)
            taken.append(json.loads(self._map[at + 4 : at + 4 + size]))
        if taken:
            counts[1] = head
        return taken

    def close(self) -> None:
        """Let go of the memory."""
        self._words.release()
        for counts in self._counts.values():
            counts.release()
        self._map.close()


def channel_path(directory: Path, device: str) -> Path:
    """The shared memory of a device, in the private directory of a run."""
    return directory / f"{device}.channel"
