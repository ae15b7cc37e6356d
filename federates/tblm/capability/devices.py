"""Taps and capacitors as part of a region: which settings are worth a region of their own.

For each of a few directions the cone program is relaxed: every device may stand between its steps, what a step does to the network
being taken as linear. The result is rounded to whole steps; the setting found so is kept when a full solve with it goes farther
than every setting before. A region is then searched in each setting that was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from federates.grid.feeder import Feeder
from federates.grid.feeder.network import Network
from federates.tblm.capability.cone import ConeSolver
from federates.tblm.capability.region import RegionSearch
from federates.tblm.capability.space import Flow, Model, Space

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

_DIRECTIONS = 8
_WORTH = 2e-3  # of the present reach in a direction: a setting that goes farther by less is not worth its region


class Setting(NamedTuple):
    """Taps [n_regs] and capacitor steps [n_capacitors] of a feeder."""

    taps: Ints
    capacitors: Ints

    def same(self, other: Setting) -> bool:
        return np.array_equal(self.taps, other.taps) and np.array_equal(self.capacitors, other.capacitors)


class DeviceRange(NamedTuple):
    """Lowest and highest step of every device, regulators first, [n_regs + n_capacitors]; equal where it may not be moved."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]


def present(feeder: Feeder) -> Setting:
    """How the devices stand."""
    return Setting(feeder.taps(), feeder.capacitor_states())


def put(feeder: Feeder, setting: Setting) -> None:
    """Move the devices; solve before reading."""
    feeder.set_taps(setting.taps)
    feeder.set_capacitor_states(setting.capacitors)


def device_range(feeder: Feeder, names: Sequence[str] | None, most_taps: int) -> DeviceRange:
    """What the devices may do. names: regulators and capacitors that may be moved, None for all; most_taps: no regulator moves
    farther from where it stands. ValueError for a name that is neither."""
    known = (*feeder.reg_names, *feeder.capacitor_names)
    wanted = {name.lower() for name in (known if names is None else names)}
    if unknown := sorted(wanted - set(known)):
        raise ValueError(f"{feeder.model.master} has no regulator or capacitor `{unknown[0]}`; it has {', '.join(known) or 'none'}")
    taps, steps = feeder.taps().astype(np.int64), feeder.capacitor_states().astype(np.int64)
    free = np.array([name in wanted for name in known], bool)
    least, most = feeder.tap_range()
    lowest = np.concatenate((np.maximum(taps - most_taps, np.minimum(least, taps)), np.zeros(steps.size, np.int64)))
    highest = np.concatenate((np.minimum(taps + most_taps, np.maximum(most, taps)), feeder.capacitor_steps))
    now = np.concatenate((taps, steps))
    return DeviceRange(np.where(free, lowest, now), np.where(free, highest, now))


def worthwhile(feeder: Feeder, network: Network, space_of: Callable[[], Space], allowed: DeviceRange) -> list[Setting]:
    """Settings that reach farther than the present one somewhere, the present one first. space_of: the space of the feeder as it
    stands. The feeder is left in its present setting, solved."""
    at_first = present(feeder)
    settings = [at_first]
    if (allowed.low == allowed.high).all():
        return settings
    search = RegionSearch(space_of())
    base = search.start()
    move = np.flatnonzero(allowed.low < allowed.high)
    now = np.concatenate((at_first.taps, at_first.capacitors)).astype(np.int64)
    slopes = search.space.voltage_slopes(base, _step_currents(feeder, network, base, at_first, move, allowed))
    solver = ConeSolver(search.space, (allowed.low[move].astype(float), allowed.high[move].astype(float)))
    relaxed = _relaxed(search.model(base), slopes, now[move].astype(float))
    for k in range(_DIRECTIONS):
        angle = 2.0 * np.pi * k / _DIRECTIONS
        direction = np.array((np.cos(angle), np.sin(angle)))
        put(feeder, at_first)
        feeder.solve()
        search.extreme(direction, base)
        reached = search.best(direction)
        solved = solver.farthest(relaxed, direction)
        if solved is None:
            continue
        steps = now.copy()
        steps[move] = np.clip(np.rint(solved[-move.size :]).astype(np.int64), allowed.low[move], allowed.high[move])
        n = at_first.taps.size
        setting = Setting(steps[:n].astype(np.int32), steps[n:].astype(np.int32))
        if any(setting.same(other) for other in settings):
            continue
        put(feeder, setting)
        farther = _reach(space_of(), direction, [solved[: -move.size], reached.x])
        if farther is not None and direction @ (farther.pq - reached.pq) > _WORTH * np.linalg.norm(reached.pq - base.pq):
            settings.append(setting)
    put(feeder, at_first)
    feeder.solve()
    return settings


def _reach(space: Space, direction: Floats, starts: Sequence[Floats]) -> Flow | None:
    """The farthest flow of a space that a short search finds."""
    search = RegionSearch(space, known=starts)
    try:
        search.extreme(direction, search.start())
    except ValueError:  # no set-points keep the limits in this setting
        return None
    return search.best(direction)


def _relaxed(model: Model, slopes: tuple[Floats, NDArray[np.complex128], Floats], steps: Floats) -> Model:
    """The model with the devices' steps as further variables."""
    k, n = steps.size, model.flow.x.size
    curvature = np.zeros((2, n + k, n + k))
    curvature[:, :n, :n] = model.curvature
    x = np.concatenate((model.flow.x, steps))
    a, b = model.facets
    return Model(
        replace(model.flow, x=x),
        np.hstack((model.v, slopes[0])),
        np.hstack((model.i, slopes[1])),
        np.hstack((model.pq, slopes[2])),
        curvature,
        x,
        (np.hstack((a, np.zeros((b.size, k)))), b),
    )


def _step_currents(
    feeder: Feeder, network: Network, base: Flow, setting: Setting, move: NDArray[np.intp], allowed: DeviceRange
) -> NDArray[np.complex128]:
    """What one step up of each device that may move is as injected current, A, [n_nodes, n_moved]: the change of Y times the
    voltages."""
    feeder.solve()
    y, n = network.admittance(), setting.taps.size
    columns = []
    for device in move.tolist():
        taps, capacitors = setting.taps.copy(), setting.capacitors.copy()
        steps, k = (taps, device) if device < n else (capacitors, device - n)
        up = 1 if steps[k] < allowed.high[device] else -1
        steps[k] += up
        put(feeder, Setting(taps, capacitors))
        feeder.solve()
        columns.append(-up * ((network.admittance() - y) @ base.phasor_v))
    put(feeder, setting)
    feeder.solve()
    return np.stack(columns, axis=1)
