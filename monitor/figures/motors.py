"""Motors of a feeder that stalled, and those that their thermal protection then tripped."""

from __future__ import annotations

from typing import Any

from monitor.figures.lines import Clock, held, line, time_plot
from monitor.figures.style import COLOURS, from_zero, legend
from monitor.page import Section, heading, paragraph
from monitor.results import Results


def section(results: Results, clock: Clock) -> Section | None:
    """Parts of the load over time, feeder by feeder; None where no feeder has such motors."""
    blocks: list[Any] = []
    for name in results.find("motors", "1"):
        vector = results.vector(name)
        t_s, values = held(vector.t_s, 100.0 * vector.values, clock.end_s)
        stalled, tripped = values.max(axis=0)
        fig = time_plot(clock, "part of the load (%)", y_range=from_zero())
        for k, column in enumerate(vector.layout.columns):
            line(fig, clock, t_s, values[:, k], column, COLOURS[k])
        legend(fig)
        blocks += [
            heading(vector.layout.federate),
            paragraph(
                f"At most {stalled:.1f} % of the load is motors that stand still and draw several times their rated current; heat "
                f"trips {tripped:.1f} % for good. While motors are stalled the voltage cannot recover."
            ),
            fig,
        ]
    return Section("motors", "Stalled motors", blocks) if blocks else None
