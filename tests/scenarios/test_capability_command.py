"""`run_cosim.py capability`: what it prints, writes and draws, and what it says of files that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import run_cosim
from federates.tblm.capability.limits import LimitRules
from federates.tblm.dispatch import Terms
from scenarios.capability_files import read_der, read_limits
from scenarios.kinds import Tblm
from scenarios.kinds_capability import flexibility_params
from scenarios.problem import ScenarioError

DATA = Path(run_cosim.__file__).parent / "scenarios" / "data"
DER, LIMITS = DATA / "capability_der.csv", DATA / "capability_limits.csv"
QUICK = ["--delivery", "2", "--quantiles", "P50", "--directions", "12"]


def command(feeder: str, der: Path, limits: Path, *more: str) -> int:
    return run_cosim.main(["capability", feeder, "--der", str(der), "--limits", str(limits), *QUICK, *more])


def test_example_gives_regions_set_points_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "regions.json", tmp_path / "regions.html"
    assert command("ieee123", DER, LIMITS, "--out", str(out), "--plot", str(page)) == 0
    printed = capsys.readouterr().out
    assert "1.000     2 s P50" in printed and "per MWh" in printed
    document = json.loads(out.read_text())
    (region,) = document["regions"]
    assert region["verified"] and len(region["vertices"]) > 8
    assert set(region["vertices"][0]) == {"P_W", "Q_var", "der", "taps", "capacitors"}
    assert len(region["vertices"][0]["der"]) == 12 and region["vertices"][0]["der"]["works_300"] == {"p_w": 0.0, "q_var": 0.0}
    costs = [block["cost_per_MWh"] for block in document["dispatchable"] if block["direction"] == "up"]
    assert costs == sorted(costs)
    text = page.read_text()
    assert "inverters, 2 s, P50" in text and "Area (MW Mvar)" in text and 'src="http' not in text


def test_any_opendss_file_and_json_on_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    master = tmp_path / "own.dss"
    master.write_text(
        "new circuit.own basekv=12.47 bus1=source\n"
        "new line.l1 bus1=source bus2=far r1=0.3 x1=0.4 r0=0.9 x0=1.2 c1=0 c0=0 length=3 units=km\n"
        "new load.a bus1=far kv=12.47 kw=2000 kvar=600\n"
        "set voltagebases=[12.47]\ncalcvoltagebases\n"
    )
    der, limits = tmp_path / "der.csv", tmp_path / "limits.csv"
    der.write_text("name,bus,kv,s_kva,p_max_kw\npark,far,12.47,1000,800\n")
    limits.write_text("quantity,element,low,high\nv_pu,*,0.9,1.1\ni_a,l1,,200\n")
    assert command(str(master), der, limits, "--out", "-") == 0
    (region,) = json.loads(capsys.readouterr().out)["regions"]
    p = [vertex["P_W"] for vertex in region["vertices"]]
    assert max(p) - min(p) == pytest.approx(800e3, rel=0.1)


def test_an_empty_region_is_told_by_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = tmp_path / "limits.csv"
    limits.write_text("quantity,element,low,high\ni_a,l115,,1\n")
    assert command("ieee123", DER, limits) == 1
    assert "empty: no set-points keep the limits: line l115 carries" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("a,9999.1,2.4,100,50", "2: bus: the network has no bus '9999'"),
        ("a,9.3,2.4,100,50", "2: bus: bus 9 has no phase 3; write 9.1"),
        ("a,1.1.2.3,0.48,100,50", "2: kv: bus 1 has 4.16 kV for such a connection, not 0.48"),
    ],
)
def test_der_that_the_network_has_no_place_for(tmp_path: Path, capsys: pytest.CaptureFixture[str], row: str, says: str) -> None:
    der = tmp_path / "der.csv"
    der.write_text(f"name,bus,kv,s_kva,p_max_kw\n{row}\n")
    assert command("ieee123", der, LIMITS) == 2
    assert f"{der}:{says}" in capsys.readouterr().err


def test_limits_of_what_the_network_has_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = tmp_path / "limits.csv"
    limits.write_text("quantity,element,low,high\nv_pu,15000,0.9,1.1\n\ni_a,l1155,,100\n")
    assert command("ieee123", DER, limits) == 2
    told = capsys.readouterr().err
    assert f"{limits}:2: element: no bus '15000'" in told and f"{limits}:4: element: no line 'l1155'; did you mean 'l115'?" in told


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ":1: scenario: it is empty"),
        ("name,bus,kv,s_kva\n", ":1: p_max_kw: the column is missing"),
        ("name,bus,kv,s_kva,p_max_kw,colour\n", ":1: colour: no such column"),
        ("name,bus,kv,s_kva,p_max_kw,kv\n", ":1: kv: the column is there twice"),
        ("name,bus,kv,s_kva,p_max_kw\n", ":1: name: there is no DER in it"),
        ("name,bus,kv,s_kva,p_max_kw\na,1,4.16,lots,5\n", ":2: s_kva: 'lots' is not a number"),
        ("name,bus,kv,s_kva,p_max_kw\na,1,4.16,nan,5\n", ":2: s_kva: nan is not finite"),
        ("name,bus,kv,s_kva,p_max_kw\na,1,4.16,,5\n", ":2: s_kva: it is empty"),
        ("name,bus,kv,s_kva,p_max_kw\na,1,4.16,-5,5\n", ":2: s_kva: give a positive number"),
        ("name,bus,kv,s_kva,p_max_kw\na,1,4.16,5,5,9,9\n", ":2: scenario: 7 values under 5 columns"),
        ("name,bus,kv,s_kva,p_max_kw\na,1,4.16,5,5\nA,1,4.16,5,5\n", ":3: name: 'A' is on line 2 too"),
        ("name,bus,kv,s_kva,p_max_kw,p_max_p10_kw\na,1,4.16,5,5,6\n", ":2: p_max_kw: p_min <= p_max_p10"),
        ("name,bus,kv,s_kva,p_max_kw,energy_up_kwh\na,1,4.16,5,5,-1\n", ":2: energy_up_kwh: give 0 or more"),
        ("name,bus,kv,s_kva,p_max_kw,table\na,1,4.16,5,5,no.json\n", ":2: table: 'no.json' cannot be read"),
    ],
)
def test_what_is_wrong_with_a_der_file(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "der.csv"
    file.write_text(text)
    with pytest.raises(ScenarioError) as error:
        read_der(file)
    assert f"{file}{says}" in str(error.value)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("v,*,0.9,1.1", "quantity: 'v' is no limit"),
        ("v_pu,*,1.1,0.9", "low: a voltage band needs low and high"),
        ("v_pu,*,,1.1", "low: a voltage band needs low and high"),
        ("i_a,*,3,400", "low: a current has no lowest value"),
        ("i_a,*,,", "high: give a positive number"),
        ("rating_share,l1,,1.0", "element: a share of the ratings is for all lines"),
    ],
)
def test_what_is_wrong_with_a_limits_file(tmp_path: Path, row: str, says: str) -> None:
    file = tmp_path / "limits.csv"
    file.write_text(f"quantity,element,low,high\n# a comment\n{row}\n")
    with pytest.raises(ScenarioError) as error:
        read_limits(file)
    assert f"{file}:3: {says}" in str(error.value)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--bus-v", "high", "--bus-v: 'high'"),
        ("--quantiles", "P51", "--quantiles: 'P51' is none"),
        ("--taps", "creg9=1", "--taps: no regulator 'creg9'"),
        ("--taps", "creg1a", "--taps: 'creg1a': write NAME=TAP"),
        ("--directions", "3", "--directions: give 8 or more"),
        ("--devices", "c83,c99", "no regulator or capacitor `c99`"),
    ],
)
def test_options_that_cannot_be(capsys: pytest.CaptureFixture[str], option: str, value: str, says: str) -> None:
    assert command("ieee123", DER, LIMITS, option, value) == 2
    assert says in capsys.readouterr().err


def test_an_unknown_feeder(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("ieee124", DER, LIMITS) == 2
    assert "no feeder and no file 'ieee124'; did you mean 'ieee123'?" in capsys.readouterr().err


def test_what_a_scenario_says_of_it() -> None:
    asked = {
        "every_s": 300.0, "v_pu": (0.94, 1.06), "line_rating_share": 0.9, "devices": ("c83",), "directions": 16,
        "storage": {"cost_up_per_mwh": 80.0, "duration_s": 3600.0, "rebound": 0.5},
    }  # fmt: skip
    entry = Tblm.model_validate({"name": "t", "kind": "tblm", "feeder": "f", "capability": asked})
    made = flexibility_params(entry.capability)
    assert made is not None
    assert made.every_ns == 300_000_000_000 and made.options.region.directions == 16 and made.options.devices == ("c83",)
    assert made.rules == LimitRules((0.94, 1.06), rated_share=0.9, rated_above_v=1000.0)
    assert made.storage == Terms(80.0, None, None, 3600.0, None, 0.5) and made.pv is None
    assert flexibility_params(Tblm.model_validate({"name": "t", "kind": "tblm", "feeder": "f"}).capability) is None
    with pytest.raises(ValueError, match="must rise"):
        Tblm.model_validate({"name": "t", "kind": "tblm", "feeder": "f", "capability": {"every_s": 60.0, "v_pu": (1.05, 0.95)}})
