"""Protection elements in time: definite-time pickup, dropout and the breaker behind them. Pure: driven by the times it is given.

An element picks up when what it measures passes its pickup, drops out when that has come back over its dropout, and operates when
it has been picked up for its delay without a break; its breaker opens `breaker_ns` later. What is measured holds from one sample
to the next. Times are integer ns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Quantity = Literal["f_hz", "v_pu"]
Happening = Literal["pickup", "dropout", "operate"]


@dataclass(frozen=True)
class Stage:
    """One stage of under-frequency or under-voltage load shedding.

    scheme, number: which stage of which scheme, as `ufls` 2. quantity: what it measures; pickup in its unit. reset: how far above
    pickup it drops out. inhibit_v_pu: below this voltage the element is blocked and its timer is reset (IEEE C37.117-2007: an
    under-frequency relay must not take the decaying voltage of motors for a frequency). feeders: how many of the like feeders at
    the relay's bus it opens; None: all.
    """

    scheme: str
    number: int
    quantity: Quantity
    pickup: float
    delay_ns: int
    breaker_ns: int = 80_000_000
    reset: float = 0.0
    inhibit_v_pu: float = 0.0
    feeders: int | None = None

    def __post_init__(self) -> None:
        if self.pickup <= 0.0 or self.delay_ns < 0 or self.breaker_ns < 0 or self.reset < 0.0 or self.inhibit_v_pu < 0.0:
            raise ValueError(f"stage {self.name}: pickup must be positive, times, reset and inhibit_v_pu not negative")
        if self.feeders is not None and self.feeders < 1:
            raise ValueError(f"stage {self.name}: feeders = {self.feeders}; give 1 or more, or none for all")

    @property
    def name(self) -> str:
        """`ufls:2`: how the stage is named as the cause of a trip."""
        return f"{self.scheme}:{self.number}"


class Change(NamedTuple):
    """Something that an element did, at the time it did it."""

    t_ns: int
    stage: Stage
    what: Happening


class Element:
    """One stage, running. It operates once; `reset` makes it ready again."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.reset()

    def reset(self) -> None:
        """Ready again, timer at zero."""
        self._since_ns: int | None = None
        self.operated = False

    @property
    def due_ns(self) -> int | None:
        """When it operates if what it measures stays as it is; None where nothing is running."""
        return None if self._since_ns is None or self.operated else self._since_ns + self.stage.delay_ns

    def update(self, t_ns: int, f_hz: float, v_pu: float) -> Iterator[Change]:
        """What it did up to `t_ns`, at which it sees these values; those before held until now. NaN leaves it as it is."""
        stage, due_ns = self.stage, self.due_ns
        if due_ns is not None and due_ns <= t_ns:
            self.operated = True
            yield Change(due_ns, stage, "operate")
        value = f_hz if stage.quantity == "f_hz" else v_pu
        if self.operated or value != value:
            return
        if self._since_ns is None:
            if value < stage.pickup and not v_pu < stage.inhibit_v_pu:
                self._since_ns = t_ns
                yield Change(t_ns, stage, "pickup")
                if stage.delay_ns == 0:
                    self.operated = True
                    yield Change(t_ns, stage, "operate")
        elif value >= stage.pickup + stage.reset or v_pu < stage.inhibit_v_pu:
            self._since_ns = None
            yield Change(t_ns, stage, "dropout")


class Relay:
    """The elements of one relay, in the order of their stages."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        names = [stage.name for stage in stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stages named twice: {', '.join(sorted({n for n in names if names.count(n) > 1}))}")
        self.elements = tuple(Element(stage) for stage in stages)

    @property
    def due_ns(self) -> int | None:
        """When the next element operates if nothing changes."""
        return min((due for element in self.elements if (due := element.due_ns) is not None), default=None)

    def update(self, t_ns: int, f_hz: float, v_pu: float) -> list[Change]:
        """What the elements did up to `t_ns`, in time, at one time in the order of the stages."""
        changes = [change for element in self.elements for change in element.update(t_ns, f_hz, v_pu)]
        return sorted(changes, key=lambda change: change.t_ns)  # stable


class Trip(NamedTuple):
    """A breaker that opens: who, when the element operated, when the contacts part."""

    t_open_ns: int
    t_operate_ns: int
    relay: str
    stage: Stage


def replay(relays: Iterable[tuple[str, Sequence[Stage]]], samples: Sequence[tuple[int, float, float]]) -> list[Trip]:
    """Every trip of named relays that see the samples (t_ns, f_hz, v_pu), in the order in which breakers open.

    At one instant: by time of operation, then in the order of the relays given, then of their stages. What is measured last holds
    until every running timer has had its end.
    """
    found: list[tuple[int, int, int, Trip]] = []
    for k, (name, stages) in enumerate(relays):
        relay = Relay(stages)
        changes = [change for sample in samples for change in relay.update(*sample)]
        while samples and (due_ns := relay.due_ns) is not None:
            changes += relay.update(due_ns, *samples[-1][1:])
        for change in changes:
            if change.what == "operate":
                trip = Trip(change.t_ns + change.stage.breaker_ns, change.t_ns, name, change.stage)
                found.append((trip.t_open_ns, trip.t_operate_ns, k, trip))
    return [trip for *_, trip in sorted(found, key=lambda row: row[:3])]
