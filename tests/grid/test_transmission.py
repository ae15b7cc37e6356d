"""The transmission engine against pandapower, and against one integrated solve of transmission and feeders."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandapower as pp
import pytest
from integrated_case import add_feeders, integrated_solution, write_feeder_dss
from pandapower import networks

from federates.grid.contingency import contingencies
from federates.grid.transmission import ACTIONS, Transmission, TransmissionError, TransmissionModel

CASE39 = TransmissionModel("pandapower:case39")


@pytest.fixture(scope="module")
def shared():
    return Transmission(CASE39)


@pytest.fixture
def system(shared):
    """A network as read. Built once a module: what a test changes, it must put back, and this checks it."""
    before = shared.solve()
    yield shared
    assert np.array_equal(shared.solve().v_pu, before.v_pu)


def by_pandapower(net, **options):
    pp.runpp(net, tolerance_mva=1e-9, calculate_voltage_angles=True, numba=False, **options)
    return net.res_bus.vm_pu.to_numpy(), np.radians(net.res_bus.va_degree.to_numpy())


def test_names_are_the_ieee_numbers(system):
    assert system.bus_names == tuple(str(i) for i in range(1, 40))
    assert "16-17" in system.branch_names and system.generator_names[-1] == "G31"
    assert system.case.native_p_w[system.bus_names.index("16")] == pytest.approx(329e6)
    assert system.base_kv[0] == 345.0
    assert system.actions() == ACTIONS and all(callable(getattr(system, a)) for a in ACTIONS)


@pytest.mark.parametrize("name", ["case14", "case39", "case57", "case118", "case300"])
def test_agrees_with_pandapower(name):
    """Other than with lightsim2grid's default reading of transformers, which is 0.0136 pu off on case118."""
    flow = Transmission(TransmissionModel(f"pandapower:{name}")).solve()
    net = getattr(networks, name)()
    v_pu, angle_rad = by_pandapower(net)
    assert np.abs(flow.v_pu - v_pu).max() < 1e-8
    assert np.abs(flow.angle_rad - angle_rad).max() < 1e-8
    assert flow.losses_w == pytest.approx(1e6 * (net.res_line.pl_mw.sum() + net.res_trafo.pl_mw.sum()), abs=10.0)


def test_a_changed_state_agrees_with_pandapower(system):
    system.set_bus_load("16", 100e6, 20e6)
    system.set_native_share("16", 0.25)
    system.open_line("14-15")
    system.trip_generator("G33")
    system.set_generator("G35", 700e6)
    flow = system.solve()

    net = networks.case39()
    net.load.loc[net.load.bus == 15, "p_mw"] = 0.25 * 329.0 + 100.0
    net.load.loc[net.load.bus == 15, "q_mvar"] = 0.25 * 32.3 + 20.0
    net.line.loc[(net.line.from_bus == 13) & (net.line.to_bus == 14), "in_service"] = False
    net.gen.loc[net.gen.bus == 32, "in_service"] = False
    net.gen.loc[net.gen.bus == 34, "p_mw"] = 700.0
    v_pu, angle_rad = by_pandapower(net)
    assert np.abs(flow.v_pu - v_pu).max() < 1e-8
    assert np.abs(flow.angle_rad - angle_rad).max() < 1e-8
    assert flow.loading == pytest.approx(
        np.concatenate((net.res_line.loading_percent, net.res_trafo.loading_percent)) / 100.0, abs=1e-7
    )
    order = [*range(9)]
    assert flow.generator_p_w[order] == pytest.approx(1e6 * net.res_gen.p_mw.to_numpy(), abs=1.0)
    assert flow.generator_p_w[9] == pytest.approx(1e6 * net.res_ext_grid.p_mw[0], abs=10.0)
    assert flow.generator_q_var[9] == pytest.approx(1e6 * net.res_ext_grid.q_mvar[0], abs=10.0)
    assert flow.generator_p_w.sum() == pytest.approx(flow.bus_p_w.sum() + flow.losses_w, abs=100.0)

    system.set_bus_load("16", 0.0, 0.0)
    system.set_native_share("16", 1.0)
    system.close_line("15-14")
    system.restore_generator("G33")
    system.set_generator("G35", 650e6)


def test_history_leaves_no_trace_in_the_bits(system):
    def state(s, undo=False):
        s.set_bus_load("15", 0.0 if undo else 12e6, 0.0 if undo else 3e6)
        (s.close_line if undo else s.open_line)("4-14")

    fresh = Transmission(pickle.loads(pickle.dumps(CASE39)))
    state(fresh)
    expected = fresh.solve()
    rng = np.random.default_rng(7)
    for _ in range(20):
        line = ["16-17", "2-3", "4-14", "26-27"][rng.integers(4)]
        system.open_line(line)
        system.set_bus_load("15", float(rng.uniform(0, 3e8)), 0.0)
        system.solve()
        system.close_line(line)
    system.trip_generator("G31")
    system.solve()
    system.restore_generator("G31")
    state(system)
    got = system.solve()
    for field in ("v_pu", "angle_rad", "loading", "generator_p_w", "generator_q_var"):
        assert getattr(got, field).tobytes() == getattr(expected, field).tobytes(), field
    state(system, undo=True)


def test_the_slack_passes_on_and_can_be_shared(system):
    system.trip_generator("G31")
    flow = system.solve()
    at = dict(zip(system.generator_names, flow.generator_p_w, strict=True))
    assert at["G31"] == 0.0
    assert at["G39"] > 1600e6  # the largest left takes the loss over
    system.set_slack_shares({"G30": 1.0, "G32": 3.0, "G31": 5.0})
    flow = system.solve()
    moved = flow.generator_p_w - np.where(flow.generator_p_w == 0.0, 0.0, system.case.generator_p_w)
    by = dict(zip(system.generator_names, moved, strict=True))
    assert by["G32"] == pytest.approx(3.0 * by["G30"], rel=1e-6) and by["G30"] > 100e6
    assert by["G35"] == pytest.approx(0.0, abs=1.0)
    system.restore_generator("G31")
    system.set_slack_shares(None)
    with pytest.raises(ValueError, match="share"):
        system.set_slack_shares({"G30": 0.0})


def test_a_governor_response_relieves_the_slack(system):
    alone = system.solve().generator_p_w[9]
    lost_w = system.trip_generator("G37")
    assert lost_w == pytest.approx(540e6)
    system.set_response({"G30": 200e6, "G38": 340e6})
    flow = system.solve()
    assert flow.generator_p_w[0] == pytest.approx(450e6)
    assert flow.generator_p_w[9] == pytest.approx(alone, abs=30e6)  # but for the losses
    system.set_response({})
    system.restore_generator("G37")


def test_islands_divergence_and_unknown_names_are_typed(system):
    system.open_line("16-19")
    with pytest.raises(TransmissionError) as caught:
        system.solve()
    assert caught.value.kind == "islanded" and set(caught.value.buses) == {"19", "20", "33", "34"}
    system.close_line("16-19")
    system.set_bus_load("15", 5e9, 0.0)
    with pytest.raises(TransmissionError) as caught:
        system.solve()
    assert caught.value.kind == "diverged"
    system.set_bus_load("15", float("nan"), 0.0)
    with pytest.raises(TransmissionError, match="'15'"):
        system.solve()
    system.set_bus_load("15", 0.0, 0.0)
    for call in (lambda: system.open_line("16-99"), lambda: system.trip_generator("31"), lambda: system.set_bus_load("40", 0, 0)):
        with pytest.raises(TransmissionError) as caught:
            call()
        assert caught.value.kind == "unknown"


def test_native_exponents_against_pandapower_constant_impedance():
    """The file states what loads draw at the voltages it solves to: without an outage nothing moves, whatever the exponents."""
    system = Transmission(TransmissionModel("pandapower:case39", native_exponents=(2.0, 2.0)))
    net = networks.case39()
    v0_pu, _ = by_pandapower(net)
    assert np.abs(system.solve().v_pu - v0_pu).max() < 1e-8
    system.open_line("15-16")
    flow = system.solve()
    net.line.loc[(net.line.from_bus == 14) & (net.line.to_bus == 15), "in_service"] = False
    at = v0_pu[net.load.bus.to_numpy()]
    net.load[["p_mw", "q_mvar"]] = net.load[["p_mw", "q_mvar"]].div(at**2, axis=0)
    for column in ("const_z_p_percent", "const_z_q_percent"):
        net.load[column] = 100.0
    assert np.abs(flow.v_pu - v0_pu).max() > 0.02
    v_pu, angle_rad = by_pandapower(net, max_iteration=100)  # its Jacobian leaves the loads' slope out
    assert np.abs(flow.v_pu - v_pu).max() < 1e-8
    assert np.abs(flow.angle_rad - angle_rad).max() < 1e-8


def test_curves_reach_the_same_point_as_the_loads_they_end_at(system):
    curves = {b: lambda v, p=p: (p * v**1.3, 0.25 * p * v**4) for b, p in (("15", 320e6), ("16", 330e6), ("20", 400e6))}
    for bus in curves:
        system.set_native_share(bus, 0.0)
    flow = system.solve_with_curves(curves)
    assert 1 < flow.solves <= 8
    for bus, curve in curves.items():
        system.set_bus_load(bus, *curve(flow.v_pu[system.bus_names.index(bus)]))
    assert np.abs(system.solve().v_pu - flow.v_pu).max() < 1e-8
    for bus in curves:
        system.set_bus_load(bus, 0.0, 0.0)
        system.set_native_share(bus, 1.0)


def test_near_the_nose_it_ends_and_says_so(system):
    """Falling voltage draws more: beyond the nose there is no solution, and that is an error in bounded time."""
    outcomes = []
    for total_w in np.linspace(0.5e9, 5e9, 10):
        curves = {b: lambda v, p=total_w / 3: (p / max(v, 0.3), 0.3 * p / max(v, 0.3)) for b in ("15", "16", "20")}
        try:
            outcomes.append(bool(np.isfinite(system.solve_with_curves(curves).v_pu).all()))
        except TransmissionError as error:
            assert error.kind in ("diverged", "curves")
            outcomes.append(False)
    assert outcomes[0] and not outcomes[-1]
    assert outcomes == sorted(outcomes, reverse=True)

    calls = 0

    def erratic(v):
        nonlocal calls
        calls += 1
        return (3e8 if calls % 2 else -3e8), (2e8 if calls % 3 else -2e8)

    with pytest.raises(TransmissionError) as caught:
        system.solve_with_curves({"15": erratic}, max_solves=25)
    assert caught.value.kind == "curves" and calls <= 26


def test_contingencies_flag_what_has_no_solution(system):
    table = contingencies(system)
    status = dict(zip(table.outages, table.status, strict=True))
    assert len(table.outages) == 46 + 10
    assert status["16-19"] == "islanded" and status["16-17"] == "ok"
    ok = table.ok()
    assert 40 < ok.sum() < len(ok)
    assert np.isnan(table.v_pu[~ok]).all() and np.isnan(table.loading[~ok]).all()
    assert (table.v_pu[ok] > 0.5).all()
    row = table.outages.index("16-17")
    net = networks.case39()
    net.line.loc[(net.line.from_bus == 15) & (net.line.to_bus == 16), "in_service"] = False
    assert np.abs(table.v_pu[row] - by_pandapower(net)[0]).max() < 1e-8


def test_contingencies_agree_with_lightsim2grids_own(system):
    from lightsim2grid.contingencyAnalysis import ContingencyAnalysisCPP

    table = contingencies(system, list(system.branch_names))
    analysis = ContingencyAnalysisCPP(system.case.grid)
    analysis.add_all_n1()
    analysis.compute(system.case.base_v.copy(), 20, 1e-9)
    order = [row[0] for row in analysis.my_defaults()]
    voltages, converged = np.abs(analysis.get_voltages()), np.array(analysis.converged_mask())
    for row, branch in enumerate(order):
        assert (table.status[branch] == "ok") == converged[row]
        if converged[row]:
            assert np.abs(table.v_pu[branch] - voltages[row]).max() < 1e-8


def test_contingencies_with_curves_differ_from_constant_power(system):
    v0 = system.solve().v_pu
    curves = {}
    for bus in ("15", "16", "20"):
        i = system.bus_names.index(bus)
        p, q = system.case.native_p_w[i], system.case.native_q_var[i]
        curves[bus] = lambda v, p=p, q=q, v_ref=v0[i]: (p * (v / v_ref) ** 1.5, q * (v / v_ref) ** 2)
        system.set_native_share(bus, 0.0)
    assert np.abs(system.solve_with_curves(curves).v_pu - v0).max() < 1e-8
    with_curves = contingencies(system, ["21-22", "16-17"], curves)
    for bus in curves:
        system.set_native_share(bus, 1.0)
    constant = contingencies(system, ["21-22", "16-17"])
    at = system.bus_names.index("16")
    assert (constant.v_pu[:, at] < v0[at]).all()
    assert (with_curves.v_pu[:, at] > constant.v_pu[:, at] + 1e-5).all()  # voltage-dependent load relieves
    with pytest.raises(TransmissionError, match="16-99"):
        contingencies(system, ["16-17", "16-99"])


# --- with distribution feeders ---------------------------------------------------------------------------------------


class DssFeeder:
    """The written feeder in OpenDSS, on an engine of its own."""

    def __init__(self, path: Path) -> None:
        from opendssdirect import dss

        self.dss = dss.NewContext()
        self.dss.Command(f'Redirect "{path}"')

    def solve(self, v_pu: float) -> tuple[float, float]:
        self.dss.Vsources.First()
        self.dss.Vsources.PU(v_pu)
        self.dss.Solution.Solve()
        assert self.dss.Solution.Converged()
        p_kw, q_kvar = self.dss.Circuit.TotalPower()
        return -1e3 * p_kw, -1e3 * q_kvar

    def node_v_pu(self) -> np.ndarray:
        volts = []
        for i in range(33):
            self.dss.Circuit.SetActiveBus(f"n{i}")
            volts.append(self.dss.Bus.puVmagAngle()[0])
        return np.array(volts)


@pytest.mark.parametrize("v_pu", [0.95, 1.0, 1.05])
def test_the_feeder_in_opendss_is_the_feeder_in_pandapower(tmp_path, v_pu):
    feeder = DssFeeder(write_feeder_dss(tmp_path / "feeder.dss"))
    p_w, q_var = feeder.solve(v_pu)
    net = pp.create_empty_network()
    head = pp.create_bus(net, 345.0)
    pp.create_ext_grid(net, head, vm_pu=v_pu)
    nodes = add_feeders(net, head, 1, 1.0)
    pp.runpp(net, tolerance_mva=1e-9, numba=False)
    assert p_w == pytest.approx(1e6 * net.res_ext_grid.p_mw[0], abs=1.0)
    assert q_var == pytest.approx(1e6 * net.res_ext_grid.q_mvar[0], abs=1.0)
    assert np.abs(feeder.node_v_pu() - net.res_bus.vm_pu[nodes].to_numpy()).max() < 2e-7


def test_the_base_feeder_is_the_published_one():
    """Baran and Wu (1989): 202.68 kW of losses, 0.9131 pu at the lowest node, fed at 1 pu."""
    net = networks.case33bw()
    pp.runpp(net, numba=False)
    assert 1e3 * net.res_line.pl_mw.sum() == pytest.approx(202.68, abs=0.01)
    assert net.res_bus.vm_pu.min() == pytest.approx(0.9131, abs=1e-4)


def test_coupled_by_curves_agrees_with_the_integrated_solve(tmp_path, system):
    buses, feeders, scale = ("15", "16", "20"), 30, 0.8
    truth = integrated_solution(buses, feeders, scale)
    feeder = DssFeeder(write_feeder_dss(tmp_path / "feeder.dss", scale))
    for bus in buses:
        system.set_native_share(bus, 0.5)
    flow = system.solve_with_curves({bus: lambda v: tuple(feeders * s for s in feeder.solve(v)) for bus in buses})
    assert flow.solves <= 6
    assert np.abs(flow.v_pu - [truth["v_pu"][b] for b in system.bus_names]).max() < 1e-6
    assert np.abs(flow.angle_rad - [truth["angle_rad"][b] for b in system.bus_names]).max() < 1e-6
    for bus in buses:
        p_w, q_var = feeder.solve(flow.v_pu[system.bus_names.index(bus)])
        assert feeders * p_w == pytest.approx(truth["p_w"][bus], rel=1e-6)
        assert feeders * q_var == pytest.approx(truth["q_var"][bus], rel=1e-6)
        assert np.abs(feeder.node_v_pu() - truth["node_v_pu"][bus]).max() < 1e-6
        system.set_native_share(bus, 1.0)
