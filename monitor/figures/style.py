"""What all figures share: colours that colour-blind readers tell apart, axes with units, legends beside the data.

Glyphs are drawn by `draw`, not by bokeh's own shortcuts, which make four variants of each glyph for selections that no reader makes
here and so double the time that a report takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from federates.runtime.port import Floats

if TYPE_CHECKING:
    from bokeh.models import DataSource
    from bokeh.models.glyph import Glyph
    from bokeh.models.renderers import GlyphRenderer
    from bokeh.plotting import figure

# Okabe and Ito (2008), "Color Universal Design", without the yellow that is too pale on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
TRUTH, TBLM, CONSTANT, QUIET = "#000000", "#0072B2", "#D55E00", "#8a96a3"
MARKERS = ("circle", "square", "triangle", "diamond", "inverted_triangle", "hex", "star")


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
        title=None,
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


def rule(fig: figure, at: float, dimension: Literal["width", "height"], colour: str = QUIET, dash: str = "dashed") -> None:
    """A thin line across the whole figure."""
    from bokeh.models.annotations import Span

    fig.add_layout(Span(location=at, dimension=dimension, line_color=colour, line_dash=dash, line_width=1))


def draw(fig: figure, glyph: Glyph, columns: Mapping[str, Any] | DataSource, name: str = "") -> GlyphRenderer[Any]:
    """Draw a glyph over columns, or over the source of another glyph. `name` is its legend entry; the same name joins entries."""
    from bokeh.models import CDSView, ColumnDataSource, DataSource

    first: Any = fig.renderers[0] if fig.renderers else None
    view = first.view if first else CDSView()
    source: Any
    if isinstance(columns, DataSource):
        source = columns
    else:
        shared = {key: getattr(first.data_source, key) for key in ("selected", "selection_policy")} if first else {}
        source = ColumnDataSource(dict(columns), **shared)
    return fig.add_glyph(source, glyph, view=view, name=name, nonselection_glyph=None, muted_glyph=None)


def legend(fig: figure, place: Literal["right", "below", "above"] = "right") -> None:
    """Put a legend beside the figure, where it hides no data; a click on an entry hides its line."""
    from bokeh.models.annotations import Legend, LegendItem

    entries: dict[str, list[Any]] = {}
    for renderer in fig.renderers:
        if renderer.name:
            entries.setdefault(renderer.name, []).append(renderer)
    items = [LegendItem(label={"value": name}, renderers=renderers) for name, renderers in entries.items()]
    box = Legend(items=items, label_text_font_size="12px", border_line_color=None, click_policy="hide")
    box.update(spacing=0, padding=10)
    if place != "right":
        box.update(orientation="horizontal", ncols=2)
    fig.add_layout(box, place)


def side_by_side(*figures: figure) -> Any:
    """Figures in one row that share the width of the page."""
    from bokeh.layouts import row

    return row(*figures, sizing_mode="stretch_width", spacing=24)


def hover(fig: figure, renderers: Sequence[Any], *tips: tuple[str, str], name: str | None = None) -> None:
    """Show values under the pointer for these renderers."""
    from bokeh.models import HoverTool

    fig.add_tools(HoverTool(renderers=list(renderers), tooltips=list(tips), visible=False, name=name))


def single(values: Floats) -> NDArray[np.float32]:
    """Single precision: more than a screen shows, in half the space."""
    return np.asarray(values, np.float32)


def engineering(watts: float) -> tuple[float, str]:
    """The divisor and prefix with which a power of this size is read best."""
    size = abs(watts)
    return (1e6, "M") if size >= 1e6 else (1e3, "k") if size >= 1e3 else (1.0, "")
