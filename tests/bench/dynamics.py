"""How much faster than real time the dynamics engine is, alone and with ten feeders."""

from __future__ import annotations

import time

import numpy as np
import psutil

from federates.grid.dynamics.cases import EXCHANGE_NS
from federates.grid.dynamics.client import Dynamics
from federates.grid.dynamics.loads import NativeModel
from federates.grid.transmission import Transmission, TransmissionModel


def alone(case: str, seconds: float, steps_per_s: int = 32) -> tuple[float, float]:
    """Real-time factors of the engine by wall clock and by its process's CPU time, a generator lost at the start.

    Exchanges every 125 ms with other loads at every bus each time, over `seconds` of simulated time after the first of them.
    """
    network = Transmission(TransmissionModel(f"andes:{case}", (1.0, 2.0)))
    flow = network.solve()
    with Dynamics(case, steps_per_s) as engine:
        base_va = engine.static.base_va
        native = np.column_stack((network.case.native_p_w, network.case.native_q_var)) / base_va
        fed = 0.5 * np.where(native[:, :1] > 0.0, native, 0.0)
        generator_p = flow.generator_p_w / base_va
        engine.begin(fed, native - fed, np.abs(network.case.base_v), flow.v_pu, generator_p, NativeModel())
        engine.order(steps_per_s, "trip", int(np.argmin(np.where(generator_p > 0.0, generator_p, np.inf))))
        steps = EXCHANGE_NS * steps_per_s // 1_000_000_000
        process = psutil.Process(engine.pid)

        def advance(until_s: float, k: int) -> int:
            while k < until_s * steps_per_s:
                k += steps
                engine.advance(k, fed * (1.0 + 0.002 * np.sin(k)), 0.0)
            return k

        k = advance(1.0, 0)
        begun_s, cpu = time.perf_counter(), process.cpu_times()
        advance(1.0 + seconds, k)
        wall_s, spent = time.perf_counter() - begun_s, process.cpu_times()
    return seconds / wall_s, seconds / (spent.user + spent.system - cpu.user - cpu.system)
