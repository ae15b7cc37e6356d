"""Everything that can be wrong with a scenario: each with its line and what to write instead, all at once."""

# ruff: noqa: E501  (tables of whole messages)
from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from scenarios.actions import ACTIONS_OF_KIND
from scenarios.inventory import take_inventory
from scenarios.kinds import FEDERATE_MODELS
from scenarios.load import load_scenario
from scenarios.problem import ScenarioError
from scenarios.run import changed
from tests.scenarios.conftest import GOOD

Problems = Callable[[str], list[tuple[int, str]]]


def test_the_good_one_is_good(problems: Problems) -> None:
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("stop_s: 60", "stop_s: 60\nspeed: 1", 4, "speed: there is no such key here; did you mean 'seed'?"),
        ("stop_s: 60", "stop_s: 60\nstop_s: 61", 4, "stop_s: this key is already on line 3; remove one of the two"),
        ("stop_s: 60", "stop_s: 1 minute", 3, "stop_s: '1 minute' is text; write a number"),
        ("stop_s: 60", "stop_s: -60", 3, "stop_s: -60 is not allowed; write a number above 0"),
        ("stop_s: 60", 'stop_s: 60\nseed: "1"', 4, "seed: '1' is text; write a whole number"),
        ("stop_s: 60", "stop_s: 60\nseed: 1.5", 4, "seed: 1.5 is a number; write a whole number"),
        ("stop_s: 60", "stop_s: 60\nwatchdog_s: true", 4, "watchdog_s: true is true or false; write a number"),
        ("name: study\n", "", 1, "name: is missing; write name: (lower-case letters, digits and _, starting with a letter)"),
        ("name: study", "name: My study", 1, "name: 'My study' does not fit; write lower-case letters, digits and _, a letter first"),
        ("12:00:00", "noon", 2, "start: '2024-07-01Tnoon' is text; write a time: 2024-07-01T12:00:00"),
        ("stop_s: 60", "stop_s: 60\ndevices: [{name: relay}]", 4, "devices[0].map: is missing; write map: (path of the point map, a CSV file)"),
        ("kind: transmission", "kind: transmision", 5, "federates[0].kind: 'transmision' is not known; did you mean 'transmission'?"),
        ("kind: transmission, ", "", 5, f"federates[0].kind: is missing; write one of {', '.join(sorted(FEDERATE_MODELS))}"),
        ("case39", "case38", 5, "federates[0].network: pandapower has no case 'case38'; did you mean 'case39'?"),
        ("kind: transmission, ", "kind: transmission, emergency: {step_s: 3}, ", 5, "federates[0]: emergency.step_s (3 s) is longer than period_s (1 s); write a shorter one, for instance 0.02"),
        ("pandapower:case39", "grid.xml", 5, "federates[0].network: 'grid.xml' is no network; write pandapower:case39, andes:ieee39, or the path of a .m, .mat or .json case"),
        ("pandapower:case39", "my/grid.m", 5, "federates[0].network: there is no file 'my/grid.m' beside the scenario; check the path"),
        ("feeder: ieee13", "feeder: ieee12", 6, "federates[1].feeder: there is no feeder 'ieee12'; did you mean 'ieee123', or the path of an OpenDSS master file"),
        ("feeder: ieee13", "feeder: my/Master.dss", 6, "federates[1].feeder: there is no file 'my/Master.dss' beside the scenario; give the path of an OpenDSS master file"),
        ("grid: grid", "grid: gird", 6, "federates[1].grid: there is no federate 'gird'; did you mean 'grid'?"),
        ('bus: "16"', 'bus: "61"', 6, "federates[1].bus: the network has no bus '61'; write one of 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 27 more"),
        ('bus: "16"', "bus: 16", 6, "federates[1].bus: 16 is a number; write text, in quotes: \"16\""),
        ("count: 10", "count: 10, period_s: 0", 6, "federates[1].period_s: 0 is not allowed; write a number above 0"),
        ("count: 10", "count: 10, period_s: -1", 6, "federates[1].period_s: -1 is not allowed; write a number above 0"),
        ("count: 10", "count: 10, period_s: 1e-7", 6, "federates[1].period_s: 1e-07 s is not a whole number of microseconds; write for instance 0.02 or 1"),
        ("count: 10", "count: 10, period_s: 2", 6, "federates[1].period_s: 2 s, and 'grid' has 1 s; write the same for both"),
        ("name: f13", "name: grid", 6, "federates[1].name: the name 'grid' is already used on line 5; choose another"),
        ("count: 10", "count: 10, substation: {mvaa: 5}", 6, "federates[1].substation.mvaa: there is no such key here; did you mean 'mva'?"),
    ],
)  # fmt: skip
def test_one_thing_wrong(problems: Problems, old: str, new: str, line: int, message: str) -> None:
    assert old in GOOD
    found = problems(GOOD.replace(old, new, 1))
    assert (line, message) in found


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("links:\n  - {source: f13.head_p_w, target: grid.q_f13}", "links[0]: f13.head_p_w is in W, grid.q_f13 in var; link ports of one unit"),
        ("links:\n  - {source: f13.soe, target: grid.q_f13}", "links[0]: event cannot feed vector; link ports of one kind"),
        ("links:\n  - {source: f13.head_p, target: grid.p_f13}", "links[0].source: f13 (distribution) has no output 'head_p'; did you mean 'head_p_w'?"),
        ("links:\n  - {source: f14.head_p_w, target: grid.p_f13}", "links[0].source: there is no federate 'f14'; write one of grid, f13"),
        ("groups:\n  a: [grid, f31]", "groups.a[1]: there is no federate 'f31'; write one of grid, f13"),
        ("groups:\n  broker: [grid]", "groups.broker: that is the name of the broker's own process; choose another"),
        ("record:\n  - grid.fhz", "record[0]: grid (transmission) has no output 'fhz'; did you mean 'f_hz'?"),
        ("record:\n  - grid.soe", "record[0]: grid.soe carries events, which are always kept; write a port that carries values"),
        ("events:\n  - {t_s: 5, to: grid, action: {do: open_switch, switch: s}}", f"events[0].action.do: transmission 'grid' takes no 'open_switch'; write one of {', '.join(ACTIONS_OF_KIND['transmission'])}"),
        ("events:\n  - {t_s: 5, to: grid, action: {do: open_lien, line: s}}", "events[0].action.do: 'open_lien' is not known; did you mean 'open_line'?"),
        ("events:\n  - {t_s: 5, to: grid, action: {do: open_line, line: 16-99}}", "events[0].action.line: the network has no line '16-99'; did you mean '16-19'?"),
        ("events:\n  - {t_s: 5, to: grid, action: {do: trip_generator, generator: G3}}", "events[0].action.generator: the network has no generator 'G3'; did you mean 'G39'?"),
        ("events:\n  - {t_s: 60, to: grid, action: {do: open_line, line: 16-17}}", "events[0].t_s: 60 s is not before stop_s (60 s); write an earlier time or a later stop_s"),
        ("expect:\n  - {signal: grid.f_hz, at_s: 1, because: x}", "expect[0]: it expects nothing; write min, max, or equals with tolerance"),
        ("expect:\n  - {signal: grid.f_hz, min: 1, because: x}", "expect[0]: it needs one of at_s and within_s; write at_s: 30, or within_s: [0, 60]"),
        ("expect:\n  - {signal: grid.f_hz, at_s: 1, min: 60.9, max: 60.1, because: x}", "expect[0]: min (60.9) is above max (60.1), which no value can meet; write the lower one as min"),
        ("expect:\n  - {signal: grid.f_hz, within_s: [0], min: 1, because: x}", "expect[0].within_s[1]: is missing: the list is too short; write at least 2 entries"),
        ("expect:\n  - {signal: grid.f_hz, at_s: 61, min: 1, because: x}", "expect[0]: 61 s is after stop_s (60 s); write an earlier time or a later stop_s"),
        ("expect:\n  - {signal: 'grid.f_hz[a]', at_s: 1, min: 1, because: x}", "expect[0].signal: grid.f_hz is one value; write it without [a]"),
    ],
)  # fmt: skip
def test_one_thing_wrong_besides_federates(problems: Problems, entry: str, message: str) -> None:
    assert message in [text for _, text in problems(f"{GOOD}{entry}\n")]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{name: g2, kind: transmission, network: 'pandapower:case39'}", "federates[2].kind: a second transmission system; a scenario has one, join the networks into one case"),
        ("{name: a, kind: ami, feeder: f13}", "federates[2]: ami needs meters on the same feeder; add {name: ..., kind: meters, feeder: f13}"),
        ("{name: d, kind: ders, feeder: f13}", "federates[2]: it has no DER; write pv, storage or plants, or remove the entry"),
        ("{name: s, kind: scada, feeder: grid}", "federates[2].feeder: 'grid' is of kind transmission, distribution is needed; write one of f13"),
        ("{name: m, kind: meters, feeder: f13, shares_s: 7}", "federates[2]: interval_s must be a multiple of shares_s, and shares_s of period_s; write for instance 300, 60 and 1"),
    ],
)  # fmt: skip
def test_federates_that_do_not_go_together(problems: Problems, entry: str, message: str) -> None:
    assert (7, message) in problems(f"{GOOD}  - {entry}\n")


def test_two_of_a_kind_on_one_feeder(problems: Problems) -> None:
    text = GOOD + "".join(f"  - {{name: s{k}, kind: scada, feeder: f13}}\n" for k in (1, 2))
    assert problems(text) == [(8, "federates[3].feeder: 'f13' already has scada; remove one of the two")]


@pytest.mark.parametrize("federates", ["federates: []\n", ""])
def test_an_empty_federation(problems: Problems, federates: str) -> None:
    (found,) = problems("name: study\nstart: 2024-07-01T12:00:00\nstop_s: 60\n" + federates)
    assert found[1].startswith("federates: ")
    assert "write" in found[1]


def test_all_problems_at_once_in_the_order_of_the_file(problems: Problems) -> None:
    text = GOOD.replace("name: study", "name: My Study").replace("stop_s: 60", "stop_s: -1").replace("ieee13", "ieee14")
    text = text.replace('bus: "16"', 'bus: "99"') + "record: [grid.nothing]\nspeed: 1\n"
    found = problems(text)
    assert [path.split(":")[0] for _, path in found] == [
        "name", "stop_s", "federates[1].bus", "federates[1].feeder", "record[0]", "speed",
    ]  # fmt: skip
    assert [line for line, _ in found] == sorted(line for line, _ in found)


def test_one_cause_is_one_message(problems: Problems) -> None:
    """A name that leads nowhere is told once, with every line that gives it; what hangs on it does not complain too."""
    more = """\
  - {name: f34, kind: distribution, feeder: ieee34, grid: gird, bus: "15", count: 10}
  - {name: t, kind: tblm, feeder: f13}
  - {name: s, kind: scada, feeder: f31}
events:
  - {t_s: 5, to: gird, action: {do: open_line, line: 16-17}}
record: [gird.f_hz]
"""
    assert problems(GOOD.replace("grid: grid", "grid: gird") + more) == [
        (6, "federates[1].grid: there is no federate 'gird'; did you mean 'grid'? (also on lines 7, 11, 12)"),
        (8, "federates[3]: tblm needs ami on the same feeder; add {name: ..., kind: ami, feeder: f13}"),
        (9, "federates[4].feeder: there is no federate 'f31'; write one of f13, f34"),
    ]


@pytest.mark.parametrize(("old", "new"), [("count: 10", "count: 10, period_s: -1"), ("name: f13", "name: grid")])
def test_what_follows_from_a_mistake_is_not_told(problems: Problems, old: str, new: str) -> None:
    assert len(problems(GOOD.replace(old, new))) == 1


def test_a_missing_name_is_told_once(problems: Problems) -> None:
    ((line, message),) = problems(GOOD.replace("name: grid, ", ""))
    assert line == 5 and message.startswith("federates[0].name: is missing")


def test_unknown_scenario_is_suggested() -> None:
    with pytest.raises(ScenarioError, match="did you mean 'tiny'") as caught:
        load_scenario("tinny")
    assert str(caught.value).startswith("tinny: there is no scenario")


@pytest.mark.parametrize(("stop_s", "seed", "option"), [(-1.0, None, "--stop: -1 s"), (None, -1, "--seed: -1")])
def test_an_option_is_named_as_such(stop_s: float | None, seed: int | None, option: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        changed(load_scenario("tiny"), stop_s, seed)
    assert str(caught.value).startswith(f"{option} is not allowed; write ")


NETWORK = """\
clear
new circuit.c basekv=12.47 bus1=a pu=1.0
new line.l bus1=a bus2=b length=2 units=km r1=0.2 x1=0.4 r0=0.6 x0=1.2 c1=0 c0=0
new load.l bus1=b phases=3 kv=12.47 model=1 kw=1000 kvar=300
set voltagebases=[12.47]
calcvoltagebases
"""
BEHIND_A_WEAK_TRANSFORMER = """\
clear
new circuit.c basekv=115 pu=1.0 mvasc3=20000
new transformer.t phases=3 windings=2 buses=(sourcebus, a) conns=(wye, wye) kvs=(115, 4.16) kvas=(5000, 5000) xhl=8
new line.l bus1=a bus2=b length=40 units=km r1=0.4 x1=0.8 r0=0.5 x0=1.2 c1=0 c0=0
new load.l bus1=b phases=3 conn=wye model=1 kv=4.16 kw=20000 kvar=6000
set voltagebases=(115, 4.16)
calcvoltagebases
"""


def solved(path: str) -> list[tuple[int, str]]:
    with pytest.raises(ScenarioError) as caught:
        take_inventory(load_scenario(path))
    return [(p.line, str(p)) for p in caught.value.problems]


def test_a_feeder_that_does_not_converge(write: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "bad.dss").write_text(NETWORK.replace("kw=1000", "kw=200000"), encoding="utf-8")
    ((line, message),) = solved(write(GOOD.replace("feeder: ieee13", "feeder: bad.dss, vmin_pu: 0.1")))
    assert line == 6
    assert "federates[1].feeder: " in message
    assert "does not converge" in message


def test_a_feeder_whose_voltage_collapses(write: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "bad.dss").write_text(BEHIND_A_WEAK_TRANSFORMER, encoding="utf-8")
    ((line, message),) = solved(write(GOOD.replace("feeder: ieee13", "feeder: bad.dss")))
    assert line == 6
    assert re.search(r"federates\[1\].feeder: its power flow settles at 0\.0\d+ pu at load l, which is a collapse", message)


def test_a_network_that_does_not_converge(write: Callable[[str], str], tmp_path: Path) -> None:
    import pandapower
    from pandapower.networks import case9

    net = case9()
    net.load["p_mw"] *= 50.0
    pandapower.to_json(net, str(tmp_path / "bad.json"))
    text = GOOD.replace("pandapower:case39", "bad.json").replace('bus: "16"', 'bus: "4"')
    assert [(line, "does not converge" in message) for line, message in solved(write(text))] == [(5, True)]


def test_more_feeders_than_the_bus_has_load(write: Callable[[str], str]) -> None:
    ((line, message),) = solved(write(GOOD.replace("count: 10", "count: 100")))
    assert line == 6
    assert "federates[1].count: 100 feeders of 3." in message
    assert message.endswith("write at most 91")


def test_a_switch_that_the_feeder_does_not_have(write: Callable[[str], str]) -> None:
    event = "events:\n  - {t_s: 5, to: f13, action: {do: open_switch, switch: '671629'}}\n"
    ((line, message),) = solved(write(GOOD + event))
    assert line == 8
    assert message.endswith("events[0].action.switch: the feeder has no switch '671629'; did you mean '671692'?")
