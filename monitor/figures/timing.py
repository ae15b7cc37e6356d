"""Where the time went: computing time of each federate, and simulated time against wall time."""

from __future__ import annotations

from typing import Any

import numpy as np

from monitor.figures.lines import Clock, thin
from monitor.figures.style import COLOURS, draw, from_zero, hover, plot, single
from monitor.page import Section, heading, paragraph, table
from monitor.results import Results


def section(results: Results, clock: Clock) -> Section | None:
    """Table and bars per federate; the course of the run."""
    from bokeh.models.glyphs import Line

    timing = results.timing()
    if timing.empty:
        return None
    calls = timing.groupby("federate")["compute_ns"].agg(["count", "sum", "mean", "max", lambda ns: ns.quantile(0.99)])
    calls.columns = ["count", "sum", "mean", "max", "p99"]
    calls = calls.sort_values("sum", ascending=False)
    whole = float(calls["sum"].sum())
    rows = [
        [name, f"{row['count']:,.0f}", f"{row['sum'] / 1e9:.3f}", f"{100 * row['sum'] / max(whole, 1.0):.1f}"]
        + [f"{row[key] / 1e6:.3f}" for key in ("mean", "p99", "max")]
        for name, row in calls.iterrows()
    ]
    headers = ["Federate", "Calls", "Compute (s)", "Share (%)", "Mean (ms)", "99th percentile (ms)", "Longest (ms)"]
    wall = results.meta.get("wall_s")
    blocks: list[Any] = [
        paragraph(
            f"The federates computed for {whole / 1e9:.2f} s together"
            + (
                f"; the run took {wall:.2f} s on the wall clock, from starting the processes to merging the records"
                if isinstance(wall, int | float)
                else ""
            )
            + (
                ". Federates in different processes compute at the same time, which is why the sum is larger."
                if isinstance(wall, int | float) and whole / 1e9 > wall
                else ". What is not computing is start-up, exchange between federates, and writing."
            )
        ),
        table(headers, rows, numeric=range(1, 7)),
        _bars(list(calls.index), calls["sum"].to_numpy() / 1e9),
    ]
    started = timing["started_ns"].to_numpy()
    order = np.argsort(started, kind="stable")
    wall_s, t_s = (started[order] - started.min()) / 1e9, timing["t_ns"].to_numpy()[order] / 1e9
    # stop() is called when a run ends, early or not, and bears the stop time of the scenario
    during = t_s < clock.end_s if (t_s < clock.end_s).any() else np.ones(len(t_s), bool)
    wall_s, t_s = wall_s[during], np.maximum.accumulate(t_s[during])
    fig = plot(clock.label, "wall time since the first call (s)", height=240)
    keep = thin(t_s)
    columns = {"x": single(wall_s[keep]), "y": single(t_s[keep] / clock.scale)}
    drawn = draw(fig, Line(x="x", y="y", line_color=COLOURS[0], line_width=1.8), columns)
    hover(fig, [drawn], ("wall (s)", "@x{0.00}"), (clock.label, "@y{0.00}"))
    blocks += [
        heading("Simulated time against wall time"),
        paragraph(
            "Steep is fast. A flat stretch is a place where simulated time stood still: an emergency in fine steps, or a slow call."
        ),
        fig,
    ]
    return Section("timing", "Where the time went", blocks)


def _bars(names: list[str], seconds: np.ndarray) -> Any:
    from bokeh.models.glyphs import HBar

    fig = plot("", "compute (s)", height=70 + 24 * len(names), y_range=names[::-1], x_range=from_zero())
    bar = HBar(y="name", right="s", height=0.65, fill_color=COLOURS[0], line_color=None, fill_alpha=0.85)
    drawn = draw(fig, bar, {"name": names, "s": single(seconds)})
    fig.ygrid.grid_line_color = None
    hover(fig, [drawn], ("", "@name"), ("compute (s)", "@s{0.000}"))
    return fig
