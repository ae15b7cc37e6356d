"""The report of a run: one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from federates.tblm.model import TblmError
from monitor import summary
from monitor.figures import (
    balance,
    bench,
    capability,
    curves,
    ems,
    head,
    motors,
    profile,
    replay,
    resources,
    shedding,
    system,
    timing,
)
from monitor.page import Section, paragraph, render
from monitor.results import Results, load

FILE_NAME = "report.html"


def write(run_dir: Path | str) -> Path:
    """Write `report.html` into a run directory and give its path. NotARunError for a directory that is no run.

    Works on a run that failed or was killed: it then begins with how and when it ended. Sections without records are left out.
    """
    results = load(run_dir)
    path = results.run_dir / FILE_NAME
    path.write_text(build(results), encoding="utf-8")
    return path


def build(results: Results) -> str:
    """The page as text."""
    clock = summary.clock(results)
    makers: list[tuple[str, str, Callable[[], Section | None]]] = [
        ("system", "Frequency and bus voltages", lambda: system.section(results, clock)),
        ("replay", "Record and simulation", lambda: replay.section(results, clock)),
        ("balance", "Response, losses and shedding", lambda: balance.section(results, clock)),
        ("head", "Head power: measured against predicted", lambda: head.section(results, clock)),
        ("curves", "TBLM curves", lambda: curves.section(results)),
        ("capability", "What the bus can give", lambda: capability.section(results)),
        ("shedding", "Load shedding", lambda: shedding.section(results, clock)),
        ("drawn", "What the buses draw", lambda: balance.drawn_section(results, clock)),
        ("motors", "Stalled motors", lambda: motors.section(results, clock)),
        ("ems", "EMS predictions against the truth", lambda: ems.section(results)),
        ("profile", "Voltage along the feeders", lambda: profile.section(results, clock)),
        ("der", "DER and storage", lambda: resources.der_section(results, clock)),
        ("meters", "Meter coverage", lambda: resources.meter_section(results, clock)),
        ("events", "Events", lambda: summary.events_section(results)),
        ("bench", "Real devices", lambda: bench.section(results, clock)),
        ("timing", "Where the time went", lambda: timing.section(results, clock)),
        ("records", "What was recorded", lambda: summary.records_section(results)),
    ]
    sections = [summary.section(results)]
    for anchor, title, make in makers:
        section = _made(anchor, title, make)
        if section:
            sections.append(section)
    about = results.meta.get("about")
    subtitle = str(about) if about else f"Run directory {results.run_dir.resolve().name}"
    return render(f"Run of {summary.name(results)}", subtitle, sections)


def _made(anchor: str, title: str, make: Callable[[], Section | None]) -> Section | None:
    """The section, or one that says why it could not be made: records of a foreign shape must not cost the rest of the report."""
    try:
        return make()
    except (TblmError, LookupError, TypeError, ValueError, AttributeError) as error:
        reason = f"This section could not be made from the records: {type(error).__name__}: {error}"
        return Section(anchor, title, [paragraph(reason, css="banner bad")])
