"""Under-voltage load shedding: which stages a voltage would start, whether a fault would start them wrongly, and what shedding
does to the voltage.

The bus is seen through the Thevenin equivalent of the transmission system behind it. After shedding, V solves V = |E| against the
load that is left, which itself follows V.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from federates.grid.relay import Stage, Trip, replay

FAULT_NS = 160_000_000
"""A fault that IEEE 1547-2018 inverters ride through or cease for is cleared within this: shedding must not begin in it."""
_TOLERANCE_PU = 1e-9
_STALLED_S = 1.0  # a voltage that stays low for longer after a fault is motors that stall (FIDVR), not the fault

Load = Callable[[float], tuple[float, float]]
"""V in pu -> (P in W, Q in var) drawn at the bus."""


@dataclass(frozen=True)
class Thevenin:
    """Of the transmission system at a bus: source E in pu, impedance in pu of `s_base_va`."""

    e_pu: float
    r_pu: float
    x_pu: float
    s_base_va: float


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


def voltage_pu(source: Thevenin, load: Load, left: float = 1.0) -> float:
    """Voltage at the bus with this part of its load left, upper solution. ValueError past the nose, where there is none."""
    v = source.e_pu
    for _ in range(200):
        p, q = (left * x / source.s_base_va for x in load(v))
        # |E|^2 = (V + (R P + X Q) / V)^2 + ((X P - R Q) / V)^2, solved for V^2 with this P and Q
        a = source.r_pu * p + source.x_pu * q
        b = source.x_pu * p - source.r_pu * q
        half = 0.5 * source.e_pu**2 - a
        square = half * half - a * a - b * b
        if square < 0.0:
            raise ValueError(f"no voltage carries {p * source.s_base_va / 1e6:.4g} MW at this bus: shed more, or support it")
        new = math.sqrt(half + math.sqrt(square))
        if abs(new - v) < _TOLERANCE_PU:
            return new
        v = new
    raise ValueError("the voltage at the bus does not come to rest")


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
