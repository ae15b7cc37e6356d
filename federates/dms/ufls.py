"""Under-frequency load shedding: what each stage would take off now, and how the frequency would swing with the stages in it.

A stage opens feeders, not megawatts. What that relieves is the load of those feeders less the generation on them; where they feed
back, opening them costs the system power, and the stage is counter-productive there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from federates.grid.frequency import FrequencyModel, FrequencyResponse
from federates.grid.relay import Relay, Stage, Trip
from federates.grid.shedding import FeederBank

_STEP_NS = 20_000_000


@dataclass(frozen=True)
class Armed:
    """What one stage would open at one bank, after the stages before it: feeders, and their powers in W. net_w = load - generation
    + losses, as drawn at the bus."""

    stage: str
    bank: str
    feeders: int
    load_w: float
    der_w: float
    net_w: float

    @property
    def counter_productive(self) -> bool:
        """Whether opening takes away more generation than load."""
        return self.feeders > 0 and self.net_w < 0.0


def armed(bank: FeederBank, stages: Sequence[Stage]) -> tuple[Armed, ...]:
    """What the stages of a bank's relay would open one after the other, the earliest first: those of higher pickup, then of shorter
    delay, then in the order given. Stages that measure another quantity are armed with the same feeders: which of them comes first
    depends on the event (`tblm.overlap` says what is left after the other)."""
    left, found = {stage.quantity: bank.closed for stage in stages}, dict[str, Armed]()
    for stage in sorted(stages, key=lambda stage: (-stage.pickup, stage.delay_ns)):
        feeders = left[stage.quantity] if stage.feeders is None else min(stage.feeders, left[stage.quantity])
        left[stage.quantity] -= feeders
        powers = feeders * bank.load_w, feeders * bank.der_w, feeders * bank.p_w
        found[stage.name] = Armed(stage.name, bank.name, feeders, *powers)
    return tuple(found[stage.name] for stage in stages)


@dataclass(frozen=True)
class DerTrip:
    """DER at a bank that trip together: below `f_hz` for `delay_ns` they are gone; p_w of one feeder."""

    bank: str
    f_hz: float
    delay_ns: int
    p_w: float


@dataclass(frozen=True)
class Swing:
    """A frequency in time with what acted in it. trips: of feeders, with W that the system was relieved of; der: (ns, DER trip, W
    lost)."""

    t_ns: tuple[int, ...]
    f_hz: tuple[float, ...]
    trips: tuple[tuple[Trip, float], ...]
    der: tuple[tuple[int, DerTrip, float], ...]

    @property
    def nadir_hz(self) -> float:
        """The lowest frequency."""
        return min(self.f_hz)


def swing(
    model: FrequencyModel,
    native_w: float,
    other_w: float,
    banks: Sequence[tuple[FeederBank, Sequence[Stage]]],
    der_trips: Sequence[DerTrip] = (),
    *,
    v_pu: float = 1.0,
    stop_ns: int = 30_000_000_000,
) -> Swing:
    """The frequency of `model` (its scheduled losses in it) with relays and DER trips answering it, in steps of 20 ms.

    native_w: load that the model damps; other_w: losses. v_pu: at the relays, held, as are the voltages of all load: what a fall of
    voltage relieves is not in it. A breaker opens at the step at or after its time.
    """
    closed = [bank.closed for bank, _ in banks]
    load = [bank.p_w for bank, _ in banks]
    relays = [Relay(stages) for _, stages in banks]
    total = sum(n * p for n, p in zip(closed, load, strict=True))
    response = FrequencyResponse(model, total + other_w, native_w)
    since: dict[int, int] = {}
    gone: set[int] = set()
    opening: list[tuple[Trip, int]] = []
    times, seen = [0], [model.f0_hz]
    trips, lost = list[tuple[Trip, float]](), list[tuple[int, DerTrip, float]]()
    index = {bank.name: k for k, (bank, _) in enumerate(banks)}
    for t_ns in range(_STEP_NS, stop_ns + 1, _STEP_NS):
        off_hz = seen[-1] - model.f0_hz
        drawn = [p + bank.w_per_hz * off_hz for p, (bank, _) in zip(load, banks, strict=True)]
        fixed = sum(n * p for n, p in zip(closed, drawn, strict=True))
        f_hz = response.step(_STEP_NS, fixed + other_w, native_w).f_hz
        times.append(t_ns)
        seen.append(f_hz)
        for k, relay in enumerate(relays):
            for change in relay.update(t_ns, f_hz, v_pu):
                if change.what == "operate":
                    opens_ns = change.t_ns + change.stage.breaker_ns
                    opening.append((Trip(opens_ns, change.t_ns, banks[k][0].name, change.stage), k))
        for trip, k in [entry for entry in opening if entry[0].t_open_ns <= t_ns]:
            feeders = closed[k] if trip.stage.feeders is None else min(trip.stage.feeders, closed[k])
            closed[k] -= feeders
            trips.append((trip, feeders * drawn[k]))
        opening = [entry for entry in opening if entry[0].t_open_ns > t_ns]
        for n, der in enumerate(der_trips):
            if n in gone:
                continue
            if f_hz >= der.f_hz:
                since.pop(n, None)
            elif t_ns - since.setdefault(n, t_ns) >= der.delay_ns:
                gone.add(n)
                k = index[der.bank]
                load[k] += der.p_w
                lost.append((t_ns, der, closed[k] * der.p_w))
    return Swing(tuple(times), tuple(seen), tuple(trips), tuple(lost))
