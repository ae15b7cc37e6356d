"""What a run says about itself, and how it shows itself while it runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from federates.runtime.supervisor import Outcome, Progress
from scenarios import meta
from scenarios.expect import Verdict
from scenarios.load import load_scenario
from scenarios.progress import Lines, Pace, Silent, display

S = 1_000_000_000
HASH = "0123456789abcdef0123456789abcdef01234567"


def test_versions_name_what_a_result_depends_on() -> None:
    found = meta.versions()
    assert {"python", "numpy", "helics", "pandapower", "opendssdirect.py"} <= set(found)
    assert "not installed" not in found.values()


@pytest.mark.parametrize("how", ["detached", "loose", "packed", "none"])
def test_commit_is_read_without_git(how: str, tmp_path: Path) -> None:
    git = tmp_path / ".git"
    if how != "none":
        (git / "refs" / "heads").mkdir(parents=True)
        (git / "HEAD").write_text(f"{HASH}\n" if how == "detached" else "ref: refs/heads/main\n", encoding="utf-8")
    if how == "loose":
        (git / "refs" / "heads" / "main").write_text(f"{HASH}\n", encoding="utf-8")
    if how == "packed":
        (git / "packed-refs").write_text(f"# pack-refs with: peeled\n{HASH} refs/heads/main\n", encoding="utf-8")
    assert meta.commit(tmp_path) == (None if how == "none" else HASH)


def test_meta_is_what_the_report_reads(tmp_path: Path) -> None:
    scenario = load_scenario("tiny").scenario
    verdicts = [Verdict("a", True, "", "x", 1.0), Verdict("b", None, "", "y")]
    outcome = Outcome(3, "f13", 5 * S, "it fell over", (), 4 * S, 1.25)
    known = meta.before(scenario, "helics", "2024-01-01T00:00:00+00:00")
    meta.write(tmp_path, {**known, **meta.after(outcome, 3, verdicts, ["odd"])})
    read = json.loads((tmp_path / "meta.json").read_text(encoding="utf-8"))
    assert (read["exit_code"], read["federate"], read["t_ns"], read["cause"]) == (3, "f13", 5 * S, "it fell over")
    assert (read["stop_ns"], read["wall_s"], read["seed"], read["nominal_hz"]) == (60 * S, 1.25, 1, 60.0)
    assert read["ended_ns"] == 5 * S and read["message"] == "federate f13 at t = 5 s: it fell over" and read["warnings"] == ["odd"]
    assert [e["text"] for e in read["expectations"]] == ["a"]
    assert read["expectations_not_reached"] == ["b"]
    assert list(tmp_path.iterdir()) == [tmp_path / "meta.json"]


def test_speed_does_not_count_the_start() -> None:
    pace = Pace(100.0)
    assert pace.text(Progress(0, 7.0, "")) == "starting, 7 s"
    assert pace.text(Progress(1 * S, 10.0, "")) == "1 of 100 s"
    assert pace.text(Progress(41 * S, 12.0, "")) == "41 of 100 s, 20.0 x real time"


def test_plain_lines_now_and_then_and_for_each_event(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines(100.0) as shown:
        for tenth in range(100):
            shown.show(Progress(tenth * S, tenth / 10.0, "line 16-17 opened" if tenth > 50 else ""))
    lines = capsys.readouterr().err.splitlines()
    assert lines.count("  line 16-17 opened") == 1
    assert len(lines) == 3
    assert lines[-1] == "  line 16-17 opened" or "x real time" in lines[-1]


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    shown = display(100.0, quiet=True)
    assert type(shown) is Silent
    with shown:
        shown.show(Progress(1 * S, 9.0, "an event"))
    assert capsys.readouterr() == ("", "")


def test_the_bar_can_show_any_event(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with display(100.0, quiet=False) as shown:
        shown.show(Progress(1 * S, 9.0, 'x {"units":["[/red]","a"]}'))
