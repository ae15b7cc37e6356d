"""The EMS's predictions: against pandapower, against a closed form, and what TBLM curves are worth where they are right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandapower as pp
import pytest
from case39 import BUSES, CASE39, LOADS, truth
from documents import exponential, tblm
from pandapower import networks

from federates.ems.view import Telemetry, View
from federates.grid.fleet import FrequencySettings
from federates.grid.transmission import Transmission


def view(**settings: Any) -> View:
    return View(CASE39, BUSES, FrequencySettings(**settings))


def more_losses_w(now: Telemetry, lost: str, out: str | None = None) -> float:
    """What losses change by with a generator, at the loads measured: solved on another network, by the file's slack. `out` is out
    before."""
    engine = Transmission(CASE39)
    if out is not None:
        engine.trip_generator(out)
    for name, p_w, q_var in zip(engine.bus_names, now.load_p_w, now.load_q_var, strict=True):
        engine.set_bus_load(name, p_w, q_var)
        engine.set_native_share(name, 0.0)
    before_w = engine.solve().losses_w
    engine.trip_generator(lost)
    return engine.solve().losses_w - before_w


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
    """f - f0 = -(f0 dP / (D P_native)) (1 - exp(-D P_native t / (2 E))): it falls for ever, so the lowest is the last studied.

    dP is the generator's power and what losses then change by."""
    damping = 1.5
    ours, now = view(governed_share=0.0, native_damping_pu=damping), truth(Transmission(CASE39))
    ours.set(now)
    lost_w = now.gen_p_w[ours.engine.generator_names.index("G30")] + more_losses_w(now, "G30")
    native_w = now.load_p_w.sum() - sum(now.load_p_w[ours.engine.bus_names.index(bus)] for bus in BUSES)
    energy = sum(m.rating_va * m.inertia_s for m in ours._fleet.machines if m.name != "G30")

    def expected(t_s: float) -> float:
        return float(-60.0 * lost_w / (damping * native_w) * (1.0 - np.exp(-damping * native_w * t_s / (2.0 * energy))))

    soon = ours.generator_loss(now, "G30", {}, "with_constant", {"fast": 2.0})
    assert soon.keys() == {"fast"}
    assert soon["fast"]["f_hz"] - 60.0 == pytest.approx(expected(2.0), rel=2e-3)
    assert soon["fast"]["nadir_hz"] - 60.0 == pytest.approx(expected(15.0), rel=2e-3)  # 15 s are studied at least
    rows = ours.generator_loss(now, "G30", {}, "with_constant", {"fast": 2.0, "settled": 40.0})
    assert rows["fast"]["f_hz"] == pytest.approx(soon["fast"]["f_hz"], abs=1e-9)
    assert rows["settled"]["f_hz"] - 60.0 == pytest.approx(expected(40.0), rel=2e-3)
    assert rows["fast"]["nadir_hz"] == rows["settled"]["nadir_hz"] == rows["settled"]["f_hz"]
    assert ours.engine.is_running("G30")
    helped = ours.generator_loss(now, "G30", {b: tblm(b, LOADS[b]) for b in BUSES}, "with_tblm", {"fast": 2.0})
    assert expected(2.0) < helped["fast"]["f_hz"] - 60.0 < 0.0
    assert expected(15.0) < helped["fast"]["nadir_hz"] - 60.0 < helped["fast"]["f_hz"] - 60.0


def test_with_governors_the_lowest_frequency_lies_between_the_horizons() -> None:
    """Against the same response model looked at ten times as often."""
    ours, now = view(), truth(Transmission(CASE39))
    ours.set(now)
    rows = ours.generator_loss(now, "G30", {}, "with_constant", {"fast": 1.0, "settled": 120.0})
    ride, fixed_w, native_w = ours._loss(now, "G30")
    first = ours._without("G30", {}, now, {}, 60.0)
    drawn_w = fixed_w + first.bus_p_w.sum() + first.losses_w - now.gen_p_w.sum()
    f_hz = [ride.step(100_000_000, drawn_w, native_w).f_hz for _ in range(1200)]
    assert 10 < int(np.argmin(f_hz)) < 150  # after the fast horizon, long before the settled one
    assert rows["fast"]["f_hz"] == pytest.approx(f_hz[9], abs=1e-6)
    assert rows["settled"]["f_hz"] == pytest.approx(f_hz[-1], abs=1e-6)
    assert rows["fast"]["nadir_hz"] == rows["settled"]["nadir_hz"] == pytest.approx(min(f_hz), abs=4e-4)
    assert rows["fast"]["nadir_hz"] < min(rows["fast"]["f_hz"], rows["settled"]["f_hz"]) - 0.01


def test_a_machine_that_is_out_gives_no_inertia() -> None:
    ours, engine = view(governed_share=0.0, native_damping_pu=0.0), Transmission(CASE39)
    before = truth(engine)
    engine.trip_generator("G38")
    after = truth(engine)
    fell = []
    for now, out in ((before, None), (after, "G38")):
        ours.set(now)
        f_hz = ours.generator_loss(now, "G30", {}, "with_constant", {"fast": 1.0})["fast"]["f_hz"]
        lost_w = now.gen_p_w[ours.engine.generator_names.index("G30")] + more_losses_w(now, "G30", out)
        fell.append((60.0 - f_hz) / lost_w)
    inertia = {m.name: m.rating_va for m in ours._fleet.machines}
    whole = sum(inertia.values()) - inertia["G30"]
    assert fell[1] / fell[0] == pytest.approx(whole / (whole - inertia["G38"]), rel=0.02)


def test_service_is_told_by_status_not_by_power() -> None:
    """A generator at 0 W (a condenser, a unit at its floor) is in service; one that is out is not."""
    engine = Transmission(CASE39)
    engine.set_generator("G35", 0.0)
    engine.trip_generator("G34")
    ours, now = view(), truth(engine)
    ours.set(now)
    assert ours.engine.is_running("G35") and not ours.engine.is_running("G34")
    assert ours.base(now, {})["v_pu"] == pytest.approx(ours.measured(now)["v_pu"], abs=1e-7)


def test_load_without_a_tblm_follows_voltage_and_frequency_as_the_model_says() -> None:
    """Both ways know the exponents and the damping of native load: with right curves an outage is what it is."""
    model = replace(CASE39, native_exponents=(1.0, 2.0))
    engine, ours = Transmission(model), View(model, BUSES, FrequencySettings(governed_share=0.0, native_damping_pu=2.0))
    now = truth(engine)
    ours.set(now)
    curves = ours.curves(now, {bus: tblm(bus, LOADS[bus]) for bus in BUSES}, "fast", 60.0)
    row = ours.outages(now, curves, ("15-16",))["15-16"]
    engine.open_line("15-16")
    after = truth(engine)
    assert row["v_pu"] == pytest.approx({bus: after.v_pu[ours.engine.bus_names.index(bus)] for bus in BUSES}, abs=1e-6)
    assert abs(after.v_pu[ours.engine.bus_names.index("15")] - now.v_pu[ours.engine.bus_names.index("15")]) > 0.02
    low = ours._without("G30", {}, now, {}, 59.4)
    at_nominal = ours._without("G30", {}, now, {}, 60.0)
    bus = ours.engine.bus_names.index("20")
    ratio = (low.v_pu[bus] / at_nominal.v_pu[bus]) ** 1.0 * (1.0 - 2.0 * 0.01)
    assert low.bus_p_w[bus] / at_nominal.bus_p_w[bus] == pytest.approx(ratio, rel=1e-6)


def test_what_a_bus_draws_beside_its_feeders_follows_voltage_too() -> None:
    """Half of bus 15 is native and without a curve: measured less the TBLM's, by the exponents."""
    model = replace(CASE39, native_exponents=(1.0, 2.0))
    ours, now = View(model, BUSES, FrequencySettings()), truth(Transmission(model))
    half = exponential(160e6, 76.5e6, 1.6, 3.0)
    ours.set(now)
    i = ours.engine.bus_names.index("15")
    v0, p0, q0 = now.v_pu[i], now.load_p_w[i], now.load_q_var[i]
    p_w, q_var = ours.curves(now, {"15": tblm("15", half)}, "fast", 60.0)["15"](0.9)
    known, at = half(v0, 60.0), half(0.9, 60.0)
    assert p_w == pytest.approx(at[0] + (p0 - known[0]) * (0.9 / v0), rel=1e-5)
    assert q_var == pytest.approx(at[1] + (q0 - known[1]) * (0.9 / v0) ** 2, rel=1e-5)
