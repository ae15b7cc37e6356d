"""What a run says about itself in `meta.json`: enough to run it again, nothing about who ran it or where."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenarios import kinds
from scenarios.expect import Verdict
from scenarios.schema import Scenario

if TYPE_CHECKING:
    from federates.runtime.supervisor import Outcome

_PACKAGES = (
    "gridtandem", "numpy", "scipy", "pandas", "pyarrow", "helics", "opendssdirect.py", "dss-python", "pandapower", "lightsim2grid",
    "distopf", "pydantic", "ruamel.yaml", "pymodbus", "yadnp3", "andes", "kvxopt",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Python and the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def commit(folder: Path | None = None) -> str | None:
    """The commit of the checkout that this code is in, read without git; None outside one."""
    git = (folder or Path(__file__).resolve().parent.parent) / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head
        reference = git / head.removeprefix("ref: ")
        if reference.is_file():
            return reference.read_text(encoding="utf-8").strip()
        packed = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
        return next((line.split()[0] for line in packed if line.endswith(head.removeprefix("ref: "))), None)
    except OSError:
        return None


def nominal_hz(scenario: Scenario) -> float | None:
    """Nominal frequency of its bulk system; None where it has none."""
    return next((float(kinds.nominal_hz(grid)) for kind in kinds.BULK_KINDS for grid in scenario.of_kind(kind)), None)


def before(scenario: Scenario, runner: str, started: str) -> dict[str, Any]:
    """What is known at the start."""
    return {
        "scenario": scenario.name, "about": scenario.about, "seed": scenario.seed, "start": scenario.start.isoformat(),
        "stop_ns": round(scenario.stop_s * 1e9), "nominal_hz": nominal_hz(scenario),
        "runner": runner, "started_utc": started, "commit": commit(),
        "versions": versions(),
        "host": f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} CPUs",
    }  # fmt: skip


def after(outcome: Outcome, exit_code: int, verdicts: list[Verdict], warned: list[str]) -> dict[str, Any]:
    """What is known at the end. `t_ns` and `federate` are the failure's."""
    reached = [asdict(verdict) for verdict in verdicts if verdict.passed is not None]
    return {
        "exit_code": exit_code, "cause": outcome.cause, "message": outcome.message, "federate": outcome.federate,
        "t_ns": outcome.t_ns, "ended_ns": outcome.ended_ns, "reached_ns": outcome.reached_ns, "wall_s": round(outcome.wall_s, 3),
        "warnings": warned, "expectations": reached,
        "expectations_not_reached": [verdict.text for verdict in verdicts if verdict.passed is None],
    }  # fmt: skip


def write(run_dir: Path, meta: Mapping[str, Any]) -> None:
    """Write `meta.json` whole or not at all."""
    partial = run_dir / "meta.json.part"
    partial.write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    partial.replace(run_dir / "meta.json")
