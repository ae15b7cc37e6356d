"""Steps and bands over simulated time, thinned so that every extreme stays.

A recorded value holds until the next one, so it is drawn as a step: a slope would show values that nobody computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from federates.runtime.port import Floats
from monitor.figures.style import COLOURS, draw, hover, plot, rule, single

if TYPE_CHECKING:
    from bokeh.plotting import figure

MOST_LINES = 12
"""More lines than this in one figure are shown as a band of minimum, mean and maximum."""
_DASHES = ("solid", "dashed", "dotdash")
_POINTS = 1600
_LINES = "lines"
_FLOORS = 8
"""Names of marks that are close together stand above each other, on so many floors."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The time axis of a run: its unit is chosen so that a reader sees small numbers. `marks`: times in s and their labels."""

    end_s: float
    marks: tuple[tuple[float, str], ...] = ()

    @property
    def scale(self) -> float:
        """Seconds in the unit of the axis."""
        return 1.0 if self.end_s <= 300 else 60.0 if self.end_s <= 3 * 3600 else 3600.0

    @property
    def label(self) -> str:
        """Title of the axis."""
        unit = {1.0: "s", 60.0: "min", 3600.0: "h"}[self.scale]
        return f"simulated time ({unit})"


def at_least(values: Floats, least: float) -> tuple[float, float]:
    """Ends of an axis for these values that spans `least` or more, so that a steady line looks steady."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = max(0.06 * (high - low), 0.5 * (least - (high - low)))
    return low - margin, high + margin


def time_plot(clock: Clock, y_label: str, height: int = 280, window_s: tuple[float, float] | None = None, **options: Any) -> figure:
    """A figure over simulated time (or `window_s` of it), with the run's marked events as thin lines."""
    from bokeh.models.annotations import Label

    start, end = window_s or (0.0, clock.end_s)
    fig = plot(y_label, clock.label, height, x_range=(start / clock.scale, max(end, start + 1e-9) / clock.scale), **options)
    last, floor = -np.inf, 0
    for t_s, name in clock.marks:
        if start <= t_s <= end:
            rule(fig, t_s / clock.scale, "height", "#b4bdc6", "dotted")
            floor = (floor + 1) % _FLOORS if t_s - last < (end - start) / 40 else 0  # else its name would cover the one before
            look: dict[str, Any] = {"text": name, "text_font_size": "10px", "text_color": "#5b6875", "x_offset": 2}
            fig.add_layout(Label(x=t_s / clock.scale, y=2 + 11 * floor, y_units="screen", **look))
            last = t_s
    return fig


def held(t_s: Floats, values: Floats, end_s: float) -> tuple[Floats, Floats]:
    """Times [k] and values [k, ...], the last of which holds until the end: [k + 1], or as they are where they reach it."""
    if not len(t_s) or t_s[-1] >= end_s:
        return t_s, values
    return np.append(t_s, end_s), np.concatenate([values, values[-1:]])


def line(
    fig: figure, clock: Clock, t_s: Floats, y: Floats, name: str, colour: str, dash: str = "solid", width: float = 1.6
) -> None:
    """A stepped line over time, thinned so that every peak stays."""
    from bokeh.models.glyphs import Step

    keep = thin(y)
    glyph = Step(x="x", y="y", mode="after", line_color=colour, line_dash=dash, line_width=width)
    drawn = draw(fig, glyph, {"x": single(t_s[keep] / clock.scale), "y": single(y[keep])}, name)
    tool: Any = next((tool for tool in fig.tools if tool.name == _LINES), None)
    if tool is None:
        hover(fig, [drawn], ("", "$name"), (clock.label, "@x{0.000}"), ("value", "@y{0.0000}"), name=_LINES)
    else:
        tool.renderers.append(drawn)


def band(fig: figure, clock: Clock, t_s: Floats, values: Floats, name: str, colour: str) -> None:
    """Minimum, mean and maximum over the columns of `values` [k, n], thinned so that the extremes stay."""
    from bokeh.models.glyphs import Step, VAreaStep

    low, high = np.fmin.reduce(values, axis=1), np.fmax.reduce(values, axis=1)
    finite = np.isfinite(values)
    mean = np.where(finite, values, 0.0).sum(axis=1) / np.maximum(finite.sum(axis=1), 1)
    some = finite.any(axis=1)
    t_s, low, high, mean = t_s[some], low[some], high[some], mean[some]
    if not t_s.size:
        return
    keep = np.union1d(thin(low), thin(high))
    columns = {"x": t_s[keep] / clock.scale, "low": low[keep], "high": high[keep], "mean": mean[keep]}
    area = VAreaStep(x="x", y1="low", y2="high", step_mode="after", fill_color=colour, fill_alpha=0.22)
    shaded = draw(fig, area, {key: single(column) for key, column in columns.items()}, f"{name}: min to max")
    drawn = draw(fig, Step(x="x", y="mean", mode="after", line_color=colour, line_width=1.6), shaded.data_source, f"{name}: mean")
    hover(fig, [drawn], (clock.label, "@x{0.000}"), ("min", "@low{0.0000}"), ("mean", "@mean{0.0000}"), ("max", "@high{0.0000}"))


def lines_or_band(fig: figure, clock: Clock, t_s: Floats, values: Floats, names: Sequence[str], what: str) -> None:
    """A line per column, or one band where there are more columns than a reader can follow."""
    if len(names) > MOST_LINES:
        band(fig, clock, t_s, values, f"{len(names)} {what}", COLOURS[0])
        return
    for k, name in enumerate(names):
        line(fig, clock, t_s, values[:, k], name, COLOURS[k % len(COLOURS)], _DASHES[k // len(COLOURS)])


def thin(y: Floats, points: int = _POINTS) -> NDArray[np.intp]:
    """Indices of at most `points` values (rising) that hold the first, the last, and the extremes of every stretch."""
    n = len(y)
    if n <= points:
        return np.arange(n)
    width = -(-n // (points // 2 - 1))
    starts = np.arange(0, n, width)
    padded = np.full(len(starts) * width, np.nan)
    padded[:n] = y
    stretches = padded.reshape(-1, width)
    lowest = np.where(np.isnan(stretches), np.inf, stretches).argmin(axis=1)
    highest = np.where(np.isnan(stretches), -np.inf, stretches).argmax(axis=1)
    return np.unique(np.concatenate(([0, n - 1], starts + lowest, starts + highest)))
