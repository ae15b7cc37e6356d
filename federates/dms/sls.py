"""Special load shedding: what each row of a logic table would relieve now, against what it is there to relieve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from federates.grid.logic import Row, Statuses, holds
from federates.grid.shedding import FeederBank


@dataclass(frozen=True)
class Scheme:
    """A row now. state: `armed` (no condition holds), `partly` (some do), `acting` (all do). alarm: why less is armed than
    required, or what cannot be seen; empty where nothing is wrong.
    """

    name: str
    state: str
    net_w: float
    required_w: float
    alarm: str


def schemes(rows: Sequence[Row], statuses: Statuses, banks: Mapping[str, FeederBank]) -> tuple[Scheme, ...]:
    """Every row on these statuses and banks, each as if it alone acted. KeyError for a status that is not given."""
    return tuple(_scheme(row, statuses, banks) for row in rows)


def _scheme(row: Row, statuses: Statuses, banks: Mapping[str, FeederBank]) -> Scheme:
    met = [holds(condition, statuses) for condition in row.when]
    net_w, alarm = relief(row, banks)
    state = "acting" if all(met) else "partly" if any(met) else "armed"
    return Scheme(row.name, state, net_w, row.required_w, alarm)


def relief(row: Row, banks: Mapping[str, FeederBank]) -> tuple[float, str]:
    """(what a row would relieve now, W; why that is not enough or not known, empty where it is)."""
    net_w, unknown = 0.0, []
    for name, number in row.trips().items():
        bank = banks.get(name)
        if bank is None:
            unknown.append(name)
            continue
        net_w += (bank.closed if number is None else min(number, bank.closed)) * bank.p_w
    alarm = f"power of {', '.join(unknown)} unknown" if unknown else ""
    if net_w < row.required_w:
        alarm = f"{net_w / 1e6:.4g} MW armed of {row.required_w / 1e6:.4g} MW required" + (f"; {alarm}" if alarm else "")
    return net_w, alarm
