"""Advanced metering: the head end that collects interval readings, and the meter data management that makes load of them.

Each reading travels alone over a radio mesh of one to eight hops and is used from its delivery on. What is lost stays in the meter
and is fetched by a later poll. The loads published are those of the newest interval that is nearly complete or has had its time:
validated readings, and estimates for the missing (`vee`). Each reading that comes later improves them. Coverage says which part,
weighted by nominal power, was measured. An outage is inferred from last gasps of one transformer close in time.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federates.data_management.outages import Outages
from federates.data_management.vee import Limits, estimate, valid
from federates.grid.channel import LOST_NS, Channel, ChannelParams
from federates.runtime.federate import S_NS, Step
from federates.runtime.port import Event, Inputs, Outputs, Port, Quality, Sample

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BUS = "bus"
_READINGS = ("p_w", "q_var", "v_pu")
_UNITS = ("W", "var", "pu")
MESH = ChannelParams(latency_s=1.5, sigma=0.5, loss=0.02)
"""One hop of a radio mesh: 1.5 s at the median. Domain knowledge, not a measurement."""
LAST_GASPS = ChannelParams(latency_s=4.0, sigma=0.6, loss=0.25)
"""Last gasps: 1 to 20 s, of which 60 to 90 % arrive. Domain knowledge, not a measurement."""
_LIMITS = Limits()
_H_NS = 3600.0 * S_NS
_LEAST_W = 100.0
"""Nominal power that a meter counts with at least, so that one without load is still validated and counted."""


@dataclass(frozen=True, slots=True)
class Ami:
    """Parameters of `AmiFederate`.

    meters: names `<load>#<k>`, those of one load together. nominal_w: nominal power at each meter. transformers: (name, loads);
    a load that is not named has its own, of its name. classes: (load, load class); neighbours for estimates.
    mesh: one hop of the radio mesh, a meter is 1 to max_hops away. gasps: channel of last gasps and restorations.
    backfill_ns: how often lost readings are fetched from the meters (None: never). An interval's loads are published from
    ready_coverage of it on (meters known to be dead count as heard), or ready_after_ns after its end; its energy is booked
    settle_ns after its end.
    """

    name: str
    meters: tuple[str, ...]
    nominal_w: tuple[float, ...]
    transformers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    classes: tuple[tuple[str, str], ...] = ()
    period_ns: int = 5 * S_NS
    interval_ns: int = 300 * S_NS
    mesh: ChannelParams = MESH
    max_hops: int = 8
    gasps: ChannelParams = LAST_GASPS
    backfill_ns: int | None = 900 * S_NS
    ready_coverage: float = 0.95
    ready_after_ns: int = 60 * S_NS
    settle_ns: int = 1800 * S_NS
    gap_ns: int = 7200 * S_NS
    limits: Limits = _LIMITS
    outage_gasps: int = 2
    outage_window_ns: int = 60 * S_NS
    seed: int = 0

    def __post_init__(self) -> None:
        where = f"AMI {self.name}"
        if not self.meters or len(self.meters) != len(self.nominal_w):
            raise ValueError(f"{where}: {len(self.meters)} meters, {len(self.nominal_w)} nominal powers; give one each")
        if self.interval_ns <= 0 or self.period_ns > self.interval_ns:
            raise ValueError(f"{where}: period_ns must be at most interval_ns, or intervals are missed")
        if not 1 <= self.max_hops <= 255:
            raise ValueError(f"{where}: max_hops = {self.max_hops}; give 1 to 255")


@dataclass(frozen=True, slots=True)
class _Batch:
    """Readings of one interval by meter: `values` [3, n] P, Q, V; `attempt`: how often they have been sent before."""

    number: int
    meters: Ints
    values: Floats
    flags: NDArray[np.uint16]
    attempt: int = 0

    def of(self, which: Any, attempt: int) -> _Batch:
        """Part of the batch."""
        return _Batch(self.number, self.meters[which], self.values[:, which], self.flags[which], attempt)


class AmiFederate:
    """The AMI federate.

    Inputs interval_p_w, interval_q_var, interval_v_pu over the meters and the event port meter_event. Outputs reading_* over the
    meters (last delivered, with its own time; SUSPECT where refused); load_p_w, load_q_var, load_v_pu over the loads, measured
    at the interval's end (ESTIMATED where a part is); coverage [1] of the interval published, age_s of the readings and
    energy_wh booked, over the transformers and `bus`; event port outage: {"event": "outage" | "restored", "transformer", ...}.
    """

    def __init__(self, params: Ami) -> None:
        self.params = params
        self.period_ns = params.period_ns
        load_of = [meter.rpartition("#")[0] or meter for meter in params.meters]
        loads = tuple(dict.fromkeys(load_of))
        position = {load: k for k, load in enumerate(loads)}
        named = {load: name for name, members in params.transformers for load in members}
        unknown = sorted(load for load in {*named, *dict(params.classes)} if load not in position)
        if unknown:
            raise ValueError(f"AMI {params.name}: no meter at load {', '.join(unknown[:5])}; name metered loads only")
        transformer_of = [named.get(load, load) for load in loads]
        self._transformers = tuple(dict.fromkeys(transformer_of))
        if BUS in self._transformers:
            raise ValueError(f"AMI {params.name}: a transformer cannot be called `{BUS}`; that names the total")
        self._loads = loads
        self._position = position
        self._load = np.array([position[load] for load in load_of], np.int64)
        number = {name: k for k, name in enumerate(self._transformers)}
        self._transformer = np.array([number[transformer_of[k]] for k in self._load], np.int64)
        classes = dict(params.classes)
        class_number = {name: k for k, name in enumerate(dict.fromkeys(classes.get(load, "") for load in loads))}
        of_class = np.array([class_number[classes.get(load, "")] for load in load_of], np.int64)
        self._groups = (self._load, self._transformer, of_class, np.zeros(len(load_of), np.int64))
        self._nominal = np.maximum(np.array(params.nominal_w, np.float64), _LEAST_W)
        hops = Channel(ChannelParams(), params.seed, f"{params.name}/hops").uniform(0, np.arange(len(load_of)))[0]
        self._hops = 1 + np.floor(hops * params.max_hops).astype(np.int64)
        self._mesh = Channel(params.mesh, params.seed, f"{params.name}/mesh")
        self._gasps = {kind: Channel(params.gasps, params.seed, f"{params.name}/{kind}") for kind in ("last_gasp", "restored")}
        self._gap_rows, self._settle_rows = params.gap_ns // params.interval_ns, -(-params.settle_ns // params.interval_ns)
        areas = (*self._transformers, BUS)
        triples = tuple(zip(_READINGS, _UNITS, strict=True))
        self.inputs: Sequence[Port] = (
            *(Port(f"interval_{name}", unit, params.meters, "average over the meter's last interval") for name, unit in triples),
            Port("meter_event", doc="last gasps and restorations, by load", kind="event"),
        )
        self.outputs: Sequence[Port] = (
            *(Port(f"reading_{name}", unit, params.meters, "last delivered reading") for name, unit in triples),
            *(Port(f"load_{name}", unit, loads, "interval average, missing meters estimated") for name, unit in triples),
            Port("coverage", "1", areas, "part of nominal power whose reading of the published interval was delivered and valid"),
            Port("age_s", "s", areas, "average age of the last readings delivered, weighted by nominal power"),
            Port("energy_wh", "Wh", areas, "energy of the intervals that are settled, since the start"),
            Port("outage", doc="outages inferred from last gasps, by transformer", kind="event"),
        )

    def start(self, t_ns: int) -> Outputs:
        """Nothing has been delivered: readings and loads are LOST, coverage is 0."""
        n, areas = len(self._load), len(self._transformers) + 1
        # Interval k covers [k, k + 1) x interval_ns; the last row holds the newest that has ended.
        self._newest = t_ns // self.params.interval_ns - 1
        self._rows = np.full((3, self._gap_rows + self._settle_rows + 2, n), np.nan)
        self._last, self._last_ns = np.full((3, n), np.nan), np.full(n, t_ns, np.int64)
        self._last_flags = np.full(n, np.uint16(Quality.LOST))
        self._valid_p, self._doubted_p = np.full(n, np.nan), np.full(n, np.nan)
        self._under_way: list[tuple[int, int, _Batch]] = []
        self._messages: list[tuple[int, int, str, int, int]] = []
        self._number = 0
        self._in_meters: list[_Batch] = []
        self._poll_due = LOST_NS if self.params.backfill_ns is None else t_ns + self.params.backfill_ns
        p = self.params
        self._outages = Outages(self._transformer, self._transformers, p.outage_gasps, p.outage_window_ns, t_ns)
        self._published: int | None = None
        self._settled = self._newest
        self._energy, self._energy_estimated = np.zeros(areas), np.zeros(areas, np.bool_)
        lost = {f"load_{name}": Sample.of(np.full(len(self._loads), np.nan), t_ns, int(Quality.LOST)) for name in _READINGS}
        return {**self._readings(), **lost, "coverage": np.zeros(areas), "age_s": self._age_s(t_ns), "energy_wh": np.zeros(areas)}

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        """Send what the meters have closed, take what has arrived, and publish what that changes."""
        self._take_interval(inputs)
        self._poll(t_ns)
        self._send_messages(t_ns, inputs["meter_event"])
        news = self._take_messages(t_ns)
        arrived = self._take_readings(t_ns, news)
        outputs: dict[str, Any] = {"outage": news}
        if t_ns % self.period_ns == 0:
            outputs["age_s"] = self._age_s(t_ns)
        if arrived:
            outputs.update(self._readings())
        ready = self._ready(t_ns)
        if ready is not None and (arrived or news or ready != self._published):
            self._published = ready
            outputs.update(self._publish(ready))
        if self._settle(t_ns):
            quality = np.where(self._energy_estimated, int(Quality.ESTIMATED), 0)
            outputs["energy_wh"] = Sample.of(self._energy, self._end_ns(self._settled), quality)
        return Step(outputs)

    def stop(self) -> None:
        """Nothing to release."""

    def _end_ns(self, number: int) -> int:
        return (number + 1) * self.params.interval_ns

    def _row(self, number: int) -> int:
        """Row of an interval; negative where it is no longer kept."""
        return self._rows.shape[1] - 1 - (self._newest - number)

    # From the meters to the head end

    def _take_interval(self, inputs: Inputs) -> None:
        p, q, v = (inputs[f"interval_{name}"] for name in _READINGS)
        number = int(np.max(p.t_ns)) // self.params.interval_ns - 1
        if number <= self._newest:
            return
        fresh = min(number - self._newest, self._rows.shape[1])
        self._newest = number
        self._rows = np.concatenate((self._rows[:, fresh:], np.full((3, fresh, len(self._load)), np.nan)), axis=1)
        self._outages.forget(self._end_ns(number - self._rows.shape[1]))
        values, flags = np.stack((p.values, q.values, v.values)), p.quality | q.quality | v.quality
        speaks = np.flatnonzero(np.isfinite(values).all(axis=0) & (flags & np.uint16(Quality.LOST) == 0))
        self._send(_Batch(number, speaks, values[:, speaks], flags[speaks]), self._end_ns(number))

    def _send(self, batch: _Batch, sent_ns: int) -> None:
        """Readings set out; each arrives in its own time. A second copy of one would change nothing and is not followed."""
        arrival = self._mesh.send(sent_ns, batch.meters, batch.number, self._hops[batch.meters], batch.attempt).arrival_ns
        lost = arrival == LOST_NS
        if lost.any():
            self._in_meters.append(batch.of(lost, batch.attempt + 1))
        # The head end works at its period, so readings that it takes in one call travel on as one batch.
        taken = -(-arrival // self.period_ns) * self.period_ns
        for due_ns in np.unique(taken[~lost]).tolist():
            self._number += 1
            heapq.heappush(self._under_way, (due_ns, self._number, batch.of(~lost & (taken == due_ns), batch.attempt)))

    def _poll(self, t_ns: int) -> None:
        """Ask the meters again for readings that were lost, while they are of use."""
        if self.params.backfill_ns is None or t_ns < self._poll_due:
            return
        self._poll_due += ((t_ns - self._poll_due) // self.params.backfill_ns + 1) * self.params.backfill_ns
        asked, self._in_meters = self._in_meters, []
        for batch in asked:
            if self._row(batch.number) >= 0:
                self._send(batch, t_ns)

    def _take_readings(self, t_ns: int, news: list[dict[str, Any]]) -> bool:
        """Validate and store the readings that have arrived; what they say about outages is added to `news`. True where any has."""
        some = False
        while self._under_way and self._under_way[0][0] <= t_ns:
            batch = heapq.heappop(self._under_way)[2]
            some = True
            m, end_ns, row = batch.meters, self._end_ns(batch.number), self._row(batch.number)
            p = batch.values[0]
            good = valid(self.params.limits, self._nominal[m], batch.values, self._valid_p[m], self._doubted_p[m])
            good &= batch.flags & np.uint16(Quality.SUSPECT) == 0
            if row >= 0:
                self._rows[:, row, m[good]] = batch.values[:, good]
            newer = end_ns > self._last_ns[m]
            k = m[newer]
            self._last[:, k], self._last_ns[k] = batch.values[:, newer], end_ns
            self._last_flags[k] = batch.flags[newer] | np.where(good[newer], 0, int(Quality.SUSPECT)).astype(np.uint16)
            self._valid_p[m[newer & good]] = p[newer & good]
            self._doubted_p[k] = np.where(good[newer], np.nan, p[newer])
            news.extend(self._outages.prove_alive(m, end_ns))
        return some

    # Last gasps

    def _send_messages(self, t_ns: int, events: Sequence[Event]) -> None:
        """Each meter of a load that lost or regained voltage sends a message of its own; other events are not for the head end."""
        for kind, channel in self._gasps.items():
            named = [e for e in events if e.payload.get("event") == kind and e.payload.get("load") in self._position]
            if not named:
                continue
            members = [np.flatnonzero(self._load == self._position[e.payload["load"]]) for e in named]
            since = [e.payload.get("t_event_ns", e.t_ns) for e in named]
            told = [min(s, t_ns) if isinstance(s, int) else e.t_ns for s, e in zip(since, named, strict=True)]
            event_ns = np.repeat(told, [len(m) for m in members])
            meters = np.concatenate(members)
            arrival = channel.send(event_ns, meters, np.maximum(event_ns, 0)).arrival_ns
            for due_ns, meter, at_ns in zip(arrival.tolist(), meters.tolist(), event_ns.tolist(), strict=True):
                if due_ns != LOST_NS:
                    self._number += 1
                    heapq.heappush(self._messages, (due_ns, self._number, kind, meter, at_ns))

    def _take_messages(self, t_ns: int) -> list[dict[str, Any]]:
        news: list[dict[str, Any]] = []
        touched: set[int] = set()
        while self._messages and self._messages[0][0] <= t_ns:
            _, _, kind, meter, at_ns = heapq.heappop(self._messages)
            if kind == "restored":
                news.extend(self._outages.prove_alive(np.array([meter]), at_ns))
            elif self._outages.gasp(meter, at_ns):
                touched.add(int(self._transformer[meter]))
        return news + self._outages.infer(touched)

    # Loads

    def _ready(self, t_ns: int) -> int | None:
        """The newest interval to publish loads of; None before the first."""
        for number in range(self._newest, -1, -1):
            if self._published is not None and number <= self._published:
                return self._published
            row = self._row(number)
            if row < 0:
                return self._published
            known = ~np.isnan(self._rows[0, row]) | (self._served(number) == 0.0)
            share = self._nominal[known].sum() / self._nominal.sum()
            if share >= self.params.ready_coverage or t_ns >= self._end_ns(number) + self.params.ready_after_ns:
                return number
        return self._published

    def _served(self, number: int) -> Floats:
        """Part of an interval in which each meter had voltage, as far as that is known, float64 [n]."""
        return self._outages.served(self._end_ns(number) - self.params.interval_ns, self._end_ns(number))

    def _filled(self, number: int) -> Floats:
        """P, Q, V of every meter in one interval, [3, n], missing ones estimated; NaN where nothing is known."""
        row = self._row(number)
        values = np.stack([estimate(rows, row, self._nominal, self._groups, self._gap_rows) for rows in self._rows[:2]])
        missing = np.isnan(self._rows[0, row])
        served = self._served(number)
        values[:, missing] *= served[missing]
        voltage = np.where(served == 0.0, 0.0, np.nan)
        voltage[~missing] = self._rows[2, row, ~missing]
        return np.concatenate((values, voltage[None]))

    def _publish(self, number: int) -> dict[str, Any]:
        row, end_ns, size = self._row(number), self._end_ns(number), len(self._loads)
        filled = self._filled(number)
        missing = np.isnan(self._rows[0, row])
        estimated = np.bincount(self._load, missing, size) > 0.0
        flags = np.where(estimated, int(Quality.ESTIMATED), 0)
        power = [np.bincount(self._load, values, size) for values in filled[:2]]
        nominal = np.bincount(self._load, self._nominal, size)
        flags |= np.where(np.abs(power[0]) > self.params.limits.total * nominal, int(Quality.SUSPECT), 0)
        seen = ~np.isnan(filled[2])
        with np.errstate(invalid="ignore", divide="ignore"):
            voltage = np.bincount(self._load[seen], filled[2, seen], size) / np.bincount(self._load[seen], minlength=size)
        outputs: dict[str, Any] = {}
        for name, values in zip(_READINGS, (*power, voltage), strict=True):
            unknown = np.where(np.isfinite(values), 0, int(Quality.LOST))
            outputs[f"load_{name}"] = Sample.of(values, end_ns, flags | unknown)
        measured_w = np.where(missing, 0.0, self._nominal)
        outputs["coverage"] = Sample.of(self._by_area(measured_w) / self._by_area(self._nominal), end_ns)
        return outputs

    def _settle(self, t_ns: int) -> bool:
        """Book the energy of intervals whose time for late readings is over. True where there was one."""
        before = self._settled
        while self._settled < self._newest and t_ns >= self._end_ns(self._settled + 1) + self.params.settle_ns:
            self._settled += 1
            row = self._row(self._settled)
            if row < 0:
                self._energy_estimated[:] = True
                continue
            missing = np.isnan(self._rows[0, row])
            energy_wh = np.nan_to_num(self._filled(self._settled)[0]) * (self.params.interval_ns / _H_NS)
            self._energy = self._energy + self._by_area(energy_wh)
            self._energy_estimated |= self._by_area(missing.astype(np.float64)) > 0.0
        return self._settled != before

    def _by_area(self, of_meters: Floats) -> Floats:
        """Sums by transformer, then the total."""
        sums = np.bincount(self._transformer, of_meters, len(self._transformers))
        return np.append(sums, sums.sum())

    def _age_s(self, t_ns: int) -> Floats:
        age: Floats = self._by_area((t_ns - self._last_ns) / S_NS * self._nominal) / self._by_area(self._nominal)
        return age

    def _readings(self) -> dict[str, Sample]:
        return {
            f"reading_{name}": Sample(values.copy(), self._last_ns.copy(), self._last_flags.copy())
            for name, values in zip(_READINGS, self._last, strict=True)
        }
