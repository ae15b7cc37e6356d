"""What acts on the frequency of areas: which element picks up, operates or drops out first in a stretch of samples.

Every element is a stage of `grid/relay.py`, an under-frequency one. Over-frequency is seen as the frequency mirrored at nominal,
and RoCoF as nominal less its magnitude, so that one rule serves for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federates.grid.areas import AreasModel, Embedded, Shedding
from federates.grid.relay import Element, Stage

FloatArray = NDArray[np.float64]


@dataclass
class Watched:
    """An element, the area whose frequency it sees, how it sees it, and what it does when it operates."""

    element: Element
    area: int
    sign: float  # of the deviation: 1 under-frequency, -1 over-frequency, 0 RoCoF
    window: int  # steps over which RoCoF is meant
    does: Shedding | Embedded
    cause: str


class Protection:
    """All elements of a model, against deviations from nominal on the grid of its steps."""

    def __init__(self, model: AreasModel) -> None:
        self.f0_hz, self.step_ns = model.f0_hz, model.step_ns
        self.watched = list(_watched(model))
        self._area = np.array([w.area for w in self.watched], np.intp)
        self._sign = np.array([w.sign for w in self.watched])
        self._pickup = np.array([w.element.stage.pickup for w in self.watched])
        self._reset = self._pickup + np.array([w.element.stage.reset for w in self.watched])
        self._rocof = [(m, w.area, w.window) for m, w in enumerate(self.watched) if w.sign == 0.0]
        depth = max((window for _, _, window in self._rocof), default=0)
        self._past = np.zeros((depth, len(model.areas)))
        self._picked = np.zeros(len(self.watched), bool)
        self._live = np.ones(len(self.watched), bool)
        self._last = np.zeros((0, len(self.watched)))  # what `first` saw

    @property
    def due_ns(self) -> int | None:
        """When the next element operates if nothing changes."""
        return min((due for w in self.watched if (due := w.element.due_ns) is not None), default=None)

    def first(self, deviation_hz: FloatArray) -> int | None:
        """Index of the first sample [k, areas] at which some element changes its mind."""
        if not self._live.any():
            return None
        seen = self._last = self._seen(deviation_hz)
        changes = np.where(self._picked, seen >= self._reset, seen < self._pickup) & self._live
        found = np.flatnonzero(changes.any(axis=1))
        return int(found[0]) if len(found) else None

    def update(self, t_ns: int, deviation_hz: FloatArray) -> list[tuple[Watched, dict[str, Any]]]:
        """Take the first k samples of those that `first` saw, the last at `t_ns`: what the elements did there, with a row each."""
        done: list[tuple[Watched, dict[str, Any]]] = []
        if self._live.any():
            values = self._last[len(deviation_hz) - 1].tolist()
            for m in np.flatnonzero(self._live).tolist():
                w = self.watched[m]
                for change in w.element.update(t_ns, values[m], 1.0):
                    f_hz = self.f0_hz + float(deviation_hz[-1, w.area])
                    row = {"event": f"relay_{change.what}", "relay": w.cause, "t_relay_ns": change.t_ns, "f_hz": f_hz}
                    done.append((w, row))
                    self._picked[m] = change.what == "pickup"
                    self._live[m] = change.what != "operate"
        if len(self._past):
            self._past = np.concatenate((self._past, deviation_hz))[-len(self._past) :]
        return done

    def _seen(self, deviation_hz: FloatArray) -> FloatArray:
        seen = self.f0_hz + self._sign * deviation_hz[:, self._area]
        if self._rocof:
            longer = np.concatenate((self._past, deviation_hz))
            for m, area, window in self._rocof:
                now = longer[len(self._past) :, area]
                then = longer[len(self._past) - window : len(longer) - window, area]
                seen[:, m] = self.f0_hz - np.abs(now - then) / (window * self.step_ns * 1e-9)
        return seen


def _watched(model: AreasModel) -> list[Watched]:
    f0_hz, found = model.f0_hz, []

    def stage(scheme: str, number: int, pickup: float, delay_ns: int, breaker_ns: int = 0, reset: float = 0.0) -> Element:
        return Element(Stage(scheme, number, "f_hz", pickup, delay_ns, breaker_ns, reset))

    for a, area in enumerate(model.areas):
        numbers: dict[str, int] = {}
        for shedding in area.shedding:
            number = numbers[shedding.scheme] = numbers.get(shedding.scheme, 0) + 1
            element = stage(shedding.scheme, number, shedding.pickup_hz, shedding.delay_ns, shedding.breaker_ns, shedding.reset_hz)
            found.append(Watched(element, a, 1.0, 0, shedding, f"{area.name}.{element.stage.name}"))
        for k, plant in enumerate(area.embedded, start=1):
            window = max(round(plant.window_ns / model.step_ns), 1)
            limits = (
                ("under_frequency", 1.0, plant.under_hz),
                ("over_frequency", -1.0, plant.over_hz and 2.0 * f0_hz - plant.over_hz),
                ("rocof", 0.0, plant.rocof_hz_per_s and f0_hz - plant.rocof_hz_per_s),
            )
            for what, sign, pickup in limits:
                if pickup is not None:
                    cause = f"{area.name}.{plant.name}.{what}"
                    found.append(Watched(stage(what, k, pickup, plant.delay_ns), a, sign, window, plant, cause))
    return found
