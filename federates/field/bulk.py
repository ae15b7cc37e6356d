"""What the transmission federate asks of an engine of the bulk system, and what it gets: one small Protocol, an engine per choice.

response   AC power flow at each step and a system frequency of one mass (`response_engine`)
dynamics   rotors, exciters and governors, integrated by ANDES (`dynamics_engine`)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from federates.grid.transmission import Transmission, TransmissionError
from federates.runtime.port import Event

FloatArray = NDArray[np.float64]
Fed = Mapping[str, tuple[float, float]]
"""What the feeders at each TBLM bus draw, W and var, by the name of the bus."""
Rows = list[dict[str, Any]]
"""Of the sequence of events."""


@dataclass(frozen=True)
class BulkState:
    """The bulk system at `t_ns`. Arrays in the order of `bus_names`, `branch_names`, `generator_names`; `load_w` [bus, 2] is P in W
    and Q in var; `loading` is NaN where the network states no rating; `bus_quality` is that of everything about a bus."""

    t_ns: int
    f_hz: float
    rocof_hz_per_s: float
    v_pu: FloatArray
    angle_rad: FloatArray
    load_w: FloatArray
    line_status: FloatArray
    loading: FloatArray
    gen_p_w: FloatArray
    gen_status: FloatArray
    governor_p_w: float
    bus_quality: NDArray[np.uint16]


class Bulk(Protocol):
    """An engine. It starts as the network file has it, and its first `step` is the balanced state that everything goes on from."""

    @property
    def network(self) -> Transmission:
        """The network, for its names and its power flow."""
        ...

    def start(self) -> BulkState:
        """The network as its file has it, all load native."""
        ...

    def solve(self, t_ns: int, fed: Fed) -> BulkState:
        """What `step` would answer; changes nothing."""
        ...

    def step(self, t_ns: int, fed: Fed, commands: Sequence[Event]) -> tuple[BulkState, Rows]:
        """Advance to `t_ns` with these feeders drawing since the last step, and carry out commands."""
        ...

    def wish_ns(self, t_ns: int) -> int | None:
        """When to be called next besides the period and the emergency's steps."""
        ...

    def stop(self) -> None:
        """Release what is held."""
        ...


def native_of(network: Transmission, bus: int, fed_w: float, fed_var: float) -> tuple[float, float]:
    """Native P and Q of the bus number `bus` with which it draws the network file's, given what its feeders draw.

    Feeders that draw more P than the file states leave none, and the file's power factor is kept. The native Q may be negative:
    what holds the reactive power of the bus at the file's is then compensation between the feeders and it. A bus without
    load in the file gets none.
    """
    case = network.case
    file_w, file_var = float(case.native_p_w[bus]), float(case.native_q_var[bus])
    if file_w <= 0.0:
        return file_w, file_var
    return max(file_w - fed_w, 0.0), file_var * max(fed_w / file_w, 1.0) - fed_var


def refusing(act: Callable[[Mapping[str, Any]], Any]) -> Callable[[Mapping[str, Any]], Any]:
    """An unknown name is a refused command, not a failure."""

    def guarded(payload: Mapping[str, Any]) -> Any:
        try:
            return act(payload)
        except TransmissionError as error:
            raise ValueError(str(error)) from None

    return guarded
