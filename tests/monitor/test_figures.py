"""What the figures and their tables say is computed from the records, and drawn as it was."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fake_run
import numpy as np
import pytest

from monitor import report
from monitor.figures import curves, ems, head, system
from monitor.figures.lines import Clock, line, time_plot
from monitor.results import load


def test_predictions_are_the_tblms_in_force(run_dir: Path) -> None:
    run = load(run_dir)
    tblms = run.tblms("15")
    truth = head.measured(run, "15", tblms)
    assert truth.source == "grid.bus_p_w"
    guess = head.predicted(tblms, truth)
    at = int(np.flatnonzero(truth.t_s == 110.0)[0])
    expected = fake_run.bus_power(60.0, fake_run.v_pu(110.0)[0], fake_run.f_hz(110.0), 1.5)  # the TBLM of t = 60 s
    assert guess.p_w["fast"][at] == pytest.approx(expected[0], rel=5e-3)  # linear between the points of the table
    assert guess.q_var["fast"][at] == pytest.approx(expected[1], rel=5e-3)
    assert guess.p_w["constant"][at] == tblms[1].operating_point.P_W
    assert guess.moved[at] and not guess.moved[truth.t_s == 61.0].any()
    assert np.isnan(guess.p_w["fast"][truth.t_s == 0.0]).all()  # a TBLM is not used at the instant of its publication


def test_a_bad_or_expired_tblm_predicts_nothing(run_dir: Path) -> None:
    run = load(run_dir)
    first, *rest = run.tblms("15")
    truth = head.measured(run, "15", [first])
    alone = head.predicted([first], truth)
    assert np.isfinite(alone.p_w["fast"][(truth.t_s > 0.0) & (truth.t_s <= 180.0)]).all()
    assert np.isnan(alone.p_w["fast"][truth.t_s > 180.0]).all()  # its horizon
    spoilt = [replace(t, quality=replace(t.quality, flag="bad")) for t in rest]
    with_bad = head.predicted([first, *spoilt], truth)
    assert np.array_equal(with_bad.p_w["fast"], alone.p_w["fast"], equal_nan=True)


def test_tblms_that_are_all_bad_leave_the_measurement_alone(run_dir: Path) -> None:
    run = load(run_dir)
    tblms = [replace(t, quality=replace(t.quality, flag="bad")) for t in run.tblms("15")]
    guess = head.predicted(tblms, head.measured(run, "15", tblms))
    assert all(np.isnan(values).all() for values in guess.p_w.values()) and not guess.moved.any()


def by_phase(bus_p_w: float, bus: str | None = None) -> fake_run.Replay:
    """A feeder that publishes its bus's power by phase, and perhaps names the bus."""
    phases, port = ("a", "b", "c"), fake_run.Port
    catalogue = {"bus": bus} if bus else {}
    return fake_run.Replay(
        [
            port("bus_p_w", "W", phases),
            port("bus_q_var", "var", phases),
            port("node_v_pu", "pu"),
            port("catalogue", kind="document"),
        ],
        lambda t_s: {
            "bus_p_w": [bus_p_w / 2, bus_p_w / 4, bus_p_w / 4],
            "bus_q_var": [t_s, 0.0, 0.0],
            "node_v_pu": [1.0],
            "catalogue": catalogue,
        },
    )


@pytest.mark.parametrize(
    ("feeders", "source"),
    [
        ({"north": by_phase(6.0, "15"), "south": by_phase(3e6, "20")}, "north.bus_p_w"),  # named, however far away
        ({"north": by_phase(6.0, "20"), "south": by_phase(2.9e6)}, "south.bus_p_w"),  # the nearest of those that name none
        ({"north": by_phase(3.05e6), "south": by_phase(2.8e6)}, "north.bus_p_w"),
        ({"north": by_phase(1.5e6)}, "the operating points of the TBLMs themselves"),
    ],
)
def test_the_feeder_of_a_bus_is_found(tmp_path: Path, feeders: dict[str, fake_run.Replay], source: str) -> None:
    members = {name: federate for name, federate in fake_run.federates().items() if name in ("grid", "tblm_15")}
    members["grid"].outputs = members["grid"].outputs[:2]
    answer = members["grid"].answer
    members["grid"].answer = lambda t_s: {name: answer(t_s)[name] for name in ("f_hz", "v_pu")}
    run = load(fake_run.make(tmp_path / "run", 20.0, {**members, **feeders}))
    truth = head.measured(run, "15", run.tblms("15"))
    assert truth.source == source
    if source == "north.bus_p_w":
        assert set(truth.p_w) == {feeders["north"].answer(0.0)["bus_p_w"][0] * 2} and truth.q_var[-1] == 19.0


def test_both_sides_of_a_jump_are_drawn() -> None:
    tblm = fake_run.tblm("15", 0.0, 1)
    v, values = curves.along_v(tblm.curve("fast"), 60.0)
    assert list(v).count(0.95) == 2 and values.shape == (2, len(v))
    assert values[0][4] == tblm.curve("fast").P_W[4][2]
    f, values = curves.along_f(tblm.curve("fast"), 1.0)
    assert list(f) == [57.0, 59.0, 60.0, 61.0] and values[1][2] == tblm.curve("fast").Q_var[4][2]


def test_the_verdict_on_predictions_is_computed(run_dir: Path) -> None:
    found = ems.judged(load(run_dir))
    predicted = {(item.quantity, item.horizon) for item in found if item.view == "prediction"}
    # settled, constant P, Q has no solution; its frequency does not need one
    assert predicted == {("v_pu", "fast"), ("p_w", "fast"), ("q_var", "fast"), ("f_hz", "settled")}
    voltage, frequency, active, reactive = ems.findings(found)
    assert voltage.startswith("Voltage: the TBLM was nearer in 1 of 1") and "median error 0.00010 pu against 0.00500 pu" in voltage
    assert frequency.startswith("Lowest frequency: the TBLM was nearer in 1 of 1, constant P, Q in 0")
    assert active.startswith("Active power: the TBLM was nearer in 1 of 1, constant P, Q in 0")
    assert reactive.startswith("Reactive power: the TBLM was nearer in 0 of 1, constant P, Q in 1")


def test_the_three_views_on_an_outcome(run_dir: Path) -> None:
    errors = {
        (i.view, i.quantity): (i.with_tblm, i.with_constant) for i in ems.judged(load(run_dir)) if i.horizon == "fast" and i.bus
    }
    assert errors["prediction", "p_w"] == pytest.approx((-1e4, 9e4))
    assert errors["change", "p_w"] == pytest.approx((-1e5 + 1.4e5, 1.4e5))  # came: 3.05 -> 2.91 MW; foretold: 3.00 -> 2.90, 3.00
    assert errors["at_voltage", "p_w"] == pytest.approx((1e4, 1.4e5))
    assert errors["change", "v_pu"] == pytest.approx((0.9701 - 0.9990 + 0.03, 0.9650 - 0.9990 + 0.03))


def test_the_lowest_frequency_is_judged_by_the_recorded_one(run_dir: Path) -> None:
    (item,) = [item for item in ems.judged(load(run_dir)) if item.quantity == "f_hz"]  # once, though two horizons foretell it
    lowest = min(fake_run.f_hz(fake_run.TRIP_S + k) for k in range(121))
    assert item.truth == lowest and (item.horizon, item.bus) == ("settled", "")
    assert (item.with_tblm, item.with_constant) == pytest.approx((59.55 - lowest, 59.45 - lowest))


def test_only_the_frequency_from_the_loss_to_the_settled_horizon_counts(tmp_path: Path) -> None:
    def answer(t_s: float) -> fake_run.Outputs:
        return {"f_hz": [{99.0: 59.0, 219.0: 59.35, 221.0: 59.0}.get(t_s, 59.9)], "v_pu": [1.0, 1.0]}

    members = fake_run.federates()
    grid = fake_run.Replay(members["grid"].outputs[:2], answer)
    run = load(fake_run.make(tmp_path / "run", members={"grid": grid, "ems": members["ems"]}))
    assert [item.truth for item in ems.judged(run) if item.quantity == "f_hz"] == [59.35]


def test_the_loss_of_a_line_foretells_no_frequency(run_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    solved = fake_run.outcome("fast")["predicted_with_constant"]
    row = {**fake_run.outcome("settled"), "kind": "line", "predicted_with_constant": solved}
    line = {"federate": "ems", "t_ns": row["compared_ns"], "version": 1, "document": {"outcomes": [row]}}
    (copy / "documents" / "outcome" / "ems.jsonl").write_text(json.dumps(line) + "\n")
    found = [item for item in ems.judged(load(copy)) if item.view == "prediction"]
    assert {(item.quantity, item.horizon) for item in found} == {(name, "settled") for name in ("v_pu", "p_w", "q_var")}


def test_a_measurement_that_is_off_has_not_moved(run_dir: Path) -> None:
    """A biased transducer makes every TBLM start beside the truth; V and f have moved only where they truly did."""
    run = load(run_dir)
    tblms = run.tblms("15")
    truth = head.measured(run, "15", tblms)
    biased = [replace(t, operating_point=replace(t.operating_point, V_pu=t.operating_point.V_pu * 1.02)) for t in tblms]
    guess, exact = head.predicted(biased, truth), head.predicted(tblms, truth)
    assert 0.015 < guess.v_error_pu < 0.025 and abs(exact.v_error_pu) < 1e-3
    assert np.mean(guess.moved != exact.moved) < 0.05


def test_the_change_leaves_out_what_was_off_from_the_start(run_dir: Path) -> None:
    """A power transducer that is off shifts every prediction; the predicted change is the same."""
    run = load(run_dir)
    tblms = run.tblms("15")
    truth = head.measured(run, "15", tblms)
    off = replace(truth, p_w=truth.p_w + 1e6)
    right, shifted = head.predicted(tblms, truth), head.predicted(tblms, off)
    for name in ("fast", "settled", "constant"):
        change = [guess.p_w[name] - guess.p_off_w[name] - true.p_w for guess, true in ((right, truth), (shifted, off))]
        assert np.allclose(change[0], change[1], equal_nan=True) and np.isfinite(change[0]).any()
        assert np.nanmax(np.abs(right.p_off_w[name] - shifted.p_off_w[name] - 1e6)) < 1e-3


def test_the_power_of_feeders_and_of_the_whole_bus_are_both_shown(tmp_path: Path) -> None:
    """The bus draws 5 MW of native load beside what its feeders draw."""
    members = {name: federate for name, federate in fake_run.federates().items() if name in ("grid", "tblm_15")}
    grid, answer = members["grid"], members["grid"].answer
    native_w = 5e6
    for port, unit in (("load_p_w", "W"), ("load_q_var", "var")):
        grid.outputs = (*grid.outputs, fake_run.Port(port, unit, fake_run.BUSES, "load of every bus"))

    def with_native(t_s: float) -> dict[str, object]:
        given = answer(t_s)
        return {**given, "load_p_w": np.asarray(given["bus_p_w"]) + native_w, "load_q_var": np.asarray(given["bus_q_var"])}

    grid.answer = with_native
    page = report.build(load(fake_run.make(tmp_path / "run", 20.0, members)))
    section = page[page.index('<section id="head">') :]
    row = re.findall(r'<td class="n">([^<]*)</td>', section[section.index("P, whole bus (MW)") :])[:7]
    feeders, native, whole = (float(cell) for cell in row[1:4])
    assert native == 5.0 and whole == pytest.approx(feeders + native, abs=0.011)
    assert float(row[5]) == 0.0


def test_contingencies_that_island_are_told_apart_from_those_without_a_solution(run_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    path = next((copy / "documents" / "prediction").glob("*.jsonl"))
    *others, last = path.read_text().splitlines()
    row = json.loads(last)
    for contingency, reason in zip(row["document"]["contingencies"], ("islanded", "diverged"), strict=False):
        for way in ("with_tblm", "with_constant"):
            contingency[way] = {"converged": False, "reason": reason}
    path.write_text("\n".join([*others, json.dumps(row)]) + "\n")
    page = report.build(load(copy))
    assert "; 1 of them cut buses off (islanding)" in page and "have no solution in at least one of the two ways" in page


def test_marks_that_are_close_stand_above_each_other() -> None:
    from bokeh.models.annotations import Label

    fig = time_plot(Clock(3600.0, ((1800.0, "E3"), (1805.0, "E4"), (2400.0, "E5"))), "y")
    labels = {label.text: label.y for label in fig.center if isinstance(label, Label)}
    assert labels["E3"] == labels["E5"] < labels["E4"]


def test_values_are_drawn_as_steps() -> None:
    clock = Clock(60.0)
    fig = time_plot(clock, "y")
    line(fig, clock, np.array([0.0, 10.0]), np.array([1.0, 2.0]), "a", "#000000")
    assert [type(renderer.glyph).__name__ for renderer in fig.renderers] == ["Step"]
    assert fig.renderers[0].glyph.mode == "after"


def grid_of(f_hz: Callable[[float], float], period_s: float) -> fake_run.Replay:
    """A bulk system with a step of its own."""
    ports = [fake_run.Port("f_hz", "Hz"), fake_run.Port("v_pu", "pu", ("15",))]
    return fake_run.Replay(ports, lambda t_s: {"f_hz": [f_hz(t_s)], "v_pu": [1.0]}, round(period_s * fake_run.S_NS))


@pytest.mark.parametrize(
    ("period_s", "stop_s", "says"),
    [(60.0, 36000.0, "The finest step here is 60 s."), (0.5, 300.0, "The finest step here is 500 ms."), (60.0, 3600.0, "")],
)
def test_the_close_up_is_as_wide_as_the_step_asks_for(tmp_path: Path, period_s: float, stop_s: float, says: str) -> None:
    """At a minute a step 80 s of it would hold one value; a run that is not longer than the close-up has none."""
    at_s = stop_s / 2
    members = {"grid": grid_of(lambda t_s: 60.0 - (0.08 if t_s == at_s else 0.0), period_s)}
    run = load(fake_run.make(tmp_path / "run", stop_s, members))
    section = system.section(run, Clock(stop_s))
    assert section is not None
    words = [str(block) for block in section.blocks]
    assert any(says in text for text in words) and any("close up" in text for text in words) == bool(says)
