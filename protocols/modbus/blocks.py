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


class BlockDecoder:
    """Decodes the answer to one read request, for the points that lie in it."""

    def __init__(self, points: Sequence[Point], indices: Sequence[int], start: int) -> None:
        """`indices`: which of `points` are in the request, which begins at address `start`."""
        self._bits = bool(indices) and points[indices[0]].table.is_bits
        self.indices = np.array(indices, dtype=np.intp)
        self._texts = [(i, points[i], 2 * (points[i].address - start)) for i in indices if points[i].type is ValueType.STRING]
        self._groups: list[tuple[str, NDArray[np.intp], NDArray[np.intp]]] = []
        self._sentinels: list[tuple[int, NDArray[np.intp], NDArray[np.uint64]]] = []
        self._shifts = np.zeros(0, dtype=np.uint16)
        if self._bits:
            self._offsets = np.array([points[i].address - start for i in indices], dtype=np.intp)
            return
        for type_ in ValueType:
            members = [i for i in indices if points[i].type is type_]
            if not members or type_ is ValueType.STRING:
                continue
            positions = [
                [2 * (points[i].address - start) + at for at in wire_positions(points[i].order, points[i].words)] for i in members
            ]
            group = len(self._groups)
            self._groups.append((STRUCT_CODE.get(type_, "H"), np.array(members, dtype=np.intp), np.array(positions, dtype=np.intp)))
            if type_ is ValueType.BIT:
                self._shifts = np.array([points[i].bit for i in members], dtype=np.uint16)
            marks = [(row, mark) for row, i in enumerate(members) for mark in points[i].sentinels]
            if marks:
                rows, patterns = zip(*marks, strict=True)
                self._sentinels.append((group, np.array(rows, dtype=np.intp), np.array(patterns, dtype=np.uint64)))

    def decode(self, payload: bytes, raw: Floats, states: States, texts: dict[int, str]) -> None:
        """Write raw values and states of the block's points in place; strings go to `texts` by point index."""
        states[self.indices] = GOOD
        if self._bits:
            raw[self.indices] = np.unpackbits(np.frombuffer(payload, dtype=np.uint8), bitorder="little")[self._offsets]
            return
        octets = np.frombuffer(payload, dtype=np.uint8)
        words: list[NDArray[np.uint8]] = []
        for code, members, positions in self._groups:
            ordered = octets[positions]
            words.append(ordered)
            raw[members] = ordered.view(">" + code)[:, 0]
        if len(self._shifts):
            bit_members = self._groups[-1][1]  # BIT comes after the numeric types
            raw[bit_members] = words[-1].view(">u2")[:, 0] >> self._shifts & 1
        for group, rows, patterns in self._sentinels:
            unsigned = words[group].view(f">u{words[group].shape[1]}")[:, 0]
            members = self._groups[group][1]
            states[members[rows[unsigned[rows] == patterns]]] = NOT_IMPLEMENTED
        for index, point, at in self._texts:
            text = raw_from_registers(point, payload[at : at + 2 * point.words])
            raw[index] = 0.0
            if text is None:
                states[index] = NOT_IMPLEMENTED
                texts.pop(index, None)
            else:
                texts[index] = str(text)


class Scaler:
    """Raw values of all points of a device to engineering values, scale-factor registers included."""

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
        limited = [i for i, point in enumerate(points) if point.minimum is not None or point.maximum is not None]
        self._limited = np.array(limited, dtype=np.intp)
        self._minimum = np.array([-np.inf if (low := points[i].minimum) is None else low for i in limited])
        self._maximum = np.array([np.inf if (high := points[i].maximum) is None else high for i in limited])

    def scale(self, raw: Floats, states: States) -> Floats:
        """Engineering values; NaN where there is none. `states` is completed in place."""
        values = raw.copy()
        if len(self._powered):
            self._apply_powers(values, raw, states)
        if self._is_linear:
            values = values * self._scale + self._offset
        states[np.isnan(values) & (states == GOOD)] = NOT_IMPLEMENTED
        if len(self._limited):
            limited = values[self._limited]
            outside = self._limited[(limited < self._minimum) | (limited > self._maximum)]
            if len(outside):
                states[outside[states[outside] == GOOD]] = OUT_OF_LIMITS
        values[states > OUT_OF_LIMITS] = np.nan
        return values

    def _apply_powers(self, values: Floats, raw: Floats, states: States) -> None:
        power, power_state = raw[self._power_source], states[self._power_source].copy()
        power_state[(power_state == GOOD) & ~(np.abs(power) <= SCALE_FACTOR_LIMIT)] = NOT_IMPLEMENTED
        known = np.where(power_state == GOOD, power, 0.0)
        values[self._powered] *= 10.0 ** np.maximum(known, 0.0)
        values[self._powered] /= 10.0 ** np.maximum(-known, 0.0)  # division by an exact power: 2301 becomes 230.1
        dependent = self._powered[states[self._powered] == GOOD]
        states[dependent] = power_state[states[self._powered] == GOOD]
