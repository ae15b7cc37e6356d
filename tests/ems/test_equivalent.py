"""The equivalent that the EMS sends against the transmission power flow solved with the feeders' load taken off."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from case39 import BUSES, CASE39, LOADS, truth
from documents import exponential, tblm
from test_ems import PAPERS, PARAMS, at_rest, inputs, without

from federates.dms.uvls import moved_pu, voltage_pu
from federates.ems.ems import EmsFederate
from federates.ems.equivalent import equivalents, worst_outages
from federates.ems.view import Telemetry, View
from federates.grid.fleet import FrequencySettings
from federates.grid.thevenin import Thevenin, fitted
from federates.grid.transmission import Transmission, TransmissionModel
from federates.runtime.federate import S_NS
from federates.tblm.model import Tblm, at_frequency

EMS_MODEL = TransmissionModel("pandapower:case39", (1.0, 2.0))
"""The EMS's own: load that no feeder stands for is of constant current, and of constant impedance in Q."""


def feeders(share: float) -> dict[str, Tblm]:
    """TBLMs of feeders that are this part of the load at their bus."""
    made = {}
    for bus, load in LOADS.items():
        p_w, q_var = load(1.0, 60.0)
        made[bus] = tblm(bus, exponential(share * p_w, share * q_var, 1.6, 3.0), exponential(share * p_w, share * q_var, 0.2, 0.5))
    return made


def seen(lost: tuple[str, ...] = (), share: float = 1.0, scale: float = 1.0) -> tuple[View, Telemetry, dict[str, Tblm]]:
    """The network as the EMS sees it, some lines out."""
    engine = Transmission(CASE39)
    for name in lost:
        engine.open_line(name)
    view, now, tblms = View(EMS_MODEL, BUSES, FrequencySettings()), truth(engine, scale=scale), feeders(share)
    view.set(now)
    return view, now, tblms


def source(found: dict[str, Any]) -> Thevenin:
    return Thevenin(*(found[key] for key in ("e_pu", "r_pu", "x_pu", "s_base_va")))


def solved_pu(view: View, now: Telemetry, tblms: dict[str, Tblm], bus: str, left: float) -> float:
    """The power flow of the whole system with this part of the bus's feeders left: nothing of it is an equivalent."""
    curves = view.curves(now, tblms, "fast", now.f_hz)
    at, fast = view.engine.bus_names.index(bus), at_frequency(tblms[bus].curve("fast"), now.f_hz)
    whole = curves[bus]

    def shed(v_pu: float) -> tuple[float, float]:
        return tuple(x - (1.0 - left) * y for x, y in zip(whole(v_pu), fast(v_pu), strict=True))  # type: ignore[return-value]

    return float(view.engine.solve_with_curves({**curves, bus: shed}, near_v_pu=now.v_pu).v_pu[at])


@pytest.mark.parametrize("share", [1.0, 0.6])
@pytest.mark.parametrize("lost", [(), ("15-16",), ("16-17", "16-21")])
def test_voltages_after_shedding_are_those_of_the_power_flow(lost: tuple[str, ...], share: float) -> None:
    """A quarter to all of the feeders off, at two buses, with lines out: asked for are 0.005 pu."""
    view, now, tblms = seen(lost, share)
    told = equivalents(view, now, tblms, 0)["buses"]
    errors, rises = list[float](), list[float]()
    for bus in BUSES:
        fast, v0 = at_frequency(tblms[bus].curve("fast"), 60.0), float(now.v_pu[view.engine.bus_names.index(bus)])
        for left in (1.0, 0.8, 0.5, 0.2, 0.0):
            expected = solved_pu(view, now, tblms, bus, left)
            errors.append(abs(moved_pu(source(told[bus]), fast, v0, left) - expected))
            rises.append(expected - v0)
        assert told[bus]["error_pu"] < 5e-4
    assert max(rises) > 0.005
    assert max(errors) < 3e-4, f"worst {max(errors):.2g} pu of a rise of {max(rises):.3g} pu"


def test_a_weak_bus_rises_much_and_is_still_foretold() -> None:
    """Bus 15 on one line, with 1.5 times its load."""
    view, now, tblms = seen(("15-16",), scale=1.5)
    tblms = {bus: tblm(bus, exponential(*(1.5 * x for x in LOADS[bus](1.0, 60.0)), 1.6, 3.0)) for bus in BUSES}
    told = equivalents(view, now, tblms, 0)["buses"]["15"]
    v0, fast = float(now.v_pu[14]), at_frequency(tblms["15"].curve("fast"), 60.0)
    errors = [abs(moved_pu(source(told), fast, v0, left) - solved_pu(view, now, tblms, "15", left)) for left in (0.75, 0.5, 0.0)]
    assert solved_pu(view, now, tblms, "15", 0.0) - v0 > 0.04
    assert max(errors) < 5e-4


def test_the_equivalent_of_a_circuit_is_the_circuit() -> None:
    real = Thevenin(1.04, 0.02, 0.15, 100e6)
    powers = [(80e6, 30e6), (40e6, 15e6), (0.0, 0.0), (80e6, 0.0)]
    points = [(voltage_pu(real, lambda _, s=s: s), *s) for s in powers]  # type: ignore[misc]
    found, error_pu = fitted(points, 100e6)
    assert (found.e_pu, found.r_pu, found.x_pu) == pytest.approx((1.04, 0.02, 0.15), abs=1e-7) and error_pu < 1e-8
    moved = real.behind(0.9, 80e6, 30e6)
    assert moved.voltage_pu(80e6, 30e6) == pytest.approx(0.9, abs=1e-9)
    with pytest.raises(ValueError, match="three or more"):
        fitted(points[:2], 100e6)


@pytest.mark.parametrize("loading", [0.9, 0.97, 0.999])
@pytest.mark.parametrize(("r_pu", "x_pu", "q_per_p"), [(0.01, 0.39, 0.3), (0.08, 0.12, -0.1), (0.03, 0.2, 0.0)])
def test_a_known_source_is_found_again_next_to_its_nose(loading: float, r_pu: float, x_pu: float, q_per_p: float) -> None:
    """The most that can be drawn at constant Q/P, where the discriminant of the circuit's V^2 is 0, by its closed form."""
    true, phi = Thevenin(0.99, r_pu, x_pu, 100e6), math.atan(q_per_p)
    along = r_pu * math.cos(phi) + x_pu * math.sin(phi)
    most_va = 100e6 * true.e_pu**2 / (2.0 * (math.hypot(r_pu, x_pu) + along))
    p, q = (loading * most_va * part for part in (math.cos(phi), math.sin(phi)))
    drawn = [(left * p, left * q) for left in (1.0, 0.75, 0.5, 0.25, 0.0)]
    drawn += [(p - 0.5 * loading * most_va, q), (p, q - 0.5 * loading * most_va)]
    points = [(v_pu, *taken) for taken in drawn if (v_pu := true.voltage_pu(*taken)) is not None]
    found, error_pu = fitted(points, 100e6)
    assert len(points) == 7 and error_pu < 1e-9
    assert (found.e_pu, found.r_pu, found.x_pu) == pytest.approx((true.e_pu, r_pu, x_pu), abs=1e-7)


def test_it_is_told_at_a_scan_and_at_once_after_a_switching() -> None:
    """Scans every 4 s; a line is lost at 6 s."""
    federate = EmsFederate(PARAMS)
    federate.start(0)
    told = {}
    for k in range(9):
        now = at_rest() if k < 6 else without("15-16")
        outputs = federate.step(k * S_NS, inputs(now, k * S_NS, PAPERS)).outputs
        if "equivalent" in outputs:
            told[k] = outputs["equivalent"]
    assert list(told) == [0, 4, 6, 8]
    assert told[4]["buses"] == told[0]["buses"] and told[0]["failed"] == {}
    assert told[6]["buses"]["15"]["x_pu"] > 1.5 * told[0]["buses"]["15"]["x_pu"]
    assert told[6]["valid_to_ns"] == 18 * S_NS


def test_the_outage_that_takes_a_bus_lowest_is_told_with_what_the_bus_sees_then() -> None:
    view, now, tblms = seen()
    rows = view.outages(now, view.curves(now, tblms, "fast", 60.0))
    worst = worst_outages(rows, BUSES)
    assert rows[worst["15"]]["v_pu"]["15"] == min(row["v_pu"]["15"] for row in rows.values() if row["converged"])
    told = equivalents(view, now, tblms, 0, worst)
    assert told["after"]["15"]["outage"] == worst["15"] and view.engine.is_closed(worst["15"])
    fast = at_frequency(tblms["15"].curve("fast"), 60.0)
    then_pu = voltage_pu(source(told["after"]["15"]), fast)
    assert then_pu == pytest.approx(rows[worst["15"]]["v_pu"]["15"], abs=2e-4)
    view.engine.open_line(worst["15"])
    assert voltage_pu(source(told["after"]["15"]), fast, 0.5) == pytest.approx(solved_pu(view, now, tblms, "15", 0.5), abs=3e-4)
    unsolved = {name: {"converged": False, "reason": "diverged"} for name in rows}
    assert worst_outages(unsolved, BUSES) == {}


def test_a_bus_without_a_usable_document_is_left_out() -> None:
    view, now, tblms = seen()
    only = equivalents(view, now, {"16": tblms["16"]}, 0)
    assert list(only["buses"]) == ["16"]


def test_an_islanded_bus_is_told_with_the_reason() -> None:
    view, now, tblms = seen()
    status = now.line_status.copy()
    for n, name in enumerate(view.engine.branch_names):
        status[n] = 0.0 if "15" in name.split("-") else status[n]
    alone = Telemetry(0, 60.0, now.v_pu, now.load_p_w, now.load_q_var, status, now.gen_p_w, now.gen_status)
    view.set(alone)
    told = equivalents(view, alone, tblms, 0)
    assert not told["buses"] and "cut off" in told["failed"]["15"] and np.isfinite(alone.v_pu).all()
