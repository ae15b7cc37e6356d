"""What a process tells its supervisor while it runs: one row of a small shared file, written without a lock or a system call.

A row is a cache line of eight aligned int64 words and a short text. Each word has one writer: `ASKED` the supervisor, the rest the
process itself. The supervisor draws conclusions only from words that stayed unchanged for a watchdog's time, so that it does not
matter that a row is not read as a whole; the text alone is guarded by a counter.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from federates.runtime.port import Event
from federates.runtime.words import event_words

BEAT_S = 0.1
"""How often a living process counts up its `alive` word."""

_HOLD_S = 0.002
_ALIVE, _STATE, _FEDERATE, _T, _SINCE, _STARTED, _PROGRESS, _ASKED = range(8)
_WORDS = 8 * 8
_TEXT_HEAD = struct.Struct("=qqq")  # counter (odd while it is written), t_ns, bytes of text
_TEXT = 192
_ROW = _WORDS + _TEXT
NOBODY = -1
"""Federate index of a process in which none has been called yet."""


class State(IntEnum):
    """What a process does. BUILDING lasts until a federate is first called; CLOSING is writing the last records."""

    BUILDING = 0
    WAITING = 1
    COMPUTING = 2
    CLOSING = 3
    FINISHED = 4
    FAILED = 5


_WAITING, _COMPUTING = int(State.WAITING), int(State.COMPUTING)


class StopAsked(BaseException):
    """The supervisor asked this process to end. Not an Exception: no federate's `except Exception` may swallow it."""


@dataclass(frozen=True, slots=True)
class Beat:
    """One reading of a row. `alive` and `since_ns` (CLOCK_MONOTONIC) matter by whether they change.

    `federate` is the index of the last one called (NOBODY: none yet) at simulated time `t_ns`; `progress_ns` is how far the process
    has come; `started` turns true with the first call after every federate's `start`.
    """

    alive: int
    state: State
    federate: int
    t_ns: int
    since_ns: int
    started: bool
    progress_ns: int


class Heartbeats:
    """The supervisor's side: the rows of all processes, in a file that it makes."""

    def __init__(self, path: Path, rows: int) -> None:
        first = struct.pack("=8q", 0, State.BUILDING, NOBODY, 0, 0, 0, 0, 0) + bytes(_TEXT)
        path.write_bytes(first * rows)  # really written: a full disk is an OSError here, not a bus error later
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def read(self, row: int) -> Beat:
        """The words of one row, each read in one piece: with a given byte order `struct` reads octet by octet."""
        alive, state, federate, t_ns, since_ns, started, progress_ns, _ = struct.unpack_from("8q", self._map, row * _ROW)
        return Beat(alive, State(state), federate, t_ns, since_ns, bool(started), progress_ns)

    def last_event(self, row: int) -> tuple[int, str]:
        """Simulated time and text of the last event that the process recorded; (-1, "") for none, or while it is being written."""
        offset = row * _ROW + _WORDS
        counter, t_ns, size = _TEXT_HEAD.unpack_from(self._map, offset)
        start = offset + _TEXT_HEAD.size
        text = self._map[start : start + size]
        unchanged = counter == _TEXT_HEAD.unpack_from(self._map, offset)[0]
        return (t_ns, text.decode(errors="ignore")) if unchanged and counter and counter % 2 == 0 else (-1, "")

    def ask_to_stop(self, row: int) -> None:
        """Ask a process to end at the next instant."""
        struct.pack_into("=q", self._map, row * _ROW + 8 * _ASKED, 1)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()


class Heart:
    """The process's side; implements `seat.Watch`. `federates` are all of the federation, in order; `starts` of them live here.

    `computing`, `waiting` and `progress` cost well under a microsecond: stores into shared memory. They are called by one thread at
    a time; `beat` and `show_event` by another.
    """

    def __init__(self, path: Path, row: int, federates: Sequence[str] = (), starts: int = 0) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._words = memoryview(self._map)[row * _ROW : row * _ROW + _WORDS].cast("q")
        self._text = row * _ROW + _WORDS
        self._shown = 0
        self._interruption: BaseException | None = None
        self.serve(federates, starts)

    def serve(self, federates: Sequence[str], starts: int) -> None:
        """Say which federates there are, once that is known."""
        self._index = {name: i for i, name in enumerate(federates)}
        self._starts_left = starts

    # seat.Watch, and the runner's progress

    def computing(self, federate: str, t_ns: int) -> None:
        """A federate is being called. Raises StopAsked, once, when this process is to end."""
        if self._interruption is not None:
            self._raise_interruption()
        words = self._words
        words[_FEDERATE] = self._index[federate]
        words[_T] = t_ns
        words[_SINCE] = time.monotonic_ns()
        words[_STATE] = _COMPUTING
        if self._starts_left >= 0:
            words[_STARTED] = self._starts_left == 0
            self._starts_left -= 1

    def waiting(self, t_ns: int) -> None:
        """No federate computes any more."""
        words = self._words
        words[_SINCE] = time.monotonic_ns()
        words[_STATE] = _WAITING

    def progress(self, t_ns: int) -> None:
        """The instant `t_ns` is done."""
        self._words[_PROGRESS] = t_ns
        if self._interruption is not None:
            self._raise_interruption()

    def hold(self, rows: Sequence[int], t_ns: int) -> None:
        """Wait until the processes in `rows` have come as far as `t_ns`."""
        while any(struct.unpack_from("q", self._map, row * _ROW + 8 * _PROGRESS)[0] < t_ns for row in rows):
            if self._interruption is not None:
                self._raise_interruption()
            time.sleep(_HOLD_S)

    def building(self, federate: str) -> None:
        """A federate is being made."""
        self._words[_FEDERATE] = self._index[federate]
        self.enter(State.BUILDING)

    def enter(self, state: State) -> None:
        """Say what the process does otherwise."""
        self._words[_SINCE] = time.monotonic_ns()
        self._words[_STATE] = state

    # The thread beside

    def beat(self) -> None:
        """Show that this process lives."""
        self._words[_ALIVE] += 1

    def interrupt(self, reason: BaseException) -> None:
        """Have the next `computing` or `progress` raise `reason`."""
        self._interruption = reason

    def show_event(self, event: Event) -> None:
        """Show an event on the progress line: its time, and in words what happened, cut to fit."""
        text = f"{event.t_ns / 1e9:.3f} s  {event_words(event.source, event.payload)}".encode()
        room = _TEXT - _TEXT_HEAD.size
        text = text if len(text) <= room else text[: room - 4] + b" ..."
        _TEXT_HEAD.pack_into(self._map, self._text, self._shown + 1, event.t_ns, len(text))
        start = self._text + _TEXT_HEAD.size
        self._map[start : start + len(text)] = text
        self._shown += 2
        _TEXT_HEAD.pack_into(self._map, self._text, self._shown, event.t_ns, len(text))

    @property
    def asked_to_stop(self) -> bool:
        """True once the supervisor wants this process to end."""
        return bool(self._words[_ASKED])

    @property
    def is_busy(self) -> bool:
        """True while a federate computes, or the process is tidying up: it deserves a little more time to stop."""
        return self._words[_STATE] not in (State.BUILDING, State.WAITING)

    def _raise_interruption(self) -> None:
        reason, self._interruption = self._interruption, None
        if reason is not None:
            raise reason
