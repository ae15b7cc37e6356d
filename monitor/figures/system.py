"""The transmission system over time: frequency, and voltage at the TBLM buses."""

from __future__ import annotations

from typing import Any

import numpy as np

from monitor.figures.lines import Clock, at_least, line, lines_or_band, time_plot
from monitor.figures.style import COLOURS, legend
from monitor.page import Section, heading, paragraph
from monitor.results import Results, Vector

_LEAST_HZ, _LEAST_PU = 0.02, 0.01
_DISTURBED_HZ = 0.05
"""A frequency this far from nominal is shown a second time, close up."""


def frequencies(results: Results) -> list[Vector]:
    """System frequency: scalars in Hz of those who publish bus voltages too, or of anybody where nobody does.

    So that what SCADA repeats of it is not taken for another frequency.
    """
    names = [name for name, layout in results.layouts.items() if layout.port.unit == "Hz" and not layout.port.ids]
    own = [name for name in names if results.layouts[name].federate in transmission_federates(results)]
    return [results.vector(name) for name in own or names]


def bus_voltages(results: Results) -> list[Vector]:
    """Voltages of transmission buses in pu, TBLM buses first."""
    names = [f"{federate}.{port}" for federate in transmission_federates(results) for port in ("v_pu", "all_v_pu")]
    return [results.vector(name) for name in names if name in results.layouts]


def transmission_federates(results: Results) -> list[str]:
    """Federates that publish a frequency and, in pu, voltages of buses."""
    publishers = [results.layouts[name].federate for name in results.find("f_hz", "Hz")]
    return [f for f in publishers if {f"{f}.v_pu", f"{f}.all_v_pu"} & set(results.layouts)]


def section(results: Results, clock: Clock) -> Section | None:
    """Frequency, the largest disturbance close up, and bus voltages."""
    blocks: list[Any] = []
    for vector in frequencies(results):
        values = vector.values[:, 0]
        if not np.isfinite(values).any():
            continue
        nominal = results.nominal_hz
        middle = float(np.nanmedian(values)) if nominal is None else nominal
        name = f"{vector.layout.federate}.{vector.layout.port.name}"
        blocks += [
            heading(f"System frequency ({name})"),
            paragraph(
                f"Lowest {np.nanmin(values):.3f} Hz, highest {np.nanmax(values):.3f} Hz. Good is a line near "
                f"{'its nominal value' if nominal is None else f'{nominal:g} Hz (nominal)'} that returns after every disturbance; "
                "dotted vertical lines are the events of the scenario, numbered as in the table of events."
            ),
        ]
        fig = time_plot(clock, "frequency (Hz)", y_range=at_least(values, _LEAST_HZ))
        line(fig, clock, vector.t_s, values, name, COLOURS[0])
        legend(fig)
        blocks.append(fig)
        worst = int(np.nanargmax(np.abs(values - middle)))
        if abs(values[worst] - middle) >= _DISTURBED_HZ:
            blocks += _close_up(vector, worst, name, clock)
    for vector in bus_voltages(results):
        if not np.isfinite(vector.values).any():
            continue
        name = f"{vector.layout.federate}.{vector.layout.port.name}"
        blocks += [
            heading(f"Bus voltages ({name})"),
            paragraph(
                f"Between {np.nanmin(vector.values):.4f} and {np.nanmax(vector.values):.4f} pu. Good is between 0.95 and 1.05 pu; "
                "a step marks a change in the network, a slow drift the profile of the load."
            ),
        ]
        fig = time_plot(clock, "voltage (pu)", y_range=at_least(vector.values, _LEAST_PU))
        lines_or_band(fig, clock, vector.t_s, vector.values, [f"bus {c}" for c in vector.layout.columns], "buses")
        legend(fig)
        blocks.append(fig)
    return Section("system", "Frequency and bus voltages", blocks) if blocks else None


def _close_up(vector: Vector, worst: int, name: str, clock: Clock) -> list[Any]:
    """From 20 s before the sample `worst` to 60 s after it, or as many periods; nothing where that is most of the run."""
    usual_s = float(np.diff(vector.t_ns).max(initial=0)) / 1e9
    unit_s = max(1.0, usual_s)
    if clock.end_s <= 120.0 * unit_s:
        return []
    t_s = float(vector.t_s[worst])
    window = max(0.0, t_s - 20.0 * unit_s), min(clock.end_s, t_s + 60.0 * unit_s)
    inside = (vector.t_s >= window[0]) & (vector.t_s <= window[1])
    near_ns = np.diff(vector.t_ns[inside])
    finest_s = min(usual_s, float(near_ns[near_ns > 0].min(initial=np.iinfo(np.int64).max)) / 1e9)
    step = f"{finest_s:g} s" if finest_s >= 1.0 else f"{finest_s * 1e3:g} ms"
    finer = ": while an emergency lasts, the coupled federates leave their normal period" if finest_s < usual_s else ""
    fig = time_plot(clock, "frequency (Hz)", window_s=window)
    line(fig, clock, vector.t_s[inside], vector.values[inside, 0], name, COLOURS[0])
    legend(fig)
    return [
        heading("The largest deviation, close up"),
        paragraph(f"{vector.values[worst, 0]:.3f} Hz at t = {t_s:.2f} s. The finest step here is {step}{finer}."),
        fig,
    ]
