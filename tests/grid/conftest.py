"""The IEEE 123 feeder with two DER, built anew for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from feeder_case import SITES

from federates.grid.feeder import Feeder, FeederModel
from federates.grid.feeder_library import builtin_feeder


@pytest.fixture(scope="module")
def model_123() -> FeederModel:
    return builtin_feeder("ieee123").with_(der=SITES)


@pytest.fixture
def feeder(model_123: FeederModel) -> Iterator[Feeder]:
    with Feeder(model_123) as f:
        yield f
