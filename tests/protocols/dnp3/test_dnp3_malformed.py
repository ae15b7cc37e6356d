"""Hostile octets: no crash, no hang, no growth, and a good master is answered after each hundred."""

from __future__ import annotations

import gc
import tracemalloc
from itertools import islice

import psutil
import pytest
from dnp3_malformed import attack, hostile

from protocols.dnp3.explain import explain
from protocols.dnp3.link import LinkParser

COUNT = 4000


@pytest.mark.parametrize("seed", [1, 2])
def test_a_good_master_is_answered_after_each_hundred(seed):
    trial = attack(COUNT // 2, seed)
    assert trial.polls == COUNT // 200
    assert trial.slowest_answer_s < 1.0


def test_memory_does_not_grow():
    held: dict[int, int] = {}

    def measure(number: int) -> None:
        gc.collect()
        held[number] = tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        attack(1500, seed=3, every=500, after_poll=measure)
    finally:
        tracemalloc.stop()
    assert held[1500] < 1.1 * held[500] + 10_000


@pytest.mark.slow
def test_a_hundred_thousand_pieces():
    process = psutil.Process()
    held: dict[int, int] = {}

    def measure(number: int) -> None:
        held[number] = process.memory_info().rss

    trial = attack(100_000, seed=11, after_poll=measure)
    assert trial.polls == 1000 and trial.slowest_answer_s < 1.0
    assert max(held.values()) < 1.1 * held[1000]


def test_hostile_octets_are_reproducible_and_often_reach_the_application():
    pieces = list(islice(hostile(5), 300))
    assert pieces == list(islice(hostile(5), 300))
    good = sum(bool(LinkParser().feed(piece)) for piece in pieces)
    assert good > 150, "damage only to the link layer would test little"


def test_explaining_never_fails_either():
    for piece in islice(hostile(6), 1500):
        assert explain(piece)
