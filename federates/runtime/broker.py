"""The same federation over HELICS. The only file that knows HELICS.

Each process (a group of the scenario) is one HELICS federate. Inside it the federates of ours exchange as in the plain loop, with
HELICS as the clock; what leaves the process goes through a publication for each vector or document port and an endpoint for each
link of events (`federate/port`). A federate of ours that shall be a HELICS federate of its own gets a group of its own. One HELICS
federate for each of ours was tried first: a grant each costs 0.1 to 0.3 ms, which was half of the time of a run with eighteen.

Values do not wake a federate (IGNORE_INTERRUPTS); an event's message does. It is sent to arrive a little before its delivery time,
which the seat then asks for: HELICS shows a federate that a message wakes at t what others published at t already, and keeps a
message for t back from a federate that asked for t. At a time asked for, what is older is there and nothing else. A grant that the
seat did not ask for is asked again; one past what it asked for is an error.

The broker keeps one global time. With HELICS's distributed time a federate that has sent a message may be granted a time past its
delivery before the receiver, asleep until later, has answered it: measured, in a quarter of random federations of three processes;
and a federate that waits for nobody runs ahead until messages are lost. Global time treats times a nanosecond apart as one, hence
the distances between the rounds of an instant (`seat.py`).

Core type `zmq_ss`: the broker's is the only listening socket, on the loopback. Of HELICS 3.6.1's others `tcp` and `tcp_ss` lose
larger messages (a vector of a thousand values between two processes never arrived), and `zmq`, which is faster, opens sockets of
its own that outlive a run and once gave other records. HELICS's own timers are off: the supervisor watches, with better knowledge.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helics as h
import numpy as np

from federates.runtime.federate import Federation, FederationError, Link
from federates.runtime.local import check_delay, check_names, check_periods, deliver, make_routes, take
from federates.runtime.port import Document, Event, Port
from federates.runtime.seat import Recorder, Seat, Sent, Watch, gather, links_with_coupling, next_instant
from federates.runtime.wire import Reader, decode_event, encode, encode_event

CORE = "zmq_ss"
_NS = 1e-9
_AHEAD_NS = 10
_LONGEST_NS = 2**50  # beyond it a time that went through a double of seconds comes back another
_lib, _ffi = h.capi.lib, h.capi.ffi


class LostBroker(Exception):
    """HELICS reported an error that is not a federate's: the broker is gone or refused us."""


def serve_broker(port_file: Path, federation: Federation, log: Path, beat: Callable[[], None]) -> int:
    """Serve a broker on a private loopback port until every federate has left; gives the process's exit code.

    The port is written to `port_file` once the broker listens; `beat` is called about ten times a second.
    """
    for _ in range(20):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = f"--federates={max(len(federation.groups), 1)} --local_interface=127.0.0.1 --port={port} --globaltime"
        broker = h.helicsCreateBroker(CORE, "", f"{options} --disable_timer --logfile={log} --loglevel=error")
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
    """An input of a seat that is fed from another process: the HELICS input, and how to read it."""

    handle: Any
    seat: Seat
    port: Port
    reader: Reader
    where: str
    index: np.ndarray | None = None
    seen: bool = False


@dataclass(slots=True)
class _Outlet:
    """An output of a seat that goes to another process as values."""

    handle: Any
    port: Port
    layout_hash: int
    announced: bool = False


class _Group:
    """The seats of one process, their HELICS federate, and everything that enters or leaves the process."""

    def __init__(self, federation: Federation, name: str, seats: Mapping[str, Seat], federate: Any) -> None:
        self.name, self.seats, self.federate, self.stop_ns = name, seats, federate, federation.stop_ns
        links = links_with_coupling(federation)
        within = tuple(link for link in links if link.source in seats and link.target in seats)
        self.routes = make_routes(federation, seats, within)
        self.inlets: list[_Inlet] = []
        self.outlets: dict[tuple[str, str], _Outlet] = {}
        self.senders: dict[tuple[str, str], list[tuple[Any, int]]] = {}
        self.mailboxes: dict[tuple[str, str], tuple[Seat, str, Any]] = {}
        self.error = h.helicsErrorInitialize()
        fed = {(route.target.name, route.port) for routes in self.routes.values() for route in routes}
        for link in links:
            where = f"link {link.source}.{link.source_port} -> {link.target}.{link.target_port}"
            if link.target in seats and link.source not in seats:
                self._wire_in(seats[link.target], link, where, fed)
            elif link.source in seats and link.target not in seats:
                self._wire_out(seats[link.source], link, where)

    def _wire_in(self, seat: Seat, link: Link, where: str, fed: set[tuple[str, str]]) -> None:
        port = seat.inputs.get(link.target_port)
        if port is None:
            raise FederationError(f"{where}: {link.target} has no input {link.target_port}; it has {', '.join(seat.inputs)}")
        place = (seat.name, port.name)
        if port.kind == "event":
            if place not in self.mailboxes:
                key = f"{seat.name}/{port.name}/in"
                mailbox = h.helicsFederateRegisterGlobalTargetedEndpoint(self.federate, key, "event")
                self.mailboxes[place] = (seat, port.name, mailbox)
            return
        if place in fed:
            raise FederationError(f"{where}: this input already has a source; only event ports take several")
        fed.add(place)
        handle = h.helicsFederateRegisterSubscription(self.federate, f"{link.source}/{link.source_port}", "")
        h.helicsInputSetOption(handle, h.HELICS_HANDLE_OPTION_IGNORE_INTERRUPTS, 1)
        self.inlets.append(_Inlet(handle.handle, seat, port, Reader(where), where))

    def _wire_out(self, seat: Seat, link: Link, where: str) -> None:
        port = seat.outputs.get(link.source_port)
        if port is None:
            raise FederationError(f"{where}: {link.source} has no output {link.source_port}; it has {', '.join(seat.outputs)}")
        place, key = (seat.name, port.name), f"{seat.name}/{port.name}"
        if port.kind == "event":
            check_delay(port, link, where)
            name = f"{key}/out/{link.target}/{link.target_port}"
            endpoint = h.helicsFederateRegisterGlobalTargetedEndpoint(self.federate, name, "event")
            h.helicsEndpointAddDestinationTarget(endpoint, f"{link.target}/{link.target_port}/in")
            self.senders.setdefault(place, []).append((endpoint.handle, link.delay_ns))
        elif place not in self.outlets:
            publication = h.helicsFederateRegisterGlobalPublication(self.federate, key, h.HELICS_DATA_TYPE_RAW, "")
            self.outlets[place] = _Outlet(publication.handle, port, port.layout_hash())

    def run(self, progress: Callable[[int], None] | None) -> None:
        """The plain loop over the seats of this process, with HELICS as its clock."""
        federate = self.federate
        h.helicsFederateEnterInitializingMode(federate)
        self._deliver([(seat, seat.start()) for seat in self.seats.values()])
        h.helicsFederateEnterExecutingMode(federate)
        self._receive_values()
        for inlet in self.inlets:
            if not inlet.seen and inlet.port.kind == "vector":
                raise FederationError(f"{inlet.where}: the source has no such output, or published nothing at start")
        granted_ns = 0
        while granted_ns < self.stop_ns:
            self._receive_events()
            calls = [(seat.next_call_ns(), seat) for seat in self.seats.values()]
            due_ns = min(due for due, _ in calls)
            if due_ns < granted_ns:
                raise FederationError(f"process {self.name} was granted {granted_ns} ns, past {due_ns} ns which it asked for")
            if due_ns == granted_ns:
                self._receive_values()
                self._deliver([(seat, seat.call(granted_ns)) for due, seat in calls if due == granted_ns])
                if progress:
                    progress(granted_ns)
                due_ns = min(seat.next_call_ns() for seat in self.seats.values())
            granted_ns = round(h.helicsFederateRequestTime(federate, min(due_ns, self.stop_ns) * _NS) * 1e9)
        h.helicsFederateDisconnect(federate)

    def _receive_values(self) -> None:
        """Take what other processes have published since the last call."""
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
                inlet.index, inlet.seen = gather(inlet.reader.source, inlet.port, inlet.where), True
            inlet.seat.accept_value(inlet.port.name, value if isinstance(value, Document) else take(value, inlet.index))

    def _receive_events(self) -> None:
        """Take the event messages that have arrived."""
        for seat, port, mailbox in self.mailboxes.values():
            while h.helicsEndpointHasMessage(mailbox):
                arrival_ns, event = decode_event(h.helicsMessageGetBytes(h.helicsEndpointGetMessage(mailbox)))
                seat.accept_event(port, event, arrival_ns)

    def _deliver(self, answers: list[tuple[Seat, list[Sent]]]) -> None:
        """Hand over what was published at one instant: within the process as in the plain loop, to others over HELICS."""
        deliver(self.routes, answers)
        for seat, sent in answers:
            for port, value in sent:
                if isinstance(value, tuple):
                    self._send(value, self.senders.get((seat.name, port), ()))
                elif (outlet := self.outlets.get((seat.name, port))) is not None:
                    # Of documents published since it last looked a reader gets the last only: each one carries the layout.
                    first = not outlet.announced or isinstance(value, Document)
                    outlet.announced = True
                    message = encode(outlet.port, outlet.layout_hash, value, first=first)
                    _lib.helicsPublicationPublishBytes(outlet.handle, message, len(message), self.error)
        if self.error.error_code:
            raise LostBroker(f"HELICS refused what {self.name} published: {_ffi.string(self.error.message).decode()}")

    def _send(self, events: tuple[Event, ...], senders: Sequence[tuple[Any, int]]) -> None:
        for event in events:
            for endpoint, delay_ns in senders:
                arrival_ns = next_instant(event.t_ns + delay_ns)
                message = encode_event(event, arrival_ns)
                # not h.helicsEndpointSendBytesAt, which calls another function of the library (pyhelics 3.6.1)
                _lib.helicsEndpointSendBytesAt(endpoint, message, len(message), (arrival_ns - _AHEAD_NS) * _NS, self.error)


def run_helics(
    federation: Federation,
    group: str,
    address: str,
    recorder: Recorder,
    watch: Watch,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Run one group of a federation against the broker at `address` (host:port), until its stop time.

    Raises FederateFailure, FederationError or LostBroker as soon as it meets one; the process must then end by `os._exit`, since
    HELICS may wait for the others at exit.
    """
    check_names(federation)
    if federation.stop_ns > _LONGEST_NS:
        days = _LONGEST_NS / 86_400e9
        raise FederationError(f"HELICS counts time in doubles, exact to the nanosecond for {days:.0f} days; use the local runner")
    names = federation.groups[group] if federation.groups else tuple(spec.name for spec in federation.specs)
    seats = {name: Seat(name, federation.spec(name).build(), federation, recorder, watch) for name in names}
    options = f"--broker_address={address} --federates=1 --disable_timer --globaltime --loglevel=no_print"
    core_name = f"{group}-{os.getpid()}"
    core = h.helicsCreateCore(CORE, core_name, options)
    if not h.helicsCoreIsConnected(core) and not h.helicsCoreConnect(core):
        raise LostBroker(f"no broker answers at {address}")
    check_periods(federation.coupling, seats)
    info = h.helicsCreateFederateInfo()
    h.helicsFederateInfoSetCoreName(info, core_name)
    h.helicsFederateInfoSetCoreTypeFromString(info, CORE)
    try:
        _Group(federation, group, seats, h.helicsCreateCombinationFederate(group, info)).run(progress)
    except h.HelicsException as error:
        raise LostBroker(f"HELICS ended the time of {group}: {error}") from error
    for seat in seats.values():
        seat.stop()
    h.helicsCoreDisconnect(core)


def wait_for_port(port_file: Path, limit_s: float) -> int:
    """The broker's port, once it is known; TimeoutError after `limit_s`."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if port_file.exists():
            return int(port_file.read_text())
        time.sleep(0.01)
    raise TimeoutError(f"the broker did not start within {limit_s:g} s")
