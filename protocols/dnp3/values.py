"""What DNP3 objects carry: points, flags, readings and commands, named as in IEEE 1815 clause 11."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, IntEnum, IntFlag
from typing import NamedTuple


class PointType(Enum):
    """The kinds of points of an outstation's database. The value is the word used in messages."""

    BINARY_INPUT = "binary input"
    DOUBLE_BIT_INPUT = "double-bit binary input"
    BINARY_OUTPUT = "binary output"
    COUNTER = "counter"
    FROZEN_COUNTER = "frozen counter"
    ANALOG_INPUT = "analog input"
    ANALOG_OUTPUT = "analog output"
    OCTET_STRING = "octet string"


class Flag(IntFlag):
    """The quality octet. Bits 5 and 6 mean different things for different kinds of points."""

    ONLINE = 0x01
    RESTART = 0x02
    COMM_LOST = 0x04
    REMOTE_FORCED = 0x08
    LOCAL_FORCED = 0x10
    CHATTER_FILTER = 0x20
    """Binary and double-bit inputs."""
    ROLLOVER = 0x20
    """Counters (obsolete)."""
    OVER_RANGE = 0x20
    """Analog inputs and outputs: the value did not fit into the variation and was cut to its limit."""
    DISCONTINUITY = 0x40
    """Counters."""
    REFERENCE_ERR = 0x40
    """Analog inputs and outputs."""
    STATE = 0x80
    """Binary points carry their state here; it is part of `Reading.value`, never of `Reading.flags`."""


class DoubleBit(IntEnum):
    """The states of a double-bit binary input."""

    INTERMEDIATE = 0
    OFF = 1
    ON = 2
    INDETERMINATE = 3


class Reading(NamedTuple):
    """One value as an object carries it.

    `value` is bool for binary points, int 0-3 for double-bit, int for counters and integer analogs, float for floating ones,
    bytes for octet strings. `flags` has no state bits. `time_ms` is milliseconds since 1970-01-01 UTC (48 bits), or for relative
    time (g2v3, g4v3) milliseconds since the common time of occurrence (16 bits); None where the object carries no time.
    """

    value: bool | int | float | bytes
    flags: int = int(Flag.ONLINE)
    time_ms: int | None = None


class CommandStatus(IntEnum):
    """Status octet of a control (IEEE 1815 table 4-8, 7 bits)."""

    SUCCESS = 0
    TIMEOUT = 1
    NO_SELECT = 2
    FORMAT_ERROR = 3
    NOT_SUPPORTED = 4
    ALREADY_ACTIVE = 5
    HARDWARE_ERROR = 6
    LOCAL = 7
    TOO_MANY_OBJECTS = 8
    NOT_AUTHORIZED = 9
    AUTOMATION_INHIBIT = 10
    PROCESSING_LIMITED = 11
    OUT_OF_RANGE = 12
    DOWNSTREAM_LOCAL = 13
    ALREADY_COMPLETE = 14
    BLOCKED = 15
    CANCELLED = 16
    BLOCKED_OTHER_MASTER = 17
    DOWNSTREAM_FAIL = 18
    NON_PARTICIPATING = 126
    UNDEFINED = 127


class ControlCode(IntEnum):
    """The control codes an outstation may accept: operation type in bits 0-3, trip/close code in bits 6-7."""

    NUL = 0x00
    PULSE_ON = 0x01
    PULSE_OFF = 0x02
    LATCH_ON = 0x03
    LATCH_OFF = 0x04
    CLOSE_PULSE_ON = 0x41
    TRIP_PULSE_ON = 0x81


QUEUE_BIT, CLEAR_BIT = 0x10, 0x20


@dataclass(frozen=True, slots=True)
class Crob:
    """Control relay output block, g12v1. `code` is the whole control octet, unknown values included; times in milliseconds."""

    code: int
    count: int = 1
    on_ms: int = 0
    off_ms: int = 0
    status: int = 0

    def with_status(self, status: int) -> Crob:
        return replace(self, status=status)


@dataclass(frozen=True, slots=True)
class AnalogCommand:
    """Analog output block, g41: the value as it is on the wire, before the point's scale."""

    value: int | float
    status: int = 0

    def with_status(self, status: int) -> AnalogCommand:
        return replace(self, status=status)


DnpObject = Reading | Crob | AnalogCommand
