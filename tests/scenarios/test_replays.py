"""The replays of real events hold what was published, and what a scenario may say about them is checked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import run_cosim
from scenarios.build import build
from scenarios.dump import dump
from scenarios.inventory import take_inventory
from scenarios.load import load_scenario
from scenarios.ports import inputs_of, outputs_of
from scenarios.trace import TraceError, read_trace

ROOT = Path(run_cosim.__file__).parent
REPLAYS = re.findall(r"^REPLAYS := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[0].split()
Problems = Callable[[str], list[tuple[int, str]]]
AREAS = """\
name: study
start: 2024-07-01T12:00:00
stop_s: 20
federates:
  - {name: gb, kind: areas, nominal_hz: 50, areas: [{name: uk, inertia_ws: 2.0e+11, load_w: 3.0e+10}]}
"""
PLAYED = """\
name: study
start: 2024-07-01T12:00:00
stop_s: 4
federates:
  - {name: grid, kind: player, file: trace.csv}
  - {name: f13, kind: distribution, feeder: ieee13, grid: grid, bus: here, count: 2, profile: {source: flat, noise: 0}}
recorded:
  - {signal: grid.f_hz, source: a meter, file: trace.csv, column: f_hz}
"""


@pytest.mark.parametrize("name", REPLAYS)
def test_a_replay_holds_what_was_published(name: str, tmp_path: Path) -> None:
    assert run_cosim.main(["run", name, "--runner", "local", "--quiet", "--out", str(tmp_path)]) == 0
    (run_dir,) = tmp_path.iterdir()
    page = (run_dir / "report.html").read_text(encoding="utf-8")
    assert "could not be made" not in page
    scenario = load_scenario(name).scenario
    if scenario.recorded:
        assert "Record and simulation" in page
        recorded = json.loads((run_dir / "meta.json").read_text(encoding="utf-8"))["recorded"]
        assert [len(r["t_s"]) for r in recorded] == [len(r.points) for r in scenario.recorded]


@pytest.mark.parametrize("name", ["gb_2019_08_09", "continental_split_2021_01_08", "uvls_delayed_recovery"])
def test_the_table_of_ports_is_what_the_federates_have(name: str) -> None:
    loaded = load_scenario(name)
    entries = [entry.model_dump() for entry in loaded.scenario.federates]
    federates = {spec.name: spec.build() for spec in build(loaded, take_inventory(loaded)).specs}
    for entry in entries:
        outputs, inputs = outputs_of(entry, entries), inputs_of(entry, entries)
        outputs.pop("coupling", None)  # the seat's own, for the leader
        federate = federates[entry["name"]]
        for table, ports in ((outputs, federate.outputs), (inputs, federate.inputs)):
            real = {port.name: (port.kind, port.unit if port.kind == "vector" else "1", not port.ids) for port in ports}
            wanted = {key: (port.kind, port.unit if port.kind == "vector" else "1") for key, port in table.items()}
            assert {key: value[:2] for key, value in real.items()} == wanted, entry["name"]
            scalars = {key for key, (kind, _, scalar) in real.items() if kind == "vector" and scalar}
            assert scalars == {key for key, port in table.items() if port.scalar}, entry["name"]


def test_both_runners_give_the_same_replay(tmp_path: Path) -> None:
    from monitor.compare import compare

    runs = []
    for runner in ("local", "helics"):
        out = tmp_path / runner
        assert (
            run_cosim.main(["run", "uvls_delayed_recovery", "--runner", runner, "--stop", "18", "--quiet", "--out", str(out)]) == 0
        )
        runs += list(out.iterdir())
    assert compare(*runs).identical


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("load_w: 3.0e+10}", "load_w: 3.0e+10}, {name: uk, inertia_ws: 1.0, load_w: 1.0}", 5, "already used"),
        ("}]}", "}], ties: [{name: t, from_area: uk, to_area: fr, p_w: 0}]}", 5, "there is no area 'fr'"),
        ("}]}", "}]}\nevents: [{t_s: 1, to: gb, action: {do: open_tie, tie: t}}]", 6, "there is no tie 't'"),
        ("}]}", "}]}\nevents: [{t_s: 1, to: gb, action: {do: shed_load, p_w: 1, area: fr}}]", 6, "there is no area 'fr'"),
        ("nominal_hz: 50", "nominal_hz: 55", 5, "write nominal_hz: 50 or 60"),
        ("nominal_hz: 50", "step_s: 0.03", 5, "must be multiples of step_s"),
        ("}]}", "}]}\nrecorded: [{signal: gb.hz, source: x, points: [[1, 2]]}]", 6, "no output 'hz'"),
        ("}]}", ", profiles: [{name: p, points: [[1, 0], [1, 5]]}]}]}", 5, "points must rise in time"),
        ("}]}", ", embedded: [{name: p, p_w: 1}]}]}", 5, "it never trips"),
        (
            "}]}",
            "}]}\n  - {name: f, kind: distribution, feeder: ieee13, grid: gb, bus: uk}\n"
            "  - {name: d, kind: ders, feeder: f, pv: {share_of_load: 0.1}}",
            7,
            "IEEE 1547, a standard for 60 Hz",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_areas(problems: Problems, old: str, new: str, line: int, message: str) -> None:
    assert problems(AREAS) == []
    found = problems(AREAS.replace(old, new, 1))
    assert any(n == line and message in text for n, text in found), found


def test_a_trace_of_ones_own_is_played_and_laid_over(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(PLAYED, encoding="utf-8")
    (tmp_path / "trace.csv").write_text("t_s,f_hz,v_pu\n0,60,1\n2,59.9,0.98\n4,60,1\n", encoding="utf-8")
    loaded = load_scenario(str(tmp_path / "study.yaml"))
    assert f"file: {tmp_path}/trace.csv" in dump(loaded)
    assert (
        run_cosim.main(["run", str(tmp_path / "study.yaml"), "--runner", "local", "--quiet", "--out", str(tmp_path / "runs")]) == 0
    )
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert json.loads((run_dir / "meta.json").read_text(encoding="utf-8"))["recorded"][0]["values"] == [60.0, 59.9, 60.0]


def test_relays_and_der_follow_a_record(tmp_path: Path) -> None:
    """A stage of 59.5 Hz and DER of IEEE 1547-2003, which trip at 59.3 Hz, under a record that goes to 59.2 Hz."""
    more = (
        "  - {name: relays, kind: relays, feeder: f13, ufls: [{pickup_hz: 59.5, delay_s: 0.1, feeders: 1}]}\n"
        "  - {name: ders, kind: ders, feeder: f13, pv: {share_of_load: 0.3, sites: 4, profile: flat, standard: ieee1547_2003}}\n"
        "expect:\n"
        "  - {signal: f13.feeders_closed, within_s: [0, 1.9], equals: 2, tolerance: 0, because: 59.6 Hz is above the stage}\n"
        "  - {signal: f13.feeders_closed, at_s: 3.5, equals: 1, tolerance: 0, because: the stage acts}\n"
        "  - {signal: ders.p_w, at_s: 3.5, equals: 0, tolerance: 0, because: 59.2 Hz for longer than 0.16 s}\n"
    )
    federates, expect = more.split("expect:")
    text = PLAYED.replace("recorded:", federates + "recorded:") + "expect:" + expect
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "trace.csv").write_text("t_s,f_hz\n0,60\n1,59.6\n2,59.6\n2.1,59.2\n4,59.2\n", encoding="utf-8")
    assert (
        run_cosim.main(["run", str(tmp_path / "study.yaml"), "--runner", "local", "--quiet", "--out", str(tmp_path / "runs")]) == 0
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: no column t_s"),
        ("t,f_hz\n0,60\n1,60\n", ":1: no column t_s"),
        ("t_s,f_hz\n0,60\n0,59\n", ":3: t_s goes from 0 to 0"),
        ("t_s,f_hz\n0,60\n1,sixty\n", ":3: could not convert"),
        ("t_s,f_hz\n0,60\n1\n", ":3: 1 finite numbers"),
        ("t_s,f_hz\n0,60\n1,nan\n", ":3: 2 finite numbers"),
        ("t_s,f_hz\n0,60\n", "1 points; a trace has two"),
    ],
)
def test_what_is_wrong_with_a_trace(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TraceError, match=r"trace\.csv") as error:
        read_trace(path)
    assert message in str(error.value)


def test_a_player_names_the_line_of_its_file(problems: Problems, tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("t_s,x\n0,60\n1,60\n", encoding="utf-8")
    assert [line for line, text in problems(PLAYED) if "neither f_hz nor v_pu" in text or "no column 'f_hz'" in text] == [5, 8]


@pytest.mark.parametrize(("from_s", "told"), [("3.9", []), ("4", [5]), ("1000.0", [5])])  # one message, of two keys
def test_a_record_that_is_over_before_the_run_starts(problems: Problems, tmp_path: Path, from_s: str, told: list[int]) -> None:
    (tmp_path / "trace.csv").write_text("t_s,f_hz\n0,60\n4,59.9\n", encoding="utf-8")
    written = PLAYED.replace("trace.csv}", f"trace.csv, from_s: {from_s}}}").replace("f_hz}", f"f_hz, from_s: {from_s}}}")
    found = problems(written)
    assert [line for line, _ in found] == told
    assert all("is not before the end of the record, which goes from 0 to 4 s; write an earlier time" in text for _, text in found)
    short = written.replace("file: trace.csv, from_s", "points: {t_s: [0, 4], v_pu: [1, 0.9]}, from_s", 1)
    assert [line for line, _ in problems(short)] == told


def test_a_lag_that_the_engine_cannot_follow_is_refused_with_its_place(problems: Problems) -> None:
    fleet = "{name: g, turbine: lag, lag_s: 0.001, rating_va: 1.0e+9, headroom_w: 1.0e+8}"
    ((line, text),) = problems(AREAS.replace("load_w: 3.0e+10", f"load_w: 3.0e+10, fleets: [{fleet}]"))
    assert line == 5 and text.endswith("0.001 is not allowed; write a number of at least 0.005")
