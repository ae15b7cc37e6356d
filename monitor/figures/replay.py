"""A real event laid over its simulation: what was recorded, what was computed, and the errors between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from federates.runtime.port import Floats
from monitor.figures.lines import Clock, at_least, line, time_plot
from monitor.figures.style import COLOURS, TRUTH, draw, hover, legend
from monitor.page import Section, heading, paragraph, table
from monitor.results import NoSuchRecordError, Results

_LEAST = {"Hz": 0.02, "pu": 0.01}
_DENSE = 60
"""With more recorded points than this they are a line, and the table shows the largest errors only."""
_ROWS = 20


def section(results: Results, clock: Clock) -> Section | None:
    """A figure and a table for each signal with a record; None where the scenario has none."""
    blocks: list[Any] = []
    for record in results.meta.get("recorded", ()):
        blocks += _one(results, clock, record)
    return Section("replay", "Record and simulation", blocks) if blocks else None


def errors(t_s: Floats, values: Floats, recorded_t_s: Floats, recorded: Floats) -> Floats:
    """Simulated less recorded at each recorded time, [k]: the simulated signal linear between its values; NaN outside of it."""
    simulated = np.interp(recorded_t_s, t_s, values, left=np.nan, right=np.nan)
    return np.asarray(simulated - recorded)


def _one(results: Results, clock: Clock, record: Mapping[str, Any]) -> list[Any]:
    signal, _, column = str(record["signal"]).partition("[")
    try:
        vector = results.vector(signal)
    except NoSuchRecordError as error:
        return [heading(str(record["signal"])), paragraph(f"The run did not get to it: {error}")]
    values = vector.values[:, vector.layout.columns.index(column.rstrip("]")) if column else 0]
    t_s, recorded = np.array(record["t_s"], float), np.array(record["values"], float)
    reached = t_s <= vector.t_s[-1] if len(vector.t_s) else np.zeros(len(t_s), bool)
    t_s, recorded = t_s[reached], recorded[reached]
    if not len(t_s):
        return [heading(str(record["signal"])), paragraph("The run ended before the first recorded point.")]
    unit = vector.layout.port.unit
    of, behind = ("", "") if unit == "1" else (f" ({unit})", f" {unit}")
    wrong = errors(vector.t_s, values, t_s, recorded)
    worst = int(np.nanargmax(np.abs(wrong)))
    fig = time_plot(clock, f"{vector.layout.port.name}{of}", height=340, y_range=at_least(
        np.concatenate((values, recorded)), _LEAST.get(unit, 0.0)
    ))  # fmt: skip
    line(fig, clock, vector.t_s, values, "simulated", COLOURS[0])
    if len(t_s) > _DENSE:
        line(fig, clock, t_s, recorded, "recorded", TRUTH, "dashed")
    else:
        _points(fig, clock, t_s, recorded)
    legend(fig)
    rms = float(np.sqrt(np.nanmean(wrong**2)))
    order = np.sort(np.argsort(-np.abs(wrong))[:_ROWS]) if len(t_s) > _DENSE else np.arange(len(t_s))
    rows = [
        (
            f"{t_s[k]:g}",
            f"{recorded[k]:.4g}" if unit == "W" else f"{recorded[k]:.3f}",
            f"{recorded[k] + wrong[k]:.3f}",
            f"{wrong[k]:+.3f}",
        )
        for k in order
    ]
    return [
        heading(f"{record['signal']}"),
        paragraph(
            f"Black is what was recorded ({record['source']}), blue is simulated. Over {_points_of(len(t_s))} the error is "
            f"{rms:.3f}{behind} (root mean square), at most {wrong[worst]:+.3f}{behind} at {t_s[worst]:g} s."
        ),
        fig,
        table(("t (s)", f"recorded{of}", f"simulated{of}", f"error{of}"), rows, numeric=(0, 1, 2, 3)),
        *([paragraph(f"The {_ROWS} largest errors of {len(t_s)}.", css="note")] if len(t_s) > _DENSE else ()),
    ]


def _points_of(count: int) -> str:
    return "one recorded point" if count == 1 else f"{count} recorded points"


def _points(fig: Any, clock: Clock, t_s: Floats, recorded: Floats) -> None:
    from bokeh.models.glyphs import Scatter

    drawn = draw(
        fig, Scatter(x="x", y="y", marker="circle", size=9, fill_color=TRUTH, line_color="white"),
        {"x": t_s / clock.scale, "y": recorded}, "recorded",
    )  # fmt: skip
    hover(fig, [drawn], ("recorded", "@y{0.000}"), (clock.label, "@x{0.00}"))
