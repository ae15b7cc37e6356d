"""What regions and sensitivities cost: processor time of one thread, after the model is built."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from federates.grid.feeder import DerSite, Feeder
from federates.grid.feeder.network import Network
from federates.grid.feeder_library import builtin_feeder
from federates.grid.sensitivity import Equations, Jacobian, der_inputs
from federates.tblm.capability.limits import LimitRules, limits_of
from federates.tblm.capability.polygon import area
from federates.tblm.capability.region import RegionOptions, RegionSearch
from federates.tblm.capability.resources import Resource
from federates.tblm.capability.space import Space
from tests.tblm import capability_case as case
from tests.tblm.capability_reference import GOLDEN, outer_polygon

LARGE_SITES, LARGE_VA = 100, 110e3


class RegionCost(NamedTuple):
    """cpu_s, wall_s: of the search. share: of the exact region's area, NaN where none is known."""

    cpu_s: float
    wall_s: float
    share: float
    corners: int
    solves: int


def ieee9500() -> Feeder:
    """IEEE 9500 with a hundred inverters on three-phase primary buses, each at half of 100 kW."""
    model = builtin_feeder("ieee9500")
    with Feeder(model) as bare:
        phases: dict[str, int] = {}
        for node, kv in zip(bare.node_names, bare.node_base_kv.tolist(), strict=True):
            if abs(kv - 7.2) < 0.1:
                bus = node.rsplit(".", 1)[0]
                phases[bus] = phases.get(bus, 0) + 1
    buses = [bus for bus, n in phases.items() if n == 3]
    chosen = [buses[int(k)] for k in np.linspace(0, len(buses) - 1, LARGE_SITES)]
    feeder = Feeder(model.with_(der=tuple(DerSite(f"d{k}", f"{bus}.1.2.3", 12.47, LARGE_VA) for k, bus in enumerate(chosen))))
    feeder.set_der(np.full(LARGE_SITES, 50e3), np.zeros(LARGE_SITES))
    feeder.settle()
    return feeder


def region_cost(feeder: Feeder, resources: list[Resource], rules: LimitRules, directions: int, exact: bool) -> RegionCost:
    """Search one region from scratch."""
    network = Network(feeder)
    space = Space(feeder, network, limits_of(feeder, network, rules), resources, np.ones(len(resources), bool))
    cpu, wall = time.process_time(), time.perf_counter()
    region = RegionSearch(space, RegionOptions(directions)).run()
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    share = float("nan")
    if exact:
        rows = np.array(json.loads(GOLDEN.read_text())["angle_rad, P_W, Q_var"])
        share = area(region.polygon) / area(outer_polygon(np.stack((np.cos(rows[:, 0]), np.sin(rows[:, 0])), axis=1), rows[:, 1:]))
    return RegionCost(cpu_s, wall_s, share, len(region.vertices), space.solves)


def small_region() -> RegionCost:
    """IEEE 123 with twelve inverters: the case with an exact region."""
    with case.ieee123() as feeder:
        return region_cost(feeder, case.inverters(feeder), case.RULES, 48, True)


def large_region(directions: int) -> RegionCost:
    """IEEE 9500 with a hundred."""
    rules = LimitRules((0.94, 1.06), rated_share=1.0, rated_above_v=1e3)
    with ieee9500() as feeder:
        resources = [Resource(name, 0.0, 100e3, LARGE_VA, p_now_w=50e3) for name in feeder.der_names]
        return region_cost(feeder, resources, rules, directions, False)


class SensitivityCost(NamedTuple):
    """Processor seconds, and the largest difference of the head's slopes to central differences, W per W."""

    brute_s: float
    all_voltages_s: float
    head_s: float
    apart: float


def sensitivity_cost(make: Callable[[], Feeder], p_w: float, rounds: int) -> SensitivityCost:
    """P and Q of every site: central differences of full solves, the Jacobian for all voltages, the adjoint for the head."""
    with make() as feeder:
        n, step = len(feeder.der_names), 0.05 * p_w
        at = np.concatenate((np.full(n, p_w), np.zeros(n)))
        network = Network(feeder)
        equations = Equations(network)
        brute_s = all_s = head_s = np.inf
        feeder.solve()
        for _ in range(rounds):
            begun = time.process_time()
            inputs = der_inputs(feeder, feeder.node_phasor_v())
            jacobian = Jacobian(equations)
            head = jacobian.head(inputs)
            head_s = min(head_s, time.process_time() - begun)
            begun = time.process_time()
            jacobian.voltages(inputs)
            all_s = min(all_s, time.process_time() - begun + head_s)
            begun = time.process_time()
            slopes = []
            for k in range(2 * n):
                seen = []
                for sign in (1.0, -1.0):
                    x = at.copy()
                    x[k] += sign * step
                    feeder.set_der(x[:n], x[n:])
                    feeder.solve()
                    p, q = feeder.head()
                    feeder.node_phasor_v()
                    seen.append(complex(p.sum(), q.sum()))
                slopes.append((seen[0] - seen[1]) / (2.0 * step))
            brute_s = min(brute_s, time.process_time() - begun)
            feeder.set_der(at[:n], at[n:])
            feeder.solve()
        apart = float(np.abs(np.array(slopes) - head).max())
        return SensitivityCost(brute_s, all_s, head_s, apart)
