"""What a power flow of the transmission system ends in: a solution, or an error of a kind."""

from __future__ import annotations

from dataclasses import dataclass

from federates.grid.transmission_case import FloatArray


class TransmissionError(RuntimeError):
    """A state that has no solution, or a name that does not exist.

    `kind`: "unknown" (a name), "islanded" (`buses` are cut off), "diverged" (no power flow solution), "no_slack"
    (nothing left to hold the voltage), "curves" (the injections and the voltages do not agree).
    """

    def __init__(self, kind: str, message: str, buses: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.kind, self.buses = kind, buses


@dataclass(frozen=True)
class PowerFlow:
    """A solution; arrays in the order of `bus_names`, `branch_names`, `generator_names`.

    `loading` is the larger of the two ends' currents over the rating (1 = at the rating, NaN: unrated); branch power
    flows from the first-named bus into the branch (`p_from_w`) and from the second one (`p_to_w`). Generators feed in
    positive. `bus_p_w`, `bus_q_var` are the loads as solved. `solves` counts the power flows that were needed.
    """

    v_pu: FloatArray
    angle_rad: FloatArray
    bus_p_w: FloatArray
    bus_q_var: FloatArray
    p_from_w: FloatArray
    p_to_w: FloatArray
    loading: FloatArray
    generator_p_w: FloatArray
    generator_q_var: FloatArray
    solves: int

    @property
    def losses_w(self) -> float:
        """Active losses of all branches, W."""
        return float(self.p_from_w.sum() + self.p_to_w.sum())
