"""An outstation, a clock that is a variable, and the bare minimum of a master: what the tests of the outstation share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from protocols.dnp3 import Command, CommandStatus, OperateMode, Outstation, OutstationConfig, PointConfig, PointType
from protocols.dnp3.application import IIN, Control, Function, ObjectHeader, Response, parse_objects
from protocols.dnp3.connection import Connection
from protocols.dnp3.link import LinkFrame, LinkParser, Primary
from protocols.dnp3.transport import Reassembler, segment

OUTSTATION, MASTER = 10, 1
SECOND = 1_000_000_000

CLASS_0 = bytes((60, 1, 6))
CLASS_1 = bytes((60, 2, 6))
CLASS_123 = bytes((60, 2, 6, 60, 3, 6, 60, 4, 6))
INTEGRITY = CLASS_123 + CLASS_0
CLEAR_RESTART = bytes((80, 1, 0, 7, 7, 0))


def every_type(count: int = 3) -> list[PointConfig]:
    """`count` points of every type, with the default variations."""
    return [PointConfig(kind, index) for kind in PointType for index in range(count)]


@dataclass
class RecordingHandler:
    """Accepts commands with `status`, and remembers them."""

    status: CommandStatus = CommandStatus.SUCCESS
    selected: list[Command] = field(default_factory=list)
    operated: list[tuple[Command, OperateMode]] = field(default_factory=list)

    def select(self, command: Command) -> CommandStatus:
        self.selected.append(command)
        return self.status

    def operate(self, command: Command, mode: OperateMode) -> CommandStatus:
        self.operated.append((command, mode))
        return self.status


class Master:
    """One master on one connection: requests out, fragments back."""

    def __init__(self, rig: Rig, address: int = MASTER) -> None:
        self.rig, self.address = rig, address
        self.sequence = 15
        self.line: Connection = rig.outstation.connect()
        self._parser = LinkParser()
        self._reassembler = Reassembler(1 << 16)
        self.frames: list[LinkFrame] = []
        self.wire = b""

    def frame(self, function: int, user_data: bytes = b"", **fields: Any) -> list[LinkFrame]:
        """Sends one link frame; the frames that come back."""
        one = LinkFrame(
            **{"destination": OUTSTATION, "source": self.address, "function": function, "from_master": True, "user_data": user_data}
            | fields
        )
        return self.octets(one.encode())

    def octets(self, octets: bytes) -> list[LinkFrame]:
        self.line.receive(octets)
        return self.collect()

    def collect(self) -> list[LinkFrame]:
        octets = self.line.data_to_send()
        self.wire += octets
        frames = self._parser.feed(octets)
        self.frames += frames
        return frames

    def fragments(self, frames: Iterable[LinkFrame]) -> list[Response]:
        joined = (self._reassembler.receive(frame.user_data) for frame in frames if frame.user_data)
        return [Response.decode(fragment) for fragment in joined if fragment]

    def fragment(self, fragment: bytes, destination: int = OUTSTATION) -> list[Response]:
        """Sends one application fragment; the fragments that come back."""
        frames = [
            each
            for user_data in segment(fragment, 0)
            for each in self.frame(Primary.UNCONFIRMED_USER_DATA, user_data, destination=destination)
        ]
        return self.fragments(frames)

    def request(self, function: int, objects: bytes = b"", *, sequence: int | None = None) -> list[Response]:
        """Sends a request with the next sequence number (or `sequence`)."""
        self.sequence = (self.sequence + 1) & 15 if sequence is None else sequence
        control = Control(fir=True, fin=True, con=False, uns=False, sequence=self.sequence)
        return self.fragment(bytes((control.encode(), function)) + objects)

    def ask(self, function: int, objects: bytes = b"", *, sequence: int | None = None) -> Response:
        """`request` where exactly one fragment must come back."""
        (answer,) = self.request(function, objects, sequence=sequence)
        return answer

    def confirm(self, answer: Response) -> list[Response]:
        control = Control(fir=True, fin=True, con=False, uns=answer.control.uns, sequence=answer.control.sequence)
        return self.fragment(bytes((control.encode(), Function.CONFIRM)))

    def read_all(self, objects: bytes) -> list[Response]:
        """READ, with every fragment confirmed that asks for it."""
        answers = self.request(Function.READ, objects)
        every = list(answers)
        while answers and answers[-1].control.con:
            answers = self.confirm(answers[-1])
            every += answers
        return every

    def unsolicited(self) -> list[Response]:
        """What the outstation says by itself now."""
        self.rig.outstation.advance()
        return [each for each in self.fragments(self.collect()) if each.control.uns]

    def settle(self) -> None:
        """Clears the restart indication and confirms the null response, as every master does first."""
        self.ask(Function.WRITE, CLEAR_RESTART)
        for answer in self.unsolicited():
            self.confirm(answer)


class Rig:
    """An outstation with a virtual clock, and its first master."""

    def __init__(self, points: list[PointConfig] | None = None, **settings: Any) -> None:
        self.now_ns = 5 * SECOND
        self.handler = RecordingHandler()
        config = OutstationConfig(**({"address": OUTSTATION, "masters": (MASTER,)} | settings))
        points = every_type() if points is None else points
        self.outstation = Outstation(config, points, clock=lambda: self.now_ns, handler=self.handler)
        self.master = Master(self)

    def wait(self, seconds: float) -> None:
        """Lets time pass, from deadline to deadline."""
        until = self.now_ns + round(seconds * SECOND)
        self.outstation.advance()
        while (deadline := self.outstation.next_deadline_ns()) is not None and deadline <= until:
            assert deadline > self.now_ns, "a deadline in the past after advance() would spin"
            self.now_ns = deadline
            self.outstation.advance()
        self.now_ns = until


def points_of(answers: Iterable[Response]) -> dict[tuple[int, int], Any]:
    """(group, index) -> object, of the objects in answers; bits as int."""
    found: dict[tuple[int, int], Any] = {}
    for header, index, item in items_of(answers):
        row = header.row
        assert row is not None
        found[header.group, index] = item[0] if row.bits else row.decode(item)
    return found


def items_of(answers: Iterable[Response]) -> list[tuple[ObjectHeader, int, bytes]]:
    """(header, index, octets) of every object in answers, in order."""
    return [
        (header, index, item)
        for answer in answers
        for header in parse_objects(answer.objects, with_data=True)
        for index, item in zip(
            header.indexes if header.indexes is not None else range(len(header.items)), header.items, strict=True
        )
    ]


def names_of(answers: Iterable[Response]) -> list[str]:
    """The g..v.. of every header, in order."""
    return [f"g{header.group}v{header.variation}" for answer in answers for header in parse_objects(answer.objects, with_data=True)]


def errors(answer: Response) -> IIN:
    """Only the indications that speak of the request."""
    return answer.iin & (IIN.NO_FUNC_CODE_SUPPORT | IIN.OBJECT_UNKNOWN | IIN.PARAMETER_ERROR | IIN.ALREADY_EXECUTING)
