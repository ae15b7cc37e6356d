"""One network solved at once, as the truth for coupled runs: IEEE 39 with Baran and Wu's 33-bus feeders under some buses.

`feeders_per_bus` like feeders hang under a bus, each behind its own 345/12.66 kV substation transformer. By symmetry
they are one feeder with its impedances divided and its loads multiplied by their number, which is how pandapower solves
them here. The same single feeder is written as an OpenDSS master file: balanced, three-phase, constant power.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandapower as pp
from pandapower import networks

TRANSMISSION_KV = 345.0
FEEDER_KV = 12.66
SUBSTATION_MVA = 10.0
SUBSTATION_R_PERCENT = 0.5
SUBSTATION_X_PERCENT = 8.0


def write_feeder_dss(path: Path, scale: float = 1.0) -> Path:
    """Write the feeder behind its transformer as an OpenDSS master file; `scale` multiplies its loads. Returns `path`.

    The source is the circuit's own Vsource at bus `sourcebus` (345 kV, next to no impedance); nodes are `n0`..`n32` in
    the numbering of pandapower's `case33bw`, `n0` being the low side of the transformer.
    """
    net = networks.case33bw()
    half_r = SUBSTATION_R_PERCENT / 2.0
    text = [
        "Clear",
        f"New Circuit.baran_wu_33 bus1=sourcebus basekv={TRANSMISSION_KV} pu=1.0 angle=0 phases=3 r1=0 x1=0.0001 r0=0 x0=0.0001",
        f"New Transformer.substation phases=3 windings=2 buses=(sourcebus n0) conns=(wye wye) kvs=({TRANSMISSION_KV} {FEEDER_KV}) "
        f"kvas=({1e3 * SUBSTATION_MVA} {1e3 * SUBSTATION_MVA}) %rs=({half_r} {half_r}) xhl={SUBSTATION_X_PERCENT} ppm_antifloat=0",
    ]
    for i, line in net.line[net.line.in_service].iterrows():
        r, x = float(line.r_ohm_per_km * line.length_km), float(line.x_ohm_per_km * line.length_km)
        text.append(
            f"New Line.line{i} bus1=n{line.from_bus} bus2=n{line.to_bus} phases=3 length=1 units=none "
            f"r1={r!r} x1={x!r} r0={r!r} x0={x!r} c1=0 c0=0"
        )
    for i, load in net.load.iterrows():
        power = f"kw={1e3 * scale * float(load.p_mw)!r} kvar={1e3 * scale * float(load.q_mvar)!r}"
        text.append(f"New Load.load{i} bus1=n{load.bus} phases=3 conn=wye kv={FEEDER_KV} {power} model=1 vminpu=0.7 vmaxpu=1.3")
    text += [
        f"Set voltagebases=[{TRANSMISSION_KV}, {FEEDER_KV}]",
        "Calcvoltagebases",
        "Set tolerance=1e-9",
        "Set maxiterations=100",
    ]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path


def add_feeders(net: pp.pandapowerNet, bus: int, feeders: int, scale: float) -> list[int]:
    """Hang `feeders` like feeders under `bus` (index); returns the indices of their 33 nodes, in case33bw's order."""
    feeder = networks.case33bw()
    nodes = [pp.create_bus(net, FEEDER_KV) for _ in feeder.bus.index]
    pp.create_transformer_from_parameters(
        net, bus, nodes[0], sn_mva=SUBSTATION_MVA * feeders, vn_hv_kv=TRANSMISSION_KV, vn_lv_kv=FEEDER_KV,
        vk_percent=math.hypot(SUBSTATION_R_PERCENT, SUBSTATION_X_PERCENT), vkr_percent=SUBSTATION_R_PERCENT,
        pfe_kw=0.0, i0_percent=0.0,
    )  # fmt: skip
    for line in feeder.line[feeder.line.in_service].itertuples():
        pp.create_line_from_parameters(
            net,
            nodes[line.from_bus],
            nodes[line.to_bus],
            line.length_km,
            line.r_ohm_per_km / feeders,
            line.x_ohm_per_km / feeders,
            0.0,
            99.0,
        )
    for load in feeder.load.itertuples():
        pp.create_load(net, nodes[load.bus], load.p_mw * feeders * scale, load.q_mvar * feeders * scale)
    return nodes


def integrated_solution(
    buses: tuple[str, ...], feeders_per_bus: int, scale: float = 1.0, native_share: float = 0.5
) -> dict[str, dict]:
    """Solve IEEE 39 and the feeders under `buses` (IEEE numbers as text, "15") as one network.

    `native_share` of these buses' own load stays. Returns, SI and per unit: `v_pu`, `angle_rad` of all 39 buses by
    number; `p_w`, `q_var` of all feeders of a bus together, at the transmission bus; `node_v_pu` [33] by bus.
    """
    net = networks.case39()
    index = {str(number): i for i, number in net.bus.name.items()}
    own = net.load.bus.isin([index[b] for b in buses])
    net.load.loc[own, ["p_mw", "q_mvar"]] *= native_share
    first = len(net.trafo)
    nodes = {b: add_feeders(net, index[b], feeders_per_bus, scale) for b in buses}
    pp.runpp(net, tolerance_mva=1e-9, calculate_voltage_angles=True, numba=False)
    heads = net.res_trafo.iloc[first:]
    return {
        "v_pu": {name: float(net.res_bus.vm_pu[i]) for name, i in index.items()},
        "angle_rad": {name: float(np.radians(net.res_bus.va_degree[i])) for name, i in index.items()},
        "p_w": {b: 1e6 * float(p) for b, p in zip(buses, heads.p_hv_mw, strict=True)},
        "q_var": {b: 1e6 * float(q) for b, q in zip(buses, heads.q_hv_mvar, strict=True)},
        "node_v_pu": {b: net.res_bus.vm_pu[nodes[b]].to_numpy() for b in buses},
    }
