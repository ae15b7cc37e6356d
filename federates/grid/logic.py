"""Logic tables of special schemes: rows of conditions on statuses of the transmission system, with a delay. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

ConditionKind = Literal["line_open", "line_loading_above", "generator_out"]


@dataclass(frozen=True)
class Condition:
    """A line that is open, a line loaded above `above` of its rating, or a generator out of service."""

    kind: ConditionKind
    name: str
    above: float = 1.0


@dataclass(frozen=True)
class Row:
    """All of `when` for `delay_ns`: trip. trip: (feeder, how many of the like ones, None: all); a feeder that is named again has
    more of them tripped. required_w: what the row is to relieve, 0 where nothing is required."""

    name: str
    when: tuple[Condition, ...]
    trip: tuple[tuple[str, int | None], ...]
    delay_ns: int = 0
    required_w: float = 0.0

    def __post_init__(self) -> None:
        if not self.when or not self.trip or self.delay_ns < 0:
            raise ValueError(f"scheme {self.name}: it needs a condition, somebody to trip, and a delay that is not negative")

    @property
    def cause(self) -> str:
        """How the row is named as the cause of a trip."""
        return f"sls:{self.name}"

    def trips(self) -> dict[str, int | None]:
        """How many like feeders it trips by the name of the feeder, each once; None: all that are closed."""
        total: dict[str, int | None] = {}
        for feeder, number in self.trip:
            before = total.get(feeder, 0)
            total[feeder] = None if number is None or before is None else before + number
        return total


class Statuses(NamedTuple):
    """What a table is evaluated on: status of lines and generators (1: in service), loading of lines; NaN: unknown."""

    line_status: Mapping[str, float]
    gen_status: Mapping[str, float]
    loading: Mapping[str, float]


def holds(condition: Condition, statuses: Statuses) -> bool:
    """Whether a condition holds. What is unknown does not: a scheme must not act on a status it has lost. KeyError for a name that
    is not among the statuses."""
    if condition.kind == "line_open":
        return statuses.line_status[condition.name] < 0.5
    if condition.kind == "generator_out":
        return statuses.gen_status[condition.name] < 0.5
    return statuses.loading[condition.name] > condition.above


class RowState:
    """A row in time."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self._since_ns: int | None = None
        self.operated = False

    @property
    def due_ns(self) -> int | None:
        """When it acts if nothing changes; None where its conditions do not hold, or it has acted."""
        return None if self._since_ns is None or self.operated else self._since_ns + self.row.delay_ns

    def update(self, t_ns: int, statuses: Statuses) -> list[tuple[int, str]]:
        """(time, `pickup`, `dropout` or `operate`) of what it did up to `t_ns`; statuses before it held until now."""
        done: list[tuple[int, str]] = []
        if (due_ns := self.due_ns) is not None and due_ns <= t_ns:
            self.operated = True
            return [(due_ns, "operate")]
        if self.operated:
            return done
        met = all(holds(condition, statuses) for condition in self.row.when)
        if met and self._since_ns is None:
            self._since_ns = t_ns
            done.append((t_ns, "pickup"))
            if self.row.delay_ns == 0:
                self.operated = True
                done.append((t_ns, "operate"))
        elif not met and self._since_ns is not None:
            self._since_ns = None
            done.append((t_ns, "dropout"))
        return done
