"""The `devices:` of a scenario: every mistake at its place, in the scenario or in a point map; what a good one becomes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scenarios.build import build
from scenarios.document import parse_document
from scenarios.dump import dump
from scenarios.inventory import take_inventory
from scenarios.load import LoadedScenario, check_document, library, load_scenario
from scenarios.problem import ScenarioError

BENCH = library()["hil_bench"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(BENCH.parent / "hil_bench", tmp_path / "hil_bench")
    return tmp_path


def check(folder: Path, old: str = "", new: str = "", map_file: str = "", map_old: str = "", map_new: str = "") -> str:
    """The problems of the bench with one text replaced by another."""
    text = BENCH.read_text(encoding="utf-8")
    assert old in text
    if map_file:
        path = folder / "hil_bench" / map_file
        points = path.read_text(encoding="utf-8")
        assert map_old in points
        path.write_text(points.replace(map_old, map_new, 1), encoding="utf-8")
    try:
        check_document(parse_document(text.replace(old, new, 1) if old else text, "bench.yaml"), folder)
    except ScenarioError as error:
        return str(error)
    return ""


def test_the_bench_is_good(folder: Path) -> None:
    assert check(folder) == ""


WRONG = [
    ("map: hil_bench/rtu.csv", "map: hil_bench/rtv.csv", "devices[1].map: hil_bench/rtv.csv cannot be read"),
    ("map: hil_bench/rtu.csv", "map: hil_bench/inverter.csv", "is a map of modbus, and protocol is dnp3"),
    ("role: client", "role: master", "role master is none of modbus; write client or server"),
    ("role: client", "role: cleint", "did you mean 'client'?"),
    ("stand_in: {kind: rtu, polls: [ieds]}", "", "needs one of address and stand_in"),
    ("address: 127.0.0.1:0 ", "address: /dev/ttyS0 ", "listens on TCP"),
    ("role: client", "role: client\n    on_reconnect: rearm", "on_reconnect: rearm is for a device that we command"),
    ("polls: [ieds]", "polls: [eids]", "did you mean 'ieds'?"),
    ("{kind: rtu, polls: [ieds]}", "{kind: rtu}", "an rtu polls IEDs; write polls: [ieds]"),
    ("stands_for: ders123.pv_hil", "stands_for: ders123.pv_x", "ders123.p_w:pv_x, which the feeder is to take"),
    ("stands_for: ders123.pv_hil", "stands_for: ders12.pv_hil", "did you mean 'ders123'?"),
    ("stands_for: ders123.pv_hil", "stands_for: f123.pv_hil", "a unit is named of ders alone"),
    ("  - name: inverter\n", "  - name: grid\n", "the name 'grid' is already used"),
    ("to: rtu, action", "to: rtuu, action", "there is no federate 'rtuu'; did you mean 'rtu'?"),
    ("do: control, point: ieds.capacitor_op, code: latch_off", "do: control, point: ieds.capacitor_op", "one of code and state"),
    ('"rtu.capacitor[c83]"', '"rtu.capacitors[c83]"', "did you mean 'capacitor'?"),
    ("lease_s: 120\n    dnp3: {outstation: 10}", "interlocks: [{point: x, when: y, equals: 1}]", "the map has no write row 'x'"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG)
def test_a_mistake_is_told_where_it_is(folder: Path, old: str, new: str, message: str) -> None:
    found = check(folder, old, new)
    assert message in found and "bench.yaml:" in found


WRONG_MAPS = [
    (
        "rtu.csv",
        "f123.switch:sw5",
        "f12.switch:sw5",
        "rtu.csv:2: signal: there is no federate 'f12'; did you mean 'f123'?",
    ),
    (
        "rtu.csv",
        "f123.switch:sw5",
        "f123.switsch:sw5",
        "rtu.csv:2: signal: f123 (distribution) gives no values 'switsch'",
    ),
    ("inverter.csv", ",0x8000,W,", ",0x8000,var,", "hil_bench/inverter.csv:2: signal: ders123.p_w:pv_hil is in W"),
    ("inverter.csv", "grid.f_hz,write", "grid.f_hz:1,write", "is one value; leave the :id away"),
    ("ieds.csv", "binary_input,0", "binary_inptu,0", "hil_bench/ieds.csv:2: table: 'binary_inptu' is not known"),
    ("rtu.csv", ",2,trip|close,sbo,hold", ",2,trip|close,sbo,", "hil_bench/rtu.csv:8: fallback:"),
]


@pytest.mark.parametrize(("file", "old", "new", "message"), WRONG_MAPS)
def test_a_mistake_in_a_map_is_told_in_the_map(folder: Path, file: str, old: str, new: str, message: str) -> None:
    assert message in check(folder, map_file=file, map_old=old, map_new=new)


WRONG_RELAYS = [
    ("feeders: 4, by: relay}", "feeders: 4}", "stage 'ufls:1' of relays16 is not left to a device; write by: DEVICE at it"),
    ("by: relay}", "by: realy}", "federates[3].ufls[0].by: there is no device 'realy'; did you mean 'relay'?"),
    (
        "feeders: 4}\n",
        "feeders: 4, by: relay}\n",
        "no map of an outstation or server has a write row with the signal relays16.operated:uf",
    ),
    (
        "measures: bay.f,",
        "measures: bay.ff,",
        "'bay.ff' is no read row of an IED that it polls; did you mean 'bay.f'?",
    ),
    ("trips: bay.trip1", "trips: bay.f", "stand_in.trips: 'bay.f' is no control row"),
    (" measures: bay.f,", "", "a relay measures a row of an IED and trips"),
    ("kind: relay, polls: [bay]", "kind: rtu, polls: [bay]", "measures is of a relay, and kind is rtu"),
    (" polls: [bay],", "", "a relay polls IEDs; write polls: [bay]"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG_RELAYS)
def test_a_mistake_about_a_relay_on_a_wire_is_told(tmp_path: Path, old: str, new: str, message: str) -> None:
    shutil.copytree(BENCH.parent / "relay_bench", tmp_path / "relay_bench")
    text = (BENCH.parent / "relay_bench.yaml").read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(ScenarioError) as wrong:
        check_document(parse_document(text.replace(old, new, 1), "bench.yaml"), tmp_path)
    assert message in str(wrong.value)


def test_a_stage_left_to_a_device_where_there_is_none(tmp_path: Path) -> None:
    text = (BENCH.parent / "relay_bench.yaml").read_text(encoding="utf-8")
    text = text[: text.index("devices:")] + text[text.index("events:") : text.index("expect:")]
    with pytest.raises(ScenarioError, match="there is no device 'relay'; add it under devices:"):
        check_document(parse_document(text, "bench.yaml"), tmp_path)


@pytest.fixture(scope="module")
def bench() -> LoadedScenario:
    return load_scenario("hil_bench")


def test_what_devices_become(bench: LoadedScenario) -> None:
    made = build(bench, take_inventory(bench))
    assert made.real_time
    assert {companion.name for companion in made.companions} == {
        "gate_ieds", "gate_rtu", "gate_inverter", "stand_in_rtu", "stand_in_inverter"
    }  # fmt: skip
    assert all(companion.ends_last == companion.name.startswith("stand_in") for companion in made.companions)
    assert all(companion.params.warrant is None for companion in made.companions if companion.name.startswith("gate"))
    links = {(link.source, link.source_port, link.target, link.target_port) for link in made.links}
    assert ("inverter", "p_w", "f123", "wired_p_w_pv_hil") in links
    assert ("ieds", "to_f123", "f123", "command") in links
    assert ("f123", "der_v_pu", "inverter", "der_v_pu") in links
    assert not any(target == "f123" and port == "der_p_w" for _, _, target, port in links)
    assert made.record is not None and {"rtu.switch", "inverter.q_var", "rtu.link"} <= made.record
    assert made.groups["main"][-3:] == ("ieds", "rtu", "inverter")


def test_one_line_replaces_the_stand_in(bench: LoadedScenario, folder: Path) -> None:
    text = BENCH.read_text(encoding="utf-8").replace("stand_in: {kind: inverter, p_max_w: 500000}", "address: 10.1.2.3:502")
    loaded = check_document(parse_document(text, "bench.yaml"), folder)
    made = build(loaded, take_inventory(loaded))
    assert "stand_in_inverter" not in {companion.name for companion in made.companions}
    gate = next(companion for companion in made.companions if companion.name == "gate_inverter")
    assert gate.params.devices[0].address == "10.1.2.3:502" and not gate.params.devices[0].is_stand_in
    same = next(spec for spec in made.specs if spec.name == "inverter")
    assert same == next(spec for spec in build(bench, take_inventory(bench)).specs if spec.name == "inverter")


@pytest.mark.parametrize(
    ("given", "dnp3", "modbus"),
    [
        ("", (9600, "N", 1), (19200, "E", 1)),
        ("\n    serial: {baud: 38400}", (38400, "N", 1), (38400, "E", 1)),
        ("\n    serial: {parity: O, stop_bits: 2}", (9600, "O", 2), (19200, "O", 2)),
    ],
)
def test_a_serial_line_is_as_usual_in_its_protocol(
    folder: Path, given: str, dnp3: tuple[int, str, int], modbus: tuple[int, str, int]
) -> None:
    text = BENCH.read_text(encoding="utf-8")
    for stand_in in ("stand_in: {kind: rtu, polls: [ieds]}", "stand_in: {kind: inverter, p_max_w: 500000}"):
        assert stand_in in text
        text = text.replace(stand_in, f"address: /dev/ttyS0{given}")
    loaded = check_document(parse_document(text, "bench.yaml"), folder)
    gates = {c.name: c.params for c in build(loaded, take_inventory(loaded)).companions if c.name.startswith("gate")}
    lines = [gates[f"gate_{name}"].devices[0].line for name in ("rtu", "inverter")]
    assert [(line.baud, line.parity, line.stop_bits) for line in lines] == [dnp3, modbus]


def test_devices_of_one_gatekeeper_share_a_process(folder: Path) -> None:
    text = BENCH.read_text(encoding="utf-8").replace("lease_s: 120\n", "lease_s: 120\n    gatekeeper: field\n")
    loaded = check_document(parse_document(text, "bench.yaml"), folder)
    gates = [c for c in build(loaded, take_inventory(loaded)).companions if c.name.startswith("gate")]
    assert {gate.name: [device.name for device in gate.params.devices] for gate in gates} == {
        "gate_ieds": ["ieds"], "gate_field": ["rtu", "inverter"]
    }  # fmt: skip


def test_what_is_written_into_the_run_directory_runs_again(bench: LoadedScenario, tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "x"
    run_dir.mkdir(parents=True)
    moved = check_document(parse_document(dump(bench, run_dir), "scenario.yaml"), run_dir)
    assert dump(moved) == dump(bench)
