"""What the actions of an emergency cost: how a plan weighs a MWh that is not served here against one that is not served there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_WEIGHTS: Mapping[str, float] = {"ufls": 1.0, "uvls": 1.0, "sls": 1.0, "interruptible": 0.5, "dr": 0.3, "cvr": 0.1}
"""By kind of action: a MWh that customers agreed to do without, or do not miss, costs less than one that a breaker takes. The
order is that of the field; the figures are this project's choice."""


@dataclass(frozen=True)
class Priorities:
    """What a MWh costs at one bus. Cost of a MWh = weight of the action that takes it * priority of the load that it is taken from.

    actions: weight by action (`ufls:1`), else by kind (`ufls`), else `DEFAULT_WEIGHTS`; loads: priority by load, else classes: by
    its class, else 1.
    """

    actions: tuple[tuple[str, float], ...] = ()
    classes: tuple[tuple[str, float], ...] = ()
    loads: tuple[tuple[str, float], ...] = ()

    def weight(self, action: str) -> float:
        """Of a MWh that an action takes; its name begins with its kind, as `dr:homes`."""
        given, kind = dict(self.actions), action.partition(":")[0]
        return given.get(action, given.get(kind, DEFAULT_WEIGHTS[kind]))

    def of_load(self, name: str, load_class: str) -> float:
        """Of a MWh that is taken from a load."""
        return dict(self.loads).get(name, dict(self.classes).get(load_class, 1.0))
