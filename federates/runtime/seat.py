"""A federate's seat in a federation: when it is called, what it is handed, and what becomes of its answer.

Both runners are loops around seats. Calls take place on whole microseconds; a wish or an event that falls between two waits for the
second. Times here are wire times: nominal time, except in the rounds of a coupled group, which take place in the microsecond after
their instant t (see `federates.runtime`):

    t        calls for events that arrive exactly at t (at t = 0 they wait for the commit, so that the start is undisturbed)
    t + 10   the leader solves, publishes, and says whether the group goes on          (t + 20, t + 30, ...)
    t + 15   the followers solve with what the leader published, and publish           (t + 25, t + 35, ...)
    ...      converged: the leader steps (commits) and says so; five nanoseconds later the followers step
"""

from __future__ import annotations

import heapq
import json
import operator
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np

from federates.runtime.federate import (
    US_NS,
    Coupling,
    Federate,
    FederateFailure,
    Federation,
    FederationError,
    Iterable,
    Leader,
    Link,
    Step,
)
from federates.runtime.port import NEVER_NS, NO_DOCUMENT, Document, Event, Outputs, Port, Quality, Sample, by_name, canonical_json
from federates.runtime.units import check_same, check_unit

COUPLING = Port("coupling", "1", ("state", "iterations", "residual"), "state 1: go on, 0: commit; residual in the tolerance's unit")
_CONTROL = "~coupling"
_ROUND_NS = 10
_FOLLOW_NS = 5
MOST_ITERATIONS = 95
"""Rounds of an instant that end within its microsecond."""

Packet = Sample | Document | tuple[Event, ...]
Sent = tuple[str, Packet]


class Recorder(Protocol):
    """Where a seat reports what happened. `record.py` writes it to disk; tests keep it in memory."""

    def vector(self, federate: str, port: Port, t_ns: int, sample: Sample) -> None: ...
    def document(self, federate: str, port: Port, document: Document) -> None: ...
    def event(self, event: Event) -> None: ...
    def call(self, federate: str, t_ns: int, started_ns: int, compute_ns: int) -> None: ...


class Watch(Protocol):
    """Who is told that a federate computes (the supervisor's heartbeat)."""

    def computing(self, federate: str, t_ns: int) -> None: ...
    def waiting(self, t_ns: int) -> None: ...


def links_with_coupling(federation: Federation) -> tuple[Link, ...]:
    """The federation's links and the control links of its coupled group."""
    coupling = federation.coupling
    if coupling is None:
        return federation.links
    control = tuple(Link(coupling.leader, COUPLING.name, follower, _CONTROL) for follower in coupling.followers)
    return federation.links + control


def next_instant(t_ns: int) -> int:
    """The first whole microsecond at or after `t_ns`."""
    return -(-t_ns // US_NS) * US_NS


def gather(source: Port, target: Port, where: str) -> np.ndarray | None:
    """Index into the source's values that gives the target's, or None where they are the same.

    FederationError for unlike kinds or units, or for ids that the source does not have.
    """
    if source.kind != target.kind:
        raise FederationError(f"{where}: a {source.kind} cannot feed a {target.kind}")
    if source.kind != "vector":
        return None
    try:
        check_same(source.unit, target.unit, where)
    except ValueError as error:
        raise FederationError(str(error)) from None
    if source.ids == target.ids:
        return None
    position = {identity: i for i, identity in enumerate(source.ids)}
    unknown = [identity for identity in target.ids if identity not in position]
    if unknown or not target.ids:
        has = ", ".join(source.ids[:8]) + (" ..." if len(source.ids) > 8 else "")
        raise FederationError(f"{where}: the source has no {', '.join(unknown[:5]) or 'scalar value'}; it has {has or 'one value'}")
    return np.array([position[identity] for identity in target.ids])


def _nothing_yet(port: Port) -> Packet:
    if port.kind == "event":
        return ()
    return NO_DOCUMENT if port.kind == "document" else Sample.missing(port.size)


class Seat:
    """One federate in a federation, whoever runs it."""

    def __init__(
        self, name: str, federate: Federate, federation: Federation, recorder: Recorder, watch: Watch | None = None
    ) -> None:
        self.name, self.federate, self.recorder, self.watch = name, federate, recorder, watch
        self.stop_ns = federation.stop_ns
        coupling = federation.coupling
        self.coupling: Coupling | None = coupling if coupling and name in (coupling.leader, *coupling.followers) else None
        self.leads = bool(self.coupling and self.coupling.leader == name)
        self.inputs, self.outputs = self._ports(federate.inputs), self._ports(federate.outputs)
        if self.leads:
            self.outputs[COUPLING.name] = COUPLING
        elif self.coupling:
            self.inputs[_CONTROL] = Port(_CONTROL, COUPLING.unit, COUPLING.ids)
        self._check()
        self.recorded = {p for p in self.outputs if federation.record is None or f"{name}.{p}" in federation.record}
        self._held: dict[str, Any] = {port.name: _nothing_yet(port) for port in self.inputs.values()}
        self._ageing = [p for p in self.inputs.values() if p.kind == "vector" and p.max_age_ns is not None]
        self._event_ports = [p.name for p in self.inputs.values() if p.kind == "event"]
        self._queue: list[tuple[int, tuple[int, str, int], str, Event]] = []
        self._seq: dict[str, int] = dict.fromkeys(self.outputs, 0)
        self._period_due, self._asked = 0, NEVER_NS
        self._round: int | None = None
        self._round_before: Outputs = {}
        for injection in federation.injections:
            if injection.target == name:
                self._inject(injection.t_ns, injection.target_port, injection.payload)

    def _ports(self, ports: Sequence[Port]) -> dict[str, Port]:
        try:
            return by_name(ports)
        except ValueError as error:
            raise FederationError(f"federate {self.name}: {error}") from None

    def _check(self) -> None:
        period = self.federate.period_ns
        if period <= 0 or period % US_NS:
            raise FederationError(f"federate {self.name}: period {period} ns; give a positive whole number of microseconds")
        for port in (*self.inputs.values(), *self.outputs.values()):
            try:
                check_unit(port.unit, f"federate {self.name}, port {port.name}")
            except ValueError as error:
                raise FederationError(str(error)) from None
        wanted = Leader if self.leads else Iterable
        if self.coupling and not isinstance(self.federate, wanted):
            raise FederationError(
                f"federate {self.name} takes part in coupling and lacks {'solve or residual' if self.leads else 'solve'}"
            )

    def _inject(self, t_ns: int, port: str, payload: Mapping[str, Any]) -> None:
        if port not in self.inputs or self.inputs[port].kind != "event":
            raise FederationError(f"federate {self.name} has no event port {port}; it has {', '.join(self._event_ports) or 'none'}")
        source = f"scenario.{self.name}.{port}"
        self._seq[source] = self._seq.get(source, 0) + 1
        event = Event(t_ns, source, self._seq[source], json.loads(canonical_json(payload)))
        self.accept_event(port, event, t_ns)

    # What arrives

    def accept_value(self, port: str, value: Sample | Document) -> None:
        """A newer value of an input."""
        self._held[port] = value

    def accept_event(self, port: str, event: Event, arrival_ns: int) -> None:
        """An event that is to be handed over at `arrival_ns`, or at the next instant."""
        heapq.heappush(self._queue, (next_instant(arrival_ns), event.order, port, event))

    # When

    def next_call_ns(self) -> int:
        """Wire time at which this federate is to be called next; NEVER_NS when the run ends before."""
        if self._round is not None:
            return self._round
        due = min(self._period_due, self._asked)
        offset = self._round_offset(due)
        wire = due + offset if due < self.stop_ns else NEVER_NS
        if self._queue:
            arrival = self._queue[0][0]
            if arrival < self.stop_ns and (not offset or arrival <= due > 0):
                wire = min(wire, arrival)
        return wire

    def _round_offset(self, due_ns: int) -> int:
        """How long after `due_ns` the first round of this federate is; 0 where it does not iterate."""
        if self.coupling is None or due_ns != self._period_due or not (self.coupling.always or due_ns == 0):
            return 0
        return _ROUND_NS if self.leads else _ROUND_NS + _FOLLOW_NS

    # The calls

    def start(self) -> list[Sent]:
        """Start the federate at t = 0; gives the first value of every vector output."""
        outputs = dict(self._mapping("start", 0, self._guarded("start", 0, lambda: self.federate.start(0))))
        if self.leads:
            outputs[COUPLING.name] = [0.0, 0.0, 0.0]
        missing = [p.name for p in self.outputs.values() if p.kind == "vector" and p.name not in outputs]
        if missing:
            raise FederateFailure(self.name, 0, "start", f"no first value for {', '.join(missing)}")
        return self._publish(0, outputs)

    def call(self, wire_ns: int) -> list[Sent]:
        """Call the federate at its `next_call_ns()`; gives what it published."""
        if wire_ns != self.next_call_ns():
            raise FederationError(f"federate {self.name} was granted {wire_ns} ns but is due at {self.next_call_ns()} ns")
        due = min(self._period_due, self._asked)
        offset = self._round_offset(due)
        if self._round is not None or (offset and wire_ns == due + offset):
            return self._call_round(due, wire_ns)
        if wire_ns == due:
            self._served(due, offset)
        return self._step(wire_ns)

    def _served(self, due_ns: int, offset: int = 0) -> None:
        """Take the due time off the list, unless rounds for it are still to come."""
        if offset:
            return
        if due_ns == self._period_due:
            self._period_due += self.federate.period_ns
        if due_ns == self._asked:
            self._asked = NEVER_NS

    def _call_round(self, t_ns: int, wire_ns: int) -> list[Sent]:
        assert self.coupling is not None
        iterable = cast(Leader, self.federate)
        if self.leads:
            iteration = (wire_ns - t_ns) // _ROUND_NS - 1
            inputs = self._inputs(t_ns, events=False)
            answer = self._mapping("solve", t_ns, self._guarded("solve", t_ns, lambda: iterable.solve(t_ns, inputs)))
            before, self._round_before = self._round_before, answer
            residual = float("inf")
            if iteration:
                residual = self._guarded("residual", t_ns, lambda: float(iterable.residual(before, answer)))
            if residual <= self.coupling.tolerance:
                self._round = None
                self._served(t_ns)
                return self._step(t_ns, {COUPLING.name: [0.0, float(iteration), residual]})
            if iteration >= self.coupling.max_iterations:
                raise FederateFailure(
                    self.name,
                    t_ns,
                    "coupling",
                    f"no convergence in {iteration} iterations: residual {residual:.3g}, tolerance {self.coupling.tolerance:.3g}; "
                    "raise coupling.max_iterations, or look for a bus near its voltage limit",
                )
            self._round = wire_ns + _ROUND_NS
            state = [1.0, float(iteration), residual if iteration else -1.0]
            return self._publish(t_ns, {**answer, COUPLING.name: state}, record=False)
        control: Sample = self._held[_CONTROL]
        if control.t_ns != t_ns:
            raise FederationError(
                f"federate {self.name}: a round at {t_ns} ns without its leader; give coupled federates one period"
            )
        if control.values[0] == 0.0:
            self._round = None
            self._served(t_ns)
            return self._step(t_ns)
        self._round = wire_ns + _ROUND_NS
        inputs = self._inputs(t_ns, events=False)
        answer = self._mapping("solve", t_ns, self._guarded("solve", t_ns, lambda: iterable.solve(t_ns, inputs)))
        return self._publish(t_ns, answer, record=False)

    def _step(self, t_ns: int, extra: Mapping[str, Any] | None = None) -> list[Sent]:
        inputs = self._inputs(t_ns, events=True)
        step: Step = self._guarded("step", t_ns, lambda: self.federate.step(t_ns, inputs))
        if not isinstance(step, Step):
            raise FederateFailure(self.name, t_ns, "step", f"it returned a {type(step).__name__}; return a Step")
        if step.next_ns is not None:
            try:
                next_ns = operator.index(step.next_ns)
            except TypeError:
                cause = f"asked for its next call at {step.next_ns!r}; give a whole number of nanoseconds"
                raise FederateFailure(self.name, t_ns, "step", cause) from None
            if next_ns <= t_ns:
                raise FederateFailure(self.name, t_ns, "step", f"asked for its next call at {next_ns} ns, which is not later")
            self._asked = next_instant(next_ns)
        return self._publish(t_ns, {**self._mapping("step", t_ns, step.outputs), **(extra or {})})

    def _mapping(self, doing: str, t_ns: int, outputs: Any) -> Outputs:
        if not isinstance(outputs, Mapping):
            cause = f"its outputs are a {type(outputs).__name__}; give a mapping of port name to value"
            raise FederateFailure(self.name, t_ns, doing, cause)
        return outputs

    def stop(self) -> None:
        """Let the federate release what it holds."""
        self._guarded("stop", self.stop_ns, self.federate.stop)

    def _guarded(self, doing: str, t_ns: int, call: Any) -> Any:
        """Run federate code: time it, say that it computes, and turn whatever it raises into a FederateFailure."""
        if self.watch:
            self.watch.computing(self.name, t_ns)
        started = time.perf_counter_ns()
        try:
            return call()
        except FederateFailure:
            raise
        except SystemExit as error:
            raise FederateFailure(self.name, t_ns, doing, f"it called sys.exit({error.code})") from error
        except Exception as error:
            raise FederateFailure(self.name, t_ns, doing, f"{type(error).__name__}: {error}") from error
        finally:
            self.recorder.call(self.name, t_ns, started, time.perf_counter_ns() - started)
            if self.watch:
                self.watch.waiting(t_ns)

    def _inputs(self, t_ns: int, *, events: bool) -> dict[str, Any]:
        held = dict(self._held)
        held.pop(_CONTROL, None)
        for port in self._ageing:
            sample: Sample = held[port.name]
            old = sample.age_ns(t_ns) > cast(int, port.max_age_ns)
            if old.any():
                quality = sample.quality | np.where(old, np.uint16(Quality.STALE), np.uint16(0))
                held[port.name] = Sample(sample.values, sample.t_ns, quality)
        batches: dict[str, list[Event]] = {name: [] for name in self._event_ports}
        while events and self._queue and self._queue[0][0] <= t_ns:
            _, _, port_name, event = heapq.heappop(self._queue)
            if event.source.startswith("scenario."):
                self.recorder.event(event)
            batches[port_name].append(event)
        for name, batch in batches.items():
            held[name] = tuple(sorted(batch, key=lambda event: event.order))
        return held

    def _publish(self, t_ns: int, outputs: Outputs, *, record: bool = True) -> list[Sent]:
        sent: list[Sent] = []
        for name, value in outputs.items():
            port = self.outputs.get(name)
            if port is None:
                raise FederateFailure(self.name, t_ns, "publish", f"it has no output port {name}; it has {', '.join(self.outputs)}")
            if port.kind == "vector":
                sample = self._sample(port, t_ns, value)
                if record and name in self.recorded:
                    self.recorder.vector(self.name, port, t_ns, sample)
                sent.append((name, sample))
            elif port.kind == "document":
                self._seq[name] += 1
                document = Document(value if isinstance(value, str) else self._json(port, t_ns, value), t_ns, self._seq[name])
                self.recorder.document(self.name, port, document)
                sent.append((name, document))
            else:
                events = self._events(port, t_ns, value)
                for event in events:
                    self.recorder.event(event)
                if events:
                    sent.append((name, events))
        return sent

    def _sample(self, port: Port, t_ns: int, value: Any) -> Sample:
        """A sample of our own, read-only: what the federate keeps and changes later is not what was published."""
        try:
            given = value if isinstance(value, Sample) else Sample.of(value, t_ns)
            values, quality = np.array(given.values, np.float64), np.array(given.quality, np.uint16)
            times = np.array(given.t_ns, np.int64)
        except (TypeError, ValueError) as error:
            raise FederateFailure(self.name, t_ns, "publish", f"port {port.name} takes numbers: {error}") from error
        parts: list[np.ndarray] = [values, quality, *([times] if times.ndim else [])]
        for part in parts:
            if part.shape != (port.size,):
                cause = f"port {port.name} takes {port.size} values, got shape {part.shape}"
                raise FederateFailure(self.name, t_ns, "publish", cause)
            part.flags.writeable = False
        unflagged = ~np.isfinite(values) & (quality == 0)
        if unflagged.any():
            first = int(np.argmax(unflagged))
            identity = port.ids[first] if port.ids else "its value"
            cause = f"port {port.name}, {identity}: {values[first]} without a quality; flag it LOST or SUSPECT"
            raise FederateFailure(self.name, t_ns, "publish", cause)
        return Sample(values, times if times.ndim else int(times), quality)

    def _events(self, port: Port, t_ns: int, payloads: Sequence[Mapping[str, Any]]) -> tuple[Event, ...]:
        if isinstance(payloads, str | Mapping) or not all(isinstance(payload, Mapping) for payload in payloads):
            cause = f"port {port.name} takes a sequence of JSON objects, an event each"
            raise FederateFailure(self.name, t_ns, "publish", cause)
        source = f"{self.name}.{port.name}"
        events = []
        for payload in payloads:
            self._seq[port.name] += 1
            events.append(Event(t_ns, source, self._seq[port.name], json.loads(self._json(port, t_ns, payload))))
        return tuple(events)

    def _json(self, port: Port, t_ns: int, value: Any) -> str:
        try:
            return canonical_json(value)
        except (TypeError, ValueError) as error:
            raise FederateFailure(self.name, t_ns, "publish", f"port {port.name}: {error}") from error
