"""Relays, special schemes and programs in a scenario: mistakes are told, and what is built fits together."""

from __future__ import annotations

from pathlib import Path

import pytest

from federates.runtime.federate import Federation
from scenarios.build import build
from scenarios.document import parse_document
from scenarios.inventory import take_inventory
from scenarios.load import check_document
from scenarios.ports import inputs_of, outputs_of
from scenarios.problem import ScenarioError

HEAD = """\
name: shed
start: 2024-07-01T12:00:00
stop_s: 10
federates:
  - {name: grid, kind: transmission, network: "pandapower:case39"}
  - {name: fa, kind: distribution, feeder: ieee13, grid: grid, bus: "16", count: 20}
  - {name: fb, kind: distribution, feeder: ieee13, grid: grid, bus: "15", count: 10}
"""
RELAYS = """\
  - name: ra
    kind: relays
    feeder: fa
    ufls: [{pickup_hz: 59.5, delay_s: 0.1, feeders: 5}]
    uvls: [{pickup_pu: 0.9, delay_s: 3}]
"""
TWICE = RELAYS.replace("ufls: [{", "ufls: [{stage: 2, pickup_hz: 59.7, delay_s: 1}, {stage: 2, ")
ROW = "{name: r, when: [{line_open: '17-16'}, {generator_out: G30}], trip: [{feeder: fa, feeders: 2}, {feeder: fb}]}"
SCHEMES = f"  - {{name: ras, kind: schemes, grid: grid, rows: [{ROW}]}}\n"
BUILDER = """\
  - {name: sa, kind: scada, feeder: fa}
  - {name: ma, kind: meters, feeder: fa}
  - {name: aa, kind: ami, feeder: fa}
  - {name: ta, kind: tblm, feeder: fa, programs: [{name: "dr:homes", load_class: residential, share: 0.3}]}
"""


def priced(priorities: str) -> str:
    """The builder with priorities."""
    return BUILDER.replace("feeder: fa, programs:", f"feeder: fa, priorities: {priorities}, programs:")


def federation(text: str, folder: Path) -> Federation:
    loaded = check_document(parse_document(text, "shed.yaml"), folder)
    return build(loaded, take_inventory(loaded))


def test_everything_fits_together(tmp_path: Path) -> None:
    """Ports as `check` has them are those of the federates; the builder knows its relays, rows and programs."""
    text = HEAD + RELAYS + SCHEMES + BUILDER + "events:\n  - {t_s: 5, to: ta, action: {do: request, deficit_w: 1.0e+6}}\n"
    made = federation(text, tmp_path)
    entries = parse_document(text, "shed.yaml").data["federates"]
    for entry in entries:
        if entry["kind"] not in ("relays", "schemes", "distribution"):
            continue
        federate = made.spec(entry["name"]).build()
        try:
            assert {port.name for port in federate.inputs} == set(inputs_of(entry, entries))
            assert {port.name for port in federate.outputs} == set(outputs_of(entry, entries))
        finally:
            federate.stop()
    plans = made.spec("ta").params.plans
    assert [stage.name for stage in plans.stages] == ["ufls:1", "uvls:1"]
    assert [row.cause for row in plans.rows] == ["sls:r"] and plans.rows[0].when[0].name == "16-17"
    assert plans.programs[0].name == "dr:homes"
    links = {(link.source, link.source_port, link.target, link.target_port) for link in made.links}
    assert {("ra", "trip", "fa", "command"), ("ras", "trip_fb", "fb", "command"), ("grid", "soe", "ras", "seen")} <= links
    (asked,) = made.injections
    assert (asked.target, asked.target_port) == ("ta", "request")


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("  - {name: ra, kind: relays, feeder: fa}\n", "it has no stage"),
        ("  - {name: ra, kind: relays, feeder: fz, ufls: [{pickup_hz: 59.5, delay_s: 0.1}]}\n", "no federate 'fz'"),
        (TWICE, "have one number"),
        (SCHEMES.replace("{line_open: '17-16'}", "{}"), "a condition is one of"),
        (SCHEMES.replace("{feeder: fb}", "{feeder: fc}"), "no federate 'fc'"),
        (SCHEMES.replace("17-16", "16-99"), "no line '16-99'"),
        (SCHEMES.replace("G30", "G99"), "no generator 'G99'"),
        (SCHEMES.replace("line_open: '17-16'", "line_loading: '16-99'"), "no line '16-99'"),
        (BUILDER.replace("dr:homes", "nonsense"), "name"),
        (priced("{actions: {ufls: -1}}"), r"shed.yaml:11: federates\[6\].priorities.actions.ufls: .*0"),
        (priced("{actions: {dr:house: 1}}"), r"shed.yaml:11: .*no action 'dr:house' at feeder 'fa'; did you mean 'dr:homes'"),
        (priced("{actions: {'uvls:1': 1}}"), "no action 'uvls:1' at feeder 'fa'"),
        (priced("{classes: {homes: 2}}"), r"shed.yaml:11: .*priorities.classes"),
        (priced("{loads: {l671: 2}}"), r"shed.yaml:11: .*priorities.loads.l671: there is no load 'l671'; did you mean '671'"),
        (priced("{hours: 2}"), "no such key here"),
        (BUILDER.replace("share: 0.3}", "share: 0.3}, {name: 'dr:homes'}"), r"shed.yaml:11: .*two programs are named 'dr:homes'"),
        (BUILDER.replace("share: 0.3", "v_set_pu: -2"), r"shed.yaml:11: .*v_set_pu: -2 is not allowed; .* at least -0.2"),
        (BUILDER.replace("share: 0.3", "opens: [l9]"), r"shed.yaml:11: .*programs\[0\].opens\[0\]: the feeder has no line 'l9'"),
        (BUILDER.replace("share: 0.3", "opens: ['671680']"), r"shed.yaml:11: .*no load and no DER hangs behind line '671680'"),
    ],
)
def test_mistakes_are_told(entry: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=told):
        federation(HEAD + entry, tmp_path)


def test_a_builder_knows_what_its_actions_cost(tmp_path: Path) -> None:
    """Stated defaults, and what a scenario says: of a kind, of one action, of a class, of one load."""
    plain = federation(HEAD + RELAYS + BUILDER, tmp_path).spec("ta").params.plans.priorities
    assert [plain.weight(name) for name in ("ufls:1", "uvls:1", "interruptible:x", "dr:homes", "cvr:all")] == [1, 1, 0.5, 0.3, 0.1]
    assert plain.of_load("671", "industrial") == 1.0
    text = HEAD + RELAYS + priced("{actions: {ufls: 3, 'dr:homes': 0.7}, classes: {industrial: 5}, loads: {'671': 40}}")
    said = federation(text, tmp_path).spec("ta").params.plans.priorities
    assert [said.weight(name) for name in ("ufls:1", "uvls:1", "dr:homes", "dr:other")] == [3, 1, 0.7, 0.3]
    assert [said.of_load(*load) for load in (("671", "industrial"), ("675a", "industrial"), ("675a", "residential"))] == [40, 5, 1]


def test_a_course_that_falls_back_in_time_is_refused(tmp_path: Path) -> None:
    event = "events:\n  - {t_s: 5, to: ta, action: {do: request, course: {t_s: [1, 0], v_pu: [1, 1], f_hz: [60, 60]}}}\n"
    with pytest.raises(ScenarioError, match="t_s must not fall"):
        federation(HEAD + BUILDER + event, tmp_path)


LOADED = SCHEMES.replace("line_open: '17-16'", "line_loading: '17-16', above: 1.2")
UNRATED = """\
function mpc = two
mpc.version = '2';
mpc.baseMVA = 100;
mpc.bus = [
  1 3 0 0 0 0 1 1 0 110 1 1.1 0.9;
  2 1 40 10 0 0 1 1 0 110 1 1.1 0.9;
];
mpc.gen = [
  1 40 0 90 -90 1 100 1 90 0 0 0 0 0 0 0 0 0 0 0 0;
];
mpc.branch = [
  1 2 0.01 0.1 0 RATE 0 0 TAP 0 1 -360 360;
];
"""


def told(text: str, folder: Path) -> list[str]:
    """What `check` says, which builds nothing."""
    try:
        check_document(parse_document(text, "shed.yaml"), folder)
    except ScenarioError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_a_line_of_known_rating_may_be_asked_for_its_loading(tmp_path: Path) -> None:
    assert told(HEAD + LOADED, tmp_path) == []


@pytest.mark.parametrize("engine", ["", ", engine: dynamics, period_s: 1.0, emergency: {step_s: 0.125}"])
def test_the_loading_of_a_line_that_nobody_knows_is_refused_with_its_place(engine: str, tmp_path: Path) -> None:
    """The cases of ANDES state no ratings, so that such a row would stay silent for ever, with either engine."""
    pytest.importorskip("andes", reason="the extra [dynamics] is not installed")
    head = HEAD.replace('"pandapower:case39"', f'"andes:ieee39"{engine}')
    (problem,) = told(head + LOADED, tmp_path)
    assert problem.startswith(
        "shed.yaml:8: federates[3].rows[0].when[0].line_loading: the cases of ANDES state no ratings of lines"
    )
    assert "the row would never act; write line_open or generator_out" in problem
    assert told(head + SCHEMES, tmp_path) == []


@pytest.mark.parametrize("tap", ["0", "0.98"])  # a line, a transformer
@pytest.mark.parametrize(("rate_mva", "silent"), [("0", True), ("60", False)])
def test_the_rating_is_the_files(rate_mva: str, silent: bool, tap: str, tmp_path: Path) -> None:
    (tmp_path / "two.m").write_text(UNRATED.replace("RATE", rate_mva).replace("TAP", tap), encoding="utf-8")
    head = HEAD.replace("pandapower:case39", "two.m").replace('bus: "16"', 'bus: "2"').replace('bus: "15"', 'bus: "2"')
    row = LOADED.replace("17-16", "2-1").replace(", {generator_out: G30}", "")
    found = told(head + row, tmp_path)
    assert len(found) == silent
    assert all(
        "states no rating of line '2-1'" in text and "give the line a rating in the network's file" in text for text in found
    )
