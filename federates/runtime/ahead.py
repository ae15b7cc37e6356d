"""Running ahead: processes of which none hears from those that hear from it need not wait for each other at every instant.

Where the processes of a federation form such an order (measurements go down to studies, nothing comes back up), each of them runs
through a whole window of time by itself, and what it published in it travels as one bundle, every message with its instant. Those
below then run through the same window, while those above are in the next one. Federates see the same values at the same calls as in
step; only the waiting goes: quickstart's 6,751 exchanges become 360. How far ahead a process may get is limited by the heartbeats
of those below it, since whatever they have not yet taken waits in memory.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from federates.runtime.federate import Federation, FederationError
from federates.runtime.seat import links_with_coupling

LEAD_WINDOWS = 30
"""How many windows ahead of the slowest process below it a process may begin one."""

_HEAD = struct.Struct("<qq")  # window, messages
_MESSAGE = struct.Struct("<qq")  # instant, bytes


@dataclass(frozen=True, slots=True)
class Order:
    """The processes of a federation that may run ahead: how deep each lies, and who lies below it at any distance."""

    depth: Mapping[str, int]
    below: Mapping[str, frozenset[str]]


def order_of(federation: Federation) -> Order | None:
    """The order of a federation's processes; None where they must go in step: two hear from each other, there is but one, or the
    clock on the wall is to be kept."""
    if federation.real_time or len(federation.groups) < 2:
        return None
    home = {name: group for group, names in federation.groups.items() for name in names}
    above: dict[str, set[str]] = {group: set() for group in federation.groups}
    for link in links_with_coupling(federation):
        source, target = home.get(link.source), home.get(link.target)
        if source is not None and target is not None and source != target:
            above[target].add(source)
    try:
        downwards = tuple(TopologicalSorter(above).static_order())
    except CycleError:
        return None
    depth: dict[str, int] = {}
    for group in downwards:
        depth[group] = 1 + max((depth[source] for source in above[group]), default=-1)
    below: dict[str, frozenset[str]] = {}
    for group in reversed(downwards):
        direct = {other for other, sources in above.items() if group in sources}
        below[group] = frozenset(direct.union(*(below[other] for other in direct)))
    return Order(depth, below)


def windows(federation: Federation) -> Iterator[tuple[int, int]]:
    """Begin and end of every window of a run."""
    for begin_ns in range(0, federation.stop_ns, federation.window_ns):
        yield begin_ns, min(begin_ns + federation.window_ns, federation.stop_ns)


@dataclass(slots=True)
class Outbox:
    """What a port has published since the last bundle."""

    messages: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, wire_ns: int, message: bytes) -> None:
        """Keep what was published at an instant."""
        self.messages.append((wire_ns, message))

    def bundle(self, window: int) -> bytes:
        """All of it as one message; empty ones travel too, so that the reader knows that none is missing."""
        parts = [_HEAD.pack(window, len(self.messages))]
        for wire_ns, message in self.messages:
            parts += (_MESSAGE.pack(wire_ns, len(message)), message)
        self.messages.clear()
        return b"".join(parts)


@dataclass(slots=True)
class Inbox:
    """What has come for an input and whose instant has not."""

    where: str
    messages: deque[tuple[int, bytes]] = field(default_factory=deque)

    def accept(self, bundle: bytes, window: int) -> None:
        """Take the bundle of a window. FederationError for that of another one, and for foreign bytes.

        Of what is left of the windows before, the last message counts: a reader that is seldom called would else keep them all.
        """
        while len(self.messages) > 1:
            self.messages.popleft()
        try:
            came, count = _HEAD.unpack_from(bundle)
            at = _HEAD.size
            for _ in range(count):
                wire_ns, size = _MESSAGE.unpack_from(bundle, at)
                at += _MESSAGE.size + size
                self.messages.append((wire_ns, bundle[at - size : at]))
            if at != len(bundle):
                raise ValueError(f"{at} bytes were announced")
        except (struct.error, ValueError) as error:
            raise FederationError(f"{self.where}: {len(bundle)} bytes that are no bundle of ours: {error}") from error
        if came != window:
            raise FederationError(f"{self.where}: the bundle of window {came} came in place of that of window {window}")

    def before(self, wire_ns: int) -> bytes | None:
        """The last message published strictly before an instant, if there is a new one; those it supersedes are gone."""
        last = None
        while self.messages and self.messages[0][0] < wire_ns:
            last = self.messages.popleft()[1]
        return last

    def all(self) -> Iterator[bytes]:
        """Every message, in the order of their instants."""
        while self.messages:
            yield self.messages.popleft()[1]
