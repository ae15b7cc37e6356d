"""The tables of a loaded ANDES system as a `StaticCase`. Takes the system as it is, and imports nothing of ANDES."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from federates.grid.dynamics.cases import DynamicsError
from federates.grid.dynamics.static import StaticCase


@dataclass(frozen=True)
class Machine:
    """A synchronous machine: its model in ANDES and its row there, its generator (row of `StaticCase.generators`) and bus."""

    model: Any
    row: int
    generator: int
    bus: int


def read_tables(ss: Any, case: str) -> tuple[StaticCase, tuple[Machine, ...]]:
    """The case in constants, and its machines by generator. DynamicsError "start" for a case that the engine cannot run."""
    bus = {idx: i for i, idx in enumerate(ss.Bus.idx.v)}
    holding = sorted((bus[b], n) for n, b in enumerate(ss.PV.bus.v))
    of_generator: dict[Any, list[tuple[Any, int]]] = {}
    for model in ss.SynGen.models.values():
        for n in range(model.n):
            of_generator.setdefault(model.gen.v[n], []).append((model, n))
    machines: list[Machine] = []
    generators: list[tuple[int, float, float, float, bool]] = []
    for model, n in [*((ss.PV, n) for _, n in holding), *((ss.Slack, n) for n in range(ss.Slack.n))]:
        own = of_generator.get(model.idx.v[n], [])
        at = bus[model.bus.v[n]]
        machines += [Machine(m, row, len(generators), at) for m, row in own]
        rating_va = 1e6 * sum(float(m.Sn.v[row]) for m, row in own)
        generators.append((at, float(model.p0.v[n]), float(model.v0.v[n]), rating_va, bool(model.u.v[n])))
    if ss.Slack.n != 1 or len({m.generator for m in machines}) < len(generators):
        raise DynamicsError("start", f"{case}: the engine needs one slack, and a machine behind every generator")
    line, load, shunt = ss.Line, ss.PQ, ss.Shunt
    columns = (line.bus1.v, line.bus2.v, line.r.v, line.x.v, line.b.v, line.tap.v, line.phi.v, line.u.v)
    static = StaticCase(
        name=case,
        base_va=1e6 * float(ss.config.mva),
        f0_hz=float(ss.config.freq),
        bus_names=tuple(str(idx) for idx in bus),
        base_kv=tuple(map(float, ss.Bus.Vn.v)),
        loads=tuple(
            (bus[b], float(p * u), float(q * u)) for b, p, q, u in zip(load.bus.v, load.p0.v, load.q0.v, load.u.v, strict=True)
        ),
        shunts=tuple(
            (bus[b], float(g * u), float(-s * u)) for b, g, s, u in zip(shunt.bus.v, shunt.g.v, shunt.b.v, shunt.u.v, strict=True)
        ),
        branches=tuple(
            (bus[i], bus[j], float(r), float(x), float(b), float(tap), float(shift), bool(u))
            for i, j, r, x, b, tap, shift, u in zip(*columns, strict=True)
        ),
        generators=tuple(generators),
        slack=len(generators) - 1,
        slack_angle_rad=float(ss.Slack.a0.v[0]),
    )
    return static, tuple(machines)
