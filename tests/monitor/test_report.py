"""The report: self-contained, safe against texts of the run, complete for what was recorded, honest about how the run ended."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import fake_run
import numpy as np
import pytest

from monitor import report, summary
from monitor.figures import curves, ems, head
from monitor.figures.lines import Clock, steps, thin
from monitor.page import Html, render, table, text
from monitor.results import load

SECTIONS = ["summary", "system", "head", "curves", "ems", "profile", "der", "meters", "events", "timing", "records"]


@pytest.fixture(scope="module")
def page(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    copy = tmp_path_factory.mktemp("report") / "run"
    shutil.copytree(run_dir, copy)
    path = report.write(copy)
    assert path == copy / "report.html"
    return path.read_text(encoding="utf-8")


def summary_of(run_dir: Path) -> str:
    return render("", "", [summary.section(load(run_dir))])


def sections(page: str) -> list[str]:
    return re.findall(r'<section id="(\w+)">', page)


def test_every_section_is_there_and_in_the_contents(page: str) -> None:
    assert sections(page) == SECTIONS
    assert re.findall(r'<a href="#(\w+)">', page) == SECTIONS
    assert "could not be made" not in page
    assert len(page) < 8e6


def test_nothing_is_loaded_from_outside(page: str) -> None:
    markup = re.sub(r"<script>.*?</script>", "<script></script>", page, flags=re.DOTALL)
    assert not re.findall(r"https?:", markup)
    assert not re.findall(r"<(?:link|iframe|img|object|embed)\b|@import|url\(", markup)
    assert not re.findall(r"<script[^>]+\S", markup.replace("<script></script>", "").replace('<script type="text/javascript">', ""))
    scripts = "".join(re.findall(r"<script[^>]*>(.*?)</script>", page, flags=re.DOTALL))
    assert not re.findall(r"""(?:src|href)\s*=\s*["'`]https?:""", scripts)
    assert not re.findall(r"""(?:fetch|import|importScripts|open)\(\s*["'`]https?:""", scripts)
    # what is left are names of licences, projects and XML namespaces
    hosts = {address.split("/")[2] for address in re.findall(r"https?://[^\s\"'`)<>\\]+", scripts)}
    assert hosts <= {
        "www.w3.org", "bokeh.org", "docs.bokeh.org", "jquery.org", "tabler.io", "github.com", "www.foretagsplatsen.se",
        "developers.google.com",
    }  # fmt: skip
    assert "default-src 'none'" in page


def test_texts_of_the_run_are_escaped(page: str) -> None:
    assert fake_run.EVIL not in page and "<script>alert" not in page
    assert html.escape(fake_run.EVIL) in page


def test_the_summary_tells_the_facts(page: str) -> None:
    assert "The run ended well, and every expectation holds." in page
    assert "96 times as fast as real time" in page  # 240 s in 2.5 s
    for words in ("grid.f_hz min 59", "no shedding", "seed 7", "python 3.11"):
        assert words in page
    lowest = min(fake_run.f_hz(float(t)) for t in range(240))
    assert f"{lowest:.3f} Hz" in page


def test_a_failed_expectation_is_plain_to_see(run_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    failed = {"signal": "x", "text": "x below 3", "passed": False, "value": 4.25, "because": "why"}
    meta = {**fake_run.META, "stop_ns": 240 * 10**9, "exit_code": 1, "expectations": [failed]}
    meta["expectations_not_reached"] = ["y at 900 s"]
    (copy / "meta.json").write_text(json.dumps(meta))
    page = summary_of(copy)
    assert "1 of 1 expectations failed" in page and "FAILED" in page and "4.25" in page
    assert "not reached" in page and "y at 900 s" in page


def test_a_failed_run_says_at_the_top_who_when_and_why(run_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    cause = "federate north failed in step at t = 150 s: <b>boom</b>"
    meta = {**fake_run.META, "stop_ns": 600 * 10**9, "exit_code": 3, "cause": cause, "federate": "north", "t_ns": 150 * 10**9}
    (copy / "meta.json").write_text(json.dumps(meta))
    page = summary_of(copy)
    top = page[page.index('<section id="summary">') :][:1500]
    assert "exit code 3" in top and "Federate north." in top and "t = 150 s of 600 s" in top
    assert html.escape(cause, quote=True) in top
    assert "The records reach t = 239 s." in top


def test_a_killed_run_has_a_report(killed_dir: Path) -> None:
    page = report.build(load(killed_dir))
    assert "killed, or is still running" in page
    assert "could not be made" not in page
    assert sections(page) == SECTIONS


def test_only_what_was_recorded_appears(tmp_path: Path) -> None:
    members = {"grid": fake_run.federates()["grid"]}
    page = report.build(load(fake_run.make(tmp_path / "run", 10.0, members)))
    assert sections(page) == ["summary", "system", "timing", "records"]


def test_a_run_without_records_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text(json.dumps({"exit_code": 130, "cause": "interrupted", "t_ns": 0, "stop_ns": 1}))
    page = report.build(load(tmp_path))
    assert sections(page) == ["summary"] and "interrupted" in page


def test_documents_of_a_foreign_shape_cost_one_section_only(run_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    (copy / "documents" / "outcome" / "ems.jsonl").write_text('{"federate":"ems","t_ns":0,"version":1,"document":{"mine":1}}\n')
    (copy / "tblm" / "15.jsonl").write_text('{"federate":"t","t_ns":0,"version":1,"document":{"bus":1}}\n')
    page = report.build(load(copy))
    assert sections(page) == SECTIONS
    assert page.count("could not be made") == 3  # head and curves need the TBLM, ems the outcome


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


def test_accepted_and_rejected_tblms_are_counted(page: str) -> None:
    row = page[page.index("TBLMs as the EMS received them") :][:900]
    assert re.findall(r'<td class="n">(\d+)</td>', row)[:2] == ["1", "3"] and "3 x &lt;script&gt;" in row


@pytest.mark.parametrize(
    ("tblm", "constant", "verdict"), [(1.0, 2.0, "TBLM"), (2.0, 1.0, "constant"), (1.0, 1.01, "alike"), (0.0, 0.0, "alike")]
)
def test_nearer(tblm: float, constant: float, verdict: str) -> None:
    assert ems.nearer(tblm, constant) == verdict


def test_thinning_keeps_ends_and_peaks() -> None:
    y = np.sin(np.arange(50_000) / 3000.0)
    y[12_345], y[40_000], y[7] = 9.0, -9.0, np.nan
    kept = thin(y, 400)
    assert len(kept) <= 400 and (np.diff(kept) > 0).all()
    assert {0, 12_345, 40_000, 49_999} <= set(kept.tolist())
    assert list(thin(y[:5])) == [0, 1, 2, 3, 4]
    assert len(thin(np.full(5000, np.nan), 400)) <= 400


def test_held_values_are_drawn_as_steps_to_the_end() -> None:
    t_s, values = steps(np.array([0.0, 10.0]), np.array([[1.0, 2.0], [3.0, 4.0]]), 60.0)
    assert list(t_s) == [0.0, 10.0, 10.0, 60.0]
    assert values.tolist() == [[1.0, 2.0], [1.0, 2.0], [3.0, 4.0], [3.0, 4.0]]
    assert steps(np.zeros(0), np.zeros(0), 60.0)[0].size == 0


def test_a_thousand_nodes_become_a_band(tmp_path: Path) -> None:
    nodes = tuple(f"node{k}" for k in range(9501))
    rows = np.linspace(0.95, 1.05, len(nodes))
    feeder = fake_run.Replay([fake_run.Port("node_v_pu", "pu", nodes)], lambda t_s: {"node_v_pu": rows + 1e-4 * t_s})
    page = report.build(load(fake_run.make(tmp_path / "run", 60.0, {"north": feeder})))
    assert "9501 nodes: min to max" in page
    assert len(page) < 2e6


def test_the_clock_goes_to_the_stop_or_to_the_last_record(run_dir: Path, killed_dir: Path) -> None:
    assert summary.clock(load(run_dir)).end_s == 240.0
    assert summary.clock(load(killed_dir)).end_s == summary.last_record_s(load(killed_dir)) > 0.0
    assert summary.clock(load(run_dir)).marks == ((fake_run.TRIP_S, "E1"),)
    assert [Clock(t).label[-4:] for t in (60.0, 3600.0, 86400.0)] == [" (s)", "min)", " (h)"]


def test_tables_escape_and_count_what_they_leave_out() -> None:
    markup = table(["<a>", "n"], [["<b>", 1], [Html("<i>ok</i>"), 2], ["c", 3]], numeric=(1,), limit=2)
    assert "&lt;a&gt;" in markup and "&lt;b&gt;" in markup and "<i>ok</i>" in markup
    assert "1 more rows" in markup and ">c<" not in markup
    assert text("'") == "&#x27;"


def test_figures_carry_the_numbers_of_the_run(page: str, run_dir: Path) -> None:
    packed = re.findall(r'"data":"([A-Za-z0-9+/=]+)"', html.unescape(page))
    drawn = [gzip.decompress(base64.b64decode(data)) for data in packed]
    run = load(run_dir)
    for name in ("grid.f_hz", "grid.v_pu", "ders.soc_wh"):
        last = run.vector(name).values[:, -1] / (1e3 if name == "ders.soc_wh" else 1.0)
        assert last.astype(np.float32).tobytes() in drawn, name
