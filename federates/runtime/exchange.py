"""What enters and leaves a process: inputs fed by federates elsewhere, outputs that go to them. `handle` is the carrier's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from federates.runtime.ahead import Inbox, Outbox
from federates.runtime.federate import FederationError
from federates.runtime.local import take
from federates.runtime.port import Document, Port
from federates.runtime.seat import Packet, Seat, gather, next_instant
from federates.runtime.wire import Reader, decode_events, encode, encode_events


@dataclass(slots=True)
class Inlet:
    """A vector or document input of a seat."""

    handle: Any
    seat: Seat
    port: Port
    where: str
    inbox: Inbox = field(init=False)
    reader: Reader = field(init=False)
    index: np.ndarray | None = None
    seen: bool = False

    def __post_init__(self) -> None:
        self.inbox, self.reader = Inbox(self.where), Reader(self.where)

    def accept(self, message: bytes) -> None:
        """Hand a value over. FederationError for one that does not fit, and for foreign bytes."""
        value = self.reader.decode(message)
        if not self.seen:
            assert self.reader.source is not None
            self.index, self.seen = gather(self.reader.source, self.port, self.where), True
        self.seat.accept_value(self.port.name, value if isinstance(value, Document) else take(value, self.index))


@dataclass(slots=True)
class Mailbox:
    """An event input of a seat."""

    handle: Any
    seat: Seat
    port: str
    delay_ns: int
    where: str
    inbox: Inbox = field(init=False)
    seq: int = 0

    def __post_init__(self) -> None:
        self.inbox = Inbox(self.where)

    def accept(self, message: bytes) -> None:
        """Hand events over, which the seat keeps until their time. FederationError for a gap in their sequence."""
        for event in decode_events(message):
            if event.seq != self.seq + 1:
                raise FederationError(f"{self.where}: event {event.seq} came after event {self.seq}: some were lost")
            self.seq = event.seq
            self.seat.accept_event(self.port, event, next_instant(event.t_ns + self.delay_ns))


@dataclass(slots=True)
class Outlet:
    """An output of a seat."""

    handle: Any
    port: Port
    layout_hash: int = field(init=False)
    outbox: Outbox = field(default_factory=Outbox)
    announced: bool = False

    def __post_init__(self) -> None:
        self.layout_hash = self.port.layout_hash()

    def message(self, value: Packet) -> bytes:
        """What was published, as it travels."""
        if isinstance(value, tuple):
            return encode_events(value)
        # Of documents published since it last looked a reader gets the last only: each one carries the layout.
        first = not self.announced or isinstance(value, Document)
        self.announced = True
        return encode(self.port, self.layout_hash, value, first=first)
