"""The strongest invariant: a scenario gives the same records, bit for bit, in the plain loop, over HELICS, and again by seed."""

from __future__ import annotations

from pathlib import Path

import pytest

import run_cosim
from monitor.compare import compare


def run_dir(base: Path, *arguments: str) -> Path:
    """Where a run of the command line left its records."""
    assert run_cosim.main(["run", *arguments, "--quiet", "--out", str(base)]) in (0, 1)
    return next(path for path in base.iterdir() if path.is_dir())


def test_tiny_with_its_emergency_gives_identical_records_in_the_loop_over_helics_and_again(tmp_path: Path) -> None:
    runs = [run_dir(tmp_path / runner, "tiny", "--runner", runner.rstrip("2")) for runner in ("local", "helics", "helics2")]
    assert '"emergency_begins"' in (runs[0] / "events.jsonl").read_text()
    for other in runs[1:]:
        found = compare(runs[0], other)
        assert found.identical and found.records > 30, str(found)


def test_quickstart_gives_identical_records_in_the_loop_and_over_helics(tmp_path: Path) -> None:
    runs = [run_dir(tmp_path / runner, "quickstart", "--stop", "300", "--runner", runner) for runner in ("local", "helics")]
    found = compare(*runs)
    assert found.identical and found.records > 60, str(found)


def test_another_seed_gives_other_records(tmp_path: Path) -> None:
    runs = [run_dir(tmp_path / seed, "tiny", "--stop", "5", "--seed", seed, "--runner", "local") for seed in ("1", "2")]
    assert not compare(*runs).identical


pytestmark = pytest.mark.timeout(600)
