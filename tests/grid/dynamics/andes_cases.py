"""Cases of ANDES for the tests: whether it is there, and a case started from the power flow of lightsim2grid."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest

from federates.grid.dynamics.client import Dynamics
from federates.grid.dynamics.loads import NativeModel
from federates.grid.native_shedding import SheddingBlock
from federates.grid.power_flow import PowerFlow
from federates.grid.transmission import Transmission, TransmissionModel

WITHOUT_ANDES = importlib.util.find_spec("andes") is None
needs_andes = [
    pytest.mark.skipif(WITHOUT_ANDES, reason="ANDES is not installed: pip install 'gridtandem[dynamics]'"),
    pytest.mark.timeout(600),  # the first start of a version generates code, one process for all
]
EXPONENTS = (1.0, 2.0)


@cache
def network(case: str) -> tuple[Transmission, PowerFlow]:
    """The network of a case and its power flow by lightsim2grid, as it ships."""
    made = Transmission(TransmissionModel(f"andes:{case}", EXPONENTS))
    return made, made.solve()


class Case:
    """A case that runs, with everything by name."""

    def __init__(
        self, case: str, engine: Dynamics, fed_mw: dict[str, float], damping_pu: float, blocks: Sequence[SheddingBlock]
    ) -> None:
        self.network, self.flow = network(case)
        self.engine, self.static = engine, engine.static
        self.base_va, self.k = self.static.base_va, 0
        n = len(self.static.bus_names)
        self.fed = np.zeros((n, 2))
        for bus, mw in fed_mw.items():
            self.fed[self.bus(bus), 0] = mw * 1e6 / self.base_va
        stated = np.column_stack((self.network.case.native_p_w, self.network.case.native_q_var)) / self.base_va
        self.begun = engine.begin(
            self.fed, stated - self.fed, np.abs(self.network.case.base_v), self.flow.v_pu, self.flow.generator_p_w / self.base_va,
            NativeModel(*EXPONENTS, damping_pu), blocks,
        )  # fmt: skip

    def bus(self, name: str) -> int:
        return self.static.bus_names.index(name)

    def branch(self, name: str) -> int:
        return self.static.branch_order()[self.static.branch_names().index(name)]

    def generator(self, name: str) -> int:
        return self.static.generator_names().index(name)

    def order(self, action: str, *arguments: object) -> None:
        """Now."""
        self.engine.order(self.k, action, *arguments)

    def run(self, seconds: float, secondary: float = 0.0):
        self.k += round(seconds * self.engine.steps_per_s)
        return self.engine.advance(self.k, self.fed, secondary)


@contextmanager
def running(
    case: str,
    fed_mw: dict[str, float] | None = None,
    damping_pu: float = 0.0,
    blocks: Sequence[SheddingBlock] = (),
    steps_per_s: int = 32,
) -> Iterator[Case]:
    with Dynamics(case, steps_per_s) as engine:
        yield Case(case, engine, fed_mw or {}, damping_pu, blocks)
