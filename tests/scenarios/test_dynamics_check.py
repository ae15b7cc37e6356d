"""What `check` says of the dynamics engine, before anything is started."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from federates.grid.dynamics import cases
from scenarios.document import parse_document
from scenarios.load import check_document
from scenarios.problem import ScenarioError

HEAD = "name: x\nstart: 2024-07-01T12:00:00\nstop_s: 10\n"


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As if ANDES were there, and had read no case yet: `check` starts nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cases, "version", lambda _package: "2.0.0")


def problems(grid: str, more: str = "") -> list[str]:
    text = HEAD + f"federates:\n  - {{name: grid, kind: transmission, {grid}}}\n" + more
    try:
        check_document(parse_document(text, "x.yaml"), Path())
    except ScenarioError as error:
        return [str(problem) for problem in error.problems]
    return []


def event(action: str) -> str:
    return f"events:\n  - {{t_s: 1, to: grid, action: {action}}}\n"


def test_a_good_one_and_the_same_by_the_other_engine() -> None:
    assert problems("network: 'andes:ieee39', engine: dynamics", event("{do: fault_bus, bus: '16', duration_s: 0.1}")) == []
    assert problems("network: 'andes:ieee39', engine: response") == []


DYNAMICS = "network: 'andes:ieee39', engine: dynamics"
FAULT = "{do: fault_bus, bus: '16', duration_s: 0.1}"
VOLTAGE = "{do: set_generator, generator: G30, p_w: 1e8, v_pu: 1.0}"


@pytest.mark.parametrize(
    ("grid", "more", "said"),
    [
        (f"{DYNAMICS}, period_s: 0.1", "", "federates[0].period_s: the dynamics engine exchanges at multiples of 0.125 s"),
        (f"{DYNAMICS}, period_s: 0.3", "", "only at steps of a power of two; write 0.25"),
        (f"{DYNAMICS}, emergency: {{step_s: 0.02}}", "", "step_s: the dynamics engine exchanges at multiples of 0.125 s"),
        (
            "network: 'pandapower:case39', engine: dynamics",
            "",
            "'pandapower:case39' holds no machine data; write one of andes:",
        ),
        ("network: 'andes:ieee40', engine: dynamics", "", "'andes:ieee40' holds no machine data; write one of andes:ieee39"),
        (f"{DYNAMICS}, frequency: {{inertia_s: 5}}", "", "inertia_s: the dynamics engine takes it from the case"),
        (DYNAMICS, "coupling: {mode: iterate}\n", "cannot go back to solve an instant again; write mode: jacobi"),
        ("network: 'andes:ieee39'", event(FAULT), "the response engine knows no 'fault_bus'; write engine: dynamics"),
        (DYNAMICS, event(VOLTAGE), "does not change what an exciter holds"),
    ],
)
def test_what_the_engine_cannot_do_is_said_with_its_place(grid: str, more: str, said: str) -> None:
    found = problems(grid, more)
    assert any(said in problem for problem in found), found


def test_without_andes_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(cases, "version", absent)
    found = problems("network: 'andes:ieee39', engine: dynamics")
    assert any("engine: the dynamics engine needs ANDES" in p and "pip install 'gridtandem[dynamics]'" in p for p in found), found
    assert problems("network: 'pandapower:case39'") == [], "the core needs none"
