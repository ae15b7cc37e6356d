"""What all figures share: colours that colour-blind readers tell apart, axes with units, and thinning that keeps extremes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from federates.runtime.port import Floats

if TYPE_CHECKING:
    from bokeh.plotting import figure

# Okabe and Ito (2008), "Color Universal Design", without the yellow that is too pale on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("solid", "dashed", "dotdash")
TRUTH, TBLM, CONSTANT, QUIET = "#000000", "#0072B2", "#D55E00", "#8a96a3"
MARKERS = ("circle", "square", "triangle", "diamond", "inverted_triangle", "hex", "star")
MOST_LINES = 12
"""More lines than this in one figure are shown as a band of minimum, mean and maximum."""
_POINTS = 1600
_LINES = "lines"


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


def plot(y_label: str, x_label: str, height: int = 280, **options: Any) -> figure:
    """An empty figure with titled axes that fills the width of the page. Scrolling the page does not zoom it."""
    from bokeh.plotting import figure

    fig = figure(
        height=height,
        sizing_mode="stretch_width",
        tools="pan,box_zoom,wheel_zoom,reset,save",
        active_scroll=None,
        active_drag="box_zoom",
        x_axis_label=x_label,
        y_axis_label=y_label,
        background_fill_color="#ffffff",
        outline_line_color=None,
        **options,
    )
    fig.toolbar.logo = None
    fig.toolbar.autohide = True
    for axis in fig.axis:
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "12px"
        axis.axis_line_color = axis.major_tick_line_color = "#8a96a3"
        axis.minor_tick_line_color = None
    fig.grid.grid_line_color = "#e8ecf0"
    return fig


def from_zero() -> Any:
    """A range that starts at 0 and fits its data."""
    from bokeh.models import DataRange1d

    return DataRange1d(start=0)


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
    last = -np.inf
    for t_s, name in clock.marks:
        if start <= t_s <= end:
            rule(fig, t_s / clock.scale, "height", "#b4bdc6", "dotted")
            near = t_s - last < (end - start) / 60
            fig.add_layout(
                Label(
                    x=t_s / clock.scale,
                    y=2,
                    y_units="screen",
                    text="" if near else name,
                    text_font_size="10px",
                    text_color="#5b6875",
                    x_offset=2,
                )
            )
            last = last if near else t_s
    return fig


def rule(fig: figure, at: float, dimension: Literal["width", "height"], colour: str = QUIET, dash: str = "dashed") -> None:
    """A thin line across the whole figure."""
    from bokeh.models.annotations import Span

    fig.add_layout(Span(location=at, dimension=dimension, line_color=colour, line_dash=dash, line_width=1))


def legend(fig: figure, place: Literal["right", "below", "above"] = "right") -> None:
    """Move the legend beside the figure (`right`, `below`), where it hides no data; a click on an entry hides its line."""
    if not fig.legend:
        return
    box = fig.legend[0]
    fig.add_layout(box, place)
    box.label_text_font_size = "12px"
    box.border_line_color = None
    box.update(spacing=0, padding=10)
    box.click_policy = "hide"
    if place != "right":
        box.update(orientation="horizontal", ncols=2)


def side_by_side(*figures: figure) -> Any:
    """Figures in one row that share the width of the page."""
    from bokeh.layouts import row

    return row(*figures, sizing_mode="stretch_width", spacing=24)


def hover(fig: figure, renderers: Sequence[Any], *tips: tuple[str, str], name: str | None = None) -> None:
    """Show values under the pointer for these renderers."""
    from bokeh.models import HoverTool

    fig.add_tools(HoverTool(renderers=list(renderers), tooltips=list(tips), visible=False, name=name))


def line(
    fig: figure,
    clock: Clock,
    t_s: Floats,
    y: Floats,
    name: str,
    colour: str,
    dash: str = "solid",
    width: float = 1.6,
    held: bool = False,
) -> None:
    """A line over time, thinned so that every peak stays. `held`: in steps, for what keeps its value until the next one."""
    from bokeh.models import ColumnDataSource

    keep = thin(y)
    source = ColumnDataSource({"x": single(t_s[keep] / clock.scale), "y": single(y[keep])})
    look: dict[str, Any] = {"name": name, "legend_label": name, "color": colour, "line_dash": dash, "line_width": width}
    drawn = fig.step("x", "y", source=source, mode="after", **look) if held else fig.line("x", "y", source=source, **look)
    tool: Any = next((tool for tool in fig.tools if tool.name == _LINES), None)
    if tool is None:
        hover(fig, [drawn], ("", "$name"), (clock.label, "@x{0.000}"), ("value", "@y{0.0000}"), name=_LINES)
    else:
        tool.renderers.append(drawn)


def band(fig: figure, clock: Clock, t_s: Floats, values: Floats, name: str, colour: str) -> None:
    """Minimum, mean and maximum over the columns of `values` [k, n], thinned so that the extremes stay."""
    from bokeh.models import ColumnDataSource

    low, high = np.fmin.reduce(values, axis=1), np.fmax.reduce(values, axis=1)
    finite = np.isfinite(values)
    mean = np.where(finite, values, 0.0).sum(axis=1) / np.maximum(finite.sum(axis=1), 1)
    some = finite.any(axis=1)
    t_s, low, high, mean = t_s[some], low[some], high[some], mean[some]
    if not t_s.size:
        return
    keep = np.union1d(thin(low, _POINTS // 2), thin(high, _POINTS // 2))
    columns = {"x": t_s[keep] / clock.scale, "low": low[keep], "high": high[keep], "mean": mean[keep]}
    source = ColumnDataSource({key: single(column) for key, column in columns.items()})
    fig.varea("x", "low", "high", source=source, fill_color=colour, fill_alpha=0.22, legend_label=f"{name}: min to max")
    drawn = fig.line("x", "mean", source=source, color=colour, line_width=1.6, legend_label=f"{name}: mean")
    hover(fig, [drawn], (clock.label, "@x{0.000}"), ("min", "@low{0.0000}"), ("mean", "@mean{0.0000}"), ("max", "@high{0.0000}"))


def lines_or_band(
    fig: figure, clock: Clock, t_s: Floats, values: Floats, names: Sequence[str], what: str, held: bool = False
) -> None:
    """A line per column, or one band where there are more columns than a reader can follow."""
    if len(names) > MOST_LINES:
        band(fig, clock, t_s, values, f"{len(names)} {what}", COLOURS[0])
        return
    for k, name in enumerate(names):
        line(fig, clock, t_s, values[:, k], name, COLOURS[k % len(COLOURS)], DASHES[k // len(COLOURS)], held=held)


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


def single(values: Floats) -> NDArray[np.float32]:
    """Single precision: more than a screen shows, in half the space."""
    return np.asarray(values, np.float32)


def engineering(watts: float) -> tuple[float, str]:
    """The divisor and prefix with which a power of this size is read best."""
    size = abs(watts)
    return (1e6, "M") if size >= 1e6 else (1e3, "k") if size >= 1e3 else (1.0, "")
