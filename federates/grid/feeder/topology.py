"""Distances and service transformers along the feeder's graph."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LOW_VOLTAGE_KV = 1.0  # a transformer whose lowest winding is at most this serves customers


class Branch(NamedTuple):
    """A line, transformer or series element between buses. low_kv: its lowest winding voltage, 0 for others than transformers."""

    name: str
    buses: tuple[str, ...]
    km: float
    closed: bool
    low_kv: float


class Supply(NamedTuple):
    """How a bus is reached from the head: distance, the branch it is fed by and that branch's other end."""

    km: float
    branch: Branch | None
    upstream: str


def supply_tree(head: str, branches: Sequence[Branch]) -> dict[str, Supply]:
    """Shortest way over closed branches from `head` to each bus. Buses without supply are absent."""
    at_bus: dict[str, list[Branch]] = {}
    for branch in branches:
        if branch.closed:
            for bus in branch.buses:
                at_bus.setdefault(bus, []).append(branch)
    tree: dict[str, Supply] = {}
    heap: list[tuple[float, int, str, Branch | None, str]] = [(0.0, 0, head, None, "")]
    pushed = 0
    while heap:
        km, _, bus, via, upstream = heapq.heappop(heap)
        if bus in tree:
            continue
        tree[bus] = Supply(km, via, upstream)
        for branch in at_bus.get(bus, ()):
            for other in branch.buses:
                if other not in tree:
                    pushed += 1  # breaks ties in the order of the file: the tree is the same in every run
                    heapq.heappush(heap, (km + branch.km, pushed, other, branch, bus))
    return tree


def lost_without(line: str, head: str, branches: Sequence[Branch]) -> set[str]:
    """Buses that lose their supply when one branch opens, other branches as they stand."""
    rest = [branch for branch in branches if branch.name != line]
    return set(supply_tree(head, branches)) - set(supply_tree(head, rest))


def service_transformers(buses: Sequence[str], tree: Mapping[str, Supply]) -> tuple[str, ...]:
    """For each bus the nearest transformer upstream with a winding of at most 1 kV, as `transformer.name`; the bus itself where
    there is none."""

    def nearest(bus: str) -> str:
        at = bus
        while (supply := tree.get(at)) is not None and supply.branch is not None:
            if 0.0 < supply.branch.low_kv <= LOW_VOLTAGE_KV:
                return supply.branch.name
            at = supply.upstream
        return bus

    found = {bus: nearest(bus) for bus in dict.fromkeys(buses)}
    return tuple(found[bus] for bus in buses)


def distance_km(node_names: Sequence[str], tree: Mapping[str, Supply]) -> list[float]:
    """Distance from the head of each 'bus.phase', NaN where there is no supply."""
    return [tree[bus].km if (bus := name.rsplit(".", 1)[0]) in tree else math.nan for name in node_names]
