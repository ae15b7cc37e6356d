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
        (BUILDER.replace("dr:homes", "nonsense"), "name"),
    ],
)
def test_mistakes_are_told(entry: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=told):
        federation(HEAD + entry, tmp_path)


def test_a_course_that_falls_back_in_time_is_refused(tmp_path: Path) -> None:
    event = "events:\n  - {t_s: 5, to: ta, action: {do: request, course: {t_s: [1, 0], v_pu: [1, 1], f_hz: [60, 60]}}}\n"
    with pytest.raises(ScenarioError, match="t_s must not fall"):
        federation(HEAD + BUILDER + event, tmp_path)
