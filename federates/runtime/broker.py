"""The same federation over HELICS. The only file that knows HELICS.

Each federate of ours is one HELICS federate, with a publication for each vector and document port and an endpoint for each event
port (`federate/port`), so that other HELICS tools see and can join them. A process hosts its federates on one core: a thread for
each waits for its grants, and a lock lets one compute at a time, so that a process has one hand and its heartbeat one answer.

Values do not wake a federate (IGNORE_INTERRUPTS); an event's message does. It is sent to arrive a little before its delivery time,
which the seat then asks for: HELICS shows a federate that a message wakes at t what others published at t already, and keeps a
message for t back from a federate that asked for t. At a time asked for, what is older is there and nothing else. A grant that the
seat did not ask for is asked again; one past what it asked for is an error.

The broker keeps one global time. With HELICS's distributed time a federate that has sent a message may be granted a time past its
delivery before the receiver, asleep until later, has answered it: measured, in a quarter of random federations of three processes.
Global time treats times a nanosecond apart as one, hence the distances between the rounds of an instant (`seat.py`).

Core type `tcp_ss`: the broker's is the only listening socket, on the loopback. HELICS's own timers are off: the supervisor watches,
with better knowledge.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import helics as h
import numpy as np

from federates.runtime.federate import FederateFailure, Federation, FederationError, Link
from federates.runtime.local import Route, check_delay, check_names, check_periods, make_routes, take
from federates.runtime.port import Document
from federates.runtime.seat import Recorder, Seat, Sent, Watch, gather, links_with_coupling, next_instant
from federates.runtime.wire import Reader, decode_event, encode, encode_event

CORE = "tcp_ss"
_NS = 1e-9
_AHEAD_NS = 10
_LONGEST_NS = 2**50  # beyond it a time that went through a double of seconds comes back another
_lib, _ffi = h.capi.lib, h.capi.ffi


class LostBroker(Exception):
    """HELICS reported an error that is not a federate's: the broker is gone or refused us."""


def serve_broker(port_file: Path, federates: int, log: Path, beat: Callable[[], None]) -> int:
    """Serve a broker on a private loopback port until every federate has left; gives the process's exit code.

    The port is written to `port_file` once the broker listens; `beat` is called about ten times a second.
    """
    for _ in range(20):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = f"--federates={federates} --local_interface=127.0.0.1 --port={port} --disable_timer --globaltime --logfile={log}"
        broker = h.helicsCreateBroker(CORE, "", f"{options} --loglevel=error")
        if h.helicsBrokerIsConnected(broker):
            break
    else:
        return 3
    partial = port_file.with_suffix(".part")
    partial.write_text(str(port))
    os.replace(partial, port_file)
    while h.helicsBrokerIsConnected(broker):
        beat()
        h.helicsBrokerWaitForDisconnect(broker, 100)
    return 0


@dataclass(slots=True)
class _Inlet:
    """An input of a seat: the HELICS input, and how to read it."""

    handle: Any
    port: str
    reader: Reader
    where: str
    target: Any
    index: np.ndarray | None = None
    seen: bool = False


@dataclass(slots=True)
class _Place:
    """A seat and its HELICS federate with all handles."""

    seat: Seat
    federate: Any
    publications: dict[str, Any] = field(default_factory=dict)
    outlets: dict[str, list[tuple[Any, int]]] = field(default_factory=dict)
    inlets: list[_Inlet] = field(default_factory=list)
    mailboxes: list[tuple[str, Any]] = field(default_factory=list)
    hashes: dict[str, int] = field(default_factory=dict)
    announced: set[str] = field(default_factory=set)
    own: dict[str, list[Route]] = field(default_factory=dict)
    error: Any = field(default_factory=h.helicsErrorInitialize)

    def receive_values(self) -> None:
        """Take what has been published since the last call."""
        for inlet in self.inlets:
            if not _lib.helicsInputIsUpdated(inlet.handle):
                continue
            size = _lib.helicsInputGetByteCount(inlet.handle)
            buffer = bytearray(size)
            actual = _ffi.new("int *")
            _lib.helicsInputGetBytes(inlet.handle, _ffi.from_buffer(buffer), size, actual, self.error)
            value = inlet.reader.decode(bytes(buffer[: actual[0]]))
            if not inlet.seen:
                assert inlet.reader.source is not None
                inlet.index, inlet.seen = gather(inlet.reader.source, inlet.target, inlet.where), True
            self.seat.accept_value(inlet.port, value if isinstance(value, Document) else take(value, inlet.index))

    def receive_events(self) -> None:
        """Take the event messages that have arrived."""
        for port, mailbox in self.mailboxes:
            while h.helicsEndpointHasMessage(mailbox):
                arrival_ns, event = decode_event(h.helicsMessageGetBytes(h.helicsEndpointGetMessage(mailbox)))
                self.seat.accept_event(port, event, arrival_ns)

    def publish(self, sent: list[Sent]) -> None:
        """Send what a call gave."""
        for port, value in sent:
            for route in self.own.get(port, ()):
                route.deliver(value)
            if isinstance(value, tuple):
                for event in value:
                    for endpoint, delay_ns in self.outlets.get(port, ()):
                        arrival_ns = next_instant(event.t_ns + delay_ns)
                        message = encode_event(event, arrival_ns)
                        # not h.helicsEndpointSendBytesAt, which calls another function of the library (pyhelics 3.6.1)
                        wire_s = (arrival_ns - _AHEAD_NS) * _NS
                        _lib.helicsEndpointSendBytesAt(endpoint.handle, message, len(message), wire_s, self.error)
                continue
            # Of documents published since it last looked a reader gets the last only: each one carries the layout.
            first = port not in self.announced or isinstance(value, Document)
            self.announced.add(port)
            message = encode(self.seat.outputs[port], self.hashes[port], value, first=first)
            _lib.helicsPublicationPublishBytes(self.publications[port], message, len(message), self.error)
        if self.error.error_code:
            raise LostBroker(f"HELICS refused what {self.seat.name} published: {_ffi.string(self.error.message).decode()}")


def run_helics(
    federation: Federation,
    group: str,
    address: str,
    recorder: Recorder,
    watch: Watch,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Run one group of a federation against the broker at `address` (host:port), until its stop time.

    Raises FederateFailure, FederationError or LostBroker as soon as one of its federates meets one; the process must then end
    by `os._exit`, since the other threads still wait in HELICS.
    """
    check_names(federation)
    if federation.stop_ns > _LONGEST_NS:
        days = _LONGEST_NS / 86_400e9
        raise FederationError(f"HELICS counts time in doubles, exact to the nanosecond for {days:.0f} days; use the local runner")
    names = federation.groups[group] if federation.groups else tuple(spec.name for spec in federation.specs)
    seats = {name: Seat(name, federation.spec(name).build(), federation, recorder, watch) for name in names}
    options = f"--broker_address={address} --federates={len(names)} --disable_timer --globaltime --loglevel=no_print"
    core_name = f"{group}-{os.getpid()}"
    core = h.helicsCreateCore(CORE, core_name, options)
    if not h.helicsCoreIsConnected(core) and not h.helicsCoreConnect(core):
        raise LostBroker(f"no broker answers at {address}")
    check_periods(federation.coupling, seats)
    places = {name: _join(seat, core_name) for name, seat in seats.items()}
    _wire(federation, places)
    crew = _Crew(federation, places, progress)
    crew.run()
    for seat in seats.values():
        seat.stop()
    h.helicsCoreDisconnect(core)


def _join(seat: Seat, core_name: str) -> _Place:
    info = h.helicsCreateFederateInfo()
    h.helicsFederateInfoSetCoreName(info, core_name)
    h.helicsFederateInfoSetCoreTypeFromString(info, CORE)
    federate = h.helicsCreateCombinationFederate(seat.name, info)
    place = _Place(seat, federate)
    for port in seat.outputs.values():
        key = f"{seat.name}/{port.name}"
        if port.kind != "event":
            publication = h.helicsFederateRegisterGlobalPublication(federate, key, h.HELICS_DATA_TYPE_RAW, "")
            place.publications[port.name] = publication.handle
            place.hashes[port.name] = port.layout_hash()
    return place


def _wire(federation: Federation, places: Mapping[str, _Place]) -> None:
    """Subscribe and open endpoints for the links that touch this process."""
    # What a federate says to itself stays here: HELICS may wait for ever for a federate that depends on itself.
    own = tuple(link for link in federation.links if link.source == link.target and link.source in places)
    seats = {name: place.seat for name, place in places.items()}
    for (name, port_name), routes in make_routes(replace(federation, links=own, coupling=None), seats).items():
        places[name].own[port_name] = routes
    for link in links_with_coupling(federation):
        where = f"link {link.source}.{link.source_port} -> {link.target}.{link.target_port}"
        if link in own:
            continue
        if link.target in places:
            _wire_target(places[link.target], link, where)
        if link.source in places:
            source = places[link.source]
            port = source.seat.outputs.get(link.source_port)
            if port is None:
                raise FederationError(f"{where}: {link.source} has no output {link.source_port}")
            if port.kind == "event":
                check_delay(port, link, where)
                key = f"{link.source}/{link.source_port}/out/{link.target}/{link.target_port}"
                endpoint = h.helicsFederateRegisterGlobalTargetedEndpoint(source.federate, key, "event")
                h.helicsEndpointAddDestinationTarget(endpoint, f"{link.target}/{link.target_port}/in")
                source.outlets.setdefault(link.source_port, []).append((endpoint, link.delay_ns))


def _wire_target(place: _Place, link: Link, where: str) -> None:
    port = place.seat.inputs.get(link.target_port)
    if port is None:
        raise FederationError(f"{where}: {link.target} has no input {link.target_port}; it has {', '.join(place.seat.inputs)}")
    if port.kind == "event":
        if port.name not in {name for name, _ in place.mailboxes}:
            key = f"{link.target}/{port.name}/in"
            place.mailboxes.append((port.name, h.helicsFederateRegisterGlobalTargetedEndpoint(place.federate, key, "event")))
        return
    from_itself = {route.port for routes in place.own.values() for route in routes}
    if port.name in from_itself or any(inlet.port == port.name for inlet in place.inlets):
        raise FederationError(f"{where}: this input already has a source; only event ports take several")
    handle = h.helicsFederateRegisterSubscription(place.federate, f"{link.source}/{link.source_port}", "")
    h.helicsInputSetOption(handle, h.HELICS_HANDLE_OPTION_IGNORE_INTERRUPTS, 1)
    place.inlets.append(_Inlet(handle.handle, port.name, Reader(where), where, port))


class _Crew:
    """The threads of one process, one a federate, and the lock that lets one compute at a time."""

    def __init__(self, federation: Federation, places: Mapping[str, _Place], progress: Callable[[int], None] | None) -> None:
        self.stop_ns, self.places, self.progress = federation.stop_ns, list(places.values()), progress
        self.turn = threading.Lock()
        self.ended = threading.Condition()
        self.left = len(self.places)
        self.error: BaseException | None = None

    def run(self) -> None:
        """Start every thread and wait until all have ended or one has failed; raises what failed."""
        for place in self.places:
            threading.Thread(target=self._serve, args=(place,), name=place.seat.name, daemon=True).start()
        with self.ended:
            while self.left and self.error is None:
                self.ended.wait(0.2)  # a bound, so that signals reach the main thread
        if self.error:
            raise self.error

    def _serve(self, place: _Place) -> None:
        error: BaseException | None = None
        try:
            self._drive(place)
        except (FederateFailure, FederationError) as failure:
            error = failure
        except h.HelicsException as failure:
            error = LostBroker(f"HELICS ended the time of {place.seat.name}: {failure}")
        except BaseException as failure:
            error = failure
        with self.ended:
            self.left -= 1
            self.error = self.error or error
            self.ended.notify_all()

    def _drive(self, place: _Place) -> None:
        seat, federate = place.seat, place.federate
        h.helicsFederateEnterInitializingMode(federate)
        with self.turn:
            place.publish(seat.start())
        h.helicsFederateEnterExecutingMode(federate)
        granted_ns = 0
        place.receive_values()
        for inlet in place.inlets:
            if not inlet.seen and inlet.target.kind == "vector":
                raise FederationError(f"{inlet.where}: the source has no such output, or published nothing at start")
        while granted_ns < self.stop_ns:
            place.receive_events()
            due_ns = seat.next_call_ns()
            if due_ns < granted_ns:
                raise FederationError(f"federate {seat.name} was granted {granted_ns} ns, past {due_ns} ns which it asked for")
            if due_ns == granted_ns:
                with self.turn:
                    place.receive_values()
                    sent = seat.call(granted_ns)
                    place.publish(sent)
                    if self.progress:
                        self.progress(granted_ns)
                due_ns = seat.next_call_ns()
            granted_ns = round(h.helicsFederateRequestTime(federate, min(due_ns, self.stop_ns) * _NS) * 1e9)
        h.helicsFederateDisconnect(federate)


def wait_for_port(port_file: Path, limit_s: float) -> int:
    """The broker's port, once it is known; TimeoutError after `limit_s`."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if port_file.exists():
            return int(port_file.read_text())
        time.sleep(0.01)
    raise TimeoutError(f"the broker did not start within {limit_s:g} s")
