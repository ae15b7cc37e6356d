"""Scenarios of one's own, beside which files may stand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scenarios.problem import ScenarioError

GOOD = """\
name: study
start: 2024-07-01T12:00:00
stop_s: 60
federates:
  - {name: grid, kind: transmission, network: "pandapower:case39"}
  - {name: f13, kind: distribution, feeder: ieee13, grid: grid, bus: "16", count: 10}
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Writes a scenario and gives its path."""

    def to_file(text: str) -> str:
        path = tmp_path / "study.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return to_file


@pytest.fixture
def problems(write: Callable[[str], str]) -> Callable[[str], list[tuple[int, str]]]:
    """What is wrong with a scenario: (line, `path: message`) of each problem."""
    from scenarios.load import load_scenario

    def of(text: str) -> list[tuple[int, str]]:
        path = write(text)
        try:
            load_scenario(path)
        except ScenarioError as error:
            assert all(line.startswith(f"{path}:") for line in str(error).splitlines())
            return [(p.line, str(p).removeprefix(f"{path}:{p.line}: ")) for p in error.problems]
        return []

    return of
