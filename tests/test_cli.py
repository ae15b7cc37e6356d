"""The command line, in processes of its own where a process matters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

import run_cosim
from monitor.results import load
from scenarios.extras import OF_HIL
from scenarios.load import library

pytestmark = pytest.mark.xdist_group("cli")  # one run for all that look at it
ROOT = Path(run_cosim.__file__).parent
BAD = """\
name: bad
start: 2024-07-01T12:00:00
stop_s: -1
federates:
  - {name: grid, kind: transmission, network: "pandapower:case39"}
  - {name: f, kind: distribution, feeder: ieee31, grid: grid, bus: "16"}
"""
SHORT = ["run", "tiny", "--runner", "local", "--stop", "3", "--quiet"]


def command(*arguments: str, cwd: Path | None = None) -> list[str]:
    return [sys.executable, str(ROOT / "run_cosim.py"), *arguments]


def call(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A short run, and the directory it ran in."""
    cwd = tmp_path_factory.mktemp("short")
    return call(*SHORT, cwd=cwd), cwd


def run_dirs(cwd: Path) -> list[Path]:
    return sorted((cwd / "runs").glob("*")) if (cwd / "runs").exists() else []


@pytest.mark.parametrize("arguments", [["--help"], ["check", "tiny"], ["list"], ["show", "tiny"], ["schema"], ["check", "nothing"]])
def test_light_commands_import_no_solver(arguments: list[str], tmp_path: Path) -> None:
    """Which is what makes them answer in about a second."""
    heavy = ["pandapower", "opendssdirect", "helics", "lightsim2grid", "pandas", "bokeh", "pyarrow", "scipy", "rich"]
    code = f"""
import sys, run_cosim
try:
    run_cosim.main({arguments!r})
except SystemExit:
    pass
print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
    assert done.stderr.splitlines()[-1] == "[]"


WITHOUT_HIL = f"""
import sys
for name in {list(OF_HIL)!r}:
    sys.modules[name] = None  # an import of it fails as if it were not installed
import run_cosim
sys.exit(run_cosim.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["list"], 0, "hil_bench                    cannot run here: cryptography is not installed; pip install 'gridtandem[hil]'"),
        (["check", "hil_bench"], 2, "devices: cryptography is not installed; pip install 'gridtandem[hil]'"),
        (["device", "probe", "modbus://127.0.0.1:9/1"], 2, "gridtandem: pymodbus is not installed; pip install 'gridtandem[hil]'"),
        (["device", "stand-in", "rtu"], 2, "gridtandem: yadnp3 is not installed; pip install 'gridtandem[hil]'"),
    ],
)
def test_without_the_extra_for_devices_it_is_named(arguments: list[str], code: int, told: str, tmp_path: Path) -> None:
    """`make run` installs no extra, and `list` is the next thing one tries."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_HIL, *arguments], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60, check=False)  # fmt: skip
    assert done.returncode == code
    assert told in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) <= 1  # and nothing that only follows from it
    if arguments == ["list"]:
        assert [line.split()[0] for line in done.stdout.splitlines()] == sorted(library())


def test_without_a_command_the_quickstart_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setitem(run_cosim._COMMANDS, "run", lambda arguments: seen.append(arguments) or 0)
    monkeypatch.setattr(sys, "argv", ["run_cosim.py"])
    assert run_cosim.main() == 0
    assert (seen[0].scenario, seen[0].runner, seen[0].out, seen[0].stop) == ("quickstart", "helics", Path("runs"), None)


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_cosim.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.split() == ["gridtandem", metadata.version("gridtandem")]


@pytest.mark.parametrize("arguments", [["fly"], ["run", "tiny", "--runner", "mpi"], ["check"], ["run", "tiny", "--stop", "soon"]])
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run_cosim.main(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize("arguments", [["check", "bad.yaml"], ["show", "bad.yaml"], ["run", "bad.yaml"]])
def test_a_bad_scenario_is_2_with_all_its_lines_and_leaves_nothing(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD, encoding="utf-8")
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "bad.yaml:3: stop_s: -1 is not allowed; write a number above 0",
        "bad.yaml:6: federates[1].feeder: there is no feeder 'ieee31'; did you mean 'ieee34', "
        "or the path of an OpenDSS master file",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]


@pytest.mark.parametrize(("option", "value"), [("--stop", "0"), ("--stop", "nan"), ("--stop", "-1"), ("--seed", "-1")])
def test_bad_options_leave_nothing(option: str, value: str, tmp_path: Path) -> None:
    done = call("run", "tiny", f"{option}={value}", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{option}: ")
    assert not run_dirs(tmp_path)


def test_what_only_solving_shows_leaves_nothing_either(tmp_path: Path) -> None:
    text = (ROOT / "scenarios" / "library" / "tiny.yaml").read_text(encoding="utf-8").replace("count: 60", "count: 600")
    (tmp_path / "many.yaml").write_text(text, encoding="utf-8")
    done = call("run", "many.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "federates[1].count: 600 feeders of 3.58 MW are more than the 329.0 MW of bus '16'; write at most 91" in done.stderr
    assert not run_dirs(tmp_path)


def test_an_unknown_scenario_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cosim.main(["run", "quickstar"]) == 2
    assert "did you mean 'quickstart'?" in capsys.readouterr().err


def test_check_by_solving(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cosim.main(["check", "tiny", "--solve"]) == 0
    assert "every federate starts and solves" in capsys.readouterr().out


def test_a_run_leaves_its_directory(short: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, cwd = short
    assert done.returncode == 0, done.stderr
    (run_dir,) = run_dirs(cwd)
    assert done.stderr == ""  # --quiet
    assert done.stdout.splitlines() == [done.stdout.rstrip("\n")]
    assert done.stdout.startswith("tiny: exit 0, 3 s simulated in ")
    assert done.stdout.rstrip().endswith(str(Path("runs") / run_dir.name / "report.html"))
    assert {"scenario.yaml", "meta.json", "report.html", "signals", "tblm", "events.jsonl", "timing.parquet", "log"} <= {
        path.name for path in run_dir.iterdir()
    }
    results = load(run_dir)
    assert results.signal("grid.f_hz").index[-1] == 2.0
    meta = results.meta
    assert (meta["scenario"], meta["runner"], meta["seed"], meta["exit_code"], meta["stop_ns"]) == (
        "tiny",
        "local",
        1,
        0,
        3_000_000_000,
    )
    assert meta["expectations"] == []
    assert len(meta["expectations_not_reached"]) == 2
    assert meta["versions"]["python"]
    text = json.dumps(meta)
    for private in (str(Path.home()), os.environ.get("USER", "no user"), str(ROOT), str(cwd)):
        assert f'"{private}' not in text


def test_the_resolved_scenario_runs_again_and_gives_the_same(
    short: tuple[subprocess.CompletedProcess[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, cwd = short
    (first,) = run_dirs(cwd)
    out = cwd / "again"
    assert run_cosim.main(["run", str(first / "scenario.yaml"), "--runner", "local", "--out", str(out), "--quiet"]) == 0
    (second,) = out.iterdir()
    assert run_cosim.main(["compare", str(first), str(second)]) == 0
    assert "identical" in capsys.readouterr().out


def test_report_and_compare_of_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cosim.main(["report", str(tmp_path)]) == 2
    assert run_cosim.main(["compare", str(tmp_path), str(tmp_path / "none")]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_the_report_is_written_again(
    short: tuple[subprocess.CompletedProcess[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, cwd = short
    report = run_dirs(cwd)[0] / "report.html"
    report.unlink()
    assert run_cosim.main(["report", str(report.parent)]) == 0
    assert capsys.readouterr().out.strip() == str(report)
    assert report.is_file()


def test_a_failed_expectation_is_1(tmp_path: Path) -> None:
    text = (ROOT / "scenarios" / "library" / "tiny.yaml").read_text(encoding="utf-8")
    wrong = '  - {signal: "grid.v_pu[16]", at_s: 1, max: 0.5, because: nobody would expect this}\n'
    (tmp_path / "wrong.yaml").write_text(text + wrong, encoding="utf-8")
    done = call("run", "wrong.yaml", "--runner", "local", "--stop", "2", cwd=tmp_path)
    assert done.returncode == 1
    assert "FAILED: grid.v_pu[16] <= 0.5 at 1 s (nobody would expect this); 1.0" in done.stderr
    (run_dir,) = run_dirs(tmp_path)
    meta = load(run_dir).meta
    assert meta["exit_code"] == 1
    assert [(e["passed"], e["text"]) for e in meta["expectations"]] == [(False, "grid.v_pu[16] <= 0.5 at 1 s")]


def test_ctrl_c_is_130_and_keeps_the_records(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("run", "tiny", "--runner", "local"), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        end_s = time.monotonic() + 60.0
        while not any(path.stat().st_size > 20_000 for path in tmp_path.glob("runs/*/signals/grid.all_v_pu.arrows")):
            assert time.monotonic() < end_s and process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30.0)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert out.startswith("tiny: exit 130, ")
    (run_dir,) = run_dirs(tmp_path)
    results = load(run_dir)
    assert results.meta["exit_code"] == 130
    assert len(results.signal("grid.f_hz")) > 3
    assert (run_dir / "report.html").is_file()


def test_out_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file", encoding="utf-8")
    done = call("run", "tiny", "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("--out: ")
    assert "choose another directory" in done.stderr
