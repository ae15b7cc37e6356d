"""What ten simulated minutes of a replay without feeders cost: the federation in the plain loop, and its model alone."""

from __future__ import annotations

import time

from federates.grid.area_response import AreaResponse
from federates.runtime.local import run_local
from federates.runtime.record import MemoryRecorder
from scenarios.build import build
from scenarios.inventory import take_inventory
from scenarios.load import load_scenario

SCENARIO = "gb_2019_08_09"


def ten_minutes(rounds: int) -> tuple[list[float], list[float]]:
    """CPU seconds of the federation, in one process and without files, and of its model from event to event, by round."""
    loaded = load_scenario(SCENARIO)
    federation = build(loaded, take_inventory(loaded))
    model = federation.spec("gb").params.model
    whole, alone = [], []
    for _ in range(rounds + 1):
        began = time.process_time()
        run_local(federation, MemoryRecorder())
        whole.append(time.process_time() - began)
        began = time.process_time()
        response = AreaResponse(model)
        for injection in federation.injections:
            response.advance(injection.t_ns)
            response.lose("gb", injection.payload["p_w"])
        response.advance(federation.stop_ns)
        alone.append(time.process_time() - began)
    return whole[1:], alone[1:]  # the first round imports
