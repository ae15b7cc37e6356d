"""The dispatch stack: costs do not fall, and the bus changes by what was promised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from federates.grid.feeder import Feeder
from federates.grid.feeder.network import Network
from federates.tblm.capability.limits import LimitRules, limits_of
from federates.tblm.capability.resources import Resource
from federates.tblm.capability.space import Space
from federates.tblm.dispatch import Block, Terms, stack
from tests.tblm import capability_case as case

LOOSE = LimitRules((0.9, 1.1))
TERMS = [Terms(float(20 + 7 * (k % 5)), float(40 - 3 * (k % 4)), 1e3, 3600.0, None, 0.1 * (k % 2)) for k in range(12)]


@pytest.fixture(scope="module")
def feeder() -> Iterator[Feeder]:
    with case.ieee123() as made:
        yield made


def space(feeder: Feeder, rules: LimitRules = LOOSE, resources: Sequence[Resource] | None = None) -> Space:
    network = Network(feeder)
    given = case.inverters(feeder) if resources is None else resources
    return Space(feeder, network, limits_of(feeder, network, rules), given, np.ones(12, bool))


def dispatched(feeder: Feeder, blocks: Sequence[Block]) -> tuple[float, float, float]:
    """Head P and Q, and losses, with blocks dispatched from the present state."""
    p = np.full(12, case.P_NOW_W)
    for block in blocks:
        for name, change in block.der_p_w.items():
            p[feeder.der_names.index(name)] += change
    with Feeder(feeder.model) as other:
        other.set_taps(feeder.taps())
        other.set_der(p, np.zeros(12))
        other.solve()
        head_p, head_q = other.head()
        return float(head_p.sum()), float(head_q.sum()), other.losses_w()


@pytest.mark.parametrize("direction", ["up", "down"])
def test_the_bus_changes_by_what_was_promised(feeder: Feeder, direction: str) -> None:
    blocks = stack(space(feeder), TERMS, direction)  # type: ignore[arg-type]
    assert len(blocks) > 5
    costs = [block.cost for block in blocks]
    assert costs == sorted(costs)
    sign = -1.0 if direction == "up" else 1.0
    p0, q0, loss0 = dispatched(feeder, [])
    for k in range(1, len(blocks) + 1):
        p, q, loss = dispatched(feeder, blocks[:k])
        assert sum(block.p_w for block in blocks[:k]) == pytest.approx(sign * (p - p0), abs=20.0)
        assert sum(block.q_var for block in blocks[:k]) == pytest.approx(q - q0, abs=20.0)
        assert abs(loss - loss0) > 10.0  # which is in it
    alone = dispatched(feeder, blocks[-1:])[0]
    assert sign * (alone - p0) == pytest.approx(blocks[-1].p_w, rel=0.03)  # out of order: within 3 %
    total = sum(abs(change) for block in blocks for change in block.der_p_w.values())
    assert total == pytest.approx(12 * 150e3, rel=1e-9)  # all there is, and no more


def test_blocks_end_where_limits_are_met(feeder: Feeder) -> None:
    tight = LimitRules((0.95, 1.0445))
    blocks = stack(space(feeder, tight), TERMS, "up")
    whole = stack(space(feeder), TERMS, "up")
    assert 0.0 < sum(b.p_w for b in blocks) < 0.9 * sum(b.p_w for b in whole)
    p = np.full(12, case.P_NOW_W)
    for block in blocks:
        for name, change in block.der_p_w.items():
            p[feeder.der_names.index(name)] += change
    feeder.set_der(p, np.zeros(12))
    feeder.solve()
    assert feeder.node_v_pu().max() <= 1.0445 + 3e-6
    assert stack(space(feeder, LimitRules((0.99, 1.0))), TERMS, "up") == ()  # the present state is outside already


def test_terms_make_the_blocks(feeder: Feeder) -> None:
    same = [Terms(50.0, None, 2e3, None, 600e3, 0.5)] * 6
    resources = [replace(r, notice_s=30.0 if k < 3 else 0.0) for k, r in enumerate(case.inverters(feeder))]
    made = space(feeder, resources=resources)
    blocks = stack(made, [*same, *[None] * 6], "up")
    assert stack(made, [*same, *[None] * 6], "down") == ()
    assert sorted(block.notice_s for block in blocks) == [0.0, 30.0]
    for block in blocks:
        assert len(block.der_p_w) == 3 and block.ramp_w_per_s == 6e3 and block.energy_wh == 1.8e6 and block.rebound == 0.5
        assert block.duration_s == pytest.approx(1.8e6 * 3600.0 / sum(block.der_p_w.values()))


def test_energy_over_a_duration_bounds_the_power(feeder: Feeder) -> None:
    blocks = stack(space(feeder), [Terms(50.0, duration_s=7200.0, energy_wh=100e3)] * 12, "up")
    assert len(blocks) == 1
    assert set(blocks[0].der_p_w.values()) == {50e3}


def test_a_shed_load_takes_its_reactive_power_with_it(feeder: Feeder) -> None:
    resources = case.inverters(feeder)
    resources[4] = replace(resources[4], q_per_p=0.5, p_now_w=0.0)
    blocks = stack(space(feeder, resources=resources), [Terms(9.0) if k == 4 else None for k in range(12)], "up")
    assert len(blocks) == 1
    assert blocks[0].q_var == pytest.approx(-0.5 * sum(blocks[0].der_p_w.values()), rel=0.15)
