"""How the search for a settled point is made short: good starts, and steps that learn."""

from __future__ import annotations

import numpy as np
import pytest

from federates.tblm.neighbours import At, Neighbours
from federates.tblm.secants import Secants

ON = np.ones(3, bool)


def at(v: float, f: float) -> At:
    """A world that is linear in v and in f, with no term in both."""
    return At(np.array([2.0 * v + 0.1 * f]), np.array([v, f, 1.0 - v]))


def known(*places: tuple[float, float]) -> Neighbours:
    neighbours = Neighbours()
    for v, f in places:
        neighbours.add(v, f, ON, at(v, f))
    return neighbours


@pytest.mark.parametrize(
    ("places", "wanted"),
    [
        ([(0.9, 60.0), (1.1, 60.0)], (1.05, 60.0)),  # between two on the line of one frequency
        ([(0.9, 60.0), (1.0, 60.0)], (1.1, 60.0)),  # beyond them
        ([(1.0, 59.0), (1.0, 60.0)], (1.0, 59.5)),  # on the line of one voltage
        ([(1.0, 60.0), (0.9, 60.0), (1.0, 59.0)], (0.9, 59.0)),  # the fourth corner
    ],
)
def test_neighbours_foretell_what_is_linear(places: list[tuple[float, float]], wanted: tuple[float, float]) -> None:
    guess = known(*places).guess(*wanted, ON)
    assert guess is not None
    for got, true in zip(guess, at(*wanted), strict=True):
        assert got == pytest.approx(true, abs=1e-12)


def same(guess: At | None, true: At) -> bool:
    return guess is not None and all(np.array_equal(x, y) for x, y in zip(guess, true, strict=True))


def test_without_a_line_the_nearest_serves_and_far_lines_are_not_followed() -> None:
    assert same(known((1.0, 60.0)).guess(0.9, 59.0, ON), at(1.0, 60.0))
    assert same(known((1.0, 60.0), (1.01, 60.0)).guess(1.2, 60.0, ON), at(1.01, 60.0))


def test_other_ders_in_service_know_nothing_and_a_new_snapshot_falls_back_on_the_one_before() -> None:
    neighbours = known((1.0, 60.0))
    assert neighbours.guess(1.0, 60.0, ~ON) is None
    neighbours.begin()
    assert same(neighbours.guess(1.0, 60.0, ON), at(1.0, 60.0))
    neighbours.add(0.9, 60.0, ON, at(0.9, 60.0))
    assert same(neighbours.guess(1.0, 60.0, ON), at(0.9, 60.0))


def steps(secants: Secants, slopes: np.ndarray, goal: np.ndarray) -> int:
    """Steps to the fixed point of g(x) = goal + slopes (x - goal), from 0."""
    secants.begin()
    x = np.zeros(goal.size)
    for count in range(200):
        f = goal + slopes @ (x - goal) - x
        if np.abs(f).max() < 1e-6:
            return count
        x = secants.next(x, f)
    raise AssertionError("no fixed point was found")


def test_steps_learn_within_a_point_and_from_point_to_point() -> None:
    rng = np.random.default_rng(1)
    slopes = np.diag([-0.9, 0.85, 0.1, -0.3, 0.0]) + 0.02 * rng.standard_normal((5, 5))
    plain, x, goal = 0, np.zeros(5), rng.standard_normal(5)
    while np.abs(goal + slopes @ (x - goal) - x).max() >= 1e-6:
        x, plain = goal + slopes @ (x - goal), plain + 1
    secants = Secants()
    first = steps(secants, slopes, goal)
    later = steps(secants, slopes, rng.standard_normal(5))
    assert later <= first < plain // 3
    secants.forget()
    assert steps(secants, slopes, goal) == first


def test_a_step_that_would_leap_is_not_taken() -> None:
    secants = Secants()
    x, f = np.array([0.0, 0.0]), np.array([1.0, 0.0])
    secants.next(x, f)
    assert np.abs(secants.next(x + 1e3, f + 1e-9)).max() <= 1e3 + 1.0 + 1e-9
