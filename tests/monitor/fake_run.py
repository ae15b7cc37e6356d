"""A small made-up run with every kind of record, written by the real recorder through the real loop."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from federates.runtime.federate import S_NS, Federation, Injection, Spec, Step
from federates.runtime.local import run_local
from federates.runtime.port import Inputs, Outputs, Port, Quality, Sample
from federates.runtime.record import RunRecorder, merge
from federates.tblm import model

BUSES = ("15", "20")
NODES = tuple(f"n{k}.{phase}" for k in range(30) for phase in (1, 2, 3))
DERS = ("pv_1", "pv_2", "battery_1")
F0_HZ = 60.0
S_BASE_VA = 4e6
TRIP_S = 100.0
EVIL = "<script>alert('x')</script> & \"quoted\""


class Replay:
    """A federate that publishes what a function of time says."""

    def __init__(self, outputs: Sequence[Port], answer: Callable[[float], Outputs], period_ns: int = S_NS) -> None:
        self.period_ns, self.outputs, self.answer = period_ns, tuple(outputs), answer
        self.inputs: Sequence[Port] = (Port("action", kind="event", doc="actions of the scenario"),)

    def start(self, t_ns: int) -> Outputs:
        vectors = {port.name for port in self.outputs if port.kind == "vector"}
        return {name: value for name, value in self.answer(0.0).items() if name in vectors}

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        return Step(self.answer(t_ns / S_NS))

    def stop(self) -> None:
        """Nothing to release."""


def f_hz(t_s: float) -> float:
    """A generator trip, and the recovery from it."""
    x = max(t_s - TRIP_S, 0.0)
    return F0_HZ - 0.6 * (1.0 - np.exp(-x / 4.0)) * np.exp(-x / 40.0)


def v_pu(t_s: float) -> np.ndarray:
    """Both buses, a dip after the trip."""
    return np.array([1.0, 0.98]) + 0.01 * np.sin(t_s / 60.0) - (0.03 if t_s >= TRIP_S else 0.0)


def tblm(bus: str, t_s: float, seq: int) -> model.Tblm:
    """A TBLM whose `fast` curves are the truth of `bus_power`."""
    v_axis, f_axis = (0.85, 0.9, 0.95, 0.95, 1.0, 1.05, 1.15), (57.0, 59.0, 60.0, 61.0)
    k = BUSES.index(bus)
    v, f = v_pu(t_s)[k], f_hz(t_s)
    curves = []
    for which, exponent in (("fast", 1.5), ("settled", 0.2)):
        scale = [[bus_power(t_s, vv, ff, exponent) for ff in f_axis] for vv in v_axis]
        curves.append(
            model.Curve(
                which,  # type: ignore[arg-type]
                model.Axes(v_axis, f_axis),
                tuple(tuple(p for p, _ in row) for row in scale),
                tuple(tuple(q for _, q in row) for row in scale),
                model.Range((0.87, 1.12), (57.5, 60.8)),
                (model.Breakpoint("V_pu", 0.95, 1e-3, "DER trips", 1e5, 0.0),),
                0.1,
                0.05,
                42,
            )
        )
    p, q = bus_power(t_s, v, f, 1.5)
    t_ns = int(t_s * S_NS)
    zips = tuple(model.ZipFit(c.set, v, (p, 0.0, 0.0), (q, 0.0, 0.0), 0.1, 0.1) for c in curves)
    exponents = (model.ExponentFit("fast", 1.5, 1.5, 0.1, 0.1), model.ExponentFit("settled", 0.2, None, 0.1, None))
    return model.Tblm(
        model.Bus(f"mrid-{bus}", bus, 138.0, S_BASE_VA, "load_positive"),
        model.Version(seq, "hash", f"snapshot-{seq}", "1.0"),
        model.Validity(t_ns - S_NS, t_ns, t_ns, t_ns + 180 * S_NS, 180.0),
        model.QualityOfData("estimated", 0.9, 1.0, 2.0, 0.3, 0.1, "periodic", (EVIL,)),
        model.OperatingPoint(float(v), 0.1, float(f), p, q, 2.0),
        model.Load(tuple(curves), zips, exponents, 1.2, None),
        model.NativeVsDer(p, q, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        model.DerSummary(3, 3, 1e6, 5e5, 4e5, 1e4),
        model.LikeFeeders(3, 3.0, 0.0, 0.0),
        (model.Source("scada", "good", 10, 10, 2.0),),
    )


def bus_power(t_s: float, v: float, f: float, exponent: float) -> tuple[float, float]:
    """P and Q of a bus in W and var, load positive."""
    profile = 3e6 * (1.0 + 0.1 * np.sin(t_s / 300.0))
    common = profile * float(v) ** exponent
    return float(common * (1.0 + 1.2 * (f / F0_HZ - 1.0))), float(0.3 * common)


def _grid(t_s: float) -> Outputs:
    v, f = v_pu(t_s), f_hz(t_s)
    power = np.array([bus_power(t_s, v[k], f, 1.5) for k in range(len(BUSES))])
    return {"f_hz": [f], "v_pu": v, "bus_p_w": power[:, 0], "bus_q_var": power[:, 1]}


def _feeder(t_s: float) -> Outputs:
    v = v_pu(t_s)[0] - 0.04 * np.linspace(0.0, 1.0, len(NODES)) + 0.005 * np.arange(len(NODES)) % 3 * 0.01
    catalogue = {
        "node_names": NODES,
        "node_distance_m": np.linspace(0.0, 3000.0, len(NODES)),
        "node_base_kv": np.full(len(NODES), 2.4),
    }
    alarms = [{"alarm": EVIL}] if t_s == TRIP_S else []
    return {"node_v_pu": v, "alarm": alarms, **({"catalogue": catalogue} if t_s == 0.0 else {})}


def _ders(t_s: float) -> Outputs:
    available = np.array([3e5, 2e5, 1e5]) * (0.8 + 0.2 * np.cos(t_s / 200.0))
    on = np.array([2.0, 0.0 if TRIP_S <= t_s < 200.0 else 2.0, 2.0])
    return {
        "p_w": available * (on > 0.0),
        "q_var": -0.1 * available * (on > 0.0),
        "status": on,
        "available_w": available,
        "soc_wh": [0.0, 0.0, 2e5 - 20.0 * t_s],
    }


def _ami(t_s: float) -> Outputs:
    share = min(t_s / 120.0, 0.95)
    quality = [0, int(Quality.ESTIMATED)]
    return {"coverage": Sample.of([share, 0.9 * share], max(int((t_s - 5.0) * S_NS), 0), quality)}


def _ems(t_s: float) -> Outputs:
    out: dict[str, Any] = {}
    if t_s in (TRIP_S + 2.0, TRIP_S + 120.0):
        out["outcome"] = {"outcomes": [outcome("fast" if t_s < TRIP_S + 120.0 else "settled")]}
    if t_s % 60.0:
        return out
    way = {"v_pu": {"15": 0.99, "20": 0.97}, "p_w": {}, "q_var": {}, "f_hz": F0_HZ, "converged": True}
    other = {**way, "v_pu": {"15": 0.991, "20": 0.965}}
    lines = [{"name": f"line {k}", "kind": "line", "with_tblm": way, "with_constant": other} for k in range(20)]
    swing = {"f_hz": 59.6, "nadir_hz": 59.55}
    lost = {"converged": False, "reason": "diverged", **swing}
    lines.append({"name": EVIL, "kind": "generator", "with_tblm": {**way, **swing}, "with_constant": lost})
    measured = {key: values for key, values in way.items() if key != "converged"}
    out["prediction"] = {
        "scan_ns": int(t_s * S_NS),
        "modes": {"15": "tblm", "20": "last_good"},
        "measured": measured,
        "base": {"with_tblm": way, "with_constant": way},
        "contingencies": lines,
    }
    out["ack"] = [{"bus": "15", "seq": 1, "accepted": not t_s, "reason": "" if not t_s else EVIL}]
    return out


def outcome(horizon: str) -> dict[str, Any]:
    """The loss of a generator, foretold better with the TBLM but for Q; settled, constant P, Q has a frequency and no voltages."""

    def measured(v: float, p: float, q: float, f: float = F0_HZ) -> dict[str, Any]:
        return {"v_pu": {"15": v}, "p_w": {"15": p}, "q_var": {"15": q}, "f_hz": f}

    def foretold(v: float, p: float, q: float, f: float, nadir: float) -> dict[str, Any]:
        return {**measured(v, p, q, f), "nadir_hz": nadir, "converged": True}

    after_s = 2.0 if horizon == "fast" else 120.0
    constant = foretold(0.9650, 3.00e6, 0.85e6, 59.5, 59.45)
    unsolved = {"converged": False, "reason": "diverged", "f_hz": 59.9, "nadir_hz": 59.45}
    return {
        "event": "G33",
        "kind": "generator",
        "t_ns": int(TRIP_S * S_NS),
        "compared_ns": int((TRIP_S + after_s) * S_NS),
        "horizon": horizon,
        "scan_ns": int(60 * S_NS),
        "base": measured(0.9990, 3.00e6, 0.85e6),
        "before": measured(1.0000, 3.05e6, 0.86e6),
        "truth": measured(0.9700, 2.91e6, 0.84e6, f_hz(TRIP_S + after_s)),
        "predicted_with_tblm": foretold(0.9701, 2.90e6, 0.80e6, 59.6, 59.55),
        "predicted_with_constant": constant if horizon == "fast" else unsolved,
        "at_true_voltage_with_tblm": {**measured(0.9700, 2.92e6, 0.84e6), "converged": True},
    }


def _builder(bus: str) -> Callable[[float], Outputs]:
    k = BUSES.index(bus)

    def answer(t_s: float) -> Outputs:
        if t_s % 60.0:
            return {}
        seq = int(t_s // 60.0) + 1
        points = [
            {"set": "fast", "V_pu": v, "f_Hz": F0_HZ, "P_W": p, "Q_var": q}
            for v in (0.92, 1.02)
            for p, q in [bus_power(t_s, v, F0_HZ, 1.5)]
        ]
        p, q = bus_power(t_s, v_pu(t_s)[k], 59.5, 1.5)
        points.append({"set": "fast", "V_pu": float(v_pu(t_s)[k]), "f_Hz": 59.5, "P_W": p, "Q_var": q})
        return {"tblm": model.to_json(tblm(bus, t_s, seq)), "verification": {"bus": bus, "points": points}}

    return answer


def federates() -> dict[str, Replay]:
    """One of each kind that the report knows."""
    document = [Port("verification", kind="document")]
    return {
        "grid": Replay(
            [
                Port("f_hz", "Hz", doc="system frequency"),
                Port("v_pu", "pu", BUSES, "positive-sequence voltage"),
                Port("bus_p_w", "W", BUSES, "load of the bus"),
                Port("bus_q_var", "var", BUSES, "load of the bus"),
            ],
            _grid,
        ),
        "north": Replay(
            [Port("node_v_pu", "pu", NODES, EVIL), Port("catalogue", kind="document"), Port("alarm", kind="event")], _feeder
        ),
        "ders": Replay(
            [
                Port("p_w", "W", DERS, "generation positive"),
                Port("q_var", "var", DERS, "injection positive"),
                Port("status", "1", DERS, "operating status: 0 trip, 1 entering_service, 2 continuous"),
                Port("available_w", "W", DERS),
                Port("soc_wh", "Wh", DERS),
            ],
            _ders,
        ),
        "ami": Replay([Port("coverage", "1", BUSES, "share of meters heard from")], _ami),
        "ems": Replay([Port("prediction", kind="document"), Port("outcome", kind="document"), Port("ack", kind="event")], _ems),
        **{f"tblm_{bus}": Replay([Port("tblm", ids=(bus,), kind="document"), *document], _builder(bus)) for bus in BUSES},
    }


META: dict[str, Any] = {
    "scenario": "fake",
    "about": "a made-up run",
    "exit_code": 0,
    "cause": None,
    "federate": None,
    "t_ns": None,
    "runner": "local",
    "seed": 7,
    "wall_s": 2.5,
    "versions": {"python": "3.11"},
    "expectations": [{"signal": "grid.f_hz", "text": "grid.f_hz min 59", "passed": True, "value": 59.5, "because": "no shedding"}],
}


def make(
    run_dir: Path,
    stop_s: float = 240.0,
    members: dict[str, Replay] | None = None,
    finish: bool = True,
    **meta: Any,
) -> Path:
    """Run the fake federation into `run_dir`. `finish=False` leaves what a killed run leaves: streams, and no meta.json."""
    members = members or federates()
    stop_ns = int(stop_s * S_NS)
    federation = Federation(
        "fake",
        stop_ns,
        tuple(Spec(name, "", None) for name in members),
        (),
        (Injection(int(TRIP_S * S_NS), next(iter(members)), "action", {"action": "trip", "what": EVIL}),),
    )
    recorder = RunRecorder(run_dir, "federation", federation)

    def flush_each_minute(t_ns: int) -> None:
        if t_ns % (60 * S_NS) == 0:
            recorder.flush()

    run_local(federation, recorder, federates=dict(members), progress=flush_each_minute)
    recorder.close()
    if finish:
        merge(run_dir)
        (run_dir / "meta.json").write_text(json.dumps({**META, "stop_ns": stop_ns, **meta}))
    return run_dir
