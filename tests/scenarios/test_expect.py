"""Expectations against records made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federates.runtime.federate import Federation, Spec
from federates.runtime.port import Port, Sample
from federates.runtime.record import RunRecorder, merge
from monitor.results import Results, load
from scenarios.expect import judge
from scenarios.schema import Expectation

S = 1_000_000_000


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """grid.f_hz: 60, 59.5, 59.9 at 0, 10, 20 s; grid.v_pu over buses 1 and 2; grid.bad: NaN at 10 s."""
    run_dir = tmp_path_factory.mktemp("run")
    recorder = RunRecorder(run_dir, "one", Federation("x", 30 * S, (Spec("grid", "m:f", None),), ()))
    f_hz, v_pu, bad = Port("f_hz", "Hz"), Port("v_pu", "pu", ("1", "2")), Port("bad")
    for t_s, f, v, b in ((0, 60.0, (1.0, 1.0), 0.0), (10, 59.5, (1.0, 0.9), np.nan), (20, 59.9, (1.0, 1.0), 0.0)):
        recorder.vector("grid", f_hz, t_s * S, Sample.of([f], t_s * S))
        recorder.vector("grid", v_pu, t_s * S, Sample.of(v, t_s * S))
        recorder.vector("grid", bad, t_s * S, Sample.of([b], t_s * S, 128))
    recorder.close()
    merge(run_dir)
    return load(run_dir)


def expect(**keys: Any) -> Expectation:
    return Expectation(**{"signal": "grid.f_hz", "because": "a test", **keys})


@pytest.mark.parametrize(
    ("expectation", "passed", "value"),
    [
        (expect(at_s=5.0, equals=60.0, tolerance=0.0), True, 60.0),  # the value at 0 s holds until 10 s
        (expect(at_s=10.0, equals=60.0, tolerance=0.4), False, 59.5),
        (expect(within_s=(0.0, 9.9), min=59.6), True, 60.0),
        (expect(within_s=(0.0, 10.0), min=59.6), False, 59.5),
        (expect(within_s=(15.0, 19.0), min=59.6), False, 59.5),  # nothing new in the span: the value before it holds
        (expect(within_s=(20.0, 30.0), min=59.6), True, 59.9),
        (expect(within_s=(0.0, 30.0), min=59.0, max=60.7), True, 59.5),
        (expect(within_s=(0.0, 30.0), max=59.95), False, 60.0),
        (expect(signal="grid.v_pu", within_s=(0.0, 30.0), min=0.95), False, 0.9),
        (expect(signal="grid.v_pu[1]", within_s=(0.0, 30.0), min=0.95), True, 1.0),
        (expect(signal="grid.v_pu[2]", within_s=(0.0, 30.0), min=0.95), False, 0.9),
        (expect(signal="grid.v_pu[3]", at_s=0.0, min=0.95), False, None),
        (expect(signal="grid.bad", within_s=(0.0, 30.0), min=-1.0), False, None),
        (expect(signal="grid.none", at_s=0.0, min=0.0), False, None),
        (expect(at_s=31.0, min=0.0), None, None),
        (expect(at_s=20.0, since_s=10.0, equals=0.4, tolerance=1e-9), True, 59.9 - 59.5),
        (expect(within_s=(10.0, 30.0), since_s=5.0, min=-0.2), False, -0.5),
    ],
)
def test_a_verdict(results: Results, expectation: Expectation, passed: bool | None, value: float | None) -> None:
    (verdict,) = judge([expectation], results, 30 * S)
    assert verdict.passed is passed
    assert verdict.value == value


def test_a_verdict_says_what_and_when(results: Results) -> None:
    (verdict,) = judge([expect(signal="grid.v_pu", within_s=(0.0, 30.0), min=0.95)], results, 30 * S)
    assert verdict.line == "FAILED: grid.v_pu >= 0.95 within 0 to 30 s (a test); 0.9 of 2 at 10 s, 1 of 6 values are out"


def test_a_run_that_recorded_nothing(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text("{}", encoding="utf-8")
    (verdict,) = judge([expect(at_s=0.0, min=0.0)], load(tmp_path), 30 * S)
    assert verdict.passed is False
    assert "no signal 'grid.f_hz' was recorded" in verdict.found
