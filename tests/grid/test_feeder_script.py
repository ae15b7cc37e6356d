"""A .dss file as untrusted input: what is refused, what is left out, and that nothing is written or started."""

import pickle
import shutil
from pathlib import Path

import pytest

from federates.grid.feeder import Feeder, FeederError, FeederModel
from federates.grid.feeder.script import read_script
from federates.grid.feeder_library import builtin_feeder, case_folder

CIRCUIT = """clear
new circuit.c basekv=12.47 bus1=head
new line.l bus1=head bus2=end length=1 units=km r1=0.1 x1=0.1 r0=0.1 x0=0.1
new load.d bus1=end kv=12.47 kw=100 kvar=10
set voltagebases=[12.47]
calcv
"""


def write(folder: Path, text: str, name: str = "master.dss") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("doscmd touch {folder}/owned", "`doscmd` runs a shell command: refused"),
        ("DOScmd touch {folder}/owned", "`doscmd` runs a shell command: refused"),
        ("dos touch {folder}/owned", "the statement `dos` is not accepted"),
        ("cd {folder}", "`cd` changes the directory: refused"),
        ("fileedit master.dss", "`fileedit` starts an editor: refused"),
        ("formedit load.d", "`formedit` opens a form: refused"),
        ("command=doscmd touch {folder}/owned", "`command=` does not start a statement"),
        ("alignfile file=master.dss", "the statement `alignfile` is not accepted"),
        ("distribute kw=100", "the statement `distribute` is not accepted"),
        (
            "new generator.g bus1=end kv=12.47 kw=1 model=6 usermodel={folder}/evil.so",
            "`usermodel` loads a shared library: refused",
        ),
        ("new generator.g bus1=end kv=12.47 kw=1 model=6 UserM={folder}/evil.so", "loads a shared library: refused"),
        ("new generator.g bus1=end kv=12.47 kw=1\n~ model=6 usermodel={folder}/evil.so", "loads a shared library: refused"),
        ("new generator.g bus1=end kv=12.47 kw=1\ngenerator.g.usermodel={folder}/evil.so", "loads a shared library: refused"),
        ("new storage.s bus1=end kv=12.47 dynadll={folder}/evil.so", "loads a shared library: refused"),
        ("new generator.g 3 end 12.47 1", "value `3` of a generator without the name of its property"),
        ("set 1 2 3 4", "has a value without the name of its option"),
        ("redirect nowhere.dss", "refers to `nowhere.dss`, and there is no file"),
        ("new loadshape.s npts=2 mult=(file=none.csv)\nnew xycurve.x npts=2 csvfile=none.csv", "refers to `none.csv`"),
        ("redirect master.dss", "files deep"),
        ("new circuit.second basekv=4.16", "2 `New Circuit` statements"),
        ("new line.broken bus1=head bus2=end linecode=none", "not found"),
        ("new nonsense.x a=1", "nonsense"),
    ],
)
def test_refused(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path, CIRCUIT + line.format(folder=tmp_path) + "\n")
    with pytest.raises(FeederError) as error:
        Feeder(FeederModel(path)).close()
    assert message in str(error.value)
    assert error.value.what and error.value.hint
    assert sorted(p.name for p in tmp_path.iterdir()) == ["master.dss"]


def test_the_message_names_file_and_line(tmp_path: Path) -> None:
    write(tmp_path, "! lines\nnew line.l2 bus1=end bus2=far linecode=none\n", "sub/lines.dss")
    path = write(tmp_path, CIRCUIT + "redirect sub\\LINES.dss\n")  # Windows separator, other case
    with pytest.raises(FeederError, match=r"sub/lines\.dss:2: .*none"):
        Feeder(FeederModel(path))


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(FeederError("a.dss", "what", "hint")))
    assert (str(error), error.path) == ("a.dss: what; hint", "a.dss")


@pytest.mark.parametrize("content", [b"", b"\0\1\2" * 100, b"hello world\n", b"new load.x bus1=a kv=1 kw=1\n"])
def test_what_is_no_circuit(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.dss").write_bytes(content)
    with pytest.raises(FeederError):
        Feeder(FeederModel(str(tmp_path / "x.dss")))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FeederError, match=r"none\.dss: no such file; give the path"):
        Feeder(FeederModel(str(tmp_path / "none.dss")))
    with pytest.raises(FeederError, match="no such file"):
        FeederModel(str(tmp_path)).hash()


def test_reports_runs_and_directories_are_left_out_and_nothing_is_written(tmp_path: Path) -> None:
    noisy = """set datapath=/nowhere editor=evil recorder=yes maxcontroliter=20
    solve mode=yearly number=35040
    show voltages ln nodes
    export voltages
    plot profile
    save circuit
    dump
    set mode=yearly number=100000
    /* doscmd touch owned
    */
    // doscmd touch owned
    show powers ! doscmd touch owned
    """
    path = write(tmp_path, CIRCUIT + noisy)
    with Feeder(FeederModel(path)) as f:
        assert f.head()[0].sum() == pytest.approx(100e3, rel=0.01)
        statements = [statement.split()[0] for _, statement in f.left_out]
    assert statements == ["set", "solve", "show", "export", "plot", "save", "dump", "set", "show"]
    assert [p.name for p in tmp_path.iterdir()] == ["master.dss"]


@pytest.mark.parametrize(("folder", "master"), [("ieee123_dss", "Run_IEEE123Bus.DSS"), ("34Bus", "Run_IEEE34Mod1.dss")])
def test_the_run_scripts_of_the_ieee_files_write_nothing(tmp_path: Path, folder: str, master: str) -> None:
    copy = tmp_path / folder
    shutil.copytree(Path(case_folder()) / folder, copy)
    before = {p.name: p.stat().st_mtime_ns for p in copy.iterdir()}
    with Feeder(FeederModel(str(copy / master))) as f:
        assert f.head()[0].sum() > 1e6
        assert len(f.left_out) > 3
    assert {p.name: p.stat().st_mtime_ns for p in copy.iterdir()} == before


def test_hash_follows_content_not_place(tmp_path: Path) -> None:
    model = builtin_feeder("ieee123")
    copy = tmp_path / "elsewhere"
    shutil.copytree(Path(model.master).parent, copy)
    moved = model.with_(master=str(copy / "IEEE123Master.dss"))
    assert moved.hash() == model.hash()
    loads = copy / "IEEE123Loads.DSS"
    loads.write_text(loads.read_text().replace("kW=40.0", "kW=41.0", 1))
    assert moved.hash() != model.hash()
    assert model.with_(open_switches=("sw7",)).hash() != model.hash()


def test_edits_of_the_model_follow_the_same_rules(tmp_path: Path) -> None:
    path = write(tmp_path, CIRCUIT)
    with Feeder(FeederModel(path, edits=("load.d.kw=300",))) as f:
        assert f.load_p0_w.tolist() == [300e3]
    with pytest.raises(FeederError, match="edits of the model:1: `doscmd` runs a shell command"):
        Feeder(FeederModel(path, edits=("doscmd ls",)))


def test_every_statement_of_the_builtin_feeders_is_accepted() -> None:
    for name in ("ieee13", "ieee34", "ieee123", "ieee9500", "smartds"):
        model = builtin_feeder(name)
        assert len(read_script(model.master, model.edits).statements) > 190
