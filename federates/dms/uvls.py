"""Under-voltage load shedding: which stages a voltage would start, whether a fault would start them wrongly, and what shedding
does to the voltage, and so to the stages that follow.

The bus is seen through the Thevenin equivalent of the transmission system behind it (the EMS makes it: `ems.equivalent`). After
shedding, V solves the equivalent against the load that is left, which itself follows V.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from federates.grid.relay import Relay, Stage, Trip, replay
from federates.grid.thevenin import Thevenin

__all__ = [
    "FAULT_NS", "Expected", "Load", "Step", "Thevenin", "composed", "expected", "left_for", "moved_pu", "voltage_pu",
]  # fmt: skip

FAULT_NS = 160_000_000
"""A fault that IEEE 1547-2018 inverters ride through or cease for is cleared within this: shedding must not begin in it."""
_TOLERANCE_PU = 1e-9
_SCAN_PU = 2e-3
_STALLED_S = 1.0  # a voltage that stays low for longer after a fault is motors that stall (FIDVR), not the fault

Load = Callable[[float], tuple[float, float]]
"""V in pu -> (P in W, Q in var) drawn at the bus."""


@dataclass(frozen=True)
class Expected:
    """What a voltage would do. trips in order; fidvr: it stays under the highest pickup for longer than a fault and a second;
    too_fast: stages that a cleared fault alone would start."""

    trips: tuple[Trip, ...]
    fidvr: bool
    too_fast: tuple[str, ...]


def expected(name: str, stages: Sequence[Stage], samples: Sequence[tuple[int, float, float]]) -> Expected:
    """Stages of one relay against a course of (t_ns, f_hz, v_pu)."""
    trips = tuple(replay([(name, stages)], samples))
    pickup = max((stage.pickup for stage in stages if stage.quantity == "v_pu"), default=0.0)
    longest_ns = since_ns = 0
    low = False
    for t_ns, _, v_pu in samples:
        if v_pu < pickup:
            since_ns = since_ns if low else t_ns
            longest_ns = max(longest_ns, t_ns - since_ns)
        low = v_pu < pickup
    too_fast = tuple(s.name for s in stages if s.quantity == "v_pu" and s.delay_ns <= FAULT_NS)
    return Expected(trips, longest_ns > FAULT_NS + _STALLED_S * 1e9, too_fast)


@dataclass(frozen=True)
class Step:
    """A stage that opens: `feeders` of those closed, and the voltage at the bus right before and right after, pu."""

    trip: Trip
    feeders: int
    v_before_pu: float
    v_after_pu: float


def composed(
    name: str, stages: Sequence[Stage], samples: Sequence[tuple[int, float, float]], source: Thevenin, load: Load, closed: int
) -> tuple[Step, ...]:
    """Stages of one relay against (t_ns, f_hz, v_pu), v being what the bus would have if nothing were shed there: each sees what
    those before it have left of it.

    load: of all `closed` feeders. The last sample holds until every timer has had its end. ValueError where shedding leaves no
    voltage (`voltage_pu`).
    """
    relay, left, steps = Relay(stages), closed, list[Step]()
    opening: list[tuple[int, Trip]] = []
    waiting = deque(samples)
    known: dict[tuple[float, int], float] = {}

    def seen_pu(v_pu: float) -> float:
        if (v_pu, left) not in known:
            known[v_pu, left] = moved_pu(source, load, v_pu, left / closed) if closed else v_pu
        return known[v_pu, left]

    while waiting:
        t_ns, f_hz, v_pu = waiting.popleft()
        for trip in [trip for at_ns, trip in opening if at_ns <= t_ns]:
            feeders = left if trip.stage.feeders is None else min(trip.stage.feeders, left)
            before_pu = seen_pu(v_pu)
            left -= feeders
            steps.append(Step(trip, feeders, before_pu, seen_pu(v_pu)))
        opening = [entry for entry in opening if entry[0] > t_ns]
        for change in relay.update(t_ns, f_hz, seen_pu(v_pu)):
            if change.what == "operate":
                opens_ns = change.t_ns + change.stage.breaker_ns
                opening.append((opens_ns, Trip(opens_ns, change.t_ns, name, change.stage)))
        if not waiting:  # on to the next thing that happens while all stays as it is
            due = [at_ns for at_ns, _ in opening] + ([relay.due_ns] if relay.due_ns is not None else [])
            if due:
                waiting.append((max(min(due), t_ns), f_hz, v_pu))
        opening.sort(key=lambda entry: entry[0])
    return tuple(steps)


def moved_pu(source: Thevenin, load: Load, v_pu: float, left: float, then: Load | None = None) -> float:
    """Voltage at the bus with this part of its load left, where with all of it the bus would be at `v_pu`. then: how the load
    follows the voltage by then, all of it (None: as before): minutes later tap changers have brought it back."""
    if left == 1.0 and then is None:
        return v_pu
    return voltage_pu(source.behind(v_pu, *load(v_pu)), then or load, left)


def voltage_pu(source: Thevenin, load: Load, left: float = 1.0) -> float:
    """Voltage at the bus with this part of its load left, upper solution. ValueError past the nose, where there is none."""
    v = source.e_pu
    for _ in range(200):
        p_w, q_var = load(v)
        new = source.voltage_pu(left * p_w, left * q_var)
        if new is None:
            break
        if abs(new - v) < _TOLERANCE_PU:
            return new
        v = new
    return _highest_pu(source, load, left)


def _highest_pu(source: Thevenin, load: Load, left: float) -> float:
    """The highest voltage at which source and load agree, for a load that falls so much with the voltage that putting one into the
    other does not end, or begins beyond the nose: what it would take at a voltage that it never has is no reason for a collapse."""

    def excess_pu(v_pu: float) -> float:
        p_w, q_var = load(v_pu)
        return source.behind(v_pu, left * p_w, left * q_var).e_pu - source.e_pu

    above = 2.0 * source.e_pu
    over = excess_pu(above) > 0.0
    while (below := above - _SCAN_PU) > 0.0 and (excess_pu(below) > 0.0) == over:
        above = below
    if below <= 0.0:
        raise ValueError(f"no voltage carries {left * load(source.e_pu)[0] / 1e6:.4g} MW at this bus: shed more, or support it")
    while above - below > _TOLERANCE_PU:
        middle = 0.5 * (above + below)
        above, below = (middle, below) if (excess_pu(middle) > 0.0) == over else (above, middle)
    return 0.5 * (above + below)


def left_for(source: Thevenin, load: Load, v_wanted_pu: float) -> float:
    """The largest part of the load that keeps the bus at this voltage, 0..1; ValueError where even without load it is lower."""
    if voltage_pu(source, load, 0.0) < v_wanted_pu:
        raise ValueError(f"the bus has {source.e_pu:.4g} pu without load: shedding does not bring {v_wanted_pu:.4g} pu")
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        try:
            enough = voltage_pu(source, load, middle) >= v_wanted_pu
        except ValueError:
            enough = False
        low, high = (middle, high) if enough else (low, middle)
    return 1.0 if high == 1.0 and low > 1.0 - 1e-9 else low
