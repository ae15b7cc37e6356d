"""Controls: select-before-operate, direct operate, and every reason to refuse (IEEE 1815, clauses 4.4.3 to 4.4.6).

An operate is carried out only if, within the select timeout, the request directly after a fully successful select, with the
next sequence number, repeats its objects octet by octet. Anything else is answered with NO_SELECT or TIMEOUT and does nothing.
What a command does to the simulated equipment is decided by the `ControlHandler`.
"""

from __future__ import annotations

from collections.abc import Callable
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

    def select(self, command: Command) -> CommandStatus:
        """Whether the command would be carried out now. It reserves nothing: an operate need not follow."""
        ...

    def operate(self, command: Command, mode: OperateMode) -> CommandStatus:
        """Carries the command out, and says how that went."""
        ...


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


Action = Callable[[Command], CommandStatus]


class Controls:
    """The control functions of one master's session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.selection: Selection | None = None

    def perform(self, request: Request) -> bytes:
        """The objects of the answer to a control request: those of the request with their statuses.

        ObjectError for objects that are no controls; nothing is carried out then.
        """
        if request.function == Function.OPERATE:
            refusal, self.selection = self._refusal(request), None
        else:
            refusal, self.selection = None, None
        headers = parse_objects(request.objects, with_data=True)
        _check(headers)
        if len(request.objects) > self._session.device.objects_capacity:
            raise ObjectError(IIN.PARAMETER_ERROR, "the answer to a control is one fragment, and these objects do not fit into it")
        handler = self._session.device.handler
        if request.function == Function.SELECT:
            octets, statuses = self._carry_out(headers, handler.select)
            if all(status == CommandStatus.SUCCESS for status in statuses):
                self.selection = self._select(request, headers)
            return octets
        if refusal is not None:
            return self._carry_out(headers, refusal)[0]
        mode = _MODES[Function(request.function)]
        return self._carry_out(headers, lambda command: handler.operate(command, mode))[0]

    def holds(self, kind: PointType, index: int, now_ns: int) -> bool:
        """Whether this master has the point selected."""
        return self.selection is not None and now_ns <= self.selection.deadline_ns and (kind, index) in self.selection.points

    def _select(self, request: Request, headers: list[ObjectHeader]) -> Selection:
        device = self._session.device
        points = frozenset((_point_type(header), index) for header in headers for index in header.indexes or ())
        return Selection(request.control.sequence, request.objects, device.now_ns() + ns(device.config.select_timeout_s), points)

    def _refusal(self, request: Request) -> CommandStatus | None:
        """Why this operate does not follow a select, or None where it does."""
        selection = self.selection
        if selection is None or request.control.sequence != (selection.sequence + 1) & 0x0F or request.objects != selection.objects:
            return CommandStatus.NO_SELECT
        if self._session.device.now_ns() > selection.deadline_ns:
            return CommandStatus.TIMEOUT
        return None

    def _carry_out(self, headers: list[ObjectHeader], action: Action | CommandStatus) -> tuple[bytes, list[CommandStatus]]:
        """Acts on every object in turn; the objects with their new statuses, and the statuses."""
        limit = self._session.device.config.max_controls
        octets, statuses = bytearray(), list[CommandStatus]()
        for header in headers:
            wide = 2 if header.qualifier is Qualifier.INDEXED_16 else 1
            octets += header.raw[: 3 + wide]
            for index, item in zip(header.indexes or (), header.items, strict=True):
                if isinstance(action, CommandStatus):
                    status = action
                elif len(statuses) >= limit:
                    status = CommandStatus.TOO_MANY_OBJECTS
                else:
                    status = self._one(header, index, item, action)
                statuses.append(status)
                # Every control object ends with its status octet; the rest is echoed.
                octets += index.to_bytes(wide, "little") + item[:-1] + bytes((status,))
        return bytes(octets), statuses

    def _one(self, header: ObjectHeader, index: int, item: bytes, action: Action) -> CommandStatus:
        device = self._session.device
        kind = _point_type(header)
        point = device.database.points(kind).get(index)
        if point is None or not point.config.commandable:
            return CommandStatus.NOT_SUPPORTED
        if device.local_control:
            return CommandStatus.LOCAL
        if device.selected_elsewhere(self._session, kind, index):
            return CommandStatus.BLOCKED_OTHER_MASTER
        row = header.row
        assert row is not None  # parse_objects refuses data of unknown objects
        command = row.decode(item)
        if isinstance(command, Crob):
            # Includes the queue and clear bits, which no code in `controls` carries. A count of 0 asks for nothing.
            if command.code not in point.config.controls or command.count == 0:
                return CommandStatus.NOT_SUPPORTED
            return action(Command(point.config, self._session.master, crob=command))
        value = point.config.from_wire(command.value)
        if not isfinite(value) or not point.config.minimum <= value <= point.config.maximum:
            return CommandStatus.OUT_OF_RANGE
        return action(Command(point.config, self._session.master, value=value))


_MODES = {
    Function.OPERATE: OperateMode.SELECTED,
    Function.DIRECT_OPERATE: OperateMode.DIRECT,
    Function.DIRECT_OPERATE_NO_ACK: OperateMode.DIRECT_NO_ACK,
}


def _point_type(header: ObjectHeader) -> PointType:
    return PointType.BINARY_OUTPUT if header.group == 12 else PointType.ANALOG_OUTPUT


def _check(headers: list[ObjectHeader]) -> None:
    """ObjectError unless all headers are controls with index prefixes, and there is at least one object."""
    for header in headers:
        if header.row is None or header.row.kind is not Kind.COMMAND:
            raise ObjectError(IIN.OBJECT_UNKNOWN, f"g{header.group}v{header.variation} is no control")
        if header.qualifier not in _INDEXED:
            raise ObjectError(IIN.PARAMETER_ERROR, "controls need qualifier 17 or 28")
    if not any(header.items for header in headers):
        raise ObjectError(IIN.PARAMETER_ERROR, "a control request without an object")
