"""Quality of values: DNP3's flags and Modbus's read states as `Quality` bits, and back."""

from __future__ import annotations

from functools import cache

from federates.runtime.port import QUALITY_MEANING, Quality
from protocols.dnp3 import Flag
from protocols.modbus import PointState

_ANALOG_FLAGS = ((Flag.OVER_RANGE, Quality.OVERFLOW), (Flag.REFERENCE_ERR, Quality.SUSPECT))
_BINARY_FLAGS = ((Flag.CHATTER_FILTER, Quality.SUSPECT),)


@cache
def from_flags(flags: int, *, analog: bool) -> int:
    """Quality bits for the flag octet of an object."""
    quality = Quality.GOOD
    if flags & Flag.RESTART:
        quality |= Quality.RESTART
    if flags & Flag.COMM_LOST:
        quality |= Quality.LOST
    if flags & (Flag.REMOTE_FORCED | Flag.LOCAL_FORCED):
        quality |= Quality.FORCED
    if not flags & Flag.ONLINE and not flags & (Flag.RESTART | Flag.COMM_LOST):
        quality |= Quality.STALE
    for flag, meaning in _ANALOG_FLAGS if analog else _BINARY_FLAGS:
        if flags & flag:
            quality |= meaning
    return int(quality)


def to_flags(quality: int) -> int:
    """The flag octet for quality bits. A value that is lost or stale is not online."""
    if quality == 0:
        return int(Flag.ONLINE)
    flags = 0
    for bit in Quality:
        if bit and quality & bit:
            flags |= QUALITY_MEANING[bit][0]
    if quality & (Quality.LOST | Quality.STALE | Quality.RESTART):
        flags &= ~int(Flag.ONLINE)
    return flags


FROM_STATE = {
    PointState.GOOD: Quality.GOOD,
    PointState.NOT_IMPLEMENTED: Quality.LOST,
    PointState.NOT_READ: Quality.STALE,
    PointState.NO_ANSWER: Quality.STALE,
    PointState.NO_CONNECTION: Quality.STALE,
    PointState.REFUSED: Quality.LOST,
    PointState.MALFORMED: Quality.SUSPECT,
}
