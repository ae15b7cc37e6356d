"""Reading networks: names, MATPOWER and pandapower files, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandapower as pp
import pytest
from pandapower import networks
from scipy.io import savemat

from federates.grid import transmission_case
from federates.grid.transmission import NetworkError, Transmission, TransmissionModel, load_network

MATPOWER_BUS = [[7, 3, 0, 0, 0, 0, 1, 1.02, 0, 230, 1, 1.1, 0.9], [9, 2, 20, 5, 0, 0, 1, 1.01, 0, 230, 1, 1.1, 0.9],
                [12, 1, 90, 30, 0, 10, 1, 1, 0, 115, 1, 1.1, 0.9]]  # fmt: skip
MATPOWER_GEN = [[7, 60, 0, 300, -300, 1.02, 100, 1, 250, 10], [9, 50, 0, 300, -300, 1.01, 100, 1, 250, 10]]
MATPOWER_BRANCH = [
    [7, 9, 0.01, 0.085, 0.176, 250, 250, 250, 0, 0, 1, -360, 360],
    [9, 12, 0.0, 0.06, 0, 250, 250, 250, 0.97, 0, 1, -360, 360],
    [7, 12, 0.0, 0.07, 0, 250, 250, 250, 0.98, 0, 1, -360, 360],
]


def write_mat(path: Path) -> Path:
    mpc = {"version": "2", "baseMVA": 100.0, "bus": np.array(MATPOWER_BUS, float), "gen": np.array(MATPOWER_GEN, float),
           "branch": np.array(MATPOWER_BRANCH, float)}  # fmt: skip
    savemat(path, {"mpc": mpc})
    return path


def write_m(path: Path, *extra: str) -> Path:
    def matrix(name, rows):
        return f"mpc.{name} = [\n" + "\n".join("\t" + "\t".join(map(str, row)) + ";" for row in rows) + "\n];\n"

    text = "function mpc = three\n%% a comment: mpc.bus(1, 2) = 3\nmpc.version = '2';\nmpc.baseMVA = 100;\n"
    text += matrix("bus", MATPOWER_BUS) + matrix("gen", MATPOWER_GEN) + matrix("branch", MATPOWER_BRANCH) + "\n".join(extra)
    path.write_text(text, encoding="utf-8")
    return path


def test_matpower_keeps_its_bus_numbers_and_solution(tmp_path):
    """Checked against the power balance of MATPOWER's own branch model, written out here."""
    system = Transmission(TransmissionModel(str(write_mat(tmp_path / "three.mat"))))
    flow = system.solve()
    assert system.bus_names == ("7", "9", "12")
    assert system.branch_names == ("7-9", "9-12", "7-12")
    v = flow.v_pu * np.exp(1j * flow.angle_rad)
    y = np.zeros((3, 3), complex)
    number = {7: 0, 9: 1, 12: 2}
    for f, t, r, x, b, *_, tap, _shift, _status, _low, _high in MATPOWER_BRANCH:
        f, t, tap, series = number[f], number[t], tap or 1.0, 1 / (r + 1j * x)
        y[f, f] += (series + 0.5j * b) / tap**2
        y[t, t] += series + 0.5j * b
        y[f, t] -= series / tap
        y[t, f] -= series / tap
    y[2, 2] += 0.10j
    s = 100e6 * v * np.conj(y @ v)
    assert s[2] == pytest.approx(-90e6 - 30e6j, abs=10.0)
    assert s[1].real == pytest.approx(30e6, abs=10.0)
    assert flow.v_pu[:2] == pytest.approx([1.02, 1.01])


def test_matpower_text_and_binary_are_one_network(tmp_path):
    pytest.importorskip("matpowercaseframes")
    text, binary = write_m(tmp_path / "three.m"), write_mat(tmp_path / "three.mat")
    assert TransmissionModel(str(text)).hash() == TransmissionModel(str(binary)).hash()


def test_hash_follows_content_and_options(tmp_path):
    a, b = write_mat(tmp_path / "a.mat"), write_mat(tmp_path / "b.mat")
    assert TransmissionModel(str(a)).hash() == TransmissionModel(str(b)).hash()
    assert TransmissionModel(str(a)).hash() != TransmissionModel(str(a), (1.0, 2.0)).hash()


def test_pandapower_json_is_the_same_network(tmp_path):
    pp.to_json(networks.case39(), str(tmp_path / "ieee39.json"))
    flow = Transmission(TransmissionModel(str(tmp_path / "ieee39.json"))).solve()
    expected = Transmission(TransmissionModel("pandapower:case39")).solve().v_pu
    assert np.abs(flow.v_pu - expected).max() < 1e-8


def unsolvable(net):
    net.load["p_mw"] *= 10.0


def three_winding(net):
    net.trafo3w = pp.create_empty_network().trafo3w
    pp.create_transformer3w_from_parameters(net, 0, 1, 2, 345, 345, 345, 100, 100, 100, 10, 10, 10, 0.1, 0.1, 0.1, 0, 0)


def two_references(net):
    pp.create_ext_grid(net, 0)


def open_switch(net):
    pp.create_switch(net, 0, 0, "l", closed=False)


def cut_off(net):
    pp.create_bus(net, 345.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (unsolvable, "does not converge"),
        (three_winding, "trafo3w"),
        (two_references, "reference"),
        (open_switch, "open switches"),
        (cut_off, "no supply"),
    ],
)
def test_networks_that_cannot_be_modelled_are_refused(tmp_path, change, says):
    net = networks.case39()
    change(net)
    pp.to_json(net, str(tmp_path / "net.json"))
    with pytest.raises(NetworkError, match=says) as caught:
        load_network(str(tmp_path / "net.json"))
    assert caught.value.source.endswith("net.json") and caught.value.hint


def test_files_that_are_no_networks_are_refused(tmp_path):
    (tmp_path / "list.json").write_text("[1, 2]", encoding="utf-8")
    (tmp_path / "broken.mat").write_bytes(b"not a mat file")
    (tmp_path / "net.raw").write_text("0", encoding="utf-8")
    computed = write_m(tmp_path / "computed.m", "mpc.branch(:, [3 4]) = mpc.branch(:, [3 4]) / 52.9;")
    for source in (
        "pandapower:case40",
        str(tmp_path / "none.m"),
        str(tmp_path / "list.json"),
        str(tmp_path / "broken.mat"),
        str(tmp_path / "net.raw"),
    ):
        with pytest.raises(NetworkError):
            load_network(source)
    with pytest.raises(NetworkError, match=r"computed\.m:\d+: the case computes"):
        load_network(str(computed))


@pytest.fixture
def nothing_remembered(monkeypatch, tmp_path):
    """Networks are read anew, and remembered in a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    transmission_case._load.cache_clear()
    yield tmp_path / "cache"
    transmission_case._load.cache_clear()


def test_a_remembered_network_gives_the_same_bits_and_a_torn_one_is_read_anew(nothing_remembered, monkeypatch):
    read = []
    anew = transmission_case._load_anew
    monkeypatch.setattr(transmission_case, "_load_anew", lambda source: (read.append(source), anew(source))[1])
    first = load_network("pandapower:case14")
    transmission_case._load.cache_clear()
    again = load_network("pandapower:case14")
    assert read == ["pandapower:case14"] and again.content_hash == first.content_hash
    solved = [case.grid.ac_pf(case.base_v * 0.99, 20, 1e-10) for case in (first, again)]
    assert solved[0].tobytes() == solved[1].tobytes() and first.native_p_w.tobytes() == again.native_p_w.tobytes()

    (file,) = nothing_remembered.rglob("*.pickle")
    file.write_bytes(file.read_bytes()[:-100])
    transmission_case._load.cache_clear()
    assert load_network("pandapower:case14").content_hash == first.content_hash and len(read) == 2


def test_a_file_that_has_changed_is_read_anew(nothing_remembered, tmp_path):
    net, file = networks.case14(), tmp_path / "net.json"
    hashes = []
    for p_mw in (20.0, 30.0):
        net.load.loc[0, "p_mw"] = p_mw
        pp.to_json(net, str(file))
        transmission_case._load.cache_clear()
        hashes.append(load_network(str(file)).content_hash)
    assert hashes[0] != hashes[1]


def test_a_misread_network_is_caught_by_the_self_check(nothing_remembered, monkeypatch):
    """The converter's default reading of transformers, 0.0136 pu off on case118, would not pass."""
    from lightsim2grid import network

    right = network.init_from_pandapower
    monkeypatch.setattr(network, "init_from_pandapower", lambda net, pp_orig_file: right(net, pp_orig_file="pandapower_v2"))
    with pytest.raises(NetworkError, match=r"differ by 0\.01"):
        load_network("pandapower:case118")
