"""The errors between a record and its simulation."""

from __future__ import annotations

import numpy as np

from monitor.figures.replay import errors


def test_errors_are_simulated_less_recorded_at_the_times_of_the_record() -> None:
    found = errors(np.array([0.0, 2.0, 4.0]), np.array([50.0, 49.0, 49.0]), np.array([1.0, 3.0, 5.0]), np.array([49.4, 49.0, 49.0]))
    assert np.allclose(found[:2], [0.1, 0.0])
    assert np.isnan(found[2])  # the run had ended
