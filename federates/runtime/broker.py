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

Processes of which none hears from those that hear from it run ahead of each other, a window at a time (`ahead.py`), in HELICS's
distributed time: each asks for the begin of every window, a microsecond later for each process above it, and publishes at once
what it is going to say in that window. All others go in step, and the broker keeps one global time for them: with distributed time
a process may be granted a time past that of what another, asleep until later, answers to what it has just been sent (measured, in a
quarter of random federations of three processes, with endpoints and with publications). Global time treats times a nanosecond apart
as one, hence the distances between the rounds of an instant (`seat.py`).

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
from pathlib import Path
from typing import Any

import helics as h

from federates.runtime.ahead import LEAD_WINDOWS, Order, order_of, windows
from federates.runtime.exchange import Inlet, Mailbox, Outlet
from federates.runtime.federate import US_NS, Federation, FederationError, Link
from federates.runtime.local import check_delay, check_names, check_periods, deliver, make_routes
from federates.runtime.seat import Recorder, Seat, Sent, Watch, links_with_coupling

CORE = "zmq"
_NS = 1e-9
_PORT_TRIES = 3
_LONGEST_NS = 2**50  # beyond it a time that went through a double of seconds comes back another
_START_NS, _START_WINDOW = -1, -1  # what a start publishes comes before every instant
_lib, _ffi = h.capi.lib, h.capi.ffi

Progress = Callable[[int], None]


class LostBroker(Exception):
    """HELICS reported an error that is not a federate's: the broker is gone or refused us."""


def serve_broker(port_file: Path, federation: Federation, log: Path, beat: Callable[[], None]) -> int:
    """Serve a broker on a private loopback port until every federate has left; gives the process's exit code.

    The port is written to `port_file` once the broker listens; `beat` is called about ten times a second.
    """
    for _ in range(_PORT_TRIES):
        port = free_ports(2)  # requests come in at the first, messages at the one after it
        options = f"--federates={max(len(federation.groups), 1)} --local_interface=127.0.0.1 --port={port}{_time(federation)}"
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


def _time(federation: Federation) -> str:
    """The option of brokers and cores that says who keeps the time."""
    return "" if order_of(federation) else " --globaltime"


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


class _Group:
    """The seats of one process, their HELICS federate, and everything that enters or leaves the process."""

    def __init__(self, federation: Federation, name: str, seats: Mapping[str, Seat], federate: Any) -> None:
        self.name, self.seats, self.federate, self.stop_ns = name, seats, federate, federation.stop_ns
        self.federation = federation
        self.order = order_of(federation)
        links = links_with_coupling(federation)
        within = tuple(link for link in links if link.source in seats and link.target in seats)
        self.routes = make_routes(federation, seats, within)
        self.inlets: list[Inlet] = []
        self.outlets: dict[tuple[str, str], Outlet] = {}
        self.mailboxes: list[Mailbox] = []
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
            self.mailboxes.append(Mailbox(handle.handle, seat, port.name, link.delay_ns, where))
            return
        place = (seat.name, port.name)
        if place in fed:
            raise FederationError(f"{where}: this input already has a source; only event ports take several")
        fed.add(place)
        h.helicsInputSetOption(handle, h.HELICS_HANDLE_OPTION_IGNORE_INTERRUPTS, 1)
        self.inlets.append(Inlet(handle.handle, seat, port, where))

    def _wire_out(self, seat: Seat, link: Link, where: str) -> None:
        port = seat.outputs.get(link.source_port)
        if port is None:
            raise FederationError(f"{where}: {link.source} has no output {link.source_port}; it has {', '.join(seat.outputs)}")
        if port.kind == "event":
            check_delay(port, link, where)
        place, key = (seat.name, port.name), f"{seat.name}/{port.name}"
        if place not in self.outlets:
            publication = h.helicsFederateRegisterGlobalPublication(self.federate, key, h.HELICS_DATA_TYPE_RAW, "")
            self.outlets[place] = Outlet(publication.handle, port)

    def run(self, progress: Progress | None, hold: Progress | None) -> None:
        """The plain loop over the seats of this process, with HELICS as its clock: in step with the others, or ahead of them."""
        h.helicsFederateEnterInitializingMode(self.federate)
        started = [(seat, seat.start()) for seat in self.seats.values()]
        self._deliver(started, _START_NS)
        if self.order:
            self._post(_START_WINDOW)
        h.helicsFederateEnterExecutingMode(self.federate)
        if self.order:
            self._collect(_START_WINDOW)
            self._take_values(0)
        else:
            self._receive_values()
        for inlet in self.inlets:
            if not inlet.seen and inlet.port.kind == "vector":
                raise FederationError(f"{inlet.where}: the source has no such output, or published nothing at start")
        if self.order:
            self._run_ahead(self.order, progress, hold)
        else:
            self._run_in_step(progress)
        h.helicsFederateDisconnect(self.federate)

    def _run_in_step(self, progress: Progress | None) -> None:
        granted_ns = 0
        while granted_ns < self.stop_ns:
            self._receive_events()
            calls = [(seat.next_call_ns(), seat) for seat in self.seats.values()]
            due_ns = min(due for due, _ in calls)
            if due_ns < granted_ns:
                raise FederationError(f"process {self.name} was granted {granted_ns} ns, past {due_ns} ns which it asked for")
            if due_ns == granted_ns:
                self._receive_values()
                self._deliver([(seat, seat.call(granted_ns)) for due, seat in calls if due == granted_ns], granted_ns)
                if progress:
                    progress(granted_ns)
                due_ns = min(seat.next_call_ns() for seat in self.seats.values())
            granted_ns = self._request(min(due_ns, self.stop_ns))

    def _run_ahead(self, order: Order, progress: Progress | None, hold: Progress | None) -> None:
        depth_ns, lead_ns = order.depth[self.name] * US_NS, LEAD_WINDOWS * self.federation.window_ns
        for window, (begin_ns, end_ns) in enumerate(windows(self.federation)):
            if hold:
                hold(begin_ns - lead_ns - 1)
            self._await(begin_ns + depth_ns)
            self._collect(window)
            if progress and begin_ns:
                progress(begin_ns - 1)  # what is due at its begin is still to be done
            while True:
                calls = [(seat.next_call_ns(), seat) for seat in self.seats.values()]
                wire_ns = min(due for due, _ in calls)
                if wire_ns >= end_ns:
                    break
                self._take_values(wire_ns)
                self._deliver([(seat, seat.call(wire_ns)) for due, seat in calls if due == wire_ns], wire_ns)
                if progress:
                    progress(wire_ns)
            self._post(window)
        self._await(self.stop_ns + depth_ns)

    def _request(self, t_ns: int) -> int:
        granted_s: float = h.helicsFederateRequestTime(self.federate, t_ns * _NS)
        return round(granted_s * 1e9)

    def _await(self, t_ns: int) -> None:
        """Have HELICS grant `t_ns`, whatever it grants before."""
        granted_ns = -1
        while t_ns and granted_ns < t_ns:
            granted_ns = self._request(t_ns)
        if t_ns and granted_ns != t_ns:
            raise FederationError(f"process {self.name} was granted {granted_ns} ns, past {t_ns} ns which it asked for")

    # In step: what waits at HELICS's inputs

    def _receive_values(self) -> None:
        """Take what other processes have published since the last call."""
        for inlet in self.inlets:
            if _lib.helicsInputIsUpdated(inlet.handle):
                inlet.accept(self._read(inlet.handle))

    def _receive_events(self) -> None:
        """Take the events that other processes have sent."""
        for mailbox in self.mailboxes:
            if _lib.helicsInputIsUpdated(mailbox.handle):
                mailbox.accept(self._read(mailbox.handle))

    # Ahead: bundles

    def _post(self, window: int) -> None:
        """Publish what was said in a window."""
        for outlet in self.outlets.values():
            self._publish(outlet, outlet.outbox.bundle(window))

    def _collect(self, window: int) -> None:
        """Take what other processes say in a window; events at once, since they know when they are to be handed over."""
        entries: list[Inlet | Mailbox] = [*self.inlets, *self.mailboxes]
        for entry in entries:
            if not _lib.helicsInputIsUpdated(entry.handle):
                raise FederationError(f"{entry.where}: nothing came for window {window}")
            entry.inbox.accept(self._read(entry.handle), window)
        for mailbox in self.mailboxes:
            for message in mailbox.inbox.all():
                mailbox.accept(message)

    def _take_values(self, wire_ns: int) -> None:
        """Take the newest values that were published before an instant."""
        for inlet in self.inlets:
            if message := inlet.inbox.before(wire_ns):
                inlet.accept(message)

    # Either way

    def _read(self, handle: Any) -> bytes:
        """The message that waits at an input."""
        size = _lib.helicsInputGetByteCount(handle)
        buffer = bytearray(size)
        actual = _ffi.new("int *")
        _lib.helicsInputGetBytes(handle, _ffi.from_buffer(buffer), size, actual, self.error)
        return bytes(buffer[: actual[0]])

    def _deliver(self, answers: list[tuple[Seat, list[Sent]]], wire_ns: int) -> None:
        """Hand over what was published at one instant: within the process as in the plain loop, to others over HELICS."""
        deliver(self.routes, answers)
        for seat, sent in answers:
            for port, value in sent:
                if (outlet := self.outlets.get((seat.name, port))) is None:
                    continue
                if self.order:
                    outlet.outbox.add(wire_ns, outlet.message(value))
                else:
                    self._publish(outlet, outlet.message(value))

    def _publish(self, outlet: Outlet, message: bytes) -> None:
        _lib.helicsPublicationPublishBytes(outlet.handle, message, len(message), self.error)
        if self.error.error_code:
            raise LostBroker(f"HELICS refused what {self.name} published: {_ffi.string(self.error.message).decode()}")


def run_helics(
    federation: Federation,
    group: str,
    address: str,
    recorder: Recorder,
    watch: Watch,
    progress: Progress | None = None,
    hold: Progress | None = None,
) -> None:
    """Run one group of a federation against the broker at `address` (host:port), until its stop time.

    `progress` is told each instant that is done, and `hold` waits until the processes below this one have done an instant.

    Raises FederateFailure, FederationError or LostBroker as soon as it meets one; the process must then end by `os._exit`, since
    HELICS may wait for the others at exit.
    """
    check_names(federation)
    if federation.stop_ns > _LONGEST_NS:
        days = _LONGEST_NS / 86_400e9
        raise FederationError(f"HELICS counts time in doubles, exact to the nanosecond for {days:.0f} days; use the local runner")
    names = federation.groups[group] if federation.groups else tuple(spec.name for spec in federation.specs)
    seats = {name: Seat(name, federation.spec(name).build(), federation, recorder, watch) for name in names}
    core = _join(address, group, _time(federation))
    check_periods(federation.coupling, seats)
    info = h.helicsCreateFederateInfo()
    h.helicsFederateInfoSetCoreName(info, h.helicsCoreGetIdentifier(core))
    h.helicsFederateInfoSetCoreTypeFromString(info, CORE)
    try:
        _Group(federation, group, seats, h.helicsCreateCombinationFederate(group, info)).run(progress, hold)
    except h.HelicsException as error:
        raise LostBroker(f"HELICS ended the time of {group}: {error}") from error
    for seat in seats.values():
        seat.stop()
    h.helicsCoreDisconnect(core)


def _join(address: str, group: str, time_option: str) -> Any:
    """A HELICS core connected to the broker at `address`. LostBroker where none answers, or no port can be listened to."""
    for attempt in range(_PORT_TRIES):
        options = f"--broker_address={address} --federates=1 --disable_timer{time_option} --loglevel=no_print"
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
