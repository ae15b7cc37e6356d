"""The event buffer of one master: bounded, in order of occurrence, emptied only by confirmation.

Each type of point has its own limit. When it is reached the oldest event of that type gives way and the overflow indication is
raised; it falls when a confirmation has made room again. An event goes through three states: waiting, selected for an answer, and
sent but not yet confirmed; whatever is not confirmed goes back to waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from .database import Point
from .objects import ObjectType
from .values import PointType

WAITING, SELECTED, SENT = 0, 1, 2


class Event:
    """One event. `value` is on the wire's scale; `event_class` is what the point's was at the time.

    `row` is the variation it is sent in, unless the answer under way was `asked` for another.
    """

    __slots__ = ("asked", "event_class", "flags", "index", "number", "row", "state", "synchronized", "time_ms", "type", "value")

    def __init__(self, number: int, point: Point, synchronized: bool) -> None:
        self.number = number
        self.type = point.type
        self.index = point.config.index
        self.row: ObjectType = point.event()
        self.asked: ObjectType | None = None
        self.value: Any = point.value
        self.flags = point.flags
        self.time_ms = point.time_ms
        self.event_class = point.event_class
        self.synchronized = synchronized
        self.state = WAITING


class EventBuffer:
    """Events of one master. `limits` gives the largest number held per type; a type not named holds `default_limit`."""

    def __init__(self, default_limit: int = 1000, limits: Mapping[PointType, int] | None = None) -> None:
        limits = limits or {}
        self._limits = {kind: limits.get(kind, default_limit) for kind in PointType}
        if bad := [kind.value for kind, limit in self._limits.items() if limit < 1]:
            raise ValueError(f"an event buffer holds at least one event of each type, not none of {', '.join(bad)}")
        self._next_number = 0
        self.clear()

    def clear(self) -> None:
        self._events: dict[int, Event] = {}
        self._of_type: dict[PointType, deque[int]] = {kind: deque() for kind in PointType}
        self._held = dict.fromkeys(PointType, 0)
        self._unsent = [0, 0, 0, 0]
        self.overflown = False
        self.lost = 0

    def __len__(self) -> int:
        return len(self._events)

    def waiting(self, event_class: int) -> bool:
        """Whether there is an event of the class that no answer under way carries."""
        return self._unsent[event_class] > 0

    def count_waiting(self, class_mask: int) -> int:
        """Events not yet sent of the classes whose bits (1 << class) are in `class_mask`."""
        return sum(self._unsent[k] for k in (1, 2, 3) if class_mask & (1 << k))

    def add(self, point: Point, synchronized: bool) -> None:
        """Takes down the point's present value as an event."""
        kind = point.type
        if self._held[kind] >= self._limits[kind]:
            self._drop_oldest(kind)
        event = Event(self._next_number, point, synchronized)
        self._events[event.number] = event
        self._of_type[kind].append(event.number)
        self._held[kind] += 1
        self._unsent[event.event_class] += 1
        self._next_number += 1

    def _drop_oldest(self, kind: PointType) -> None:
        numbers = self._of_type[kind]
        while (number := numbers.popleft()) not in self._events:
            continue  # confirmed earlier, out of turn
        self._remove(self._events[number])
        self.overflown = True
        self.lost += 1

    def _remove(self, event: Event) -> None:
        del self._events[event.number]
        self._held[event.type] -= 1
        if event.state != SENT:
            self._unsent[event.event_class] -= 1

    def select(self, *, class_mask: int = 0, kind: PointType | None = None, limit: int | None = None) -> list[Event]:
        """The oldest waiting events of a set of classes (bits 1 << class) or of a type, at most `limit`; they are now selected."""
        chosen: list[Event] = []
        if limit == 0:
            return chosen
        for event in self._events.values():
            if event.state == WAITING and ((class_mask >> event.event_class) & 1 or event.type is kind):
                event.state = SELECTED
                chosen.append(event)
                if len(chosen) == limit:
                    break
        return chosen

    def mark_sent(self, event: Event) -> None:
        if event.number in self._events and event.state != SENT:
            self._unsent[event.event_class] -= 1
        event.state = SENT

    def confirm(self, events: Iterable[Event]) -> None:
        """These have arrived: they are forgotten, and the overflow indication with them where there is room again."""
        for event in events:
            if event.number in self._events:
                self._remove(event)
        for kind, numbers in self._of_type.items():
            while numbers and numbers[0] not in self._events:
                numbers.popleft()
            if len(numbers) > 2 * self._limits[kind]:
                self._of_type[kind] = deque(number for number in numbers if number in self._events)
        if all(self._held[kind] < limit for kind, limit in self._limits.items()):
            self.overflown = False

    def release(self, events: Iterable[Event]) -> None:
        """No confirmation came: these wait again."""
        for event in events:
            if event.state == SENT and event.number in self._events:
                self._unsent[event.event_class] += 1
            event.state = WAITING
            event.asked = None
