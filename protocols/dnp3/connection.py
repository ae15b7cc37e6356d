"""One line to an outstation (a TCP connection, or a serial port): frames in, frames out, and whether anybody is still there.

A line belongs to one master: the one whose first good frame arrives on it. If that master was on another line, it has
reconnected, and the other line is closed. A line opened while the outstation restarts is not heard, and closed when the restart
is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .config import ns
from .link import LinkCounts, LinkFrame, LinkParser, OutstationLink, Primary

if TYPE_CHECKING:
    from .outstation import Outstation
    from .session import Session


class Connection:
    """Octets of one line. `closing` says that the line is to be closed once `data_to_send` has been sent."""

    def __init__(self, device: Outstation) -> None:
        self._device = device
        self._parser = LinkParser()
        self._filter = OutstationLink(device.config.address, device.config.self_address)
        self._out = bytearray()
        self._certain = False
        self._heard_ns = device.now_ns()
        self._status_asked = False
        self._deaf_until_ns = device.restart_until_ns if device.restarting else None
        self.session: Session | None = None
        self.closing = False
        self.foreign_frames = 0
        """Good frames that were not for this outstation, or came from another master than this line's."""

    @property
    def counts(self) -> LinkCounts:
        """Good and damaged frames so far."""
        return self._parser.counts

    def presume(self, session: Session) -> None:
        """Takes `session` for the one on this line until a frame says otherwise."""
        self.session = session
        session.attach(self)

    def receive(self, octets: bytes) -> None:
        """Octets from the line, in pieces of any size."""
        if self._deaf_until_ns is not None:
            return
        for frame in self._parser.feed(octets):
            if self.closing:
                return
            self._receive(frame)

    def _receive(self, frame: LinkFrame) -> None:
        if not self._filter.accepts(frame) or not self._belongs(frame.source):
            self.foreign_frames += 1
            return
        assert self.session is not None
        self._heard_ns = self._device.now_ns()
        self._status_asked = False
        self.session.receive(frame, self._heard_ns)

    def _belongs(self, master: int) -> bool:
        """Whether a frame of this master counts here; the first one decides whose line it is."""
        if self._certain:
            assert self.session is not None
            return self.session.master == master
        session = self._device.session(master)
        if session is None:
            return False
        if session is not self.session:
            if self.session is not None:
                self.session.detach()
            for other in self._device.connections:
                if other.session is session:
                    other.session, other.closing = None, True
            self.session = session
            session.attach(self)
        self._certain = True
        return True

    def queue(self, octets: bytes) -> None:
        self._out += octets

    def data_to_send(self) -> bytes:
        """The octets for the line since the last call."""
        octets = bytes(self._out)
        self._out.clear()
        return octets

    def lost(self) -> None:
        """The line is gone. The session stays, with its events, for the master's return."""
        if self.session is not None and self.session.carrier is self:
            self.session.detach()
        self.session, self.closing = None, True
        if self in self._device.connections:
            self._device.connections.remove(self)

    def deadline_ns(self) -> int | None:
        config = self._device.config
        if self.closing:
            return None
        if self._deaf_until_ns is not None:
            return self._deaf_until_ns
        if config.keep_alive_s is None:
            return None
        waited_s = config.keep_alive_s + (config.keep_alive_timeout_s if self._status_asked else 0.0)
        return self._heard_ns + ns(waited_s)

    def advance(self, now_ns: int) -> None:
        """Asks for the link status on a silent line, and gives up one that stays silent or never said a word."""
        deadline = self.deadline_ns()
        if deadline is None or now_ns < deadline:
            return
        if self._status_asked or self.session is None or self._deaf_until_ns is not None:
            self.closing = True
        else:
            self._status_asked = True
            source = self._device.config.address
            self.queue(LinkFrame(self.session.master, source, Primary.REQUEST_LINK_STATUS).encode())
