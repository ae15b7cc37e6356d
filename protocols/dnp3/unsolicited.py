"""Unsolicited responses of one session: the null response after a restart, events, confirmations, retries (IEEE 1815, clause 4.6).

At most one unsolicited response is under way. A retry repeats the same octets. While one waits for its confirmation, a READ
waits too (the session holds it back), so that no event is in two answers at once.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .application import Control, Function, Response
from .config import ns
from .events import Event
from .reading import Plan, write_fragment

if TYPE_CHECKING:
    from .session import Session

_ALL_CLASSES = 0b1110


class Unsolicited:
    """The unsolicited side of `session`. Classes are bits 1 << class."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sequence = 0
        self.restart()

    def restart(self) -> None:
        """After a restart: no class enabled, and an empty response to be confirmed first."""
        self._classes = 0
        self._null_due = self._session.device.config.unsolicited
        self._fragment: bytes | None = None
        self._events: list[Event] = []
        self._retries_left: int | None = None
        self._deadline_ns = 0
        self._ready_ns = 0
        self._quiet_until_ns = 0
        self._holding = False

    @property
    def awaiting(self) -> bool:
        """Whether a response waits for its confirmation."""
        return self._fragment is not None

    @property
    def classes(self) -> int:
        return self._classes

    def enable(self, mask: int) -> None:
        self._classes |= mask & _ALL_CLASSES

    def disable(self, mask: int) -> None:
        self._classes &= ~mask
        if self._events:
            self.cancel()

    def cancel(self) -> None:
        """Gives up the response under way; its events wait again."""
        self._session.buffer.release(self._events)
        self._events = []
        if self._fragment is not None:
            # A late confirmation of the old response must not pass for one of the next.
            self._fragment = None
            self._sequence = (self._sequence + 1) & 0x0F

    def event_added(self, now_ns: int) -> None:
        """Starts the time in which further events may join."""
        if not self._holding:
            self._holding = True
            self._ready_ns = now_ns + ns(self._session.device.config.unsolicited_delay_s)

    def heard(self) -> None:
        """The master lives: what had been given up may be tried again."""
        self._quiet_until_ns = 0

    def deadline_ns(self) -> int | None:
        """When `advance` has something to do, or None."""
        if not self._session.attached:
            return None
        if self.awaiting:
            return self._deadline_ns
        if self._session.awaiting_confirm or not self._due():
            return None
        return max(self._quiet_until_ns, 0 if self._null_due else self._ready_ns)

    def advance(self, now_ns: int) -> None:
        """Sends what is due at `now_ns`, repeats or gives up what was not confirmed in time."""
        deadline = self.deadline_ns()
        if deadline is None or now_ns < deadline:
            return
        if not self.awaiting:
            self._send(now_ns)
        elif self._session.read_deferred:
            self.cancel()
            self._session.resume_deferred()
        elif self._retries_left is None or self._retries_left > 0:
            self._retries_left = None if self._retries_left is None else self._retries_left - 1
            self._transmit(now_ns)
        else:
            self.cancel()
            self._quiet_until_ns = now_ns + ns(self._session.device.config.unsolicited_offline_s)

    def confirm(self, sequence: int) -> None:
        """An unsolicited confirmation came; it counts if it carries the number of the response under way."""
        if not self.awaiting or sequence != self._sequence:
            return
        self._session.buffer.confirm(self._events)
        self._events, self._fragment = [], None
        self._null_due = False
        self._sequence = (self._sequence + 1) & 0x0F
        self._session.resume_deferred()

    def _due(self) -> bool:
        return self._null_due or self._session.buffer.count_waiting(self._classes) > 0

    def _send(self, now_ns: int) -> None:
        session = self._session
        capacity = session.device.objects_capacity
        octets, self._events = b"", []
        if not self._null_due:
            # No object with its index is shorter than two octets, so a fragment cannot take more events than this.
            chosen = session.buffer.select(class_mask=self._classes, limit=capacity // 2)
            plan: Plan = deque(chosen)
            octets, self._events = write_fragment(plan, capacity, session.device.wide_types)
            session.buffer.release(chosen[len(self._events) :])
            for event in self._events:
                session.buffer.mark_sent(event)
            self._holding = bool(session.buffer.count_waiting(self._classes))
        control = Control(fir=True, fin=True, con=True, uns=True, sequence=self._sequence)
        self._fragment = Response(control, Function.UNSOLICITED_RESPONSE, session.device.iin(session), octets).encode()
        self._retries_left = session.device.config.unsolicited_retries
        self._transmit(now_ns)

    def _transmit(self, now_ns: int) -> None:
        assert self._fragment is not None
        self._deadline_ns = now_ns + ns(self._session.device.config.unsolicited_confirm_timeout_s)
        self._session.transmit(self._fragment)
