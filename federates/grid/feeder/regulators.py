"""Regulators with their tap steps smoothed out: what they see, and any ratio set by hand.

For studies that need the resting point of regulators as a continuous function of what drives the feeder. With whole taps it is
a saw-tooth that depends on every step taken before; with steps as fine as one likes it is not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .engine import Batch
from .feeder import Feeder

FloatArray = NDArray[np.float64]


class _Unit(NamedTuple):
    """One regulator control. nodes: references of the phases it measures; terminal: where its current transformer is."""

    transformer: str
    winding: int
    nodes: tuple[int, ...]
    pick: str
    pt_ratio: float
    ct_a: float
    drop_ohm: complex
    conductor: int


class Regulators:
    """The regulators of a feeder in the order of `Feeder.reg_names`.

    low_v, high_v: edges of the band on the control's own base (120 V as a rule); step: change of ratio by one tap; least, most:
    limits of the ratio. All [n_regs]. Ratios set here stay until `set_ratios` or `Feeder.set_taps` changes them; put the
    whole-tap ratios back before `Feeder.restore`, which compares tap numbers only.
    """

    def __init__(self, feeder: Feeder) -> None:
        self._feeder, self._engine = feeder, feeder._engine
        dss, property_of = self._engine.dss, self._engine.property
        self._units: list[_Unit] = []
        rows = []
        nodes = {name: i + 1 for i, name in enumerate(feeder.node_names)}
        for name in feeder.reg_names:
            control = dss.RegControls
            control.Name(name)
            transformer, winding = control.Transformer().lower(), int(control.TapWinding())
            measured, vreg, band = int(control.Winding()), control.ForwardVreg(), control.ForwardBand()
            ratio, ct_a, drop = control.PTRatio(), control.CTPrimary(), complex(control.ForwardR(), control.ForwardX())
            monitored = control.MonitoredBus()
            pick = property_of(f"regcontrol.{name}", "ptphase").lower()
            dss.Transformers.Name(transformer)
            dss.Transformers.Wdg(winding)
            least, most, taps = dss.Transformers.MinTap(), dss.Transformers.MaxTap(), dss.Transformers.NumTaps()
            dss.Circuit.SetActiveElement(f"transformer.{transformer}")
            bus = (monitored or dss.CktElement.BusNames()[measured - 1]).lower().split(".")
            phases = [p for p in bus[1:] if p != "0"] or ["1", "2", "3"][: dss.CktElement.NumPhases()]
            per_terminal = dss.CktElement.NumConductors()
            at = int(pick) - 1 if pick.isdigit() and len(phases) > 1 else 0
            wanted = tuple(nodes[f"{bus[0]}.{p}"] for p in phases)
            single = pick.isdigit() or pick == ""
            self._units.append(
                _Unit(
                    transformer, winding, (wanted[at],) if single else wanted, "avg" if single else pick, ratio, ct_a,
                    0j if monitored else drop, (measured - 1) * per_terminal + at,
                )
            )  # fmt: skip
            rows.append((vreg - 0.5 * band, vreg + 0.5 * band, (most - least) / max(taps, 1), least, most))
        self.has_capacitor_controls = Batch(self._engine, "capcontrol").n > 0
        self.low_v, self.high_v, self.step, self.least, self.most = np.array(rows).reshape(-1, 5).T

    def ratios(self) -> FloatArray:
        """Present ratio of each regulator's tapped winding, per unit."""
        transformers, out = self._engine.dss.Transformers, []
        for unit in self._units:
            transformers.Name(unit.transformer)
            transformers.Wdg(unit.winding)
            out.append(float(transformers.Tap()))
        return np.array(out)

    def set_ratios(self, ratios: FloatArray, present: FloatArray | None = None) -> None:
        """Put every tapped winding to this ratio, whole tap or not. `present`: `ratios()`, where the caller knows them already."""
        transformers = self._engine.dss.Transformers
        known = self.ratios() if present is None else present
        for unit, ratio, now in zip(self._units, ratios.tolist(), known.tolist(), strict=True):
            if ratio != now:
                transformers.Name(unit.transformer)
                transformers.Wdg(unit.winding)
                transformers.Tap(ratio)

    def control_v(self) -> FloatArray:
        """The voltage each control acts on, after its line drop compensation, on its own base."""
        v, dss, out = self._engine.node_voltages(), self._engine.dss, []
        for unit in self._units:
            seen = [v[node] / unit.pt_ratio for node in unit.nodes]
            if unit.drop_ohm:
                dss.Circuit.SetActiveElement(f"transformer.{unit.transformer}")
                currents = np.asarray(dss.CktElement.Currents()).view(float)
                into = complex(currents[2 * unit.conductor], currents[2 * unit.conductor + 1])
                seen = [phasor + into / unit.ct_a * unit.drop_ohm for phasor in seen]
            magnitudes = [abs(phasor) for phasor in seen]
            choose = {"max": max, "min": min}.get(unit.pick, lambda m: sum(m) / len(m))
            out.append(choose(magnitudes))
        return np.array(out)
