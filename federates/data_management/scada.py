"""Distribution SCADA: what the control centre knows of the measured points, and the way its commands take.

Each remote terminal unit (RTU) samples its points at their scan and answers the poll with those that left their deadband (report
by exception), with all of them at each integrity scan; a changed status is sent at once. The answer crosses a lossy channel. What
the centre shows is the last value *delivered*, with the time it was measured. An RTU keeps reporting a change until it was
delivered. Events and commands are repeated until acknowledged, and taken once.

Silence is measured per RTU: from more than `stale_after_scans` scans of a point on it is STALE; from `fail_after_scans` of the
RTU's fastest scan on the RTU is declared failed and all its points are LOST (the last value stays visible under the flag).
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from federates.data_management.measured import Measured
from federates.grid.channel import LOST_NS, Channel, ChannelParams, Confirmed
from federates.runtime.federate import MS_NS, S_NS, Step
from federates.runtime.port import Event, Inputs, Outputs, Port, Quality, Sample

__all__ = ["RADIO", "TAGS", "Measured", "Scada", "ScadaFederate"]

_LOST, _STALE, _SUSPECT = np.uint16(Quality.LOST), np.uint16(Quality.STALE), np.uint16(Quality.SUSPECT)
RADIO = ChannelParams(latency_s=0.15, sigma=0.3)
"""A licensed radio to the substations and pole tops. Domain knowledge, not a measurement."""
TAGS = ("remote", "local", "blocked")


@dataclass(frozen=True, slots=True)
class Scada:
    """Parameters of `ScadaFederate`. telemetry: channel of polls and events; control: channel of commands. tags: (point, tag).

    refresh_ns: measured values are taken at multiples of it, at or after their arrival (1: at their arrival), so that many RTUs do
    not make many calls; statuses, events and commands are always taken when they arrive.
    """

    name: str
    groups: tuple[Measured, ...]
    period_ns: int = 2 * S_NS
    telemetry: ChannelParams = RADIO
    control: ChannelParams = RADIO
    seed: int = 0
    stale_after_scans: int = 3
    fail_after_scans: int = 6
    integrity_ns: int = 300 * S_NS
    refresh_ns: int = 250 * MS_NS
    retry_ns: int = 2 * S_NS
    command_attempts: int = 5
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Command:
    """A control request on its way to an RTU."""

    identity: str
    point: str
    rtu: int
    payload: Mapping[str, Any]


class _Refused(Exception):
    """A request that is not carried out, with the reason the operator reads."""


class ScadaFederate:
    """The SCADA federate. Ports: one vector in and out per group; events `soe` and `command` in; `soe`, `control`, `alarm` out.

    `command` takes
        {"action": "operate", "point": p, "id": i?, "command": {...}?}   sends `command` (or the request itself) on `control`,
                                                                       with id, point, t_request_ns, if the point is tagged `remote`
        {"action": "substitute", "point": p, "value": v}, {"action": "release", "point": p}
        {"action": "tag", "point": p, "tag": "remote" | "local" | "blocked"}
        {"action": "comm_fail", "rtu": r, "duration_s": d}             that RTU's link carries nothing for so long
    Whatever cannot be carried out is answered on `alarm` with {"alarm": "refused", "reason": ...}.
    """

    def __init__(self, params: Scada) -> None:
        self.params = params
        self.period_ns = params.period_ns
        groups = params.groups
        vectors = [Port(g.port, g.unit, g.ids, g.source or "measured points") for g in groups]
        self.inputs: Sequence[Port] = (
            *vectors,
            Port("soe", doc="sequence-of-events rows of the field devices", kind="event"),
            Port("command", doc="requests of operators and applications", kind="event"),
        )
        self.outputs: Sequence[Port] = (
            *(Port(p.name, p.unit, p.ids, f"{p.doc}, as delivered") for p in vectors),
            Port("soe", doc="rows as delivered; t_event_ns: when it happened, source: who sent it", kind="event"),
            Port("control", doc="commands that reached their RTU", kind="event"),
            Port("alarm", doc="comm_fail, restored, refused, command_unconfirmed", kind="event"),
        )
        self._points = tuple(point for g in groups for point in g.points)
        self._index = {point: k for k, point in enumerate(self._points)}
        if len(self._index) != len(self._points):
            raise ValueError(f"SCADA {params.name}: a point is measured twice; give each group its own port and its ids once")
        rtu_of = [name for g in groups for name in g.rtus]
        self._rtus = tuple(dict.fromkeys(rtu_of))
        number = {name: k for k, name in enumerate(self._rtus)}
        self._rtu = np.array([number[name] for name in rtu_of], np.int64)
        self._points_of = [np.flatnonzero(self._rtu == k) for k in range(len(self._rtus))]
        # Who reports an event: the RTU of the point or of the device that it names.
        devices = {i: number[rtu] for g in groups if g.kind == "status" for i, rtu in zip(g.ids, g.rtus, strict=False)}
        self._reporter = {**devices, **{point: int(self._rtu[k]) for point, k in self._index.items()}}
        sizes = [len(g.points) for g in groups]
        ends = np.cumsum([0, *sizes]).tolist()
        self._slices = [slice(a, b) for a, b in itertools.pairwise(ends)]
        self._group = np.repeat(np.arange(len(groups)), sizes)
        self._deadband = np.array([width for g in groups for width in g.deadbands], np.float64)
        self._resolution, self._low, self._high = (
            np.repeat([float(getattr(g, field)) for g in groups], sizes) for field in ("resolution", "low", "high")
        )
        self._group_scan_ns = np.array([g.scan_ns for g in groups], np.int64)
        self._scan_ns = np.repeat(self._group_scan_ns, sizes)
        self._status = np.repeat(np.array([g.kind == "status" for g in groups], np.bool_), sizes)
        sigma = np.repeat([g.accuracy if g.kind == "analog" else 0.0 for g in groups], sizes)
        transducers = Channel(ChannelParams(), params.seed, f"{params.name}/accuracy")
        self._gain = 1.0 + sigma * np.clip(transducers.normal(0, np.arange(len(self._points)))[0], -3.0, 3.0)
        self._fastest_ns = np.array([self._scan_ns[points].min() for points in self._points_of], np.int64)
        for point, tag in params.tags:
            if point not in self._index or tag not in TAGS:
                raise ValueError(f"SCADA {params.name}: tag {tag} of {point}; name a measured point and one of {', '.join(TAGS)}")
        self._actions: dict[str, Callable[[int, Event], None]] = {
            "operate": self._operate,
            "substitute": self._substitute,
            "release": self._release,
            "tag": self._tag,
            "comm_fail": self._comm_fail,
        }

    def start(self, t_ns: int) -> Outputs:
        """Nothing has been delivered: every point is LOST."""
        p, size = self.params, len(self._points)
        self._value, self._time_ns = np.full(size, np.nan), np.full(size, t_ns, np.int64)
        self._sent_ns = np.full(size, t_ns, np.int64)
        self._flags, self._known = np.full(size, _LOST), np.zeros(size, np.bool_)
        self._reported, self._reported_flags = np.full(size, np.nan), np.full(size, np.uint16(0xFFFF))
        self._scan_due = np.full(len(p.groups), t_ns, np.int64)
        self._integrity_due = np.full(len(self._rtus), t_ns, np.int64)
        self._heard_ns = np.full(len(self._rtus), t_ns, np.int64)
        self._down_until = np.full(len(self._rtus) + 1, t_ns, np.int64)
        self._failed = np.zeros(len(self._rtus), np.bool_)
        self._substituted: dict[int, tuple[float, int]] = {}
        self._tags = dict(p.tags)
        self._answers: list[tuple[int, int, int, Any]] = []
        self._answer_number = 0
        self._wakes: list[int] = []
        self._telemetry = Channel(p.telemetry, p.seed, f"{p.name}/telemetry")
        rows, acknowledged = (Channel(p.telemetry, p.seed, f"{p.name}/{way}") for way in ("soe", "soe/back"))
        self._soe: Confirmed[dict[str, Any]] = Confirmed(rows, acknowledged, p.retry_ns)
        orders, executed = (Channel(p.control, p.seed, f"{p.name}/{way}") for way in ("control", "control/back"))
        self._control: Confirmed[_Command] = Confirmed(orders, executed, p.retry_ns, p.command_attempts)
        self._alarms: list[dict[str, Any]] = []
        self._shown: list[tuple[bytes, bytes, bytes] | None] = [None] * len(p.groups)
        return self._show(t_ns)

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        """Carry out requests, scan what is due, and take what has arrived."""
        self._alarms = []
        for event in inputs["command"]:
            self._request(t_ns, event)
        for event in inputs["soe"]:
            row = {"source": event.source, "t_event_ns": event.t_ns, **event.payload}
            self._soe.offer(t_ns, row, (event.source, event.seq), self._rtu_named_in(event.payload))
        self._scan(t_ns, inputs)
        self._take_answers(t_ns)
        rows = [row for _, row in self._soe.advance(t_ns, self._up).arrived]
        controls = self._take_commands(t_ns)
        self._judge_silence(t_ns)
        outputs = {**self._show(t_ns), "soe": rows, "control": controls, "alarm": self._alarms}
        while self._wakes and self._wakes[0] <= t_ns:
            heapq.heappop(self._wakes)
        due = (int(self._scan_due.min(initial=LOST_NS)), self._wakes[0] if self._wakes else LOST_NS)
        next_ns = min(*due, self._soe.next_ns, self._control.next_ns)
        return Step(outputs, next_ns if next_ns < LOST_NS else None)

    def stop(self) -> None:
        """Nothing to release."""

    # The field's side

    def _up(self, rtu: int, t_ns: int) -> bool:
        return bool(t_ns >= self._down_until[rtu])

    def _rtu_named_in(self, payload: Mapping[str, Any]) -> int:
        """RTU that reports an event; one that names none of our points or devices has a link of its own."""
        named = (self._reporter[v] for v in payload.values() if isinstance(v, str) and v in self._reporter)
        return next(named, len(self._rtus))

    def _scan(self, t_ns: int, inputs: Inputs) -> None:
        """RTUs whose scan is due answer; a changed status is sent in between."""
        due_groups = self._scan_due <= t_ns
        due = due_groups[self._group]
        if not (due.any() or self._status.any()):
            return
        samples = [inputs[g.port] for g in self.params.groups]
        measured = np.concatenate([s.values for s in samples]) * self._gain
        rounded = self._resolution > 0.0
        measured[rounded] = np.rint(measured[rounded] / self._resolution[rounded]) * self._resolution[rounded]
        flags = np.concatenate([s.quality for s in samples])
        flags[~np.isfinite(measured)] |= _LOST
        # The value that the device offers may be older than the scan; it keeps its own time.
        times = np.minimum(np.concatenate([s.times_ns for s in samples]), t_ns)
        times[flags & _LOST != 0] = t_ns
        moved = ~(np.abs(measured - self._reported) <= self._deadband) & ~(np.isnan(measured) & np.isnan(self._reported))
        changed = moved | (flags != self._reported_flags)
        polled = np.zeros(len(self._rtus), np.bool_)
        polled[self._rtu[due]] = True
        integrity = polled & (self._integrity_due <= t_ns)
        send = (due & (changed | integrity[self._rtu])) | (self._status & changed)
        speaks = polled.copy()
        speaks[self._rtu[send]] = True
        passed = (t_ns - self._scan_due[due_groups]) // self._group_scan_ns[due_groups] + 1
        self._scan_due[due_groups] += passed * self._group_scan_ns[due_groups]
        rtus = np.flatnonzero(speaks & (self._down_until[:-1] <= t_ns))
        if not rtus.size:
            return
        delivery = self._telemetry.send(t_ns, rtus, t_ns)
        arrivals, twice = delivery.arrival_ns.tolist(), delivery.duplicate_ns.tolist()
        for rtu, arrival_ns, twice_ns in zip(rtus.tolist(), arrivals, twice, strict=True):
            if arrival_ns == LOST_NS:
                continue
            points = self._points_of[rtu][send[self._points_of[rtu]]]
            self._reported[points], self._reported_flags[points] = measured[points], flags[points]
            if integrity[rtu]:
                self._integrity_due[rtu] = t_ns + self.params.integrity_ns
            answer = (points, measured[points], times[points], flags[points], t_ns)
            grid_ns = 1 if self._status[points].any() else self.params.refresh_ns
            for copy_ns in (arrival_ns, twice_ns):
                if copy_ns != LOST_NS:
                    self._answer_number += 1
                    # An answer without points only says that the RTU is there: it waits for the next call, whenever that is.
                    heard_only = not points.size and not self._failed[rtu]
                    taken_ns = copy_ns if heard_only else -(-copy_ns // grid_ns) * grid_ns
                    heapq.heappush(self._answers, (taken_ns, self._answer_number, rtu, answer))
                    if not heard_only:
                        heapq.heappush(self._wakes, taken_ns)

    # The centre's side

    def _take_answers(self, t_ns: int) -> None:
        while self._answers and self._answers[0][0] <= t_ns:
            arrival_ns, _, rtu, (points, values, times_ns, flags, sent_ns) = heapq.heappop(self._answers)
            self._heard_ns[rtu] = arrival_ns
            # A late answer never replaces a newer value. A device may have put another value beside the same time.
            again = (times_ns == self._time_ns[points]) & (sent_ns > self._sent_ns[points])
            newer = (times_ns > self._time_ns[points]) | again | ~self._known[points]
            points, values = points[newer], values[newer]
            out = ~((values >= self._low[points]) & (values <= self._high[points]))
            self._value[points], self._time_ns[points], self._sent_ns[points] = values, times_ns[newer], sent_ns
            self._flags[points] = flags[newer] | np.where(out, _SUSPECT, np.uint16(0))
            self._known[points] = True

    def _judge_silence(self, t_ns: int) -> None:
        failed = t_ns - self._heard_ns > self.params.fail_after_scans * self._fastest_ns
        for rtu in np.flatnonzero(failed != self._failed):
            alarm = "comm_fail" if failed[rtu] else "restored"
            self._alarms.append({"alarm": alarm, "rtu": self._rtus[rtu], "points": len(self._points_of[rtu])})
        self._failed = failed

    def _take_commands(self, t_ns: int) -> list[dict[str, Any]]:
        transfer = self._control.advance(t_ns, self._up)
        controls = []
        for _, command in transfer.arrived:
            if self._tags.get(command.point, "remote") == "remote":
                controls.append(dict(command.payload))
            else:
                reason = f"{command.point} was tagged {self._tags[command.point]} while the command was on its way"
                self._alarms.append({"alarm": "refused", "reason": reason, "id": command.identity})
        for command in transfer.given_up:
            self._alarms.append({"alarm": "command_unconfirmed", "id": command.identity, "point": command.point})
        return controls

    def _show(self, t_ns: int) -> dict[str, Sample]:
        """Groups of which a value, a time or a quality has changed."""
        value, times, flags = self._value.copy(), self._time_ns.copy(), self._flags.copy()
        silent = t_ns - self._heard_ns[self._rtu] > self.params.stale_after_scans * self._scan_ns
        flags[silent] |= _STALE
        flags[self._failed[self._rtu]] |= _LOST
        for k, (number, since_ns) in self._substituted.items():
            value[k], times[k], flags[k] = number, since_ns, Quality.SUBSTITUTED
        shown = {}
        for g, (group, part) in enumerate(zip(self.params.groups, self._slices, strict=True)):
            bits = (value[part].tobytes(), times[part].tobytes(), flags[part].tobytes())
            if bits != self._shown[g]:
                self._shown[g] = bits
                shown[group.port] = Sample(value[part].copy(), times[part].copy(), flags[part].copy())
        return shown

    # Requests

    def _request(self, t_ns: int, event: Event) -> None:
        action = event.payload.get("action")
        try:
            handler = self._actions.get(action) if isinstance(action, str) else None
            if handler is None:
                raise _Refused(f"action {action!r} is not known; use one of {', '.join(self._actions)}")
            handler(t_ns, event)
        except _Refused as refusal:
            self._alarms.append({"alarm": "refused", "reason": str(refusal), "request": dict(event.payload)})

    def _point(self, event: Event) -> str:
        point = event.payload.get("point")
        if not isinstance(point, str) or point not in self._index:
            raise _Refused(f"point {point!r} is not measured by {self.params.name}")
        return point

    def _operate(self, t_ns: int, event: Event) -> None:
        point = self._point(event)
        tag = self._tags.get(point, "remote")
        if tag != "remote":
            raise _Refused(f"{point} is tagged {tag}; tag it remote to operate it from here")
        order = event.payload.get("command", event.payload)
        if not isinstance(order, Mapping):
            raise _Refused("command must be an object with the action that the device takes")
        identity = str(event.payload.get("id", f"{event.source}/{event.seq}"))
        rtu = int(self._rtu[self._index[point]])
        payload = {**order, "id": identity, "point": point, "t_request_ns": event.t_ns}
        if not self._control.offer(t_ns, _Command(identity, point, rtu, payload), identity, rtu):
            raise _Refused(f"id {identity} was used before; a command is executed once, give a new one its own id")

    def _substitute(self, t_ns: int, event: Event) -> None:
        point, value = self._point(event), event.payload.get("value")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise _Refused(f"value {value!r} is not a finite number")
        self._substituted[self._index[point]] = (float(value), t_ns)

    def _release(self, t_ns: int, event: Event) -> None:
        if self._substituted.pop(self._index[self._point(event)], None) is None:
            raise _Refused(f"{event.payload['point']} is not substituted")

    def _tag(self, t_ns: int, event: Event) -> None:
        point, tag = self._point(event), event.payload.get("tag")
        if tag not in TAGS:
            raise _Refused(f"tag {tag!r} is not known; use one of {', '.join(TAGS)}")
        self._tags[point] = str(tag)

    def _comm_fail(self, t_ns: int, event: Event) -> None:
        rtu, duration_s = event.payload.get("rtu"), event.payload.get("duration_s")
        if rtu not in self._rtus:
            raise _Refused(f"RTU {rtu!r} is not known; there are {', '.join(self._rtus)}")
        if isinstance(duration_s, bool) or not isinstance(duration_s, int | float) or not 0.0 < duration_s < 1e9:
            raise _Refused(f"duration_s {duration_s!r} is not a positive time")
        k = self._rtus.index(rtu)
        self._down_until[k] = max(int(self._down_until[k]), t_ns + round(duration_s * S_NS / MS_NS) * MS_NS)
