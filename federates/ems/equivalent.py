"""What the EMS tells the distribution control centres of the transmission system: its equivalent at each TBLM bus.

Power flows of the present state in which the bus's feeders draw less and less: whoever holds a voltage goes on holding it, the
governors' shares carry the difference, every other load answers its own voltage. What the bus draws beside its feeders belongs to
the equivalent; what the feeders draw is the TBLM's fast curve at the measured voltage and frequency.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from federates.ems.view import Telemetry, View
from federates.grid.thevenin import fitted
from federates.grid.transmission import LoadCurve, TransmissionError
from federates.tblm.model import Tblm, at_frequency

_TOLERANCE_PU = 1e-9
_LEFT = (1.0, 0.75, 0.5, 0.25, 0.0)  # of what the feeders draw
_LESS = ((0.5, 0.0), (0.0, 0.5))  # of the apparent power, of P and of Q alone: what tells R from X
_SMALLEST_VA = 1e6  # a bus whose feeders draw next to nothing is moved by this


def equivalents(
    view: View, telemetry: Telemetry, tblms: Mapping[str, Tblm], valid_to_ns: int, worst: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """{t_ns, valid_to_ns, buses: {bus: {e_pu, r_pu, x_pu, s_base_va, error_pu}}, after: {bus: {outage, ...}}, failed: {bus: why}}

    `view` stands at `telemetry`. error_pu: the largest voltage that the equivalent misses of the power flows it is made from. Buses
    without a TBLM that may be used are left out. worst: the branch whose outage takes a bus lowest; `after` is the equivalent with
    it out, where that has a solution.
    """
    curves = view.curves(telemetry, tblms, "fast", telemetry.f_hz)
    buses, after, failed = dict[str, Any](), dict[str, Any](), dict[str, str]()
    for bus in sorted(curves):
        others = {name: curve for name, curve in curves.items() if name != bus}
        try:
            buses[bus] = _of(view, telemetry, bus, tblms[bus], others)
        except TransmissionError as error:
            failed[bus] = str(error)
        outage = (worst or {}).get(bus)
        if outage is None or bus in failed or not view.engine.is_closed(outage):
            continue
        view.engine.open_line(outage)
        try:
            after[bus] = {"outage": outage, **_of(view, telemetry, bus, tblms[bus], others)}
        except TransmissionError as error:
            failed[f"{bus} without {outage}"] = str(error)
        finally:
            view.engine.close_line(outage)
    return {"t_ns": telemetry.t_ns, "valid_to_ns": valid_to_ns, "buses": buses, "after": after, "failed": failed}


def worst_outages(outages: Mapping[str, Mapping[str, Any]], buses: Sequence[str]) -> dict[str, str]:
    """Of each bus the branch whose outage takes it lowest, of those with a solution; rows as `View.outages` has them."""
    solved = {name: row["v_pu"] for name, row in outages.items() if row["converged"]}
    return {bus: min(solved, key=lambda name: (solved[name][bus], name)) for bus in buses} if solved else {}


def _of(view: View, telemetry: Telemetry, bus: str, tblm: Tblm, others: Mapping[str, LoadCurve]) -> dict[str, float]:
    engine, at = view.engine, view.engine.bus_names.index(bus)
    v0 = float(telemetry.v_pu[at])
    p_w, q_var = at_frequency(tblm.curve("fast"), telemetry.f_hz)(v0)
    rest_w, rest_var = float(telemetry.load_p_w[at]) - p_w, float(telemetry.load_q_var[at]) - q_var
    np_, nq = engine.model.native_exponents

    def beside(feeders: tuple[float, float]) -> LoadCurve:
        return lambda v: (feeders[0] + rest_w * (v / v0) ** np_, feeders[1] + rest_var * (v / v0) ** nq)

    size_va = max(math.hypot(p_w, q_var), _SMALLEST_VA)
    drawn = [(left * p_w, left * q_var) for left in _LEFT]
    drawn += [(p_w - p * size_va, q_var - q * size_va) for p, q in _LESS]
    points = []
    for feeders in drawn:
        flow = engine.solve_with_curves({**others, bus: beside(feeders)}, _TOLERANCE_PU, near_v_pu=telemetry.v_pu)
        points.append((float(flow.v_pu[at]), *feeders))
    source, error_pu = fitted(points, tblm.bus.S_base_VA)
    return {
        "e_pu": source.e_pu, "r_pu": source.r_pu, "x_pu": source.x_pu, "s_base_va": source.s_base_va, "error_pu": error_pu
    }  # fmt: skip
