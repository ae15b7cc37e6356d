"""N-1: the power flow after each of a list of outages, with constant loads or with load curves.

Each outage is a full solve of the state with one element out, in its turn, so that load curves, native exponents and
shared slack mean there what they mean in `Transmission.solve_with_curves`. A row without solution holds NaN and says
why; it is never zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federates.grid.transmission import LoadCurve, Transmission, TransmissionError
from federates.grid.transmission_case import FloatArray


@dataclass(frozen=True)
class ContingencyTable:
    """One row an outage: `status` is "ok" or the kind of the `TransmissionError` ("diverged", "islanded", "curves", "no_slack").

    `v_pu`, `angle_rad` [outage, bus], `loading` [outage, branch], `generator_p_w` [outage, generator]; rows that are not
    "ok" are NaN. `solves` [outage] counts power flows.
    """

    outages: tuple[str, ...]
    status: tuple[str, ...]
    v_pu: FloatArray
    angle_rad: FloatArray
    loading: FloatArray
    generator_p_w: FloatArray
    solves: FloatArray

    def ok(self) -> NDArray[np.bool_]:
        """Whether each row has a solution, bool [outage]."""
        return np.array([s == "ok" for s in self.status])


def contingencies(
    system: Transmission,
    outages: Sequence[str] | None = None,
    curves: Mapping[str, LoadCurve] | None = None,
    near_v_pu: FloatArray | None = None,
    tolerance_pu: float = 1e-9,
) -> ContingencyTable:
    """Solve every outage (branch or generator names; None: every branch in service, then every generator) on its own.

    The state of `system` is the base case, and is the same afterwards. An element that is out already gives the base
    case. `near_v_pu` and `tolerance_pu` as in `Transmission.solve_with_curves`. Raises `TransmissionError` of kind "unknown" for a
    name that does not exist, before solving.
    """
    if outages is None:
        outages = [n for n in system.branch_names if system.is_closed(n)] + [
            n for n in system.generator_names if system.is_running(n)
        ]
    for name in outages:
        if not system.has_generator(name):
            system.is_closed(name)
    shape = len(outages), len(system.bus_names)
    v_pu, angle_rad = np.full(shape, np.nan), np.full(shape, np.nan)
    loading = np.full((len(outages), len(system.branch_names)), np.nan)
    generator_p_w = np.full((len(outages), len(system.generator_names)), np.nan)
    solves = np.full(len(outages), np.nan)
    status = []
    for row, name in enumerate(outages):
        with _out(system, name):
            try:
                flow = system.solve_with_curves(curves or {}, tolerance_pu, near_v_pu=near_v_pu)
            except TransmissionError as error:
                status.append(error.kind)
                continue
        status.append("ok")
        v_pu[row], angle_rad[row], loading[row] = flow.v_pu, flow.angle_rad, flow.loading
        generator_p_w[row], solves[row] = flow.generator_p_w, flow.solves
    return ContingencyTable(tuple(outages), tuple(status), v_pu, angle_rad, loading, generator_p_w, solves)


@contextmanager
def _out(system: Transmission, name: str) -> Iterator[None]:
    take: Callable[[str], object]
    if system.has_generator(name):
        was_in, take, put = system.is_running(name), system.trip_generator, system.restore_generator
    else:
        was_in, take, put = system.is_closed(name), system.open_line, system.close_line
    if was_in:
        take(name)
    try:
        yield
    finally:
        if was_in:
            put(name)
