"""The same federation over HELICS. The only file that knows HELICS.

Each process (a group of the scenario) is one HELICS federate. Inside it the federates of ours exchange as in the plain loop, with
HELICS as the clock; what leaves the process goes through one publication for each output port (`federate/port`). A federate of
ours that shall be a HELICS federate of its own gets a group of its own. One HELICS federate for each of ours was tried first: a
grant each costs 0.1 to 0.3 ms, which was half of the time of a run with eighteen.

Vectors and documents do not wake a federate (IGNORE_INTERRUPTS); events do, when they are published, and the federate then asks for
the time at which they are to be handed over. Endpoints were tried first: with messages on their way HELICS's distributed time gave
wrong grants, and a message for t had to be sent to arrive before t. A publication of events carries what its federate sent at one
instant; a gap in the sequence is an error. A grant that the seat did not ask for is asked again; one past what it asked for is an
error.

The broker keeps one global time. With distributed time a process may be granted a time past that of what another, asleep until
later, answers to what it has just been sent: measured, in a quarter of random federations of three processes, with endpoints and
with publications. Global time treats times a nanosecond apart as one, hence the distances between the rounds of an instant
(`seat.py`).

Core type `zmq`: 10,000 values a step between two processes take 1.9 ms with it and 3 to 25 ms with `zmq_ss`, whose one thread
sleeps between looks; `tcp_ss` loses messages of more than 4 KB, and `tcp` does too unless its buffer is made larger. All sockets
are bound to the loopback, on ports that were free a moment before; where one was taken meanwhile, another is tried. HELICS's own
timers are off: the supervisor watches, with better knowledge.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helics as h
import numpy as np

from federates.runtime.federate import Federation, FederationError, Link
from federates.runtime.local import check_delay, check_names, check_periods, deliver, make_routes, take
from federates.runtime.port import Document, Port
from federates.runtime.seat import Recorder, Seat, Sent, Watch, gather, links_with_coupling, next_instant
from federates.runtime.wire import Reader, decode_events, encode, encode_events

CORE = "zmq"
_NS = 1e-9
_PORT_TRIES = 3
_LONGEST_NS = 2**50  # beyond it a time that went through a double of seconds comes back another
_lib, _ffi = h.capi.lib, h.capi.ffi


class LostBroker(Exception):
    """HELICS reported an error that is not a federate's: the broker is gone or refused us."""


def serve_broker(port_file: Path, federation: Federation, log: Path, beat: Callable[[], None]) -> int:
    """Serve a broker on a private loopback port until every federate has left; gives the process's exit code.

    The port is written to `port_file` once the broker listens; `beat` is called about ten times a second.
    """
    for _ in range(_PORT_TRIES):
        port = free_ports(2)  # requests come in at the first, messages at the one after it
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


def free_ports(count: int) -> int:
    """The first of `count` neighbouring ports of the loopback on which nobody listens now."""
    while True:
        with contextlib.ExitStack() as probes:
            first = probes.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                for neighbour in range(port + 1, port + count):
                    probes.enter_context(socket.socket()).bind(("127.0.0.1", neighbour))
                return port


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
class _Mailbox:
    """An event port of a seat that hears a port of another process: the HELICS input, and the last event that came."""

    handle: Any
    seat: Seat
    port: str
    delay_ns: int
    where: str
    seq: int = 0


@dataclass(slots=True)
class _Outlet:
    """An output of a seat that goes to another process."""

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
        self.mailboxes: list[_Mailbox] = []
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
        handle = h.helicsFederateRegisterSubscription(self.federate, f"{link.source}/{link.source_port}", "")
        if port.kind == "event":
            self.mailboxes.append(_Mailbox(handle.handle, seat, port.name, link.delay_ns, where))
            return
        place = (seat.name, port.name)
        if place in fed:
            raise FederationError(f"{where}: this input already has a source; only event ports take several")
        fed.add(place)
        h.helicsInputSetOption(handle, h.HELICS_HANDLE_OPTION_IGNORE_INTERRUPTS, 1)
        self.inlets.append(_Inlet(handle.handle, seat, port, Reader(where), where))

    def _wire_out(self, seat: Seat, link: Link, where: str) -> None:
        port = seat.outputs.get(link.source_port)
        if port is None:
            raise FederationError(f"{where}: {link.source} has no output {link.source_port}; it has {', '.join(seat.outputs)}")
        if port.kind == "event":
            check_delay(port, link, where)
        place, key = (seat.name, port.name), f"{seat.name}/{port.name}"
        if place not in self.outlets:
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
            value = inlet.reader.decode(self._read(inlet.handle))
            if not inlet.seen:
                assert inlet.reader.source is not None
                inlet.index, inlet.seen = gather(inlet.reader.source, inlet.port, inlet.where), True
            inlet.seat.accept_value(inlet.port.name, value if isinstance(value, Document) else take(value, inlet.index))

    def _receive_events(self) -> None:
        """Take the events that other processes have sent."""
        for mailbox in self.mailboxes:
            if not _lib.helicsInputIsUpdated(mailbox.handle):
                continue
            for event in decode_events(self._read(mailbox.handle)):
                if event.seq != mailbox.seq + 1:
                    raise FederationError(f"{mailbox.where}: event {event.seq} came after event {mailbox.seq}: some were lost")
                mailbox.seq = event.seq
                mailbox.seat.accept_event(mailbox.port, event, next_instant(event.t_ns + mailbox.delay_ns))

    def _read(self, handle: Any) -> bytes:
        """The message that waits at an input."""
        size = _lib.helicsInputGetByteCount(handle)
        buffer = bytearray(size)
        actual = _ffi.new("int *")
        _lib.helicsInputGetBytes(handle, _ffi.from_buffer(buffer), size, actual, self.error)
        return bytes(buffer[: actual[0]])

    def _deliver(self, answers: list[tuple[Seat, list[Sent]]]) -> None:
        """Hand over what was published at one instant: within the process as in the plain loop, to others over HELICS."""
        deliver(self.routes, answers)
        for seat, sent in answers:
            for port, value in sent:
                if (outlet := self.outlets.get((seat.name, port))) is None:
                    continue
                if isinstance(value, tuple):
                    message = encode_events(value)
                else:
                    # Of documents published since it last looked a reader gets the last only: each one carries the layout.
                    first = not outlet.announced or isinstance(value, Document)
                    outlet.announced = True
                    message = encode(outlet.port, outlet.layout_hash, value, first=first)
                _lib.helicsPublicationPublishBytes(outlet.handle, message, len(message), self.error)
        if self.error.error_code:
            raise LostBroker(f"HELICS refused what {self.name} published: {_ffi.string(self.error.message).decode()}")


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
    core = _join(address, group)
    check_periods(federation.coupling, seats)
    info = h.helicsCreateFederateInfo()
    h.helicsFederateInfoSetCoreName(info, h.helicsCoreGetIdentifier(core))
    h.helicsFederateInfoSetCoreTypeFromString(info, CORE)
    try:
        _Group(federation, group, seats, h.helicsCreateCombinationFederate(group, info)).run(progress)
    except h.HelicsException as error:
        raise LostBroker(f"HELICS ended the time of {group}: {error}") from error
    for seat in seats.values():
        seat.stop()
    h.helicsCoreDisconnect(core)


def _join(address: str, group: str) -> Any:
    """A HELICS core connected to the broker at `address`. LostBroker where none answers, or no port can be listened to."""
    for attempt in range(_PORT_TRIES):
        options = f"--broker_address={address} --federates=1 --disable_timer --globaltime --loglevel=no_print"
        core = h.helicsCreateCore(CORE, f"{group}-{os.getpid()}-{attempt}", f"{options} --localport={free_ports(1)}")
        if h.helicsCoreIsConnected(core) or h.helicsCoreConnect(core):
            return core
    raise LostBroker(f"no broker answers at {address}")


def wait_for_port(port_file: Path, limit_s: float) -> int:
    """The broker's port, once it is known; TimeoutError after `limit_s`."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if port_file.exists():
            return int(port_file.read_text())
        time.sleep(0.01)
    raise TimeoutError(f"the broker did not start within {limit_s:g} s")
