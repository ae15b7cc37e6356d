"""The report's section on load shedding: what it sets side by side, and that a name cannot become markup."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import fake_run
import numpy as np
import pytest

from federates.tblm import emergency_model as record
from federates.tblm.model import Tblm
from monitor.figures import shedding
from monitor.figures.lines import Clock
from monitor.page import render

MW = 1e6
BUS = fake_run.BUSES[0]


def emergency(phase: record.Phase, ledger: record.Ledger | None, sequence: record.Sequence | None) -> record.Emergency:
    armed = (
        record.ArmedStage("ufls:1", 4, 12 * MW, 2 * MW, 10 * MW, 9.9 * MW, False, ""),
        record.ArmedStage("ufls:2", 2, 3 * MW, 5 * MW, -2 * MW, -2.1 * MW, True, ""),
    )
    overlap = record.Overlap(("ufls:1", "dr:<b>"), (10 * MW, 4 * MW), ((0.0, 3 * MW), (9 * MW, 0.0)), 1 * MW, "0")
    plan = record.ActionPlan(5 * MW, 10.0, ("dr:x", "ufls:1"), (1 * MW, 5 * MW), 6 * MW, 5.3, True, "milp")
    steps = (
        record.VoltageStep("uvls:1", 2.08, 15, 0.9334, 0.9537, 0.9559),
        record.VoltageStep("uvls:2", 4.08, 15, 0.9537, 0.972, 0.973),
    )
    falls = (
        record.VoltageFall("outage 15-16", 0.9334, steps, ("uvls:3",), ""),
        record.VoltageFall("uvls:1", 0.919, (), (), "no voltage carries 80 MW"),
    )
    seen = record.UnderVoltage(record.Equivalent(0, 1.04, 0.01, 0.1, 100 * MW, 1e-4), None, falls)
    return record.Emergency(phase, armed, overlap, plan, ledger, (), sequence, (), seen)


class Shed:
    """As much of `Results` as the section looks at: one bus, two stages that acted at 31 and 32 s."""

    def __init__(self) -> None:
        entries = (record.LedgerEntry(31 * 10**9, "ufls:1", 4, 9.8 * MW, 12 * MW, 2 * MW),)
        book = record.Ledger(30 * MW, 19 * MW, entries, 0.5 * MW, 1.6 * MW, 0.07)
        told = (
            record.Difference("ufls:1", "open", 0.04, "V or f got there later"),
            record.Difference("pv1", "trip", None, "expected only"),
        )
        sequence = record.Sequence((), told, False, ())
        self.buses = (BUS,)
        self._tblms = [self._tblm(20.0, emergency("before", None, None)), self._tblm(40.0, emergency("during", book, sequence))]
        self.document_ports = {"catalogue": ("fa",)}

    @staticmethod
    def _tblm(t_s: float, part: record.Emergency) -> Tblm:
        return replace(fake_run.tblm(BUS, t_s, 1), emergency=part)

    def tblms(self, bus: str) -> list[Tblm]:
        return self._tblms

    def documents(self, port: str, federate: str) -> list[Any]:
        return [SimpleNamespace(document={"bus": BUS})]

    def event_rows(self) -> list[dict[str, Any]]:
        def row(t_s: int, source: str, cause: str, feeders: int, p_mw: float) -> dict[str, Any]:
            powers = {"p_w": p_mw * MW, "load_w": 12 * MW, "der_w": 2 * MW}
            return {
                "t_ns": t_s * 10**9,
                "source": source,
                "seq": 1,
                "payload": {"event": "open_breaker", "cause": cause, "feeders": feeders, **powers},
            }

        return [row(31, "fa.soe", "ufls:1", 4, 9.8), row(31, "scada_a.soe", "ufls:1", 4, 9.8), row(32, "fa.soe", "ufls:2", 2, -2.2)]

    def find(self, port: str) -> tuple[str, ...]:
        return ("fa.feeders_closed", "scada_a.feeders_closed")

    def vector(self, name: str) -> Any:
        layout = SimpleNamespace(federate="fa")
        return SimpleNamespace(t_s=np.array([0.0, 31.0, 32.0]), values=np.array([[9.0], [5.0], [3.0]]), layout=layout)


@pytest.fixture(scope="module")
def page() -> str:
    section = shedding.section(Shed(), Clock(60.0))  # type: ignore[arg-type]
    assert section is not None
    return render("x", "y", [section])


def cells(page: str) -> list[list[str]]:
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]


def test_what_was_armed_stands_beside_what_was_shed_once(page: str) -> None:
    rows = {row[1]: row for row in cells(page) if len(row) > 10 and row[1].startswith("ufls")}
    assert set(rows) == {"ufls:1", "ufls:2"}
    assert rows["ufls:1"][5:9] == ["9.90", "9.80", "12.00", "2.00"] and rows["ufls:1"][9] == "-0.83"
    assert "fed back" in rows["ufls:2"][10]
    assert sum(len(row) > 10 and row[1] == "ufls:1" for row in cells(page)) == 1  # not SCADA's copy of it


def test_the_ledger_and_the_differences_are_told(page: str) -> None:
    (ledger,) = [row for row in cells(page) if row[:2] == [BUS, "during"]]
    assert ledger[3:] == ["30.00", "19.00", "9.80", "-0.50", "1.60", "+0.070"]
    assert ["ufls:1", "open", "+40", "V or f got there later"] in cells(page)
    assert ["pv1", "trip", "", "expected only"] in cells(page)


def test_foreseen_voltages_are_told_stage_by_stage(page: str) -> None:
    told = [row for row in cells(page) if len(row) == 9 and row[1] != "during" and row[-1] != "milp"]
    assert told == [
        [BUS, "outage 15-16", "0.9334", "uvls:1", "2.08", "0.9334", "0.9537", "0.9559", ""],
        [BUS, "outage 15-16", "0.9334", "uvls:2", "4.08", "0.9537", "0.9720", "0.9730", "uvls:3"],
        [BUS, "uvls:1", "0.9190", "none", "", "", "", "", "no voltage carries 80 MW"],
    ]


def test_a_plan_is_told_once(page: str) -> None:
    assert [row for row in cells(page) if "dr:x 1.00, then ufls:1 5.00" in row] == [
        [BUS, "20.0", "5.00", "10", "dr:x 1.00, then ufls:1 5.00", "6.00", "5.3", "yes", "milp"]
    ]


def test_names_are_not_markup(page: str) -> None:
    assert "dr:&lt;b&gt;" in page and "dr:<b>" not in page


def test_a_run_without_shedding_has_no_section() -> None:
    bare = SimpleNamespace(buses=(), document_ports={}, event_rows=list, find=lambda port: ())
    assert shedding.section(bare, Clock(60.0)) is None  # type: ignore[arg-type]
