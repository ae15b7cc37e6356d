"""`load` gives what the recorder was told, from a finished run, a killed one, and one whose merge was interrupted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fake_run
import numpy as np
import pytest

from federates.runtime.port import Quality
from federates.runtime.record import merge
from federates.tblm import model
from monitor.results import NoSuchRecordError, NotARunError, load


def test_signal_frames_hold_what_was_published(run_dir: Path) -> None:
    run = load(run_dir)
    frame = run.signal("grid.v_pu")
    assert list(frame.columns) == list(fake_run.BUSES)
    assert frame.index.name == "t_s" and frame.index[-1] == 239.0
    assert frame.attrs == {"unit": "pu", "doc": "positive-sequence voltage", "federate": "grid"}
    assert np.array_equal(frame.loc[150.0].to_numpy(), fake_run.v_pu(150.0))


def test_a_scalar_has_one_column_named_after_its_port(run_dir: Path) -> None:
    frame = load(run_dir).signal("grid.f_hz")
    assert list(frame.columns) == ["f_hz"]
    assert frame.loc[110.0, "f_hz"] == fake_run.f_hz(110.0)


def test_quality_and_measurement_time_have_the_shape_of_the_values(run_dir: Path) -> None:
    run = load(run_dir)
    quality, measured = run.quality("ami.coverage"), run.measured_at("ami.coverage")
    assert quality.shape == measured.shape == run.signal("ami.coverage").shape
    assert set(quality["15"]) == {0} and set(quality["20"]) == {int(Quality.ESTIMATED)}
    assert measured.loc[100.0, "15"] == 95.0


def test_an_instant_has_one_row_and_the_matrix_all(tmp_path: Path) -> None:
    count = iter(range(100))
    counter = fake_run.Replay(
        [fake_run.Port("x"), fake_run.Port("y", ids=("a", "b"))], lambda t_s: {"x": [next(count)], "y": [t_s, 1.0]}
    )
    run = load(fake_run.make(tmp_path / "run", 3.0, {"counter": counter}))
    assert list(run.matrix("counter.x", "values")[0]) == [0, 0, 10**9, 2 * 10**9]
    assert list(run.signal("counter.x").index) == list(run.quality("counter.x").index) == [0.0, 1.0, 2.0]
    vector = run.vector("counter.x")
    assert list(vector.t_s) == [0.0, 1.0, 2.0] and list(vector.values[:, 0]) == [1.0, 2.0, 3.0]
    assert run.vector("counter.y").values.shape == (3, 2)


def test_find_goes_by_port_and_unit_not_by_federate(run_dir: Path) -> None:
    run = load(run_dir)
    assert run.find("p_w") == ("ders.p_w",)
    assert run.find("p_w", "var") == ()


def test_events_come_in_order_with_their_payload(run_dir: Path) -> None:
    events = load(run_dir).events()
    assert list(events["source"]) == ["ems.ack", "ems.ack", "north.alarm", "scenario.grid.action", "ems.ack", "ems.ack"]
    assert list(events.index) == [0.0, 60.0, fake_run.TRIP_S, fake_run.TRIP_S, 120.0, 180.0]
    assert events["payload"].iloc[3]["what"] == fake_run.EVIL


def test_tblms_and_documents(run_dir: Path) -> None:
    run = load(run_dir)
    assert run.buses == fake_run.BUSES
    assert run.tblms("20") == [fake_run.tblm("20", 60.0 * k, k + 1) for k in range(4)]
    assert [(d.t_ns, d.version) for d in run.tblm_documents("20")] == [(60_000_000_000 * k, k + 1) for k in range(4)]
    assert run.document_ports["outcome"] == ("ems",)
    assert run.documents("outcome", "ems")[0].document["outcomes"][0]["event"] == "G33"
    assert isinstance(run.tblms("15")[0], model.Tblm)


def test_timing_has_a_row_per_call(run_dir: Path) -> None:
    timing = load(run_dir).timing()
    assert list(timing.columns) == ["federate", "t_ns", "started_ns", "compute_ns"]
    assert (timing.groupby("federate").size() == 242).all()  # start, 240 steps, stop
    assert (timing["compute_ns"] >= 0).all()


def test_meta(run_dir: Path) -> None:
    assert load(run_dir).meta["seed"] == 7


@pytest.mark.parametrize("torn", ["{", "[]"])
def test_a_damaged_meta_is_told_not_raised(run_dir: Path, tmp_path: Path, torn: str) -> None:
    shutil.copytree(run_dir, tmp_path / "run")
    (tmp_path / "run" / "meta.json").write_text(torn)
    assert "meta.json" in load(tmp_path / "run").meta["cause"]


def test_a_killed_run_reads_up_to_its_last_flush(killed_dir: Path) -> None:
    run = load(killed_dir)
    assert run.meta == {}
    assert "grid.f_hz" in run.signals and "grid.bus_q_var" not in run.signals
    frame = run.signal("grid.f_hz")
    assert 180.0 <= frame.index[-1] < 239.0 and frame["f_hz"].iloc[-1] == fake_run.f_hz(frame.index[-1])
    assert len(run.events()) == 6
    assert len(run.tblms("15")) == 4
    assert set(run.timing()["federate"]) == set(fake_run.federates())


def test_a_killed_run_reads_the_same_after_its_merge(tmp_path: Path) -> None:
    path = fake_run.make(tmp_path / "run", stop_s=130.0, finish=False)
    before = load(path)
    frames, events, timing = {name: before.signal(name) for name in before.signals}, before.event_rows(), before.timing()
    merge(path)
    after = load(path)
    assert after.signals == tuple(frames) and after.event_rows() == events and after.timing().equals(timing)
    assert all(after.signal(name).equals(frame) for name, frame in frames.items())


def test_an_interrupted_merge_counts_nothing_twice(tmp_path: Path) -> None:
    path = fake_run.make(tmp_path / "run", stop_s=130.0, finish=False)
    whole = load(path).event_rows(), load(path).signal("grid.f_hz")
    kept = tmp_path / "kept"
    shutil.copytree(path, kept)
    merge(path)
    for name in ("events", "signals"):
        shutil.copytree(kept / name, path / name, dirs_exist_ok=True)
    (path / "signals" / "grid.f_hz.parquet").write_bytes(b"half a file")
    assert load(path).event_rows() == whole[0]
    assert load(path).signal("grid.f_hz").equals(whole[1])


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotARunError, match="not a run directory"):
        load(tmp_path)
    with pytest.raises(NotARunError, match="no such directory"):
        load(tmp_path / "nowhere")
    (tmp_path / "meta.json").write_text(json.dumps({"seed": 1}))
    assert load(tmp_path).signals == ()


def test_unknown_names_are_answered_with_the_known_ones(run_dir: Path) -> None:
    run = load(run_dir)
    with pytest.raises(NoSuchRecordError, match=r"grid\.fhz.*grid\.f_hz"):
        run.signal("grid.fhz")
    with pytest.raises(NoSuchRecordError, match="15, 20"):
        run.tblms("16")
    with pytest.raises(NoSuchRecordError, match="outcome of ems"):
        run.documents("outcome", "grid")
