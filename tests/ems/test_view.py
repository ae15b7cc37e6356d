"""The EMS's predictions: against pandapower, against a closed form, and what TBLM curves are worth where they are right."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandapower as pp
import pytest
from documents import document, exponential, tblm
from pandapower import networks

from federates.ems.ems import Ems, EmsFederate, Feed
from federates.ems.view import Telemetry, View
from federates.grid.feeder_library import builtin_feeder
from federates.grid.fleet import FrequencySettings
from federates.grid.transmission import Transmission, TransmissionModel
from federates.runtime.conformance import check_federate
from federates.runtime.federate import S_NS, Spec
from federates.runtime.port import Document, Port, Sample

CASE39 = TransmissionModel("pandapower:case39")
BUSES = ("15", "16")
LOADS = {"15": exponential(320e6, 153e6, 1.6, 3.0, 1.2), "16": exponential(329e6, 32.3e6, 1.2, 2.5, 0.9)}


def truth(engine: Transmission, f_hz: float = 60.0) -> Telemetry:
    """The network solved with loads that really follow LOADS, as measured."""
    for bus in BUSES:
        engine.set_native_share(bus, 0.0)
    flow = engine.solve_with_curves({bus: lambda v, load=LOADS[bus]: load(v, f_hz) for bus in BUSES})
    status = np.array([float(engine.is_closed(name)) for name in engine.branch_names])
    return Telemetry(0, f_hz, flow.v_pu, flow.bus_p_w, flow.bus_q_var, status, flow.generator_p_w)


def view(**settings: Any) -> View:
    return View(CASE39, BUSES, FrequencySettings(**settings))


def test_constant_curves_are_no_curves() -> None:
    ours, now = view(), truth(Transmission(CASE39))
    ours.set(now)
    at = {bus: now.load_p_w[ours.engine.bus_names.index(bus)] for bus in BUSES}
    flat = {bus: tblm(bus, exponential(at[bus], 0.0, 0.0, 0.0)) for bus in BUSES}
    with_curves, without = (ours.outages(now, curves) for curves in (ours.curves(now, flat, "fast", 60.0), {}))
    assert with_curves.keys() == without.keys() and len(without) == 46
    for name, row in without.items():
        assert row["converged"] == with_curves[name]["converged"]
        for bus in BUSES if row["converged"] else ():
            assert with_curves[name]["v_pu"][bus] == pytest.approx(row["v_pu"][bus], abs=1e-8)
            assert with_curves[name]["p_w"][bus] == pytest.approx(row["p_w"][bus], rel=1e-9)
    base = ours.base(now, {})
    assert base["v_pu"] == pytest.approx(ours.measured(now)["v_pu"], abs=1e-7)


def test_an_outage_is_what_pandapower_says() -> None:
    ours, now = view(governed_share=0.0), truth(Transmission(CASE39))
    ours.set(now)
    row = ours.outages(now, {})["15-16"]
    net = networks.case39()
    for bus in BUSES:
        i = ours.engine.bus_names.index(bus)
        net.load.loc[net.load.bus == i, ["p_mw", "q_mvar"]] = now.load_p_w[i] / 1e6, now.load_q_var[i] / 1e6
    net.line.loc[(net.line.from_bus == 14) & (net.line.to_bus == 15), "in_service"] = False
    pp.runpp(net, numba=False)
    assert row["v_pu"] == pytest.approx({b: net.res_bus.vm_pu[int(b) - 1] for b in BUSES}, abs=1e-7)


def test_with_right_curves_every_outage_is_predicted_better_than_with_constant_power() -> None:
    engine = Transmission(CASE39)
    ours, now = view(governed_share=0.0), truth(engine)
    ours.set(now)
    tblms = {bus: tblm(bus, LOADS[bus]) for bus in BUSES}
    with_tblm, constant = ours.outages(now, ours.curves(now, tblms, "fast", 60.0)), ours.outages(now, {})
    compared = 0
    for name, row in with_tblm.items():
        if not row["converged"]:
            continue
        engine.open_line(name)
        after = truth(engine)
        engine.close_line(name)
        for bus in BUSES:
            i = ours.engine.bus_names.index(bus)
            error = abs(row["v_pu"][bus] - after.v_pu[i])
            other = abs(constant[name]["v_pu"][bus] - after.v_pu[i]) if constant[name]["converged"] else np.inf
            assert error < 2e-6
            if abs(after.v_pu[i] - now.v_pu[i]) > 0.005:
                compared += 1
                assert error < 0.01 * other
                assert abs(row["p_w"][bus] - after.load_p_w[i]) < 1e-3 * abs(constant[name]["p_w"][bus] - after.load_p_w[i]) + 1e3
    assert compared >= 4


def test_a_generator_loss_without_governors_is_the_closed_form() -> None:
    """f - f0 = -(f0 dP / (D P_native)) (1 - exp(-D P_native t / (2 E)))."""
    damping, horizon_s = 1.5, 2.0
    ours, now = view(governed_share=0.0, native_damping_pu=damping), truth(Transmission(CASE39))
    ours.set(now)
    rows = ours.generator_loss(now, "G30", {}, "with_constant", {"fast": horizon_s})
    lost_w = now.gen_p_w[ours.engine.generator_names.index("G30")]
    native_w = now.load_p_w.sum() - sum(now.load_p_w[ours.engine.bus_names.index(bus)] for bus in BUSES)
    energy = sum(m.rating_va * m.inertia_s for m in ours._fleet.machines if m.name != "G30")
    expected = -60.0 * lost_w / (damping * native_w) * (1.0 - np.exp(-damping * native_w * horizon_s / (2.0 * energy)))
    assert rows["fast"]["f_hz"] - 60.0 == pytest.approx(expected, rel=2e-3)
    assert rows["fast"]["nadir_hz"] == rows["fast"]["f_hz"] and ours.engine.is_running("G30")
    helped = ours.generator_loss(now, "G30", {b: tblm(b, LOADS[b]) for b in BUSES}, "with_tblm", {"fast": horizon_s})
    assert expected < helped["fast"]["f_hz"] - 60.0 < 0.0


def test_a_machine_that_is_out_gives_no_inertia() -> None:
    ours, engine = view(governed_share=0.0, native_damping_pu=0.0), Transmission(CASE39)
    before = truth(engine)
    engine.trip_generator("G38")
    after = truth(engine)
    fell = []
    for now in (before, after):
        ours.set(now)
        fell.append(60.0 - ours.generator_loss(now, "G30", {}, "with_constant", {"fast": 1.0})["fast"]["f_hz"])
    inertia = {m.name: m.rating_va for m in ours._fleet.machines}
    whole = sum(inertia.values()) - inertia["G30"]
    assert fell[1] / fell[0] == pytest.approx(whole / (whole - inertia["G38"]), rel=0.02)


def test_a_condenser_stays_in_service_at_no_power() -> None:
    engine = Transmission(CASE39)
    engine.set_generator("G35", 0.0)
    ours = view()
    ours.engine.set_generator("G35", 0.0)
    ours._condenser = {"G35"}
    now = truth(engine)
    ours.set(now)
    assert ours.engine.is_running("G35")


FEEDER = builtin_feeder("ieee13")
FEEDS = tuple(Feed(f"tblm{bus}", bus, (FEEDER,)) for bus in BUSES)
PARAMS = Ems(CASE39, FEEDS, FrequencySettings(governed_share=0.0), scan_ns=2 * S_NS)
PAPERS = {f"tblm_tblm{bus}": document(tblm(bus, LOADS[bus], points=41, model_hash=FEEDER.hash()), 1) for bus in BUSES}


def telemetry(now: Telemetry, t_ns: int) -> dict[str, Any]:
    """What the transmission system sends, and the TBLMs."""
    named = {"f_hz": [now.f_hz], "all_v_pu": now.v_pu, "load_p_w": now.load_p_w, "load_q_var": now.load_q_var}
    named |= {"line_status": now.line_status, "gen_p_w": now.gen_p_w}
    return {**PAPERS, **{name: Sample.of(values, t_ns) for name, values in named.items()}}


def test_a_loss_is_compared_with_what_was_predicted_before_it() -> None:
    engine, federate = Transmission(CASE39), EmsFederate(PARAMS)
    federate.start(0)
    first = federate.step(0, telemetry(truth(engine), 0)).outputs
    assert first["ack"] == [{"bus": bus, "seq": 1, "accepted": True, "reason": ""} for bus in BUSES]
    assert first["prediction"]["modes"] == dict.fromkeys(BUSES, "tblm") and len(first["prediction"]["contingencies"]) >= 46
    engine.open_line("15-16")
    outcomes = []
    for k in range(1, 6):
        outputs = federate.step(k * S_NS, telemetry(truth(engine), k * S_NS)).outputs
        outcomes += outputs.get("outcome", {}).get("outcomes", [])
    (row,) = outcomes
    assert (row["event"], row["kind"], row["t_ns"], row["horizon"]) == ("15-16", "line", S_NS, "fast")
    assert row["scan_ns"] == 0 and row["compared_ns"] == 3 * S_NS
    real = row["truth"]["v_pu"]["15"]
    assert abs(row["predicted_with_tblm"]["v_pu"]["15"] - real) < 0.02 * abs(row["predicted_with_constant"]["v_pu"]["15"] - real)


def test_without_telemetry_it_predicts_nothing_and_still_judges_documents() -> None:
    federate = EmsFederate(PARAMS)
    inputs = telemetry(truth(Transmission(CASE39)), 0) | {"all_v_pu": Sample.missing(39)}
    outputs = federate.step(0, {**inputs, "tblm_tblm16": Document("not JSON", 0, 1)}).outputs
    assert "prediction" not in outputs and [ack["accepted"] for ack in outputs["ack"]] == [True, False]
    assert "prediction" not in federate.step(2 * S_NS, inputs).outputs


@cache
def at_rest() -> Telemetry:
    """The network as it is without an event."""
    return truth(Transmission(CASE39))


def measured(port: Port, t_ns: int) -> Any:
    """What it sends at t."""
    value = telemetry(at_rest(), t_ns)[port.name]
    return value.text if port.kind == "document" else value


def test_conforms() -> None:
    params = replace(PARAMS, scan_ns=3600 * S_NS, generators=("G30",))
    assert check_federate(Spec("ems", "federates.ems.ems:EmsFederate", params), measured, periods=2) == []
