"""A feeder whose load can be shed in many ways, as a study knows it and as a feeder of its own in which breakers really open."""

from __future__ import annotations

import numpy as np

from federates.grid.der import DerFleet, DerSettings, DerStatus
from federates.grid.feeder import Feeder, FeederModel
from federates.grid.shedding import Action, Atom, Atoms, State
from federates.tblm.study import FAST_S, Base, Study

SECTIONS = ("sw2", "sw3", "sw4", "sw5")
HEAD = "sw1"
V_PU, F_HZ = 0.97, 60.0  # so low that taps which stand still leave no DER near its overvoltage trip


def begun(model: FeederModel, settings: DerSettings, available_w: float, scale: float = 0.8) -> tuple[Study, Opened]:
    """A study at a snapshot of the file's loads times `scale`, and the feeder of which it is one."""
    study = Study(model, settings)
    feeder, n = study.feeder, len(study.feeder.der_names)
    unknown = np.full(n, np.nan)
    loads = (feeder.load_p0_w * scale, feeder.load_q0_var * scale)
    opened = Opened(
        model, settings, Base(study.rest, *loads, V_PU, F_HZ, np.ones(n, bool), np.full(n, available_w), unknown, unknown)
    )
    study.begin(opened.base)
    study.fast(V_PU, F_HZ)
    return study, opened


def atoms(study: Study, actions: list[Action]) -> Atoms:
    """Loads and DER of the study as they stand, behind the switches of IEEE 123."""
    feeder = study.feeder
    behind: dict[str, list[str]] = {}
    for switch in (HEAD, *SECTIONS):
        for names in feeder.behind(switch):
            for name in names:
                behind.setdefault(name, []).append(switch)
    load_w, der_w = feeder.load_power()[0], feeder.der_power()[0] if feeder.der_names else np.zeros(0)
    loads = [Atom(n, "load", float(p), tuple(behind[n])) for n, p in zip(feeder.load_names, load_w, strict=True)]
    ders = [Atom(n, "der", float(p), tuple(behind[n])) for n, p in zip(feeder.der_names, der_w, strict=True)]
    return Atoms(loads + ders, actions)


def random_actions(study: Study, rng: np.random.Generator) -> list[Action]:
    """Six actions of as many schemes that claim much of the same load."""
    loads = np.array(study.feeder.load_names)

    def some(part: float, share: float) -> tuple[tuple[str, float], ...]:
        return tuple((str(name), share) for name in loads[rng.random(loads.size) < part])

    sections = rng.permutation(SECTIONS)
    return [
        Action("ufls:1", opens=(str(sections[0]),)),
        Action("uvls:1", opens=(str(sections[1]),)),
        Action("sls:line", opens=(str(sections[2]),) if rng.random() < 0.5 else (HEAD,)),
        Action("dr:homes", claims=some(0.5, float(rng.uniform(0.1, 0.6)))),
        Action("interruptible:shops", claims=some(0.2, 1.0)),
        Action("cvr:1", v_set_pu=-float(rng.uniform(0.01, 0.03))),
    ]


class Opened:
    """The feeder in an engine of its own: switches open, loads are turned down, DER without supply are off; taps stand still."""

    def __init__(self, model: FeederModel, settings: DerSettings, base: Base) -> None:
        self.feeder, self._fleet = Feeder(model), DerFleet(settings)
        self.base = self._started(base)

    def _started(self, base: Base) -> Base:
        """DER at rest at the snapshot, everything closed, and measured."""
        feeder, fleet = self.feeder, self._fleet
        feeder.restore(base.state)
        feeder.set_source(base.v_pu)
        feeder.set_loads(base.load_p_w, base.load_q_var)
        q = np.zeros(len(feeder.der_names))
        for _ in range(60):
            feeder.set_der(base.der_available_w, q)
            feeder.solve()
            q = 0.5 * q + 0.5 * fleet.steady(feeder.der_v_pu(), F_HZ, base.der_available_w).q_var
        out = fleet.settle(feeder.der_v_pu(), F_HZ, base.der_available_w)
        return base._replace(der_p_w=out.p_w, der_q_var=out.q_var)

    def head_w(self, atoms: Atoms, state: State, opened: set[str]) -> float:
        """Head power with these breakers open, once DER have answered for two seconds."""
        feeder, base, n = self.feeder, self.base, len(self.feeder.load_names)
        feeder.restore(base.state)
        feeder.set_source(base.v_pu + state.v_set_pu)
        for switch in sorted(opened):
            feeder.set_switch(switch, False)
        supplied = np.array([not set(atom.behind) & opened for atom in atoms.atoms])
        left = np.where(supplied[:n], state.left[:n], 1.0)  # behind an open breaker nobody turns anything down
        feeder.set_loads(base.load_p_w * left, base.load_q_var * left)
        on = supplied[n:]
        p, q = (np.where(on, x, 0.0) for x in (base.der_p_w, base.der_q_var))
        for _ in range(12):
            feeder.set_der(p, q)
            feeder.solve()
            v = np.where(on[:, None], feeder.der_v_pu(), 1.0)
            out = self._fleet.steady(v, F_HZ, base.der_available_w, horizon_s=FAST_S, in_service=on)
            on &= out.status != DerStatus.TRIP  # what has tripped stays out
            p, q = np.where(on, out.p_w, 0.0), np.where(on, out.q_var, 0.0)
        return float(feeder.head()[0].sum())
