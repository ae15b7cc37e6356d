"""Revenue meters at the customers: several per load of the feeder, with interval averages and last gasps.

A load of the feeder stands for the customers behind one transformer. It is split among them by seeded shares that wander over
hours and sum to the load. A meter integrates what it sees (the last sample held until the next one), reads out whole Wh and varh
from registers that never reset, and the average voltage to 0.1 V; so energy is not lost to rounding from one interval to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federates.grid.channel import Channel, ChannelParams
from federates.runtime.federate import S_NS, Step
from federates.runtime.port import Inputs, Outputs, Port, Quality, Sample

Floats = NDArray[np.float64]
_H_NS = 3600.0 * S_NS
_DEAD_PU = 0.1
_SEEN = 0.98
"""An interval of which less than this part was seen is SUSPECT."""
_WANDER = 0.4
"""A customer's share moves by up to this part of itself."""


@dataclass(frozen=True, slots=True)
class MeteredLoad:
    """A load of the feeder: its name there, nominal active power in W (of all phases), number of phases."""

    name: str
    nominal_w: float
    phases: int = 1

    def __post_init__(self) -> None:
        if not self.nominal_w >= 0.0 or self.phases not in (1, 2, 3):
            raise ValueError(f"load {self.name}: {self.nominal_w} W in {self.phases} phases; give at least 0 W, 1 to 3 phases")


@dataclass(frozen=True, slots=True)
class Meters:
    """Parameters of `MetersFederate`.

    customer_w: nominal power of an average customer per phase. accuracy_class: in percent; a meter's gain errors (P and Q; V)
    are drawn once and stay within it. nominal_v: voltage at the meter that is 1 pu. clock_ahead_s: a meter's clock is ahead by a
    seeded time up to this, so that its intervals end early.
    """

    name: str
    loads: tuple[MeteredLoad, ...]
    period_ns: int = S_NS
    interval_ns: int = 300 * S_NS
    shares_ns: int = 60 * S_NS
    customer_w: float = 4_000.0
    accuracy_class: float = 0.5
    nominal_v: float = 240.0
    clock_ahead_s: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        where = f"meters {self.name}"
        if not self.loads:
            raise ValueError(f"{where}: no loads to meter")
        if self.interval_ns % self.shares_ns or self.shares_ns % self.period_ns or self.period_ns <= 0:
            raise ValueError(f"{where}: interval_ns must be a multiple of shares_ns, and shares_ns of period_ns")
        if not 0.0 <= self.clock_ahead_s * S_NS < self.interval_ns:
            raise ValueError(f"{where}: clock_ahead_s = {self.clock_ahead_s}; give a time shorter than the interval")
        if not self.customer_w > 0.0 or not self.nominal_v > 0.0 or not self.accuracy_class >= 0.0:
            raise ValueError(f"{where}: customer_w and nominal_v must be above 0, accuracy_class not negative")


def customers(params: Meters) -> tuple[int, ...]:
    """Customers of each load, at least one: nominal power over that of an average customer, within a quarter of it (seeded)."""
    spread = Channel(ChannelParams(), params.seed, f"{params.name}/customers").uniform(0, np.arange(len(params.loads)))[0]
    nominal = np.array([load.nominal_w / load.phases for load in params.loads])
    count = np.rint(nominal / params.customer_w * (0.75 + 0.5 * spread))
    return tuple(int(max(1.0, n)) for n in count)


def meter_ids(params: Meters) -> tuple[str, ...]:
    """Names of the meters, `<load>#<k>` with k from 1, load after load."""
    return tuple(f"{load.name}#{k + 1}" for load, n in zip(params.loads, customers(params), strict=True) for k in range(n))


def meter_nominal_w(params: Meters) -> tuple[float, ...]:
    """Nominal power of the customer at each meter in W, in the order of `meter_ids`: the load's, in equal parts."""
    return tuple(load.nominal_w / n for load, n in zip(params.loads, customers(params), strict=True) for _ in range(n))


class MetersFederate:
    """The meters federate.

    Inputs load_p_w, load_q_var, load_v_pu over the loads. Outputs interval_p_w, interval_q_var, interval_v_pu over the meters,
    published at the end of each interval and measured then; `meter_event`: {"event": "last_gasp" | "restored", "load", "meters",
    "t_event_ns"} when a load's voltage falls below 0.1 pu or comes back. A meter without voltage at the end of an interval says
    nothing (LOST); an interval of which more than 2 % was not seen is SUSPECT.
    """

    def __init__(self, params: Meters) -> None:
        self.params = params
        self.period_ns = params.period_ns
        loads = tuple(load.name for load in params.loads)
        ids = meter_ids(params)
        count = np.array(customers(params))
        self.inputs: Sequence[Port] = (
            Port("load_p_w", "W", loads, "active power of each load, consumption positive"),
            Port("load_q_var", "var", loads, "reactive power of each load, consumption positive"),
            Port("load_v_pu", "pu", loads, "voltage of each load, of its nominal value"),
        )
        self.outputs: Sequence[Port] = (
            Port("interval_p_w", "W", ids, "average active power over the interval that ends at the measurement time"),
            Port("interval_q_var", "var", ids, "average reactive power over it"),
            Port("interval_v_pu", "pu", ids, "average voltage over it, of nominal_v"),
            Port("meter_event", doc="last gasps and restorations, by load", kind="event"),
        )
        self._loads, self._count = loads, count
        self._load = np.repeat(np.arange(len(loads)), count)
        self._first = np.concatenate(([0], np.cumsum(count)[:-1]))
        draw, number = Channel(ChannelParams(), params.seed, f"{params.name}/meters"), np.arange(len(ids))
        u, z = draw.uniform(0, number), draw.normal(0, number, 1)
        self._base, self._phase = 0.5 + u[0], 2.0 * np.pi * u[1]
        self._turn_ns = (0.5 + u[2]) * _H_NS
        self._ahead_h = u[3] * params.clock_ahead_s / 3600.0
        limit = params.accuracy_class / 100.0
        self._gain_p, self._gain_q, self._gain_v = 1.0 + np.clip(z[:3] * (limit / 3.0), -limit, limit)

    def start(self, t_ns: int) -> Outputs:
        """Registers at zero; no interval has ended."""
        loads, meters = len(self._loads), len(self._load)
        self._due_ns, self._interval_due_ns = t_ns + self.params.shares_ns, t_ns + self.params.interval_ns
        self._seen_ns = t_ns
        self._held = np.full((3, loads), np.nan)
        self._sum_h, self._known_h = np.zeros((3, loads)), np.zeros((3, loads))
        self._share = self._shares_at(t_ns)
        self._energy, self._register = np.zeros((2, meters)), np.zeros((2, meters))
        self._interval_v, self._interval_known_h = np.zeros(loads), np.zeros((3, loads))
        self._boundary = np.zeros((2, meters))
        self._dead = np.zeros(loads, np.bool_)
        return {port.name: Sample.of(np.full(meters, np.nan), t_ns, int(Quality.LOST)) for port in self.outputs[:3]}

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        """Integrate up to now, take the new sample, read out at the end of an interval."""
        p, q, v = (inputs[name] for name in ("load_p_w", "load_q_var", "load_v_pu"))
        # A sample counts from its measurement on: what was held until then is integrated first.
        since_ns = min(max(int(np.max(p.t_ns)), self._seen_ns), t_ns)
        outputs: dict[str, Any] = dict(self._integrate(since_ns))
        self._held = np.stack((p.values, q.values, v.values))
        outputs.update(self._integrate(t_ns))
        outputs["meter_event"] = self._voltage_events(t_ns, v)
        return Step(outputs, min(self._due_ns, self._interval_due_ns))

    def stop(self) -> None:
        """Nothing to release."""

    def _shares_at(self, t_ns: int) -> Floats:
        """Part of its load that each customer takes, float64 [meters]; they sum to 1 in each load."""
        weight = self._base * (1.0 + _WANDER * np.sin(2.0 * np.pi * t_ns / self._turn_ns + self._phase))
        share: Floats = weight / np.add.reduceat(weight, self._first)[self._load]
        return share

    def _integrate(self, to_ns: int) -> dict[str, Sample]:
        """Hold what is held up to `to_ns`; gives the readings of the last interval that ends by then."""
        readings: dict[str, Sample] = {}
        while self._due_ns <= to_ns:
            self._accumulate(self._due_ns)
            self._to_registers()
            if self._due_ns == self._interval_due_ns:
                readings = self._read_out(self._due_ns)
                self._interval_due_ns += self.params.interval_ns
            self._share = self._shares_at(self._due_ns)
            self._due_ns += self.params.shares_ns
        self._accumulate(to_ns)
        return readings

    def _accumulate(self, to_ns: int) -> None:
        if to_ns > self._seen_ns:
            hours = (to_ns - self._seen_ns) / _H_NS
            known = np.isfinite(self._held)
            if known.all():
                self._sum_h += self._held * hours
                self._known_h += hours
            else:
                self._sum_h += np.where(known, self._held, 0.0) * hours
                self._known_h += np.where(known, hours, 0.0)
            self._seen_ns = to_ns

    def _to_registers(self) -> None:
        """Shares are constant between two calls, so the loads' sums are split here and not at each sample."""
        self._energy += self._sum_h[:2, self._load] * self._share
        self._interval_v += self._sum_h[2]
        self._interval_known_h += self._known_h
        self._sum_h[:] = self._known_h[:] = 0.0

    def _read_out(self, end_ns: int) -> dict[str, Sample]:
        hours = self.params.interval_ns / _H_NS
        # A clock that is ahead closes the interval early: it misses the end of this one and has that of the one before.
        boundary = np.nan_to_num(self._held[:2])[:, self._load] * self._share
        early = self._ahead_h * (self._boundary - boundary)
        self._boundary = boundary
        self._energy += early
        cumulative = np.floor(self._energy * np.stack((self._gain_p, self._gain_q)))
        power = (cumulative - self._register) / hours
        self._register = cumulative
        known_h = self._interval_known_h
        with np.errstate(invalid="ignore", divide="ignore"):
            volts = (self._interval_v / known_h[2])[self._load] * self.params.nominal_v * self._gain_v
        voltage = np.rint(volts * 10.0) / (10.0 * self.params.nominal_v)
        silent = self._dead | (known_h == 0.0).any(axis=0)
        partly = (known_h < hours * _SEEN).any(axis=0)
        flags = np.where(silent, int(Quality.LOST), np.where(partly, int(Quality.SUSPECT), 0)).astype(np.uint16)[self._load]
        self._interval_v, self._interval_known_h = np.zeros(len(self._loads)), np.zeros((3, len(self._loads)))
        readings = {}
        for name, values in (("interval_p_w", power[0]), ("interval_q_var", power[1]), ("interval_v_pu", voltage)):
            readings[name] = Sample(np.where(silent[self._load], np.nan, values), end_ns, flags.copy())
        return readings

    def _voltage_events(self, t_ns: int, voltage: Sample) -> list[dict[str, object]]:
        seen = np.isfinite(voltage.values)
        dead = np.where(seen, voltage.values < _DEAD_PU, self._dead)
        turned = np.flatnonzero(dead != self._dead)
        self._dead = dead
        times = voltage.times_ns
        return [
            {
                "event": "last_gasp" if dead[k] else "restored",
                "load": self._loads[k],
                "meters": int(self._count[k]),
                "t_event_ns": min(int(times[k]), t_ns),
            }
            for k in turned.tolist()
        ]
