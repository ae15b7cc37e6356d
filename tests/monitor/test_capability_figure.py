"""The section on what a bus can give, from TBLM documents, and the page of a feeder alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fake_run import BUSES, tblm

from federates.runtime.port import canonical_json
from federates.tblm.flexibility_model import CapabilityRegion, DispatchBlock, Flexibility
from federates.tblm.model import from_json, to_json
from monitor.figures import capability
from monitor.page import render

SQUARE = ((1e6, 3e6, 3e6, 1e6), (-1e6, -1e6, 1e6, 1e6))
REGIONS = (
    CapabilityRegion(1.01, 2.0, "P10", *SQUARE, True, 0.2),
    CapabilityRegion(1.01, 60.0, "P50", tuple(2.0 * p for p in SQUARE[0]), SQUARE[1], True, 0.3),
)
STACK = (
    DispatchBlock("up", 4e5, -1e4, 35.0, 0.0, None, 3600.0, None, 0.5, 4),
    DispatchBlock("down", 8e5, 2e4, 12.5, 30.0, 2e4, None, 5e5, 0.0, 7),
)


def results(flexibility: Flexibility | None) -> Any:
    made = from_json(canonical_json(to_json(replace(tblm(BUSES[0], 60.0, 3), flexibility=flexibility))))
    return SimpleNamespace(buses=(BUSES[0],), tblms=lambda bus: [made])


def page(found: Any) -> str:
    return render("t", "s", [found])


def test_regions_and_stack_are_drawn_and_told() -> None:
    section = capability.section(results(Flexibility(60_000_000_000, REGIONS, STACK, ())))
    assert section is not None
    text = page(section)
    names = ("inverters, 2 s, P10", "taps and capacitors too, 60 s, P50")
    for told in (f"Bus {BUSES[0]}", "t = 60.00 s", *names, "4.000", "8.000", "35.00", "12.50"):
        assert told in text
    drawn = [block for block in section.blocks if not isinstance(block, str)]
    assert len(drawn) == 2


def test_why_nothing_is_there() -> None:
    section = capability.section(results(Flexibility(0, (), (), ("line a carries <b>120</b> %",))))
    assert section is not None
    assert "Left out: line a carries &lt;b&gt;120&lt;/b&gt; %" in page(section)


def test_no_section_where_nobody_asked() -> None:
    assert capability.section(results(None)) is None


def test_page_of_a_feeder(tmp_path: Path) -> None:
    file = tmp_path / "regions.html"
    capability.write_page(file, "Capability of x", REGIONS, (2e6, 0.0))
    text = file.read_text()
    assert "Capability of x" in text and "May be missing" in text and "1.01 pu" in text
