"""One master's session with the outstation: link, transport and application state (IEEE 1815, clause 4.3).

The rules kept here: a confirmation counts only with the number awaited; a new request ends the answer under way, whose events wait
again; a repeated request is answered with the same octets and not carried out twice; only READ is carried out anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .application import IIN, NO_ACK, Control, Function, Request, Response
from .config import ns
from .control import Controls
from .events import Event, EventBuffer
from .functions import BROADCASTABLE, Answer, perform
from .link import BROADCAST, BROADCAST_CONFIRM, LinkFrame, OutstationLink, Primary
from .reading import Plan, write_fragment
from .transport import Reassembler, segment
from .unsolicited import Unsolicited

if TYPE_CHECKING:
    from .outstation import Outstation

_NO_SELECT_LOSS = (Function.SELECT, Function.OPERATE)


class Carrier(Protocol):
    """Where a session's octets go: the connection its master is on."""

    def queue(self, octets: bytes) -> None: ...


class Session:
    """The state kept for the master with link address `master`, whether it is connected or not."""

    def __init__(self, device: Outstation, master: int) -> None:
        config = device.config
        self.device = device
        self.master = master
        self.buffer = EventBuffer(config.event_limit, config.event_limits)
        self.carrier: Carrier | None = None
        self.restart_iin = True
        self.recorded_ns: int | None = None
        """When RECORD_CURRENT_TIME was received, until the time is written."""
        self.received_ns = 0
        """When the octets now being read arrived."""
        self.last_heard_ns = device.now_ns()
        self._link = OutstationLink(config.address, config.self_address)
        self._transport_sequence = 0
        self._reassembler = Reassembler(config.max_rx_fragment)
        self._broadcast_reassembler = Reassembler(config.max_rx_fragment)
        self._broadcast: int | None = None
        self._answer = Answer()
        self._sequence = 0
        self._sent: list[Event] = []
        self._confirm_deadline_ns: int | None = None
        self._last_request = b""
        self._last_response = b""
        self._deferred: Request | None = None
        self.controls = Controls(self)
        self.unsolicited = Unsolicited(self)

    # -- connection and restart

    @property
    def attached(self) -> bool:
        return self.carrier is not None

    def attach(self, carrier: Carrier) -> None:
        """A new connection: what was under way on the old one is forgotten, events wait again."""
        self.detach()
        self.carrier = carrier

    def detach(self) -> None:
        self.carrier = None
        self._link.forget()
        self._reassembler.clear()
        self._broadcast_reassembler.clear()
        self._abandon_answer()
        self.unsolicited.cancel()
        self.unsolicited.heard()
        self.controls.selection = None
        self.recorded_ns = None
        self._last_request = self._last_response = b""
        self._deferred = None

    def restart(self, *, keep_events: bool) -> None:
        """The outstation restarts: the restart indication is set, unsolicited reports are off until they are enabled again."""
        self.detach()
        self.restart_iin = True
        self._broadcast = None
        if not keep_events:
            self.buffer.clear()
        self.unsolicited.restart()

    def clear_restart(self) -> None:
        self.restart_iin = False

    # -- in

    def receive(self, frame: LinkFrame, now_ns: int) -> None:
        """A frame from this master, addressed to this outstation or to all."""
        self.received_ns = self.last_heard_ns = now_ns
        reply, user_data = self._link.receive(frame)
        if reply is not None:
            self._queue(reply.encode())
        if user_data is None:
            return
        broadcast = frame.destination if frame.destination in BROADCAST else None
        reassembler = self._reassembler if broadcast is None else self._broadcast_reassembler
        fragment = reassembler.receive(user_data)
        request = Request.decode(fragment) if fragment else None
        if request is not None:
            self._receive(request, broadcast)

    def _receive(self, request: Request, broadcast: int | None) -> None:
        control = request.control
        # Requests are single fragments; responses are a master's business.
        if not (control.fir and control.fin) or request.function in (Function.RESPONSE, Function.UNSOLICITED_RESPONSE):
            return
        self.unsolicited.heard()
        if request.function == Function.CONFIRM:
            if broadcast is None:
                self._confirm(control)
            return
        if control.uns:
            return
        if broadcast is not None:
            self._receive_broadcast(request, broadcast)
            return
        if request.function == Function.READ and self.unsolicited.awaiting:
            self._abandon_answer()
            self._deferred = request
            return
        self._deferred = None
        self._process(request)

    def _receive_broadcast(self, request: Request, address: int) -> None:
        if request.function not in BROADCASTABLE:
            return
        self._abandon_answer()
        self.controls.selection = None
        answer = perform(self, request)
        self._broadcast = address
        if answer.restart is not None:
            self.device.begin_restart(answer.restart)

    def _process(self, request: Request) -> None:
        self._abandon_answer()
        if request.octets == self._last_request and request.function != Function.READ:
            if self._last_response:
                self.transmit(self._last_response)
            return
        if request.function not in _NO_SELECT_LOSS:
            self.controls.selection = None
        self._last_request, self._last_response = request.octets, b""
        answer = perform(self, request)
        if request.function in NO_ACK:
            return
        self._answer = answer
        self._send_fragment(request.control.sequence, first=True)

    # -- confirmations

    @property
    def awaiting_confirm(self) -> bool:
        """Whether a solicited answer waits for its confirmation."""
        return self._confirm_deadline_ns is not None

    @property
    def read_deferred(self) -> bool:
        return self._deferred is not None

    def _confirm(self, control: Control) -> None:
        if control.uns:
            self.unsolicited.confirm(control.sequence)
            return
        if not self.awaiting_confirm or control.sequence != self._sequence:
            return
        self.buffer.confirm(self._sent)
        self._sent, self._confirm_deadline_ns = [], None
        if self._broadcast == BROADCAST_CONFIRM:
            self._broadcast = None
        if self._answer.plan:
            self._send_fragment((self._sequence + 1) & 0x0F, first=False)
        else:
            self._finish_answer()

    def resume_deferred(self) -> None:
        """Carries out a READ that had to wait for an unsolicited confirmation."""
        request, self._deferred = self._deferred, None
        if request is not None:
            self._process(request)

    def _abandon_answer(self) -> None:
        """The answer under way is given up; its events, sent or not, wait again."""
        self.buffer.release(self._sent)
        self.buffer.release(item for item in self._answer.plan if isinstance(item, Event))
        self._answer = Answer()
        self._sent, self._confirm_deadline_ns = [], None

    # -- timers

    def deadline_ns(self) -> int | None:
        """When `advance` has something to do, or None."""
        deadlines = [at for at in (self._confirm_deadline_ns, self.unsolicited.deadline_ns()) if at is not None]
        return min(deadlines, default=None)

    def advance(self, now_ns: int) -> None:
        """Acts on every timer that has run out by `now_ns`."""
        if self._confirm_deadline_ns is not None and now_ns >= self._confirm_deadline_ns:
            self._abandon_answer()
        self.unsolicited.advance(now_ns)

    # -- out

    def all_stations(self) -> bool:
        """Whether a broadcast has come in that has not been reported yet."""
        return self._broadcast is not None

    def _send_fragment(self, sequence: int, *, first: bool) -> None:
        """The next fragment of the answer: with a confirmation asked for where it carries events or is not the last."""
        plan: Plan = self._answer.plan
        config = self.device.config
        objects, self._sent = write_fragment(plan, self.device.objects_capacity, self.device.wide_types)
        for event in self._sent:
            self.buffer.mark_sent(event)
        confirm = bool(self._sent) or bool(plan) or self._broadcast == BROADCAST_CONFIRM
        control = Control(fir=first, fin=not plan, con=confirm, uns=False, sequence=sequence)
        iin: IIN = self.device.iin(self) | self._answer.iin
        fragment = Response(control, Function.RESPONSE, iin, objects).encode()
        self._sequence, self._last_response = sequence, fragment
        if self._broadcast != BROADCAST_CONFIRM:
            self._broadcast = None
        self.transmit(fragment)
        if confirm:
            self._confirm_deadline_ns = self.device.now_ns() + ns(config.confirm_timeout_s)
        else:
            self._finish_answer()

    def _finish_answer(self) -> None:
        restart = self._answer.restart
        self._answer = Answer()
        if restart is not None:
            self.device.begin_restart(restart)

    def transmit(self, fragment: bytes) -> None:
        """One application fragment as unconfirmed link frames."""
        segments = segment(fragment, self._transport_sequence)
        self._transport_sequence = (self._transport_sequence + len(segments)) & 0x3F
        source = self.device.config.address
        for user_data in segments:
            self._queue(LinkFrame(self.master, source, Primary.UNCONFIRMED_USER_DATA, user_data=user_data).encode())

    def _queue(self, octets: bytes) -> None:
        if self.carrier is not None:
            self.carrier.queue(octets)
