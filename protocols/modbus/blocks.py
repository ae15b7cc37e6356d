"""From the bytes of answers to arrays of engineering values: positions and types are worked out once, numpy does the rest.

Raw values are float64, so integers beyond 2^53 lose their last digits here (`points.raw_from_registers` does not).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from protocols.modbus.points import (
    SCALE_FACTOR_LIMIT,
    STRUCT_CODE,
    Point,
    ValueType,
    check_points,
    raw_from_registers,
    wire_positions,
)

Floats = NDArray[np.float64]
States = NDArray[np.uint8]


class PointState(IntEnum):
    """What is known of a point after a cycle. The value is a number only for GOOD and OUT_OF_LIMITS."""

    GOOD = 0
    OUT_OF_LIMITS = 1  # read well, outside the point's minimum and maximum
    NOT_IMPLEMENTED = 2  # the device says so: sentinel, NaN, or a scale factor that is one
    REFUSED = 3  # the device answered with an exception
    MALFORMED = 4  # the answer was short, long, or to another question: not used
    NO_ANSWER = 5  # silence until the time was up
    NO_CONNECTION = 6
    NOT_READ = 7  # not asked in this cycle: the time budget went elsewhere


# Plain integers: numpy takes several microseconds over a member of an enumeration, in every comparison.
GOOD, OUT_OF_LIMITS, NOT_IMPLEMENTED = int(PointState.GOOD), int(PointState.OUT_OF_LIMITS), int(PointState.NOT_IMPLEMENTED)


def _index(indices: Sequence[int]) -> slice | NDArray[np.intp]:
    """Neighbours as a slice, which numpy handles several times faster than a list of positions."""
    if indices and list(indices) == list(range(indices[0], indices[-1] + 1)):
        return slice(indices[0], indices[-1] + 1)
    return np.array(indices, dtype=np.intp)


class _Group:
    """The points of one type in a block."""

    def __init__(self, points: Sequence[Point], members: list[int], start: int) -> None:
        self.members = _index(members)
        kind = points[members[0]].type
        code = STRUCT_CODE.get(kind, "H")
        self.dtype = np.dtype(">" + code)
        positions = [
            [2 * (points[i].address - start) + at for at in wire_positions(points[i].order, points[i].words)] for i in members
        ]
        self.positions = np.array(positions, dtype=np.intp)
        self.run_from: int | None = None  # the byte where values in plain order follow each other without a gap
        if np.array_equal(self.positions.ravel(), np.arange(self.positions.size) + self.positions[0, 0]):
            self.run_from = int(self.positions[0, 0])
        self.shifts = np.array([points[i].bit for i in members], dtype=np.uint16) if kind is ValueType.BIT else None
        # Sentinels that float64 cannot tell from other values (`Scaler` looks for the rest): bit patterns, and who has them.
        marks = [(row, mark) for row, i in enumerate(members) if not _exact_as_float(kind) for mark in points[i].sentinels]
        self.marked = np.array([row for row, _ in marks], dtype=np.intp)
        self.marks = np.array([mark for _, mark in marks], dtype=np.uint64)
        self._marked_points = np.array([members[row] for row, _ in marks], dtype=np.intp)

    def decode(self, payload: bytes, raw: Floats, states: States) -> None:
        if self.run_from is not None:
            values = np.frombuffer(payload, self.dtype, len(self.positions), self.run_from)
        else:
            values = np.frombuffer(payload, np.uint8)[self.positions].view(self.dtype)[:, 0]
        raw[self.members] = values if self.shifts is None else values >> self.shifts & 1
        if len(self.marks):
            patterns = values.view(f">u{self.dtype.itemsize}")[self.marked]
            states[self._marked_points[patterns == self.marks]] = NOT_IMPLEMENTED


def _exact_as_float(kind: ValueType) -> bool:
    return kind in (ValueType.U16, ValueType.S16, ValueType.U32, ValueType.S32)


class BlockDecoder:
    """Decodes the answer to one read request, for the points that lie in it."""

    def __init__(self, points: Sequence[Point], indices: Sequence[int], start: int) -> None:
        """`indices`: which of `points` are in the request, which begins at address `start`."""
        ordered = sorted(indices)
        self.indices = _index(ordered)
        self._texts = [(i, points[i], 2 * (points[i].address - start)) for i in ordered if points[i].type is ValueType.STRING]
        self._groups: list[_Group] = []
        self._bits: NDArray[np.intp] | None = None
        if points[ordered[0]].table.is_bits:
            self._bits = np.array([points[i].address - start for i in ordered], dtype=np.intp)
            return
        for kind in ValueType:
            members = [i for i in ordered if points[i].type is kind]
            if members and kind is not ValueType.STRING:
                self._groups.append(_Group(points, members, start))

    def decode(self, payload: bytes, raw: Floats, states: States, texts: dict[int, str]) -> None:
        """Write raw values and states of the block's points in place; strings go to `texts` by point index."""
        states[self.indices] = GOOD
        if self._bits is not None:
            raw[self.indices] = np.unpackbits(np.frombuffer(payload, np.uint8), bitorder="little")[self._bits]
            return
        for group in self._groups:
            group.decode(payload, raw, states)
        for index, point, at in self._texts:
            text = raw_from_registers(point, payload[at : at + 2 * point.words])
            raw[index] = 0.0
            if text is None:
                states[index] = NOT_IMPLEMENTED
                texts.pop(index, None)
            else:
                texts[index] = str(text)


class Scaler:
    """Raw values of all points of a device to engineering values: sentinels, scale-factor registers, scale and offset, limits."""

    def __init__(self, points: Sequence[Point]) -> None:
        by_name = {(point.unit, point.name): i for i, point in enumerate(points)}
        if len(by_name) != len(points):
            raise ValueError("two points of one unit have the same name")
        check_points({key: points[i] for key, i in by_name.items()})
        self._scale = np.array([point.scale for point in points])
        self._offset = np.array([point.offset for point in points])
        self._is_linear = bool((self._scale != 1).any() or self._offset.any())
        powered = [(i, by_name[point.unit, point.scale_factor]) for i, point in enumerate(points) if point.scale_factor is not None]
        self._powered = np.array([i for i, _ in powered], dtype=np.intp)
        self._power_source = np.array([source for _, source in powered], dtype=np.intp)
        self._minimum = np.array([-np.inf if point.minimum is None else point.minimum for point in points])
        self._maximum = np.array([np.inf if point.maximum is None else point.maximum for point in points])
        self._is_limited = any(point.minimum is not None or point.maximum is not None for point in points)
        self._marks = _sentinel_values(points)

    def scale(self, raw: Floats, states: States) -> Floats:
        """Engineering values; NaN where there is none. `states` is completed in place."""
        missing = np.isnan(raw)
        for marks in self._marks:
            missing |= raw == marks
        if missing.any():
            states[missing & (states == GOOD)] = NOT_IMPLEMENTED
        values = raw.copy()
        if len(self._powered):
            self._apply_powers(values, raw, states)
        if self._is_linear:
            values *= self._scale
            values += self._offset
        if self._is_limited:
            outside = (values < self._minimum) | (values > self._maximum)
            if outside.any():
                states[outside & (states == GOOD)] = OUT_OF_LIMITS
        if states.any():
            values[states > OUT_OF_LIMITS] = np.nan
        return values

    def _apply_powers(self, values: Floats, raw: Floats, states: States) -> None:
        power, power_state = raw[self._power_source], states[self._power_source]
        power_state[(power_state == GOOD) & ~(np.abs(power) <= SCALE_FACTOR_LIMIT)] = NOT_IMPLEMENTED
        known = np.where(power_state == GOOD, power, 0.0)
        values[self._powered] *= 10.0 ** np.maximum(known, 0.0)
        values[self._powered] /= 10.0 ** np.maximum(-known, 0.0)  # division by an exact power: 2301 becomes 230.1
        good = states[self._powered] == GOOD
        states[self._powered[good]] = power_state[good]


def _sentinel_values(points: Sequence[Point]) -> list[Floats]:
    """The sentinels of integers up to 32 bits as the values they would be, NaN where a point has none: as many arrays as the
    point with the most of them has sentinels."""
    exact = [point.sentinels if _exact_as_float(point.type) else () for point in points]
    marks = np.full((max(map(len, exact), default=0), len(points)), np.nan)
    for i, (point, patterns) in enumerate(zip(points, exact, strict=True)):
        for k, pattern in enumerate(patterns):
            signed = point.type in (ValueType.S16, ValueType.S32)
            marks[k, i] = int.from_bytes(pattern.to_bytes(2 * point.words, "big"), "big", signed=signed)
    return list(marks)
