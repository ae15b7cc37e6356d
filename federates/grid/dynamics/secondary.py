"""Secondary control: the integral of the frequency error, as in the response engine."""

from __future__ import annotations


class SecondaryControl:
    """dP/dt = -bias (f - f0) / T. A bias of 0 is none."""

    def __init__(self, nominal_hz: float, bias_w_per_hz: float, time_s: float) -> None:
        self._nominal_hz, self._bias_w_per_hz, self._time_s = nominal_hz, bias_w_per_hz, time_s
        self.p_w = 0.0
        self._f_hz = nominal_hz

    def advance(self, span_s: float, f_hz: float) -> float:
        """Integrate over `span_s`, at whose end the frequency is `f_hz` (trapezoids); gives the power on top of schedules, W."""
        error_hz = 0.5 * (self._f_hz + f_hz) - self._nominal_hz
        self.p_w -= self._bias_w_per_hz * error_hz * span_s / self._time_s
        self._f_hz = f_hz
        return self.p_w
