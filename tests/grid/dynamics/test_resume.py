"""A thousand resumed steps against one call, bit for bit, in ANDES itself: what stepping from outside rests on."""

from __future__ import annotations

import numpy as np
import pytest

from federates.grid.dynamics.cases import CASES, cache_folder
from federates.grid.dynamics.loads import NativeModel
from tests.grid.dynamics.andes_cases import needs_andes, network

pytestmark = [*needs_andes, pytest.mark.slow]
STEPS, PER_S = 1000, 64


@pytest.mark.parametrize("case", CASES)
def test_a_thousand_resumed_steps_equal_one_call_bit_for_bit(case: str) -> None:
    """1,000 steps of 1/64 s after a load changed by 2 %, so that everything moves."""
    one, many = started(case), started(case)
    assert many.run_to(STEPS)
    for k in range(1, STEPS + 1):
        assert one.run_to(k), f"step {k}: {one.said}"
    assert np.array_equal(one.x, many.x) and np.array_equal(one.y, many.y)
    assert np.abs(one.x - one.x0).max() > 1e-4, "nothing moved"


class InProcess:
    """A started case in this process, stepped by ANDES alone. Only a test may have it here: the engine has its own process."""

    def __init__(self, case: str) -> None:
        from federates.grid.dynamics.client import Dynamics
        from federates.grid.dynamics.system import AndesSystem

        net, flow = network(case)
        with Dynamics(case, PER_S):  # sees to it that the code is generated
            pass
        self.system = AndesSystem(case, cache_folder() / "pycode", PER_S)
        base_va = self.system.static.base_va
        native = np.column_stack((net.case.native_p_w, net.case.native_q_var)) / base_va
        self.system.begin(
            np.zeros_like(native),
            native,
            np.abs(net.case.base_v),
            flow.v_pu,
            flow.generator_p_w / base_va,
            NativeModel(0.0, 0.0, 0.0),
        )
        self.x0 = self.x.copy()
        load = self.system._ss.PQ.Ppf.v
        load[int(np.argmax(load))] *= 1.02

    def run_to(self, k: int) -> bool:
        tds = self.system._ss.TDS
        tds.config.tf = k / PER_S
        return bool(tds.run(no_summary=True)) and not tds.busted and float(self.system._ss.dae.t) == k / PER_S

    @property
    def said(self) -> str:
        return str(self.system._ss.TDS.err_msg)

    @property
    def x(self) -> np.ndarray:
        return np.array(self.system._ss.dae.x)

    @property
    def y(self) -> np.ndarray:
        return np.array(self.system._ss.dae.y)


def started(case: str) -> InProcess:
    return InProcess(case)
