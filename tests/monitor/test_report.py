"""The report: self-contained, safe against texts of the run, complete for what was recorded, honest about how the run ended."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
import shutil
from pathlib import Path

import fake_run
import numpy as np
import pytest

from monitor import report, summary
from monitor.figures import ems
from monitor.figures.lines import Clock, held, thin
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
    assert "96 x real time, start-up included" in page  # 240 s in 2.5 s
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
    message = "process field (federates north, south; north was computing) at t = 150 s: <b>boom</b>"
    meta = {**fake_run.META, "stop_ns": 600 * 10**9, "exit_code": 3, "message": message, "cause": "boom", "ended_ns": 150 * 10**9}
    (copy / "meta.json").write_text(json.dumps(meta))
    page = summary_of(copy)
    top = page[page.index('<section id="summary">') :][:1500]
    assert "The run ended early at t = 150 s of 600 s with exit code 3" in top
    assert html.escape(message, quote=True) in top
    assert set(re.findall(r"([\d.]+) s", re.sub(r"<[^>]*>", " ", top[: top.index("Wall time")]))) == {"150", "600"}  # one end


def test_warnings_of_the_run_stand_at_the_top(run_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    (copy / "meta.json").write_text(json.dumps({**fake_run.META, "warnings": ["frequency went to 40.000 Hz"]}))
    assert "Warning: frequency went to 40.000 Hz." in summary_of(copy)


def test_the_nominal_frequency_is_the_recorded_one(run_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    (copy / "meta.json").write_text(json.dumps({**fake_run.META, "nominal_hz": 50.0}))
    assert "Good is a line near 50 Hz (nominal)" in report.build(load(copy))
    assert "Good is a line near its nominal value" in report.build(load(run_dir))


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
    parts = re.split(r'<section id="(\w+)">', page)
    broken = {name for name, text in zip(parts[1::2], parts[2::2], strict=True) if "could not be made" in text}
    assert broken == {"head", "curves", "capability", "shedding", "ems"}  # the last needs the outcome, the others the TBLM
    assert set(sections(page)) == {*SECTIONS, "capability", "shedding"}


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


def test_the_last_value_holds_to_the_end() -> None:
    t_s, values = held(np.array([0.0, 10.0]), np.array([[1.0, 2.0], [3.0, 4.0]]), 60.0)
    assert list(t_s) == [0.0, 10.0, 60.0]
    assert values.tolist() == [[1.0, 2.0], [3.0, 4.0], [3.0, 4.0]]
    assert held(np.zeros(0), np.zeros(0), 60.0)[0].size == 0


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
