"""Iterated coupling of transmission and distribution against one network solved at once, and where there is no solution."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pandapower as pp
import pytest
from pandapower import networks

from federates.field.distribution import Distribution
from federates.field.profile import Diversity, LoadProfile
from federates.field.transmission import Attachment, Transmission
from federates.grid.feeder import FeederModel
from federates.grid.transmission import TransmissionModel
from federates.runtime.federate import S_NS, Coupling, FederateFailure, Federation, Link, Spec
from federates.runtime.local import run_local
from federates.runtime.record import MemoryRecorder

sys.path.append(str(Path(__file__).parent / "grid"))
from integrated_case import SUBSTATION_MVA, SUBSTATION_R_PERCENT, SUBSTATION_X_PERCENT, add_feeders, write_feeder_dss

BUSES = ("4", "15", "16")
PORTS = (("v_pu", "v_pu"), ("angle_rad", "angle_rad"), ("f_hz", "f_hz"))


def federation(master: Path, count: int, buses: tuple[str, ...], tolerance: float, max_iterations: int = 20) -> Federation:
    """IEEE 39 with `count` like feeders at each bus: constant power, flat, alike, no weather."""
    flat = LoadProfile("flat", noise=0.0, temperature_mean_c=18.0, temperature_swing_k=0.0)
    model = FeederModel(str(master), vmin_pu=0.5, vmax_pu=1.5, tolerance=1e-10)
    names = [f"f{bus}" for bus in buses]
    attachments = tuple(Attachment(name, bus) for name, bus in zip(names, buses, strict=True))
    grid = Transmission(TransmissionModel("pandapower:case39"), attachments)
    specs = [Spec("grid", "federates.field.transmission:TransmissionFederate", grid)]
    links = []
    for name, bus in zip(names, buses, strict=True):
        params = Distribution(model, bus, count, profile=flat, diversity=Diversity(0.0, 0.0), stop_s=10.0)
        specs.append(Spec(name, "federates.field.distribution:DistributionFederate", params))
        links += [Link("grid", source, name, target) for source, target in PORTS]
        links += [Link(name, f"bus_{kind}", "grid", f"{kind[0]}_{name}") for kind in ("p_w", "q_var")]
    coupling = Coupling("grid", tuple(names), True, tolerance, max_iterations)
    return Federation("coupled", 3 * S_NS, tuple(specs), tuple(links), coupling=coupling)


def integrated(
    count: int, buses: tuple[str, ...], native: dict[str, tuple[float, float]], scale: float
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Voltage magnitudes by bus and at the feeders' nodes, solved at once, with the native P and Q (W, var) of each bus given."""
    net = networks.case39()
    index = {str(number): i for i, number in net.bus.name.items()}
    for bus, (p_w, q_var) in native.items():
        net.load.loc[net.load.bus == index[bus], ["p_mw", "q_mvar"]] = p_w / 1e6, q_var / 1e6
    nodes = {bus: add_feeders(net, index[bus], count, scale) for bus in buses}
    pp.runpp(net, tolerance_mva=1e-9, calculate_voltage_angles=True, numba=False)
    v_pu = net.res_bus.vm_pu
    return {name: float(v_pu[i]) for name, i in index.items()}, {bus: v_pu[nodes[bus]].to_numpy() for bus in buses}


def test_iterated_coupling_agrees_with_one_integrated_solution(tmp_path: Path) -> None:
    count, scale = 40, 0.9
    recorder = MemoryRecorder()
    run_local(federation(write_feeder_dss(tmp_path / "feeder.dss", scale), count, BUSES, 1e-7), recorder)
    case = networks.case39()
    rows = zip(case.load.bus, case.load.p_mw, case.load.q_mvar, strict=True)
    own = {str(case.bus.name[bus]): (1e6 * p, 1e6 * q) for bus, p, q in rows}
    iterations = [int(sample.values[1]) for _, sample in recorder.samples["grid", "coupling"][1:]]
    t_ns, last = recorder.samples["grid", "all_v_pu"][-1]
    fed = {bus: [float(recorder.samples[f"f{bus}", name][1][1].values.sum()) for name in ("bus_p_w", "bus_q_var")] for bus in BUSES}
    native = {bus: (own[bus][0] - fed[bus][0], own[bus][1] - fed[bus][1]) for bus in BUSES}
    assert all(0.1 < native[bus][0] / own[bus][0] < 0.9 for bus in BUSES)
    v_pu, node_v_pu = integrated(count, BUSES, native, scale)
    names = [str(number) for number in case.bus.name]
    apart = np.abs(last.values - np.array([v_pu[name] for name in names])).max()
    lowest = {bus: recorder.samples[f"f{bus}", "node_v_pu"][-1][1].values.min() for bus in BUSES}
    below = max(abs(float(lowest[bus] - node_v_pu[bus].min())) for bus in BUSES)
    print(f"\n{count} feeders a bus: {apart:.2g} pu apart, {below:.2g} pu at the lowest node, {iterations} iterations")
    assert t_ns == 2 * S_NS and len(iterations) == 3
    assert apart < 1e-6 and below < 1e-6
    assert max(iterations) <= 4


def nose_mw() -> float:
    """Largest three-phase power that one feeder's substation alone lets through at 1 pu (its nose)."""
    x, r = SUBSTATION_X_PERCENT / 100.0, SUBSTATION_R_PERCENT / 100.0
    return SUBSTATION_MVA / (2.0 * (math.hypot(r, x) + r))


@pytest.mark.parametrize("max_iterations", [3, 20])
def test_beyond_the_nose_the_run_ends_with_the_cause_and_does_not_hang(max_iterations: int, tmp_path: Path) -> None:
    """Feeders that stay solvable under buses that the transmission lines cannot feed: bus 15 with 20 times its load."""
    federation_ = federation(write_feeder_dss(tmp_path / "feeder.dss"), 1400, ("15",), 1e-8, max_iterations)
    with pytest.raises(FederateFailure) as caught:
        run_local(federation_, MemoryRecorder())
    assert caught.value.federate in ("grid", "f15") and caught.value.t_ns == 0
    assert any(
        word in caught.value.cause for word in ("no power flow solution", "no convergence", "do not agree", "did not converge")
    )


def test_a_feeder_beyond_its_own_nose_is_named(tmp_path: Path) -> None:
    scale = 1.3 * nose_mw() / float(networks.case33bw().load.p_mw.sum())
    with pytest.raises(Exception, match=r"feeder\.dss.*converge|converge.*feeder\.dss"):
        run_local(federation(write_feeder_dss(tmp_path / "feeder.dss", scale), 1, ("15",), 1e-8), MemoryRecorder())
