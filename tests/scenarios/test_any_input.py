"""Whatever stands in a scenario, the answer is a scenario or a list of problems, never an exception of another kind."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest

from scenarios.document import Document, parse_document
from scenarios.load import check_document, library
from scenarios.problem import ScenarioError

VALUES: list[Any] = [
    None, True, 1, -1, 1.5, "x", "grid", "f123", [], {}, [1], {"a": 1}, [[]], [{"x": []}], "16-17", float("nan"),
]  # fmt: skip
KEYS = ["zz", "bus", "feeder", "name", "kind", "action"]


def mutated(data: Any, rng: random.Random) -> Any:
    """A copy with one to four places replaced, removed or added to."""
    data = copy.deepcopy(data)
    for _ in range(rng.randint(1, 4)):
        places: list[tuple[Any, Any]] = []
        containers = [data]
        while containers:
            container = containers.pop()
            for key in container if isinstance(container, dict) else range(len(container)):
                places.append((container, key))
                if isinstance(container[key], dict | list):
                    containers.append(container[key])
        if not places:
            break
        container, key = rng.choice(places)
        what = rng.randrange(3)
        if what == 0:
            container[key] = copy.deepcopy(rng.choice(VALUES))
        elif what == 1:
            del container[key]
        elif isinstance(container, dict):
            container[rng.choice(KEYS)] = copy.deepcopy(rng.choice(VALUES))
    return data


@pytest.mark.parametrize("seed", range(4))
def test_any_mutation_of_a_good_scenario(seed: int, tmp_path: Path) -> None:
    good = parse_document(library()["quickstart"].read_text(encoding="utf-8"), "quickstart.yaml").data
    rng = random.Random(seed)
    refused = 0
    for _ in range(50):
        document = Document("mutated.yaml", mutated(good, rng), {(): 1})
        try:
            check_document(document, tmp_path)
        except ScenarioError as error:
            refused += 1
            assert error.problems
            assert all(problem.message for problem in error.problems)
    assert refused > 40
