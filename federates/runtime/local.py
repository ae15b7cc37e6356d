"""The plain loop: one process, one thread, deterministic. The reference that every other runner must equal bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from federates.runtime.federate import MS_NS, US_NS, Coupling, Federate, FederateFailure, Federation, FederationError, Link
from federates.runtime.port import NEVER_NS, Document, Port, Sample
from federates.runtime.seat import MOST_ITERATIONS, Packet, Recorder, Seat, Sent, Watch, gather, links_with_coupling


@dataclass(frozen=True, slots=True)
class Route:
    """Where an output goes: the seat and port that take it, the gather index of a vector, the delay of events."""

    target: Seat
    port: str
    index: np.ndarray | None
    delay_ns: int

    def deliver(self, sent: Packet) -> None:
        """Hand over what was sent."""
        if isinstance(sent, tuple):
            for event in sent:
                self.target.accept_event(self.port, event, event.t_ns + self.delay_ns)
        else:
            self.target.accept_value(self.port, sent if isinstance(sent, Document) else take(sent, self.index))


def take(sample: Sample, index: np.ndarray | None) -> Sample:
    """The part of a sample that a target asked for."""
    if index is None:
        return sample
    t_ns = sample.t_ns if isinstance(sample.t_ns, int) else sample.t_ns[index]
    part = Sample(sample.values[index], t_ns, sample.quality[index])
    part.values.flags.writeable = part.quality.flags.writeable = False
    return part


def check_delay(port: Port, link: Link, where: str) -> None:
    """FederationError for a link of events without a delay: the rounds of an instant end within a microsecond."""
    if port.kind == "event" and link.delay_ns < US_NS:
        raise FederationError(f"{where}: an event needs a delay of at least a microsecond")


def check_names(federation: Federation) -> None:
    """FederationError for what is wrong with a federation before any federate exists."""
    names = [spec.name for spec in federation.specs]
    if not names:
        raise FederationError("the federation is empty: name at least one federate")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise FederationError(f"names of federates used twice: {', '.join(twice)}")
    if federation.stop_ns <= 0 or federation.stop_ns % US_NS:
        raise FederationError(f"the run stops at {federation.stop_ns} ns; give a positive whole number of microseconds")
    if federation.window_ns <= 0 or federation.window_ns % MS_NS:
        raise FederationError(f"the window is {federation.window_ns} ns; give a positive whole number of milliseconds")
    coupling = federation.coupling
    if coupling and not 1 <= coupling.max_iterations <= MOST_ITERATIONS:
        raise FederationError(f"coupling.max_iterations is {coupling.max_iterations}; give 1 to {MOST_ITERATIONS}")
    if early := [injection for injection in federation.injections if injection.t_ns < 0]:
        raise FederationError(f"an event for {early[0].target} at {early[0].t_ns} ns; a run begins at 0")
    named = [("an event", injection.target) for injection in federation.injections]
    named += [("coupling", name) for name in ((coupling.leader, *coupling.followers) if coupling else ())]
    for what, name in named:
        if name not in names:
            raise FederationError(f"{what} names {name}, and there is no such federate; there are {', '.join(names)}")


def check_periods(coupling: Coupling | None, seats: Mapping[str, Seat]) -> None:
    """FederationError for federates that iterate at every period and do not share one."""
    if coupling is None or not coupling.always:
        return
    periods = {name: seats[name].federate.period_ns for name in (coupling.leader, *coupling.followers) if name in seats}
    if len(set(periods.values())) > 1:
        said = ", ".join(f"{name} {period} ns" for name, period in periods.items())
        raise FederationError(f"coupled federates need one period, and have {said}")


def make_routes(
    federation: Federation, seats: Mapping[str, Seat], links: Sequence[Link] | None = None
) -> dict[tuple[str, str], list[Route]]:
    """Routes by (source, source port), of these links or of all of the federation. FederationError names the link that does not
    fit."""
    routes: dict[tuple[str, str], list[Route]] = {}
    fed: set[tuple[str, str]] = set()
    for link in links_with_coupling(federation) if links is None else links:
        where = f"link {link.source}.{link.source_port} -> {link.target}.{link.target_port}"
        source, target = seats.get(link.source), seats.get(link.target)
        if source is None or target is None:
            raise FederationError(f"{where}: there is no federate {link.source if source is None else link.target}")
        if link.source_port not in source.outputs:
            raise FederationError(f"{where}: {link.source} has no output {link.source_port}; it has {', '.join(source.outputs)}")
        if link.target_port not in target.inputs:
            raise FederationError(f"{where}: {link.target} has no input {link.target_port}; it has {', '.join(target.inputs)}")
        port = target.inputs[link.target_port]
        index = gather(source.outputs[link.source_port], port, where)
        check_delay(port, link, where)
        if port.kind != "event" and (link.target, link.target_port) in fed:
            raise FederationError(f"{where}: this input already has a source; only event ports take several")
        fed.add((link.target, link.target_port))
        routes.setdefault((link.source, link.source_port), []).append(Route(target, link.target_port, index, link.delay_ns))
    return routes


def run_local(
    federation: Federation,
    recorder: Recorder,
    watch: Watch | None = None,
    federates: Mapping[str, Federate] | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Run a federation to its stop time in this thread.

    `federates` may hold ready-made federates by name (tests, notebooks). Raises FederationError for a federation that does not
    fit together and FederateFailure for a federate that fails; every federate's `stop` is called in either case.
    """
    check_names(federation)
    seats: dict[str, Seat] = {}
    try:
        for spec in federation.specs:
            federate = (federates or {}).get(spec.name) or spec.build()
            seats[spec.name] = Seat(spec.name, federate, federation, recorder, watch)
        _run(federation, seats, progress)
    except BaseException as error:
        if late := _stop(seats):
            error.add_note(str(late))
        raise
    if failure := _stop(seats):
        raise failure


def _run(federation: Federation, seats: Mapping[str, Seat], progress: Callable[[int], None] | None) -> None:
    check_periods(federation.coupling, seats)
    routes = make_routes(federation, seats)
    deliver(routes, [(seat, seat.start()) for seat in seats.values()])
    while True:
        calls = [(seat.next_call_ns(), seat) for seat in seats.values()]
        t_ns = min(due for due, _ in calls)
        if t_ns >= NEVER_NS:
            return
        deliver(routes, [(seat, seat.call(t_ns)) for due, seat in calls if due == t_ns])
        if progress:
            progress(t_ns)


def _stop(seats: Mapping[str, Seat]) -> FederateFailure | None:
    """Stop every federate, also after one of them fails in it; gives the first failure."""
    failure = None
    for seat in seats.values():
        try:
            seat.stop()
        except FederateFailure as error:
            failure = failure or error
    return failure


def deliver(routes: Mapping[tuple[str, str], list[Route]], answers: list[tuple[Seat, list[Sent]]]) -> None:
    """Hand over everything published at one instant, after everybody was called."""
    for seat, sent in answers:
        for port, value in sent:
            for route in routes.get((seat.name, port), ()):
                route.deliver(value)
