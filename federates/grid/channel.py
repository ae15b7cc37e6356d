"""A seeded communication channel: latency, jitter, loss, duplicates and outage windows.

What becomes of a message depends only on (seed, channel name, stream, message id, attempt): the random numbers come from a
counter-based generator, Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011),
whose counter is the message's identity. So a thousand messages in one call, one by one, or in another order give the same bits.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

S_NS = 1_000_000_000
LOST_NS = 2**62
"""Arrival time of a message that does not arrive."""

Ints = NDArray[np.int64]
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85


def philox4x32(counter: NDArray[np.uint64], key: tuple[int, int]) -> NDArray[np.uint64]:
    """Philox4x32-10. counter: uint64 [4, n] of 32-bit words; key: two of them. Gives four words each, uint64 [4, n]."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0, product1 = _M0 * c0, _M1 * c2
        c0 = (product1 >> _SHIFT) ^ c1 ^ np.uint64(k0)
        c2 = (product0 >> _SHIFT) ^ c3 ^ np.uint64(k1)
        c1, c3 = product1 & _LOW, product0 & _LOW
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return np.stack((c0, c1, c2, c3))


@dataclass(frozen=True, slots=True)
class ChannelParams:
    """What a channel does to messages.

    latency_s: median of a hop; sigma: its lognormal shape (standard deviation of ln; 0 gives a fixed latency).
    jitter_s: added once a message, uniform over [0, jitter_s). loss, duplicate: probabilities.
    outages_s: windows (from, to) in which whatever is sent is lost.
    """

    latency_s: float = 0.0
    sigma: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    outages_s: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        for name in ("latency_s", "sigma", "jitter_s"):
            value = getattr(self, name)
            if not 0.0 <= value < float("inf"):
                raise ValueError(f"{name} = {value}: give a finite number that is not negative")
        for name in ("loss", "duplicate"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} = {value}: a probability is within 0 and 1")
        for start_s, end_s in self.outages_s:
            if not start_s < end_s:
                raise ValueError(f"outage from {start_s} s to {end_s} s: it must end after it starts")


@dataclass(frozen=True, slots=True)
class Delivery:
    """When messages arrive, int64 [n]; `LOST_NS` where one does not. `duplicate_ns`: when a second copy arrives, likewise."""

    arrival_ns: Ints
    duplicate_ns: Ints

    @property
    def lost(self) -> NDArray[np.bool_]:
        """True where nothing arrives, bool [n]."""
        lost: NDArray[np.bool_] = self.arrival_ns == LOST_NS
        return lost


class Channel:
    """One direction of a link. Stateless: every answer is a function of the message's identity and the time it is sent."""

    def __init__(self, link: ChannelParams, seed: int, name: str) -> None:
        self.link, self.name = link, name
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        self._key = (int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little"))

    def words(self, stream: ArrayLike, message: ArrayLike, block: int = 0, attempt: int = 0, copy: int = 0) -> NDArray[np.uint64]:
        """Four random 32-bit words a message, uint64 [4, n].

        stream: source of the message, below 2^32. message: its number at that source (a sequence number, or the time it was
        sent in ns), below 2^63. block (below 2^8), copy (0 or 1), attempt (below 2^16): which words of that message.
        """
        low, source = np.broadcast_arrays(np.atleast_1d(np.asarray(message, np.uint64)), np.asarray(stream, np.uint64))
        which = np.full(low.shape, (attempt << 16) | (copy << 8) | block, np.uint64)
        return philox4x32(np.stack((low & _LOW, low >> _SHIFT, source, which)), self._key)

    def uniform(self, stream: ArrayLike, message: ArrayLike, block: int = 0) -> NDArray[np.float64]:
        """Four numbers a message, uniform within (0, 1), float64 [4, n]."""
        return _unit(self.words(stream, message, block))

    def normal(self, stream: ArrayLike, message: ArrayLike, block: int = 0) -> NDArray[np.float64]:
        """Four independent standard normal numbers a message, float64 [4, n] (Box and Muller, 1958)."""
        return _normal(self.words(stream, message, block))

    def send(self, sent_ns: ArrayLike, stream: ArrayLike, message: ArrayLike, hops: ArrayLike = 1, attempt: int = 0) -> Delivery:
        """What becomes of messages sent at `sent_ns` over `hops` hops (each with its own latency); arguments broadcast to [n]."""
        sent, stream_, message_, hops_ = np.broadcast_arrays(
            np.atleast_1d(np.asarray(sent_ns, np.int64)), np.asarray(stream), np.asarray(message), np.asarray(hops)
        )
        arrival = sent + self._delay_ns(stream_, message_, hops_, attempt, 0)
        twice = np.full(sent.shape, LOST_NS)
        link = self.link
        if link.loss or link.duplicate:
            chance = _unit(self.words(stream_, message_, 0, attempt))
            arrival[chance[0] < link.loss] = LOST_NS
            again = (chance[1] < link.duplicate) & (arrival != LOST_NS)
            if again.any():
                twice[again] = sent[again] + self._delay_ns(stream_[again], message_[again], hops_[again], attempt, 1)
        for start_s, end_s in link.outages_s:
            cut = (sent >= round(start_s * S_NS)) & (sent < round(end_s * S_NS))
            arrival[cut] = twice[cut] = LOST_NS
        return Delivery(arrival, twice)

    def _delay_ns(self, stream: NDArray[Any], message: NDArray[Any], hops: NDArray[Any], attempt: int, copy: int) -> Ints:
        link = self.link
        if link.sigma == 0.0:
            delay_s = hops * link.latency_s
        else:
            delay_s = np.zeros(stream.shape)
            for block in range((int(hops.max(initial=0)) + 3) // 4):
                z = _normal(self.words(stream, message, 1 + block, attempt, copy))
                used = 4 * block + np.arange(4)[:, None] < hops
                # Row by row: a pairwise sum along an axis may round otherwise for another batch size.
                for row in np.where(used, link.latency_s * np.exp(link.sigma * z), 0.0):
                    delay_s = delay_s + row
        if link.jitter_s:
            delay_s = delay_s + link.jitter_s * _unit(self.words(stream, message, 0, attempt, copy))[2]
        delay: Ints = np.rint(delay_s * S_NS).astype(np.int64)
        return delay


def _unit(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = (words.astype(np.float64) + 0.5) * 2.0**-32
    return unit


def _normal(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    u = _unit(words)
    radius = np.sqrt(-2.0 * np.log(u[0::2]))
    angle = 2.0 * np.pi * u[1::2]
    return np.concatenate((radius * np.cos(angle), radius * np.sin(angle)))


Item = TypeVar("Item")
REMEMBERED_KEYS = 4096
"""How many of the last items offered to a `Confirmed` transfer are known again when they are offered twice."""


@dataclass(frozen=True, slots=True)
class Transfer(Generic[Item]):
    """What a `Confirmed` transfer did: items that arrived (each once) with their times, and items the sender gave up on."""

    arrived: tuple[tuple[int, Item], ...]
    given_up: tuple[Item, ...]


class Confirmed(Generic[Item]):
    """Transfer that repeats until it is acknowledged, over two lossy channels; the receiver drops repeats by their key.

    An item is sent at once and again each `retry_ns` until an acknowledgement is back, at most `attempts` times (None: without
    limit). Only `advance` moves time, so a link that is down (`up` false) is asked at each attempt. What is kept is bounded: an
    item until it is acknowledged or given up and nothing of it is on its way, its key until `remember` others have been offered.
    """

    def __init__(
        self, forward: Channel, back: Channel, retry_ns: int, attempts: int | None = None, remember: int = REMEMBERED_KEYS
    ) -> None:
        if retry_ns <= 0:
            raise ValueError(f"retry_ns = {retry_ns}: give a positive time")
        self.forward, self.back, self.retry_ns, self.attempts = forward, back, retry_ns, attempts
        self.repeats_dropped = 0
        self._number = 0
        self._items: dict[int, _Underway[Item]] = {}
        self._keys: dict[Hashable, None] = {}  # in the order of the offers
        self._remember = remember
        self._tasks: list[tuple[int, int, int, int]] = []

    @property
    def next_ns(self) -> int:
        """When `advance` is to be called next; `LOST_NS` when there is nothing to do."""
        return self._tasks[0][0] if self._tasks else LOST_NS

    def offer(self, t_ns: int, item: Item, key: Hashable, stream: int = 0) -> bool:
        """Send `item` from `t_ns` on. False, and nothing is sent, where an item of that key is among the last offered."""
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > self._remember:
            del self._keys[next(iter(self._keys))]
        self._number += 1
        self._items[self._number] = _Underway(item, stream)
        self._plan(t_ns, self._number, _ATTEMPT, 0)
        return True

    def _plan(self, t_ns: int, number: int, kind: int, attempt: int) -> None:
        self._items[number].tasks += 1
        heapq.heappush(self._tasks, (t_ns, number, kind, attempt))

    def advance(self, t_ns: int, up: Callable[[int, int], bool] = lambda stream, t_ns: True) -> Transfer[Item]:
        """Do everything that is due by `t_ns`. `up(stream, t_ns)` says whether the stream's link works then."""
        arrived: list[tuple[int, Item]] = []
        given_up: list[Item] = []
        while self._tasks and self._tasks[0][0] <= t_ns:
            due_ns, number, kind, attempt = heapq.heappop(self._tasks)
            underway = self._items[number]
            underway.tasks -= 1
            if kind == _ARRIVAL:
                self._arrive(due_ns, number, attempt, underway, arrived, up)
            elif underway.acknowledged_ns > due_ns:
                if self.attempts is not None and attempt >= self.attempts:
                    given_up.append(underway.item)
                else:
                    self._attempt(due_ns, number, attempt, underway, up)
            if not underway.tasks:
                del self._items[number]
        return Transfer(tuple(arrived), tuple(given_up))

    def _arrive(
        self,
        due_ns: int,
        number: int,
        attempt: int,
        underway: _Underway[Item],
        arrived: list[tuple[int, Item]],
        up: Callable[[int, int], bool],
    ) -> None:
        if underway.received:
            self.repeats_dropped += 1
        else:
            underway.received = True
            arrived.append((due_ns, underway.item))
        if up(underway.stream, due_ns):
            back_ns = int(self.back.send(due_ns, underway.stream, number, attempt=attempt).arrival_ns[0])
            underway.acknowledged_ns = min(back_ns, underway.acknowledged_ns)

    def _attempt(self, due_ns: int, number: int, attempt: int, underway: _Underway[Item], up: Callable[[int, int], bool]) -> None:
        if up(underway.stream, due_ns):
            delivery = self.forward.send(due_ns, underway.stream, number, attempt=attempt % 2**16)
            for arrival_ns in (int(delivery.arrival_ns[0]), int(delivery.duplicate_ns[0])):
                if arrival_ns != LOST_NS:
                    self._plan(arrival_ns, number, _ARRIVAL, attempt % 2**16)
        self._plan(due_ns + self.retry_ns, number, _ATTEMPT, attempt + 1)


@dataclass(slots=True)
class _Underway(Generic[Item]):
    """An item that has been offered: `tasks` counts attempts and arrivals that are still to come."""

    item: Item
    stream: int
    tasks: int = 0
    received: bool = False
    acknowledged_ns: int = LOST_NS


_ARRIVAL, _ATTEMPT = 0, 1
