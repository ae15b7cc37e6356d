"""Controls: select-before-operate, direct operate, and every reason to refuse (IEEE 1815, clauses 4.4.3 to 4.4.6).

An operate is carried out only if, within the select timeout, the request directly after a fully successful select, with the
next sequence number, repeats its objects octet by octet. Anything else is answered with NO_SELECT or TIMEOUT and does nothing.
What a command does to the simulated equipment is decided by the `ControlHandler`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import isfinite
from typing import TYPE_CHECKING, Protocol

from .application import IIN, Function, ObjectError, ObjectHeader, Qualifier, Request, parse_objects
from .config import ns
from .objects import Kind
from .points import PointConfig
from .values import CommandStatus, Crob, PointType

if TYPE_CHECKING:
    from .session import Session

_INDEXED = (Qualifier.INDEXED_8, Qualifier.INDEXED_16)


class OperateMode(Enum):
    """How a command that is to be carried out arrived."""

    SELECTED = "select before operate"
    DIRECT = "direct operate"
    DIRECT_NO_ACK = "direct operate, no acknowledgement"


@dataclass(frozen=True, slots=True)
class Command:
    """One command for one configured point: `crob` for a binary output, `value` (in the point's units) for an analog output."""

    point: PointConfig
    master: int
    crob: Crob | None = None
    value: float | None = None


class ControlHandler(Protocol):
    """What the outstation asks before it says yes. Both return at once; what takes time is started, not awaited."""

    def select(self, command: Command) -> CommandStatus: ...

    def operate(self, command: Command, mode: OperateMode) -> CommandStatus: ...


class RefuseControls:
    """The handler of an outstation that only reports."""

    def select(self, command: Command) -> CommandStatus:
        return CommandStatus.NOT_AUTHORIZED

    def operate(self, command: Command, mode: OperateMode) -> CommandStatus:
        return CommandStatus.NOT_AUTHORIZED


@dataclass(frozen=True, slots=True)
class Selection:
    """A select waiting for its operate."""

    sequence: int
    objects: bytes
    deadline_ns: int
    points: frozenset[tuple[PointType, int]]


class Controls:
    """The control functions of one master's session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.selection: Selection | None = None

    def perform(self, request: Request) -> bytes:
        """The objects of the answer to a control request: those of the request with their statuses.

        ObjectError for objects that are no controls; nothing is carried out then.
        """
        headers = parse_objects(request.objects, with_data=True)
        _check(headers)
        device = self._session.device
        function = request.function
        if function == Function.SELECT:
            return self._select(request, headers)
        if function == Function.OPERATE:
            refusal = self._refusal(request)
            self.selection = None
            mode = OperateMode.SELECTED
        else:
            refusal = None
            mode = OperateMode.DIRECT if function == Function.DIRECT_OPERATE else OperateMode.DIRECT_NO_ACK

        def operate(command: Command) -> CommandStatus:
            return refusal if refusal is not None else device.handler.operate(command, mode)

        return self._answer(headers, operate, checked=refusal is None, refusal=refusal)

    def holds(self, kind: PointType, index: int, now_ns: int) -> bool:
        """Whether this master has the point selected."""
        return self.selection is not None and now_ns <= self.selection.deadline_ns and (kind, index) in self.selection.points

    def _select(self, request: Request, headers: list[ObjectHeader]) -> bytes:
        device = self._session.device
        self.selection = None
        statuses: list[CommandStatus] = []

        def select(command: Command) -> CommandStatus:
            return device.handler.select(command)

        answer = self._answer(headers, select, statuses=statuses)
        if all(status is CommandStatus.SUCCESS for status in statuses):
            points = frozenset((_point_type(header), index) for header in headers for index in header.indexes or ())
            deadline_ns = device.now_ns() + ns(device.config.select_timeout_s)
            self.selection = Selection(request.control.sequence, request.objects, deadline_ns, points)
        return answer

    def _refusal(self, request: Request) -> CommandStatus | None:
        """Why this operate does not follow a select, or None where it does."""
        selection = self.selection
        if selection is None or request.control.sequence != (selection.sequence + 1) & 0x0F or request.objects != selection.objects:
            return CommandStatus.NO_SELECT
        if self._session.device.now_ns() > selection.deadline_ns:
            return CommandStatus.TIMEOUT
        return None

    def _answer(
        self,
        headers: list[ObjectHeader],
        act: object,
        *,
        checked: bool = True,
        refusal: CommandStatus | None = None,
        statuses: list[CommandStatus] | None = None,
    ) -> bytes:
        raise NotImplementedError
