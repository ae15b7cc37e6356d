"""From a name or path to a checked `Scenario`, or every reason why not."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from scenarios.device_check import check_devices
from scenarios.document import Document, read_document
from scenarios.messages import validate
from scenarios.outside import check_outside
from scenarios.problem import Problem, ScenarioError, did_you_mean
from scenarios.references import check_references
from scenarios.schema import Scenario


@dataclass(frozen=True)
class LoadedScenario:
    """A scenario that is right as far as text can tell. `folder`: what its relative paths start from. `document`: for messages."""

    scenario: Scenario
    document: Document
    folder: Path


def library() -> dict[str, Path]:
    """The scenarios that come with the package, by name."""
    folder = Path(str(resources.files("scenarios") / "library"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find(name_or_path: str) -> Path:
    """The file of a library scenario or a path. Raises ScenarioError with a suggestion."""
    known = library()
    if name_or_path in known:
        return known[name_or_path]
    path = Path(name_or_path)
    if path.exists():
        return path
    what = f"there is no scenario and no file of this name; {did_you_mean(name_or_path, list(known))}"
    raise ScenarioError([Problem(name_or_path, 0, (), what)])


def load_scenario(name_or_path: str) -> LoadedScenario:
    """Read and check a scenario without building anything. Raises ScenarioError with everything that is wrong."""
    path = find(name_or_path)
    document = read_document(path, path.name if name_or_path in library() else name_or_path)
    return check_document(document, path.resolve().parent)


def check_document(document: Document, folder: Path) -> LoadedScenario:
    """Check what was read; relative paths start from `folder`. Raises ScenarioError with everything that is wrong."""
    scenario, wrong = validate(TypeAdapter(Scenario), document)
    known = {problem.place for problem in document.problems}
    problems = document.problems + [problem for problem in wrong if problem.place not in known]
    places = [problem.place for problem in problems]
    wrong_devices, devices = check_devices(document, places, folder)
    problems += wrong_devices + check_references(document, places, devices)
    problems += check_outside(document, places, folder)
    if problems or scenario is None:
        raise ScenarioError(problems)
    return LoadedScenario(scenario, document, folder)


def json_schema() -> dict[str, Any]:
    """JSON Schema of a scenario."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Scenario.model_json_schema()}
