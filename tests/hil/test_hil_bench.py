"""The bench of the library from the command line: dry, and live up to the trip of the breaker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import run_cosim
from hil.audit_verify import verify_run
from monitor.results import load
from protocols.pcap import read_segments


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRIDTANDEM_AUDIT_KEY", str(tmp_path / "key.pem"))
    return tmp_path / "runs"


@pytest.mark.slow
def test_the_bench_live(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To 42 s: the volt-var curve, the capacitor, the trip and the closing of the breaker, and the fallback at the end."""
    arguments = ["run", "hil_bench", "--live", "--operator", "A Tester", "--stop", "42", "--out", str(out)]
    code = run_cosim.main(arguments)
    (run_dir,) = (path for path in out.iterdir() if path.is_dir())
    assert code == 0, capsys.readouterr()
    records = load(run_dir)
    switch = records.signal("f123.switch")["sw5"]
    assert switch.loc[:29.9].eq(1.0).all()
    assert switch.loc[31:39.9].eq(0.0).all()
    head = records.signal("f123.head_p_w")["a"]
    assert head.loc[33:39].mean() < 0.9 * head.loc[25:29].mean()
    assert records.signal("inverter.q_var")["pv_hil"].loc[:42].iloc[-5:].max() < -30_000.0
    results = [row["payload"] for row in records.event_rows() if row["source"] in ("rtu.result", "inverter.result")]
    assert results and all(result["outcome"] == "ok" for result in results)
    for device in ("rtu", "inverter", "ieds"):
        assert sum(bool(segment.payload) for segment in read_segments(run_dir / "hil" / f"{device}.pcap")) > 100
    assert not any(found.problems or not found.ended for found in verify_run(run_dir))
    fallbacks = {
        (row["point"], row["outcome"])
        for name in ("rtu", "inverter")
        for row in _audit(run_dir, name)
        if row["kind"] == "fallback" and row["value"] is not None
    }
    assert fallbacks == {("ieds.capacitor_op", "ok"), ("v_pu", "ok"), ("vv_on", "ok")}
    assert "Real devices" in (run_dir / "report.html").read_text(encoding="utf-8")


def _audit(run_dir: Path, name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run_dir / "audit" / f"{name}.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_bench_dry(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cosim.main(["run", "hil_bench", "--stop", "18", "--out", str(out)]) == 0, capsys.readouterr()
    (run_dir,) = (path for path in out.iterdir() if path.is_dir())
    functions = {
        segment.payload[7]
        for segment in read_segments(run_dir / "hil" / "inverter.pcap")
        if len(segment.payload) > 8 and segment.destination[1] != 49152
    }
    assert functions == {3}  # read holding registers
    kinds = {row["kind"] for name in ("rtu", "inverter") for row in _audit(run_dir, name)}
    assert "dry" in kinds and not kinds & {"command", "done", "fallback", "armed"}
