"""The New England network with loads of a known form at two buses, measured exactly."""

from __future__ import annotations

import numpy as np
from documents import exponential

from federates.ems.view import Telemetry
from federates.grid.transmission import LoadCurve, Transmission, TransmissionModel

CASE39 = TransmissionModel("pandapower:case39")
BUSES = ("15", "16")
LOADS = {"15": exponential(320e6, 153e6, 1.6, 3.0, 1.2), "16": exponential(329e6, 32.3e6, 1.2, 2.5, 0.9)}


def truth(engine: Transmission, f_hz: float = 60.0, scale: float = 1.0) -> Telemetry:
    """The network solved with loads that really follow LOADS times `scale`, as measured."""
    for bus in BUSES:
        engine.set_native_share(bus, 0.0)

    def load(bus: str) -> LoadCurve:
        def scaled(v_pu: float) -> tuple[float, float]:
            p_w, q_var = LOADS[bus](v_pu, f_hz)
            return scale * p_w, scale * q_var

        return scaled

    flow = engine.solve_with_curves({bus: load(bus) for bus in BUSES})
    status = np.array([float(engine.is_closed(name)) for name in engine.branch_names])
    running = np.array([float(engine.is_running(name)) for name in engine.generator_names])
    return Telemetry(0, f_hz, flow.v_pu, flow.bus_p_w, flow.bus_q_var, status, flow.generator_p_w, running)
