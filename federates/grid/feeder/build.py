"""From statements to a circuit that is ready to run: our source and substation, the loads' voltage band, the DER sites, nothing
that slows a solve."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .engine import Batch, Engine
from .model import FeederError, FeederModel, Substation
from .script import Script

SOURCES = ("transmission_a", "transmission_b", "transmission_c")
SUBSTATION = "transmission_substation"
HV_BUS = "transmission_bus"
_STIFF_OHM = 1e-4  # the source's own impedance: far below any network's, so that its terminal has the voltage it is given


class LoadTerminal(NamedTuple):
    """Where a load is connected. pairs: node references across which each of its phases lies."""

    bus: str
    phases: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]


def build(engine: Engine, script: Script, model: FeederModel) -> str:
    """Build the circuit of `model` in an empty context; returns the head bus. Raises FeederError."""
    engine.load(script, model.base_hz)
    head = _replace_source(engine, model.substation)
    lines = set(Batch(engine, "line").names())
    for verb, names in (("open", model.open_switches), ("close", model.close_switches)):
        for name in (n.lower().removeprefix("line.") for n in names):
            if name not in lines:
                raise FeederError(engine.master, f"has no line `{name}` to {verb}", "correct the name of the switch")
            for terminal in (1,) if verb == "open" else (1, 2):
                engine.command(f"{verb} line.{name} {terminal}")
    _set_loads(engine, model)
    _add_der(engine, model)
    for recorder in ("energymeter", "monitor", "sensor"):  # they sample at every solve and nothing of ours reads them
        for name in Batch(engine, recorder).names():
            engine.command(f"disable {recorder}.{name}")
    if model.regulator_delay_s is not None:
        for name in Batch(engine, "regcontrol").without((SUBSTATION,)).names():
            engine.command(f"edit regcontrol.{name} delay={model.regulator_delay_s:.17g}")
    _set_bases(engine, model)
    engine.command("set mode=snapshot")
    engine.command("set number=1")
    engine.command(f"set tolerance={model.tolerance:.17g}")
    engine.command("set maxiterations=100")
    return head


def _replace_source(engine: Engine, substation: Substation | None) -> str:
    """Three single-phase sources instead of the file's; through a transformer when there is a substation. Returns the head bus."""
    bus = engine.property("vsource.source", "bus1").split(".")[0]
    kv, pu, angle = (float(engine.property("vsource.source", p)) for p in ("basekv", "pu", "angle"))
    if engine.property("vsource.source", "phases") != "3":
        raise FeederError(engine.master, "its source is not a three-phase one", "give a network with a three-phase Vsource.source")
    engine.command("disable vsource.source")
    head = bus
    if substation is not None:
        head = HV_BUS
        _add_substation(engine, substation, bus, kv)
        kv, pu, angle = substation.kv_primary, 1.0, 0.0
    for phase, name in enumerate(SOURCES, start=1):
        engine.command(
            f"new vsource.{name} phases=1 bus1={head}.{phase} basekv={kv / math.sqrt(3.0):.17g} pu={pu:.17g} "
            f"angle={angle - 120.0 * (phase - 1):.17g} r1=0 x1={_STIFF_OHM} r0=0 x0={_STIFF_OHM}"
        )
    return head


def _add_substation(engine: Engine, s: Substation, bus: str, kv: float) -> None:
    primary, secondary = s.connection.split("-")
    engine.command(
        f"new transformer.{SUBSTATION} phases=3 windings=2 buses=[{HV_BUS}.1.2.3 {bus}.1.2.3] "
        f"conns=[{primary} {secondary}] kvs=[{s.kv_primary:.17g} {kv:.17g}] "
        f"kvas=[{s.mva * 1e3:.17g} {s.mva * 1e3:.17g}] xhl={s.x_pct:.17g} %rs=[{s.r_pct / 2:.17g} {s.r_pct / 2:.17g}]"
    )
    if s.ltc is None:
        return
    # start near the set-point: a heavy feeder may not converge from the middle tap
    start = 1.0 + s.ltc.range_pu / s.ltc.taps * max(
        -s.ltc.taps, min(s.ltc.taps, round((s.ltc.v_set_pu - 1.0) / s.ltc.range_pu * s.ltc.taps))
    )
    engine.command(
        f"edit transformer.{SUBSTATION} wdg=2 numtaps={2 * s.ltc.taps} "
        f"mintap={1.0 - s.ltc.range_pu:.17g} maxtap={1.0 + s.ltc.range_pu:.17g} tap={start:.17g}"
    )
    # set-point on 120 V, one potential transformer on phase a: the bank is ganged
    ratio = kv * 1e3 / math.sqrt(3.0) / 120.0
    engine.command(
        f"new regcontrol.{SUBSTATION} transformer={SUBSTATION} winding=2 ptphase=1 ptratio={ratio:.17g} "
        f"vreg={120.0 * s.ltc.v_set_pu:.17g} band={120.0 * s.ltc.band_pu:.17g} "
        f"delay={s.ltc.delay_s:.17g} tapdelay={s.ltc.tap_delay_s:.17g}"
    )


def _set_loads(engine: Engine, model: FeederModel) -> None:
    loads = Batch(engine, "load")
    if not loads.n:
        raise FeederError(engine.master, "has no load", "give a network with loads")
    # the load multiplier acts on loads of status `variable` (0) only
    multiplier = np.where(loads.get_int(b"status") == 0, float(engine.dss.Solution.LoadMult()), 1.0)
    # kW first, kvar second, explicitly: a load defined by kW and power factor would otherwise follow its power factor when kW
    # changes
    p_kw, q_kvar = loads.get(b"kW") * multiplier, loads.get(b"kvar") * multiplier
    engine.command("set loadmult=1")
    loads.set(b"kW", p_kw)
    loads.set(b"kvar", q_kvar)
    loads.set(b"vminpu", np.full(loads.n, model.vmin_pu))
    loads.set(b"vmaxpu", np.full(loads.n, model.vmax_pu))


def _add_der(engine: Engine, model: FeederModel) -> None:
    if model.der:
        engine.command("makebuslist")
    nodes = {str(name).lower() for name in engine.dss.Circuit.AllNodeNames()}
    taken = set(Batch(engine, "generator").names())
    for site in model.der:
        bus = site.bus.split(".")[0].lower()
        if any(f"{bus}.{phase}" not in nodes for phase in site.phases):
            what = f"DER `{site.name}` is at `{site.bus}`, and the network has no such bus or phase"
            raise FeederError(engine.master, what, "name a bus with the phases it has, as 76.1.2.3")
        if not re.fullmatch(r"[\w.-]+", site.name):
            raise FeederError(engine.master, f"`{site.name}` is no name for a DER", "use letters, digits, _, - and .")
        if site.name.lower() in taken:
            raise FeederError(engine.master, f"DER name `{site.name}` is taken", "give every DER a name of its own")
        taken.add(site.name.lower())
        engine.command(
            f"new generator.{site.name} phases={len(site.phases)} bus1={site.bus} kv={site.kv:.17g} "
            f"kva={site.s_va / 1e3:.17g} kw=1e-6 kvar=0 model=1 conn=wye forceon=yes "
            f"vminpu={model.der_vmin_pu:.17g} vmaxpu={model.der_vmax_pu:.17g}"
        )


def _set_bases(engine: Engine, model: FeederModel) -> None:
    """Base voltages: the file's, ours for the transmission bus, and for a file that sets none those of its windings."""
    engine.command("makebuslist")
    if model.substation is not None:
        engine.command(f"setkvbase bus={HV_BUS} kvll={model.substation.kv_primary:.17g}")
    if any(base > 0.0 for bus, base in engine.bus_base_kv().items() if bus != HV_BUS):
        return
    kvs = {float(engine.property("vsource." + SOURCES[0], "basekv")) * math.sqrt(3.0)}
    for branch in engine.branches(model.line_unit_km):
        if branch.name.startswith("transformer."):
            kvs.update(float(v) * (1.0 if phases == 3 else math.sqrt(3.0)) for phases, v in engine.winding_kvs(branch.name))
    engine.command(f"set voltagebases=[{' '.join(repr(v) for v in sorted(kvs))}]")
    engine.command("calcvoltagebases")


def load_terminals(engine: Engine, loads: Batch) -> list[LoadTerminal]:
    """Bus, phases and node pairs of each load: phase to neutral for wye, phase to phase for delta."""
    out = []
    nodes = engine.node_names()
    for name, refs, delta, phases in zip(
        loads.names(), loads.node_refs(), loads.get_int(b"conn"), loads.get_int(b"phases"), strict=True
    ):
        n = int(phases)
        r = [int(ref) for ref in refs]
        if not delta:
            pairs = [(r[i], r[n] if len(r) > n else 0) for i in range(n)]
        elif n == 3:
            pairs = [(r[0], r[1]), (r[1], r[2]), (r[2], r[0])]
        else:
            pairs = [(r[i], r[i + 1]) for i in range(n)]
        on = [nodes[ref - 1].rsplit(".", 1) for ref in sorted({ref for pair in pairs for ref in pair if ref})]
        if not on:
            raise FeederError(engine.master, f"load `{name}` is connected to ground only", "correct its bus1")
        out.append(LoadTerminal(on[0][0], tuple(sorted(int(phase) for _, phase in on)), tuple(pairs)))
    return out


def terminal_pairs(
    pairs: Sequence[tuple[tuple[int, int], ...]], base_v: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """(first node, second node, weight), each [n, 3], such that sum(|v[first] - v[second]| * weight) is the mean voltage over a
    load's phases in per unit."""
    first, second = np.zeros((len(pairs), 3), np.int64), np.zeros((len(pairs), 3), np.int64)
    weight = np.zeros((len(pairs), 3))
    for row, load in enumerate(pairs):
        for column, (a, b) in enumerate(load):
            first[row, column], second[row, column] = a, b
            between_phases = math.sqrt(3.0) if a and b else 1.0
            weight[row, column] = 1.0 / (len(load) * between_phases * base_v[a or b])
    return first, second, weight
