"""Special schemes (remedial action schemes): logic tables over statuses of the transmission system that trip feeders.

A row of the table holds when all its conditions do. It must hold for its delay without a break; then the row has acted, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federates.field.commands import EMERGENCY, SOE, EmergencyClock
from federates.field.relays import open_breaker
from federates.grid.logic import Condition, Row, RowState, Statuses
from federates.runtime.federate import MS_NS, Step
from federates.runtime.port import Inputs, Outputs, Port

__all__ = ["Condition", "Row", "Schemes", "SchemesFederate"]


@dataclass(frozen=True)
class Schemes:
    """Parameters. rows: the logic table; its lines and generators are the ids of the status ports; feeders: who can be tripped."""

    name: str
    rows: tuple[Row, ...]
    feeders: tuple[str, ...]
    period_ns: int = 100 * MS_NS


class SchemesFederate:
    """One controller with its logic table; it is called when the transmission system reports an event, and every period."""

    def __init__(self, params: Schemes) -> None:
        self.params = params
        self.period_ns = params.period_ns
        lines = tuple(sorted({c.name for row in params.rows for c in row.when if c.kind != "generator_out"}))
        generators = tuple(sorted({c.name for row in params.rows for c in row.when if c.kind == "generator_out"}))
        self._lines, self._generators = lines, generators
        vectors = (
            Port("line_status", "1", lines, "1: in service"),
            Port("loading", "1", lines, "current over rating"),
            Port("gen_status", "1", generators, "1: in service"),
        )
        seen = Port("seen", kind="event", doc="the transmission system's sequence of events: a reason to look at once")
        self.inputs: Sequence[Port] = (*(port for port in vectors if port.ids), EMERGENCY, seen)
        self.outputs: Sequence[Port] = (
            *(Port(f"trip_{name}", kind="event", doc=f"opens feeders like {name}") for name in params.feeders),
            SOE,
        )
        self._reset()

    def _reset(self) -> None:
        self._rows = tuple(RowState(row) for row in self.params.rows)
        self._clock = EmergencyClock()

    def start(self, t_ns: int) -> Outputs:
        """No row holds before the first step."""
        self._reset()
        return {}

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        """Evaluate the table; a row whose time is over trips its feeders."""
        self._clock.update(inputs["emergency"])
        statuses = Statuses(
            self._values(inputs, "line_status"), self._values(inputs, "gen_status"), self._values(inputs, "loading")
        )
        outputs: dict[str, list[Any]] = {"soe": []}
        for state in self._rows:
            for t_change_ns, what in state.update(t_ns, statuses):
                row = state.row
                outputs["soe"].append({"event": f"scheme_{what}", "scheme": row.name, "t_relay_ns": t_change_ns})
                if what == "operate":
                    for feeder, number in row.trips().items():
                        outputs.setdefault(f"trip_{feeder}", []).append(open_breaker(row.cause, number))
        wishes = [self._clock.next_ns(t_ns), *(state.due_ns for state in self._rows)]
        return Step(outputs, min((wish for wish in wishes if wish is not None), default=None))

    def stop(self) -> None:
        """Nothing to release."""

    def _values(self, inputs: Inputs, port: str) -> Mapping[str, float]:
        names = self._generators if port == "gen_status" else self._lines
        return dict(zip(names, inputs[port].values.tolist(), strict=True)) if names else {}
