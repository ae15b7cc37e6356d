"""Power on top of what machines started with: schedules that change and secondary control, by way of the governors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federates.grid.dynamics.cases import DynamicsError
from federates.grid.dynamics.tables import Machine

_BEHIND_GAIN = ("TGOV1N", "TGOV1NDB", "IEEEG1")  # auxiliary power adds to power
_BEFORE_GAIN = ("TGOV1", "TGOV1DB")  # it adds to speed, and the gain 1/R follows


class Governors:
    """The governors of a case and their auxiliary inputs. Powers in pu of the system's base.

    The auxiliary input and not the reference, since IEEEG1 does not read its reference after the start.
    """

    def __init__(self, ss: Any, machines: Sequence[Machine], generators: int) -> None:
        """DynamicsError "start" for a governor model whose input is not known."""
        self.scheduled = np.zeros(generators)
        self._generator = np.array([m.generator for m in machines])
        self._rating = np.array([float(m.model.Sn.v[m.row]) for m in machines])
        self._secondary = 0.0
        at = {m.model.idx.v[m.row]: k for k, m in enumerate(machines)}
        self._of_machine: dict[int, tuple[Any, int, float]] = {}
        for model in ss.TurbineGov.models.values():
            if model.n and model.class_name not in _BEHIND_GAIN + _BEFORE_GAIN:
                raise DynamicsError("start", f"governor model {model.class_name} is not known to the engine")
            for row, machine in enumerate(model.syn.v if model.n else ()):
                per_power = float(model.R.v[row]) if model.class_name in _BEFORE_GAIN else 1.0
                self._of_machine[at[machine]] = model, row, per_power

    def set_secondary(self, p: float) -> None:
        """Power of secondary control, to be shared."""
        self._secondary = p

    def schedule(self, generator: int, change: float) -> None:
        """Change of a generator's schedule. DynamicsError "refused" where no governor could carry it."""
        if not any(self._generator[k] == generator for k in self._of_machine):
            raise DynamicsError("refused", "its machine has no governor, so that its schedule cannot change")
        self.scheduled[generator] += change

    def scheduled_by_machine(self) -> NDArray[np.float64]:
        """[machine]: its part of the change of its generator's schedule, by rating; 0 for one without a governor."""
        by_machine = np.zeros(len(self._rating))
        for k in self._of_machine:
            generator = self._generator[k]
            by_machine[k] = self.scheduled[generator] * self._rating[k] / self._rating[self._generator == generator].sum()
        return by_machine

    def write(self, sharing: NDArray[np.bool_]) -> None:
        """Write every input; `sharing` [machine]: who takes part in secondary control, by rating."""
        total = sum(self._rating[k] for k in self._of_machine if sharing[k])
        scheduled = self.scheduled_by_machine()
        for k, (model, row, per_power) in self._of_machine.items():
            power = scheduled[k]
            if sharing[k]:
                power += self._secondary * self._rating[k] / total
            model.paux0.v[row] = power * per_power
