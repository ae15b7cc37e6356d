"""What a curve table costs beside the solves that it needs anyway."""

from __future__ import annotations

import time

import numpy as np

from federates.grid.feeder import Feeder
from federates.grid.feeder_library import builtin_feeder
from federates.grid.load import frequency_response
from federates.tblm.curves import CurveOptions, build_curve, dense_table
from federates.tblm.snapshot import as_filed
from federates.tblm.study import Study

V_PU = np.linspace(0.90, 1.10, 21)
F_HZ = np.linspace(59.0, 61.0, 9)


def table_against_solves(rounds: int) -> tuple[list[tuple[float, float]], dict[str, float]]:
    """(seconds of the table, seconds of 189 bare solves) by round on IEEE 123, and seconds of both adaptive tables by feeder.

    A bare solve sets source and loads, solves, and reads the head: what nobody can do without.
    """
    model = builtin_feeder("ieee123")
    study = Study(model)
    study.begin(as_filed(study).base)
    bare = Feeder(model)
    pairs = []
    for _ in range(rounds):
        begun = time.perf_counter()
        dense_table(study.fast, V_PU.tolist(), F_HZ.tolist())
        table_s = time.perf_counter() - begun
        begun = time.perf_counter()
        for j, f_hz in enumerate(F_HZ):
            bare.set_loads(*frequency_response(bare.load_p0_w, bare.load_q0_var, bare.load_class, float(f_hz), model.base_hz))
            for v_pu in V_PU if j % 2 == 0 else V_PU[::-1]:
                bare.set_source(float(v_pu))
                bare.solve()
                bare.head()
        pairs.append((table_s, time.perf_counter() - begun))
    bare.close()
    study.close()
    return pairs, {name: _adaptive_s(name) for name in ("ieee13", "ieee34", "ieee123")}


def _adaptive_s(name: str) -> float:
    model = builtin_feeder(name)
    study = Study(model)
    base = as_filed(study).base
    s_va = float(np.hypot(base.load_p_w.sum(), base.load_q_var.sum()))
    begun = time.perf_counter()
    study.begin(base)
    for which, solve in (("fast", study.fast), ("settled", study.settled)):
        build_curve(which, solve, base.v_pu, base.f_hz, s_va, CurveOptions(), (), (model.vmin_pu, model.vmax_pu))
    spent = time.perf_counter() - begun
    study.close()
    return spent
