"""A run that left the range in which its models hold says so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scenarios.load import load_scenario
from scenarios.meta import nominal_hz
from scenarios.schema import Scenario
from scenarios.warn import warnings


class Recorded:
    """Signals by name: [(t_s, value), ...] of one id each."""

    def __init__(self, **signals: list[tuple[float, float]]) -> None:
        self.signals = signals

    def vector(self, name: str) -> Any:
        port = name.partition(".")[2]
        if port not in self.signals:
            raise LookupError(name)
        rows = np.array(self.signals[port])
        return SimpleNamespace(t_ns=rows[:, 0] * 1e9, values=rows[:, 1:], layout=SimpleNamespace(columns=("16",)))

    def event_rows(self) -> list[dict[str, Any]]:
        return []

    def timing(self) -> Any:
        return []


@pytest.fixture(scope="module")
def tiny() -> Scenario:
    return load_scenario("tiny").scenario


def test_a_run_within_its_range_warns_of_nothing(tiny: Scenario) -> None:
    assert warnings(tiny, Recorded(f_hz=[(0.0, 60.0), (5.0, 58.3)], v_pu=[(0.0, 1.0), (1.0, 0.81)])) == []
    assert warnings(tiny, Recorded(f_hz=[(0.0, float("nan"))])) == []


def test_frequency_and_voltage_far_out_are_told_with_their_time(tiny: Scenario) -> None:
    frequency, voltage = warnings(tiny, Recorded(f_hz=[(0.0, 60.0), (7.5, 48.2), (9.0, 59.0)], v_pu=[(3.0, 0.4)]))
    assert frequency.startswith("frequency went to 48.200 Hz at t = 7.5 s, 11.8 Hz off the nominal 60 Hz")
    assert voltage.startswith("voltage at bus 16 went to 0.400 pu at t = 3 s")


def test_nominal_is_that_of_the_scenario(tiny: Scenario) -> None:
    assert nominal_hz(tiny) == 60.0
    grid = tiny.federates[0]
    fifty = grid.model_copy(update={"frequency": grid.frequency.model_copy(update={"nominal_hz": 50.0})})  # type: ignore[union-attr]
    european = tiny.model_copy(update={"federates": (fifty, *tiny.federates[1:])})
    assert nominal_hz(european) == 50.0
    assert warnings(european, Recorded(f_hz=[(0.0, 50.2)])) == []
    assert warnings(european, Recorded(f_hz=[(0.0, 60.0)]))[0].endswith("what follows is beyond the model")
