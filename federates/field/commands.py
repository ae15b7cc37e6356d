"""Commands to field equipment: a refused one becomes an alarm in the sequence of events, never an exception."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from federates.runtime.port import Event, Port

COMMAND = Port("command", kind="event", doc="what the equipment is asked to do: {action, ...}")
SOE = Port("soe", kind="event", doc="sequence of events: {event, ...}; a refused command is {event: refused, action, reason}")
EMERGENCY = Port("emergency", kind="event", doc="{active, step_ns}: the bulk system's emergency begins or ends")

Action = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
"""Carries out a payload; gives the event to report (None: nothing changed). ValueError, TypeError or KeyError refuse it."""


def carry_out(events: Iterable[Event], actions: Mapping[str, Action]) -> list[dict[str, Any]]:
    """Carry out commands in order; gives the rows for the sequence of events."""
    rows: list[dict[str, Any]] = []
    for event in events:
        name = str(event.payload.get("action"))
        action = actions.get(name)
        try:
            if action is None:
                raise ValueError(f"unknown action; it takes {', '.join(actions)}")
            done = action(event.payload)
        except KeyError as error:
            rows.append({"event": "refused", "action": name, "reason": f"the command lacks {error}", "source": event.source})
        except (ValueError, TypeError, OverflowError) as error:
            rows.append({"event": "refused", "action": name, "reason": str(error), "source": event.source})
        else:
            if done is not None:
                rows.append({"event": name, **done})
    return rows


def number(payload: Mapping[str, Any], key: str) -> float:
    """A finite number of a payload. KeyError where it lacks it, ValueError or TypeError where it is none."""
    value = float(payload[key])
    if not math.isfinite(value):
        raise ValueError(f"{key} is {value}; give a finite number")
    return value


class EmergencyClock:
    """When a federate is to be called next: on a grid of the emergency's step while one lasts."""

    def __init__(self) -> None:
        self._step_ns = 0

    def update(self, events: Iterable[Event]) -> None:
        """Take what the transmission system said."""
        for event in events:
            self._step_ns = int(event.payload["step_ns"]) if event.payload.get("active") else 0

    def next_ns(self, t_ns: int) -> int | None:
        """The next instant of the emergency's grid after `t_ns`; None where there is no emergency."""
        return (t_ns // self._step_ns + 1) * self._step_ns if self._step_ns else None
