"""A user's own networks are opened by `check`, without an engine: what is in them decides, with the line that is wrong."""

# ruff: noqa: E501  (tables of whole messages)
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from federates.grid.feeder import Feeder
from federates.grid.feeder.names import names_in
from federates.grid.feeder.script import read_script
from federates.grid.feeder_library import builtin_feeder
from federates.grid.transmission import load_network
from scenarios.catalog import case_names
from tests.scenarios.conftest import GOOD

Problems = Callable[[str], list[tuple[int, str]]]

FEEDER = """\
Clear
New Circuit.mine basekv=12.47 bus1=a
New Line.l1 bus1=a bus2=b length=1
New Line.Tie bus1=b.1.2.3 bus2=c.1.2.3 switch=y
New Transformer.reg buses=[b d] kvs=[12.47 12.47]
New RegControl.creg transformer=reg winding=2
New Capacitor.cap bus1=c kvar=300
Redirect loads.dss
"""
LOADS = "New Load.house bus1=c kw=10\nNew Load.shop bus1=d kw=20\n"
CASE = """\
function mpc = mine
mpc.version = '2';
mpc.baseMVA = 100;
%% bus_i type Pd Qd Gs Bs area Vm Va baseKV zone Vmax Vmin
mpc.bus = [
  1 3 0   0  0 0 1 1 0 345 1 1.1 0.9;
  2 1 90  30 0 0 1 1 0 345 1 1.1 0.9;
  7 1 100 35 0 0 1 1 0 345 1 1.1 0.9;
];
mpc.gen = [ 1 190 0 300 -300 1 100 1 250 10 0 0 0 0 0 0 0 0 0 0 0 ];
mpc.branch = [
  1 2 0.01 0.085 0.176 250 250 250 0 0 1 -360 360;
  1 2 0.01 0.085 0.176 250 250 250 0 0 1 -360 360;
  2 7 0.01 0.161 0.306 250 250 250 0 0 1 -360 360;
];
"""
ON_CASE = GOOD.replace("pandapower:case39", "mine.m").replace('bus: "16"', 'bus: "7"')
ON_FEEDER = GOOD.replace("ieee13", "net/mine.dss")


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "mine.dss").write_text(FEEDER, encoding="utf-8")
    (tmp_path / "net" / "loads.dss").write_text(LOADS, encoding="utf-8")
    (tmp_path / "mine.m").write_text(CASE, encoding="utf-8")
    return tmp_path


def test_good_ones_are_good(problems: Problems, networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(ON_FEEDER) == []
    assert problems(ON_CASE) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("New Circuit.mine basekv=12.47 bus1=a\n", "", 6, "federates[1].feeder: net/mine.dss: 0 `New Circuit` statements where exactly one is needed; give the master file of one circuit"),
        ("Redirect loads.dss", "Redirect lodas.dss", 6, "federates[1].feeder: net/mine.dss:8: refers to `lodas.dss`, and there is no file net/lodas.dss; add the file or correct its name"),
        ("Redirect loads.dss\n", "", 6, "federates[1].feeder: net/mine.dss: it has no load; give a network with loads"),
        ("Clear", "Cleer", 6, "federates[1].feeder: net/mine.dss:1: the statement `cleer` is not accepted; remove the line, or write a statement that describes the circuit (New, Edit, Set, Redirect, ...)"),
        ("Clear", "\0", 6, "federates[1].feeder: net/mine.dss: is not a text file; give an OpenDSS script (.dss)"),
    ],
)  # fmt: skip
def test_what_is_no_feeder(
    problems: Problems, networks: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, line: int, message: str
) -> None:
    assert old in FEEDER
    (networks / "net" / "mine.dss").write_text(FEEDER.replace(old, new), encoding="utf-8")
    monkeypatch.chdir(networks)
    assert problems(ON_FEEDER) == [(line, message)]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("  - {name: d, kind: ders, feeder: f13, plants: [{name: sun, type: pv, bus: bb.1, kv: 7.2, s_va: 1e5}]}", "federates[2].plants[0].bus: the feeder has no bus 'bb'; write one of a, b, c, d, sourcebus"),
        ("  - {name: d, kind: ders, feeder: f13, plants: [{name: sun, type: pv, bus: b.1, kv: 7.2, s_va: 1e5}]}\nevents:\n  - {t_s: 1, to: d, action: {do: trip, units: [snu]}}", "events[0].action.units: the feeder has no DER 'snu'; write one of all, pv, storage, sun"),
        ("events:\n  - {t_s: 1, to: f13, action: {do: open_switch, switch: toe}}", "events[0].action.switch: the feeder has no switch 'toe'; write one of tie"),
        ("events:\n  - {t_s: 1, to: f13, action: {do: set_tap, regulator: crge, tap: 1}}", "events[0].action.regulator: the feeder has no regulator 'crge'; did you mean 'creg'?"),
        ("events:\n  - {t_s: 1, to: f13, action: {do: set_capacitor, capacitor: cpa, steps: 1}}", "events[0].action.capacitor: the feeder has no capacitor 'cpa'; write one of cap"),
        ("  - {name: s, kind: scada, feeder: f13}\nevents:\n  - {t_s: 1, to: s, action: {do: operate, point: switch.tei, command: {do: open_switch, switch: tie}}}", "events[0].action.point: the feeder has no switch 'tei'; write one of tie"),
    ],
)  # fmt: skip
def test_names_that_a_feeder_does_not_have(problems: Problems, networks: Path, entry: str, message: str) -> None:
    assert message in [text for _, text in problems(f"{ON_FEEDER}{entry}\n")]


def test_names_in_the_feeders_own_entry(problems: Problems, networks: Path) -> None:
    text = ON_FEEDER.replace(
        "count: 10", "count: 10, open_switches: [Tie, L9], load_classes: {house: commercial, shed: industrial}"
    )
    assert [message for _, message in problems(text)] == [
        "federates[1].load_classes.shed: the feeder has no load 'shed'; write one of house, shop",
        "federates[1].open_switches[1]: the feeder has no line 'L9'; write one of tie",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mpc.branch", "branch", "federates[0].network: mine.m: it sets no mpc.branch; give a MATPOWER version 2 case"),
        ("  7 1 100 35", "  7 1 load 35", "federates[0].network: mine.m:8: mpc.bus holds what is no number (7 1 load 35 0 0 1 1 0 345 1 1.1 0.9); write numbers"),
        (" 1 1.1 0.9;\n];", ";\n];", "federates[0].network: mine.m: mpc.bus has not 13 columns in every row; give a MATPOWER version 2 case"),
        ("mpc.gen =", "mpc.bus(1, 3) = 4;\nmpc.gen =", "federates[0].network: mine.m:10: the case computes on its matrices; run it in MATPOWER and save it with savecase as .mat"),
        (CASE, "", "federates[0].network: mine.m: it sets no mpc.baseMVA and no mpc.bus and no mpc.gen and no mpc.branch; give a MATPOWER version 2 case"),
    ],
)  # fmt: skip
def test_what_is_no_matpower_case(problems: Problems, networks: Path, old: str, new: str, message: str) -> None:
    assert old in CASE
    (networks / "mine.m").write_text(CASE.replace(old, new), encoding="utf-8")
    assert problems(ON_CASE) == [(5, message)]


def test_what_is_no_mat_file(problems: Problems, networks: Path) -> None:
    (networks / "mine.mat").write_bytes(b"no matrix here" * 20)
    message = "federates[0].network: mine.mat: it holds no MATPOWER case; save one with savecase as .mat (version 7 or older) or .m"
    assert problems(ON_CASE.replace("mine.m", "mine.mat")) == [(5, message)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"bus":\n oops}', "mine.json:2: not JSON (Expecting value); write the case with pandapower.to_json"),
        ('{"buses": []}', "mine.json: it holds no pandapower network; write one with pandapower.to_json"),
        ("[]", "mine.json: it holds no pandapower network; write one with pandapower.to_json"),
    ],
)
def test_what_is_no_pandapower_case(problems: Problems, networks: Path, text: str, message: str) -> None:
    (networks / "mine.json").write_text(text, encoding="utf-8")
    assert problems(ON_CASE.replace("mine.m", "mine.json")) == [(5, f"federates[0].network: {message}")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ON_CASE.replace('bus: "7"', 'bus: "16"'), "federates[1].bus: the network has no bus '16'; write one of 1, 2, 7"),
        (ON_CASE + "events:\n  - {t_s: 1, to: grid, action: {do: open_line, line: 1-7}}\n", "events[0].action.line: the network has no line '1-7'; write one of 1-2, 2-7"),
        (ON_CASE + "events:\n  - {t_s: 1, to: grid, action: {do: trip_generator, generator: G2}}\n", "events[0].action.generator: the network has no generator 'G2'; write one of G1"),
        (ON_CASE + "  - {name: ems, kind: ems, grid: grid, generators: [G1, G2]}\n", "federates[2].generators[1]: the network has no generator 'G2'; write one of G1"),
    ],
)  # fmt: skip
def test_names_that_a_case_does_not_have(problems: Problems, networks: Path, text: str, message: str) -> None:
    assert [found for _, found in problems(text)] == [message]


def test_the_second_of_two_parallel_lines_is_left_to_the_solver(problems: Problems, networks: Path) -> None:
    assert problems(ON_CASE + "events:\n  - {t_s: 1, to: grid, action: {do: open_line, line: 2-1#2}}\n") == []


def test_names_in_a_matpower_case_are_those_of_the_solver(networks: Path) -> None:
    names, read = case_names(str(networks / "mine.m")), load_network(str(networks / "mine.m"))
    assert names is not None
    assert names.buses == read.bus_names
    assert all(names.has(name, names.lines) for name in read.branch_names)
    assert all(names.has(name, names.generators) for name in read.generator_names)
    assert np.allclose(names.load_w, read.native_p_w)


@pytest.mark.parametrize("feeder", ["ieee13", "ieee34", "ieee123", "smartds"])
def test_names_in_a_script_are_those_of_the_engine(feeder: str) -> None:
    """`transmission_bus` is ours, before the file's own source; a file may rename the bus that a source has by default."""
    model = builtin_feeder(feeder)
    names = names_in(read_script(model.master, model.edits))
    with Feeder(model) as engine:
        assert sorted(names.lines) == sorted(engine._lines)
        assert sorted(names.regulators) == sorted(engine.reg_names)
        assert sorted(names.capacitors) == sorted(engine.capacitor_names)
        assert sorted(names.loads) == sorted(engine.load_names)
        assert sorted(names.switches) == sorted(engine.switch_names)
        assert names.buses is not None
        assert names.buses | {"transmission_bus"} == {n.rsplit(".", 1)[0] for n in engine.node_names} | {"sourcebus"}


def test_a_bus_given_by_position_leaves_buses_to_the_engine(networks: Path) -> None:
    path = networks / "net" / "mine.dss"
    path.write_text(FEEDER.replace("New Line.l1 bus1=a bus2=b", "New Line.l1 a b"), encoding="utf-8")
    assert names_in(read_script(str(path))).buses is None


def test_a_switch_may_be_declared_later(networks: Path) -> None:
    path = networks / "net" / "mine.dss"
    path.write_text(FEEDER + "Edit Line.l1 Switch=true\nLine.l1.enabled=yes\n", encoding="utf-8")
    assert names_in(read_script(str(path))).switches == ["tie", "l1"]
