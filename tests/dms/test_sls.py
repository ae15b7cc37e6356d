"""Special schemes: every row of the logic, and what it has armed against what it needs."""

from __future__ import annotations

import math

import pytest

from federates.dms.sls import schemes
from federates.grid.logic import Condition, Row, RowState, Statuses
from federates.grid.shedding import FeederBank

BANKS = {"f1": FeederBank("f1", 10, 2e6, 2.5e6, 0.6e6), "f2": FeederBank("f2", 4, 1e6, 1e6, 0.0)}
OPEN, LOADED, OUT = (
    Condition("line_open", "16-17"),
    Condition("line_loading_above", "16-15", 1.2),
    Condition("generator_out", "G30"),
)


def statuses(line: float = 1.0, loading: float = 0.5, generator: float = 1.0) -> Statuses:
    return Statuses({"16-17": line, "16-15": 1.0}, {"G30": generator}, {"16-17": 0.3, "16-15": loading})


@pytest.mark.parametrize("line", [0.0, 1.0])
@pytest.mark.parametrize("loading", [0.5, 1.3])
@pytest.mark.parametrize("generator", [0.0, 1.0])
def test_a_row_acts_when_all_its_conditions_hold(line: float, loading: float, generator: float) -> None:
    now = statuses(line, loading, generator)
    met = [line < 0.5, loading > 1.2, generator < 0.5]
    (row,) = schemes([Row("r", (OPEN, LOADED, OUT), (("f1", None),))], now, BANKS)
    assert row.state == ("acting" if all(met) else "partly" if any(met) else "armed")


def test_unknown_statuses_do_not_trip() -> None:
    (row,) = schemes([Row("r", (OPEN,), (("f1", None),))], statuses(math.nan), BANKS)
    assert row.state == "armed"


def test_too_little_armed_raises_an_alarm() -> None:
    rows = [
        Row("enough", (OPEN,), (("f1", 3), ("f2", None)), required_w=10e6),
        Row("little", (OPEN,), (("f2", 9),), required_w=5e6),
        Row("blind", (OPEN,), (("f3", 1),)),
    ]
    enough, little, blind = schemes(rows, statuses(), BANKS)
    assert (enough.net_w, enough.alarm) == (10e6, "")
    assert little.net_w == 4e6 and little.alarm == "4 MW armed of 5 MW required"
    assert blind.alarm == "power of f3 unknown"


def test_a_row_waits_for_its_delay_without_a_break() -> None:
    state = RowState(Row("r", (OPEN,), (("f1", None),), delay_ns=100))
    assert state.update(0, statuses(0.0)) == [(0, "pickup")]
    assert state.update(50, statuses(1.0)) == [(50, "dropout")]
    assert state.update(60, statuses(0.0)) == [(60, "pickup")] and state.due_ns == 160
    assert state.update(170, statuses(1.0)) == [(160, "operate")]
    assert state.update(500, statuses(0.0)) == []


def test_a_feeder_that_a_row_names_twice_is_tripped_once_for_each_feeder_there_is() -> None:
    """More than are closed cannot open, however often they are named."""
    rows = [
        Row("some", (OPEN,), (("f2", 1), ("f2", 2))),
        Row("more", (OPEN,), (("f2", 3), ("f2", 3))),
        Row("all", (OPEN,), (("f2", None), ("f2", 1)), required_w=5e6),
    ]
    assert [found.net_w for found in schemes(rows, statuses(), BANKS)] == [3e6, 4e6, 4e6]
    assert [row.trips() for row in rows] == [{"f2": 3}, {"f2": 6}, {"f2": None}]
