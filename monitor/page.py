"""The HTML of a report: sections of text, tables and figures on one self-contained page.

Nothing on the page is loaded from anywhere: the scripts are inside it, and a content security policy forbids the browser to fetch.
Every text is escaped unless it is marked as `Html`, so that a name out of a scenario cannot become markup.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bokeh.models import Model


class Html(str):
    """Text that is markup already, made by this package."""

    __slots__ = ()


@dataclass(frozen=True)
class Section:
    """A part of the page: its title and, in order, markup and bokeh figures."""

    anchor: str
    title: str
    blocks: Sequence[Html | Model]


def text(value: Any) -> Html:
    """Anything as markup; escaped unless it is `Html`."""
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def tag(name: str, *parts: Any, css: str = "") -> Html:
    """`<name class="css">parts</name>`."""
    attribute = f' class="{css}"' if css else ""
    return Html(f"<{name}{attribute}>{''.join(text(part) for part in parts)}</{name}>")


def paragraph(*parts: Any, css: str = "") -> Html:
    """A paragraph of prose."""
    return tag("p", *parts, css=css)


def heading(title: str) -> Html:
    """A heading inside a section, above one of its figures."""
    return tag("h3", title)


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], numeric: Sequence[int] = (), limit: int | None = None) -> Html:
    """A table; the columns in `numeric` are set flush right. Rows beyond `limit` are counted, not shown."""
    rows = list(rows)
    shown = rows[:limit]
    right = set(numeric)
    head = "".join(tag("th", header, css="n" if k in right else "") for k, header in enumerate(headers))
    body = "".join(
        "<tr>" + "".join(tag("td", cell, css=_cell_class(cell, k in right)) for k, cell in enumerate(row)) + "</tr>"
        for row in shown
    )
    rest = f"{len(rows) - len(shown)} more rows are in the run directory." if len(rows) > len(shown) else ""
    css = "scroll tall" if len(shown) > _TALL else "scroll"
    table = f'<div class="{css}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return Html(table + (paragraph(rest, css="note") if rest else ""))


def _cell_class(cell: Any, right: bool) -> str:
    return "n" if right else "" if isinstance(cell, Html) or len(str(cell)) > _LONG else "short"


def render(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    from bokeh.document import Document
    from bokeh.embed import components
    from bokeh.resources import Resources

    figures = {
        f"{section.anchor}-{k}": block
        for section in sections
        for k, block in enumerate(section.blocks)
        if not isinstance(block, Html)
    }
    document = Document()
    with document.models.freeze():  # else every root is followed by a walk over all models before it
        for figure in figures.values():
            document.add_root(figure)
    script, places = components(figures) if figures else ("", {})
    library = _without_loaders(Resources(mode="inline", components=["bokeh"]).render_js()) if figures else ""
    contents = "".join(f'<li><a href="#{section.anchor}">{text(section.title)}</a></li>' for section in sections)
    body = "".join(
        f'<section id="{section.anchor}"><h2>{text(section.title)}</h2>'
        + "".join(
            block if isinstance(block, Html) else f'<div class="figure">{places[f"{section.anchor}-{k}"]}</div>'
            for k, block in enumerate(section.blocks)
        )
        + "</section>"
        for section in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width"><title>{text(title)}</title><style>{_STYLE}</style>{library}</head>\n'
        f'<body><nav><div class="brand">{text(title)}</div><ol>{contents}</ol></nav>\n'
        f"<main><header><h1>{text(title)}</h1>{paragraph(subtitle, css='subtitle')}"
        "<noscript><p class='banner bad'>The figures need JavaScript, which is switched off here. The tables do not.</p></noscript>"
        f"</header>{body}</main>\n{script}</body></html>\n"
    )


def _without_loaders(javascript: str) -> str:
    """The plotting library without the addresses from which it could load optional fonts, maps and formula setting.

    None of them is used here. Addresses in licence notices and XML namespaces are names, and stay.
    """
    return re.sub(r"https://(?:cdn\.jsdelivr\.net|maps\.googleapis\.com)/", "about:blank#", javascript)


_TALL = 40
"""Tables with more rows than this scroll inside themselves."""
_LONG = 12
"""Cells with more characters than this may be broken into lines, so that a table fits the page."""

_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"

_STYLE = """
:root { --ink: #1f2933; --quiet: #5b6875; --line: #dde3e9; --wash: #f6f8fa; --link: #0b5c92; --good: #00694a; --bad: #a63d00; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 16px; }
body { margin: 0; color: var(--ink); background: #fff;
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
nav { position: fixed; top: 0; left: 0; bottom: 0; width: 232px; overflow-y: auto; padding: 26px 20px; background: var(--wash);
  border-right: 1px solid var(--line); font-size: 13.5px; }
nav .brand { font-weight: 650; margin-bottom: 14px; overflow-wrap: anywhere; }
nav ol { margin: 0; padding: 0; list-style: none; counter-reset: s; }
nav li { margin: 6px 0; }
nav a { color: var(--quiet); text-decoration: none; }
nav a:hover { color: var(--link); text-decoration: underline; }
main { margin-left: 232px; padding: 26px 40px 80px; max-width: 1240px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 46px 0 8px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 15.5px; margin: 26px 0 2px; }
p { margin: 6px 0 12px; max-width: 88ch; }
.subtitle, .note { color: var(--quiet); }
.note { font-size: 13px; }
.finding ul { margin: 4px 0; padding-left: 22px; }
.finding p { margin: 0; }
.finding { margin: 6px 0 14px; max-width: 96ch; border-left: 3px solid var(--link); padding: 6px 14px; background: var(--wash); }
.banner { margin: 10px 0; padding: 12px 16px; border-radius: 6px; max-width: none; border: 1px solid; }
.banner.good { color: var(--good); background: #eef8f4; }
.banner.bad { color: var(--bad); background: #fdf4ee; }
.banner pre { margin: 8px 0 0; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12.5px; color: var(--ink); }
.good { color: var(--good); } .bad { color: var(--bad); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(185px, 1fr)); gap: 12px; margin: 16px 0; }
.card { border: 1px solid var(--line); border-radius: 6px; padding: 10px 14px; }
.card .label { color: var(--quiet); font-size: 12.5px; } .card .value { font-size: 20px; font-weight: 600; line-height: 1.35; }
.card .more { color: var(--quiet); font-size: 12.5px; }
.figure { margin: 4px 0 10px; }
.scroll { overflow-x: auto; margin: 8px 0 14px; }
.scroll.tall { max-height: 640px; overflow-y: auto; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { color: var(--quiet); font-weight: 600; position: sticky; top: 0; background: #fff; vertical-align: bottom; }
td { overflow-wrap: break-word; max-width: 88ch; }
td code { overflow-wrap: normal; white-space: nowrap; }
td.short { white-space: nowrap; }
th.n { white-space: normal; max-width: 17ch; }
.n { text-align: right; white-space: nowrap; }
code { font: 12.5px/1.4 ui-monospace, "DejaVu Sans Mono", Consolas, monospace; overflow-wrap: anywhere; }
@media (max-width: 1200px) { nav { width: 176px; padding: 20px 14px; } main { margin-left: 176px; padding: 20px 22px 60px; }
  table { font-size: 12.5px; } th, td { padding-right: 9px; } }
@media (max-width: 900px) { nav { position: static; width: auto; border: 0; } main { margin: 0; padding: 16px; } }
@media print { nav { display: none; } main { margin: 0; } .scroll.tall { max-height: none; } }
"""
