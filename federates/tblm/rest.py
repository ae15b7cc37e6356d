"""Where regulators come to rest, as a continuous function of what drives the feeder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federates.grid.feeder import Feeder, FeederError, FeederState
from federates.grid.feeder.regulators import Regulators

Floats = NDArray[np.float64]

RATIO_STILL = 2e-4
"""Per unit of ratio: a regulator whose next move is smaller is at rest."""
_SWEEPS = 8  # of the linear problem of the regulators among themselves
_PROBE = 1e-3
_LEAST_GAIN_V = 1.0


class StudyError(Exception):
    """An operating point that has no solution: where, and what the engine said."""


class Rest:
    """Regulators on their way to rest from the snapshot's taps, with tap steps smoothed out; capacitor controls in whole steps.

    A regulator inside its band stays. One outside moves until it is back at the edge it crossed, and beyond it by the half tap
    that whole taps overshoot on the average; that overshoot grows with the move, so that nothing jumps.
    """

    def __init__(self, feeder: Feeder) -> None:
        self._feeder, self._regulators = feeder, Regulators(feeder)
        self.whole_steps = self._regulators.has_capacitor_controls
        self._start = self._now = self._regulators.ratios()
        self._state: FeederState | None = None
        self._gain: Floats | None = None
        self._gain_for = b""
        self.capacitors = b""

    def leave(self) -> None:
        """Put whole taps back, before the feeder is brought to another state."""
        if self._now is not self._start:
            self._regulators.set_ratios(self._start, self._now)
            self._now = self._start

    def begin(self) -> None:
        """The feeder stands, solved, at the snapshot: this is what every point starts from."""
        self._state = self._feeder.state()
        self._start = self._now = self._regulators.ratios()
        self.capacitors = b""
        switches = self._state.switches.tobytes()
        if self._gain is None or switches != self._gain_for:
            self._gain, self._gain_for = self._measured_gain(), switches

    @property
    def ratios(self) -> Floats:
        """Where the regulators stand, [n]."""
        return self._now

    def start_at(self, ratios: Floats) -> None:
        """Bring the regulators to these ratios, as far as they reach."""
        ratios = np.clip(ratios, self._regulators.least, self._regulators.most)
        self._regulators.set_ratios(ratios, self._now)
        self._now = ratios

    def go_back(self) -> None:
        """Taps and capacitors as in the snapshot."""
        self.leave()
        if self.capacitors and self._state is not None:
            self._feeder.restore(self._state)
            self.capacitors = b""

    def switch_capacitors(self) -> None:
        """Let the engine's capacitor controls act, where there are any; it moves taps meanwhile, which are then put back."""
        if not self.whole_steps or self._state is None:
            return
        try:
            self._feeder.settle()
        except FeederError as error:
            raise StudyError(f"capacitor controls: {error}") from error
        self.capacitors = self._feeder.capacitor_states().tobytes()
        self._feeder.set_taps(self._state.taps)
        self._now = self._start

    def proposed(self) -> tuple[Floats, float]:
        """Where the regulators go by what the last solve showed, and the largest change of a ratio."""
        r = self._regulators
        if not self._start.size or self._gain is None:
            return self._now, 0.0
        seen, now, gain = r.control_v(), self._now, self._gain
        own = gain.diagonal()
        half_tap_v = 0.5 * r.step * own
        x = now
        for _ in range(_SWEEPS):
            v = seen + gain @ (x - now)
            overshoot = half_tap_v * np.minimum(np.abs(x - self._start) / (1.5 * r.step), 1.0)
            up = x + (r.low_v + np.where(x > self._start, overshoot, 0.0) - v) / own
            down = x + (r.high_v - np.where(x < self._start, overshoot, 0.0) - v) / own
            x = np.clip(np.maximum(up, np.minimum(down, self._start)), r.least, r.most)
        return x, float(np.abs(x - now).max())

    def _measured_gain(self) -> Floats:
        """Change of each control's voltage by each ratio, volts per unit of ratio, [n, n]."""
        r, n = self._regulators, self._start.size
        gain = np.eye(n)
        before = r.control_v()
        for k in range(n):
            moved = self._start.copy()
            moved[k] += _PROBE if moved[k] + _PROBE <= r.most[k] else -_PROBE
            r.set_ratios(moved)
            self._feeder.solve()
            gain[:, k] = (r.control_v() - before) / (moved[k] - self._start[k])
        r.set_ratios(self._start)
        self._feeder.solve()
        dead = gain.diagonal() < _LEAST_GAIN_V  # a regulator without supply: it moves nothing, and must not divide by nothing
        gain[dead] = 0.0
        gain[dead, dead] = 120.0
        return gain
