"""`compare` finds one changed bit wherever it is, says where it is first, and overlooks wall time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_run
import numpy as np
import pytest

from federates.runtime.port import Outputs, Port, Sample
from monitor.compare import compare
from monitor.results import NotARunError

STOP_S = 130.0
Change = Callable[[float, dict[str, Any]], None]


def changed(tmp_path: Path, federate: str, change: Change) -> Path:
    """A run in which `change` edits what one federate publishes."""
    members = fake_run.federates()
    answer = members[federate].answer

    def edited(t_s: float) -> Outputs:
        outputs = dict(answer(t_s))
        change(t_s, outputs)
        return outputs

    members[federate].answer = edited
    return fake_run.make(tmp_path / "changed", STOP_S, members)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run.make(tmp_path_factory.mktemp("a") / "run", STOP_S)


def test_two_runs_are_identical_though_their_timing_and_meta_differ(original: Path, tmp_path: Path) -> None:
    other = fake_run.make(tmp_path / "b", STOP_S, wall_s=99.0, runner="helics")
    result = compare(original, other)
    assert result.identical and result.exit_code == 0 and result.differences == ()
    assert result.records == 11 + 1 + 2 + 5  # signals, events, TBLMs, documents
    assert "identical" in str(result)


def test_a_killed_run_equals_its_merged_twin(original: Path, tmp_path: Path) -> None:
    assert compare(original, fake_run.make(tmp_path / "b", STOP_S, finish=False)).identical


def one_bit(t_s: float, outputs: dict[str, Any]) -> None:
    if t_s >= 42.0:
        outputs["v_pu"] = np.array([outputs["v_pu"][0], np.nextafter(outputs["v_pu"][1], 2.0)])


def test_one_bit_of_one_value(original: Path, tmp_path: Path) -> None:
    result = compare(original, changed(tmp_path, "grid", one_bit))
    (difference,) = result.differences
    assert result.exit_code == 1
    assert difference.record == "signal grid.v_pu" and difference.where == "values of 20 at t = 42 s"
    value = float(fake_run.v_pu(42.0)[1])
    assert difference.a == f"{value!r} ({value.hex()})" and difference.b != difference.a
    assert str(difference) in str(result)


def test_a_negative_zero_is_not_a_zero_but_nan_is_nan(tmp_path: Path) -> None:
    paths = []
    for k, zero in enumerate((0.0, -0.0)):
        values = Sample.of([np.nan, zero], 0, [64, 0])
        source = fake_run.Replay([Port("x", ids=("a", "b"))], lambda t_s, values=values: {"x": values})
        paths.append(fake_run.make(tmp_path / str(k), 2.0, {"source": source}))
    (difference,) = compare(*paths).differences
    assert difference.where == "values of b at t = 0 s" and (difference.a, difference.b) == ("0.0 (0x0.0p+0)", "-0.0 (-0x0.0p+0)")
    assert compare(paths[0], paths[0]).identical


def other_quality(t_s: float, outputs: dict[str, Any]) -> None:
    if t_s == 7.0:
        outputs["coverage"] = Sample.of(outputs["coverage"].values, outputs["coverage"].t_ns, [0, 1])


def measured_later(t_s: float, outputs: dict[str, Any]) -> None:
    if t_s == 8.0:
        outputs["coverage"] = Sample.of(outputs["coverage"].values, outputs["coverage"].t_ns + 1, outputs["coverage"].quality)


@pytest.mark.parametrize(
    ("change", "where"), [(other_quality, "quality of 20 at t = 7 s"), (measured_later, "t_meas_ns of 15 at t = 8 s")]
)
def test_quality_and_measurement_time_count(original: Path, tmp_path: Path, change: Change, where: str) -> None:
    (difference,) = compare(original, changed(tmp_path, "ami", change)).differences
    assert (difference.record, difference.where) == ("signal ami.coverage", where)


def held(t_s: float, outputs: dict[str, Any]) -> None:
    if t_s == 9.0:
        del outputs["coverage"]


def test_a_row_that_is_missing(original: Path, tmp_path: Path) -> None:
    (difference,) = compare(original, changed(tmp_path, "ami", held)).differences
    assert (difference.where, difference.a, difference.b) == ("time of row 10", "9 s", "10 s")


def test_a_run_that_ended_earlier(original: Path, tmp_path: Path) -> None:
    result = compare(original, fake_run.make(tmp_path / "b", 121.0))
    assert {difference.where for difference in result.differences if difference.record.startswith("signal")} == {"number of rows"}


def test_units_and_ids_count(tmp_path: Path) -> None:
    ports = [Port("x", "W", ("a", "b")), Port("x", "W", ("a", "c")), Port("x", "var", ("a", "b"))]
    paths = [
        fake_run.make(tmp_path / str(k), 2.0, {"source": fake_run.Replay([port], lambda t_s: {"x": [1.0, 2.0]})})
        for k, port in enumerate(ports)
    ]
    assert [(d.where, d.a, d.b) for d in compare(paths[0], paths[1]).differences] == [("id 1", "b", "c")]
    assert [(d.where, d.a, d.b) for d in compare(paths[0], paths[2]).differences] == [("unit", "'W'", "'var'")]


def louder_alarm(t_s: float, outputs: dict[str, Any]) -> None:
    if outputs["alarm"]:
        outputs["alarm"] = [{"alarm": "louder"}]


def other_truth(t_s: float, outputs: dict[str, Any]) -> None:
    if "outcome" in outputs:
        outputs["outcome"]["outcomes"][0]["truth"]["p_w"]["15"] = 1.0


def other_curve(t_s: float, outputs: dict[str, Any]) -> None:
    if t_s == 60.0:
        outputs["tblm"] = json.loads(json.dumps(outputs["tblm"]))
        outputs["tblm"]["load"]["curves"][1]["P_W"][2][3] += 1.0


@pytest.mark.parametrize(
    ("federate", "change", "record", "where"),
    [
        ("north", louder_alarm, "events", "row 3, t = 100 s, payload.alarm"),
        ("ems", other_truth, "documents/outcome/ems.jsonl", "row 1, t = 102 s, document.outcomes[0].truth.p_w.15"),
        ("tblm_15", other_curve, "tblm/15.jsonl", "row 2, t = 60 s, document.load.curves[1].P_W[2][3]"),
    ],
)
def test_events_and_documents_count(original: Path, tmp_path: Path, federate: str, change: Change, record: str, where: str) -> None:
    (difference,) = compare(original, changed(tmp_path, federate, change)).differences
    assert (difference.record, difference.where) == (record, where)


def test_a_record_that_only_one_run_has(original: Path, tmp_path: Path) -> None:
    members = fake_run.federates()
    del members["ami"]
    (difference,) = compare(original, fake_run.make(tmp_path / "b", STOP_S, members)).differences
    assert (difference.record, difference.a, difference.b) == ("signal ami.coverage", "present", "-")


def test_two_empty_runs_are_not_called_identical(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text("{}")
    result = compare(tmp_path, tmp_path)
    assert not result.identical and result.exit_code == 1 and "nothing to compare" in str(result)


def test_a_directory_that_is_no_run(original: Path, tmp_path: Path) -> None:
    with pytest.raises(NotARunError):
        compare(original, tmp_path / "nowhere")


def test_what_the_runs_were_asked_for_is_told_first(original: Path, tmp_path: Path) -> None:
    other = changed(tmp_path, "grid", lambda t_s, outputs: None)
    meta = json.loads((other / "meta.json").read_text())
    (other / "meta.json").write_text(json.dumps({**meta, "seed": 8, "stop_ns": 60 * 10**9}))
    resolved = "name: a\nseed: 1\nfederates:\n- count: {}\nexpect:\n- {}\n"
    (original / "scenario.yaml").write_text(resolved.format(10, 1))
    (other / "scenario.yaml").write_text(resolved.format(11, 2))
    result = compare(original, other)
    assert result.identical and [difference.where for difference in result.asked] == [
        "seed", "length", "scenario.yaml, its first other line",
    ]  # fmt: skip
    text = str(result)
    assert text.index("seed: 7 | 8") < text.index("- count: 10 | - count: 11") < text.index("identical, bit for bit")
    assert compare(original, original).asked == ()
