"""`federates.grid.der` against EPRI's OpenDER (PyPI `opender`, BSD), the reference for IEEE 1547-2018 behaviour.

Two hundred seeded random traces with random settings, and procedures after IEEE 1547.1-2020 on the subjects of OpenDER's own tests,
with our stimuli. In every step P and Q agree within 1e-6 of the rating and the status is the same. The deliberate differences that
`federates/grid/der/__init__.py` lists are kept out of the random settings and tested in `test_der.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from federates.grid.der import DerFleet, DerSettings, DerStatus, DerType, Excitation, LowPowerQ, Priority, QMode, VoltageMeasure

opender = pytest.importorskip("opender")

TOLERANCE_PU = 1e-6
STATUS = {
    "Trip": DerStatus.TRIP,
    "Entering Service": DerStatus.ENTERING_SERVICE,
    "Continuous Operation": DerStatus.CONTINUOUS,
    "Mandatory Operation": DerStatus.MANDATORY,
    "Permissive Operation": DerStatus.PERMISSIVE,
    "Momentary Cessation": DerStatus.MOMENTARY_CESSATION,
    "Cease to Energize": DerStatus.CEASE_TO_ENERGIZE,
    "Not Defined": DerStatus.NOT_DEFINED,
}
CATEGORIES = {1: "CAT_I", 2: "CAT_II", 3: "CAT_III"}
MODE_FLAGS = {
    QMode.CONST_PF: "CONST_PF_MODE_ENABLE",
    QMode.QV: "QV_MODE_ENABLE",
    QMode.QP: "QP_MODE_ENABLE",
    QMode.CONST_Q: "CONST_Q_MODE_ENABLE",
}
TABLES = ("SOC_P_CHARGE_MAX", "P_CHARGE_MAX_PU", "SOC_P_DISCHARGE_MAX", "P_DISCHARGE_MAX_PU")
# settings whose value OpenDER takes in other words, and so does not pass through as a number
WORDS = {"NP_TYPE", "NP_NORMAL_OP_CAT", "NP_ABNORMAL_OP_CAT", "NP_Q_CAPABILITY_LOW_P", "NP_PRIO_OUTSIDE_MIN_Q_REQ"}
WORDS |= {"NP_V_MEAS_UNBALANCE", "CONST_PF_EXCITATION", "Q_MODE", *TABLES}


@pytest.fixture(autouse=True)
def _restore_opender() -> Iterator[None]:
    """OpenDER keeps its time step in a class attribute and logs a warning for each setting out of the standard's range."""
    step, level = opender.DER.t_s, logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    yield
    opender.DER.t_s = step
    logging.disable(level)


def oracle(settings: DerSettings, row: int) -> Any:
    """DER `row` of `settings` as an OpenDER object."""
    s = settings.take([row])
    storage = s.NP_TYPE[0] == DerType.STORAGE
    # the categories first: setting one resets others
    values: dict[str, Any] = {
        "NP_NORMAL_OP_CAT": "CAT_B" if s.NP_NORMAL_OP_CAT[0] else "CAT_A",
        "NP_ABNORMAL_OP_CAT": CATEGORIES[int(s.NP_ABNORMAL_OP_CAT[0])],
        "NP_PRIO_OUTSIDE_MIN_Q_REQ": Priority(s.NP_PRIO_OUTSIDE_MIN_Q_REQ[0]).name,
        "NP_V_MEAS_UNBALANCE": VoltageMeasure(s.NP_V_MEAS_UNBALANCE[0]).name,
        "CONST_PF_EXCITATION": Excitation(s.CONST_PF_EXCITATION[0]).name,
    }
    for name in s.__dataclass_fields__:
        if name not in WORDS and (storage or not name.startswith(("NP_BESS", "SOC_"))):
            values[name] = getattr(s, name)[0].item()
    values["NP_PHASE"] = int(values["NP_PHASE"])
    for mode, flag in MODE_FLAGS.items():
        values[flag] = bool(s.Q_MODE[0] == mode)
    if storage:
        values["NP_BESS_P_MAX_BY_SOC"] = {name: getattr(s, name)[0].tolist() for name in TABLES}
        return opender.DER_BESS(**values)
    return opender.DER_PV(**values, NP_Q_CAPABILITY_LOW_P=LowPowerQ(s.NP_Q_CAPABILITY_LOW_P[0]).name)


@dataclass
class Trace:
    """Inputs of n DERs over m steps: dt_s (m,), v_pu complex (m, n, 3), f_hz and p_w (m, n): DC power or set-point."""

    dt_s: np.ndarray
    v_pu: np.ndarray
    f_hz: np.ndarray
    p_w: np.ndarray


def run_ours(settings: DerSettings, trace: Trace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P, Q (pu on NP_VA_MAX) and status, each (m, n)."""
    fleet = DerFleet(settings)
    storage = np.flatnonzero(settings.NP_TYPE == DerType.STORAGE)
    rows = []
    for k, dt_s in enumerate(trace.dt_s):
        fleet.set_p(storage, trace.p_w[k, storage])
        rows.append(fleet.step(float(dt_s), trace.v_pu[k], trace.f_hz[k], trace.p_w[k]))
    va = settings.NP_VA_MAX
    return np.array([r.p_w for r in rows]) / va, np.array([r.q_var for r in rows]) / va, np.array([r.status for r in rows])


def run_oracle(settings: DerSettings, trace: Trace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same from OpenDER, one DER after the other."""
    m, n = trace.f_hz.shape
    p, q, status = np.empty((m, n)), np.empty((m, n)), np.empty((m, n), dtype=np.int8)
    for row in range(n):
        der = oracle(settings, row)
        single = settings.NP_PHASE[row] == 1
        power = "p_dem_w" if settings.NP_TYPE[row] == DerType.STORAGE else "p_dc_w"
        for k, dt_s in enumerate(trace.dt_s):
            opender.DER.t_s = float(dt_s)
            v = trace.v_pu[k, row]
            magnitude, angle = [float(x) for x in np.abs(v)], [float(x) for x in np.angle(v)]
            der.update_der_input(
                v_pu=magnitude[0] if single else magnitude,
                theta=angle[0] if single else angle,
                f=float(trace.f_hz[k, row]),
                **{power: float(trace.p_w[k, row])},
            )
            der.run()
            p[k, row], q[k, row], status[k, row] = der.p_out_pu, der.q_out_pu, STATUS[der.der_status]
    return p, q, status


def random_settings(rng: np.random.Generator, n: int, dt_s: np.ndarray) -> DerSettings:
    """Settings within and around the ranges of the standard; times in proportion to the length of the trace."""
    scale_s = float(dt_s.sum())
    pick, uniform = rng.choice, rng.uniform
    va = uniform(1e4, 5e5, n)
    storage = rng.random(n) < 0.4
    normal = pick([0, 1], n)
    least = np.where(normal == 0, 0.25, 0.44)
    priority = pick([0, 1], n)
    # active priority: OpenDER is right about P only when the capability is what the standard requires
    inj = np.where(priority == Priority.ACTIVE, 0.44, uniform(0.44, 0.65, n)) * va
    absorb = np.where(priority == Priority.ACTIVE, least, uniform(0.44, 0.65, n)) * va
    volt_watt, ap_limit = rng.random(n) < 0.4, rng.random(n) < 0.3
    ramp = np.where(volt_watt & ap_limit, 0.0, pick([0.0, 1.0], n) * uniform(0.05, 0.4, n) * scale_s)
    ap_limit &= ~(storage & volt_watt)  # both: OpenDER forgets the ramp, and of storage the set-point
    category = pick([1, 2, 3], n)
    p_max = uniform(0.85, 1.0, n) * va
    q1, q4 = uniform(0.1, 0.6, n), uniform(-0.6, -0.1, n)
    trip_s = np.array([scale_s * uniform(0.002, 0.3, n) for _ in range(8)])
    dead = uniform(0.02, 0.06, n)
    # a lag in the current, or a step longer than the last, carries storage past its highest state of charge, and then OpenDER
    # discharges it: let those be far from it
    lag_s = pick([0.0, 0.02, 0.1], n)
    carried = (lag_s > 0.0) | (np.ptp(dt_s) > 0.0)
    capacity = p_max * scale_s / 3600 * uniform(0.3, 3.0, n) * np.where(carried, 100.0, 1.0)
    return DerSettings.of(
        n, NP_VA_MAX=va, NP_P_MAX=p_max, NP_TYPE=np.where(storage, DerType.STORAGE, DerType.PV), NP_PHASE=pick([1.0, 3.0], n),
        NP_AC_V_NOM=pick([240.0, 480.0, 4160.0], n), NP_NORMAL_OP_CAT=normal, NP_ABNORMAL_OP_CAT=category, NP_Q_MAX_INJ=inj,
        NP_Q_MAX_ABS=absorb, NP_EFFICIENCY=uniform(0.8, 1.0, n), NP_REACTIVE_SUSCEPTANCE=pick([0.0, 1e-4], n),
        NP_Q_CAPABILITY_LOW_P=np.where(storage, LowPowerQ.SAME, pick([0, 1], n)), NP_PRIO_OUTSIDE_MIN_Q_REQ=priority,
        NP_V_MEAS_UNBALANCE=pick([0, 1], n), NP_V_MEAS_DELAY=pick([0.0, 0.02], n) * scale_s, NP_INV_DELAY=lag_s,
        NP_CURRENT_PU=uniform(1.02, 1.4, n), NP_MODE_TRANSITION_TIME=scale_s * uniform(0.05, 0.3, n),
        NP_RT_RAMP_UP_TIME=pick([0.0, 0.5], n), NP_CTE_RESP_T=pick([0.0, 0.16], n), STATUS_INIT=rng.random(n) < 0.8,
        NP_BESS_CAPACITY=capacity, NP_BESS_SOC_MIN=uniform(0.0, 0.2, n),
        NP_BESS_SOC_MAX=uniform(0.8, 1.0, n), NP_BESS_SELF_DISCHARGE_SOC=pick([0.0, 1e-2], n),
        NP_BESS_P_RAMP_TIME=pick([0.0, 0.05], n) * scale_s, SOC_P_CHARGE_MAX=[0.5, 1.0],
        P_CHARGE_MAX_PU=np.stack([np.ones(n), pick([0.2, 1.0], n)], axis=1), SOC_P_DISCHARGE_MAX=[0.0, 0.5],
        P_DISCHARGE_MAX_PU=np.stack([pick([0.2, 1.0], n), np.ones(n)], axis=1), SOC_INIT=uniform(0.2, 0.8, n),
        AP_LIMIT_ENABLE=ap_limit, AP_LIMIT=uniform(0.3, 1.0, n), AP_RT=scale_s * uniform(0.0, 0.2, n),
        ES_DELAY=scale_s * uniform(0.0, 0.2, n), ES_RAMP_RATE=ramp, ES_RANDOMIZED_DELAY_ACTUAL=pick([0.0, 0.07], n) * scale_s,
        ES_V_LOW=uniform(0.88, 0.95, n), ES_V_HIGH=uniform(1.05, 1.06, n),
        ES_F_LOW=uniform(59.0, 59.9, n), ES_F_HIGH=uniform(60.1, 61.0, n),
        Q_MODE=pick(list(QMode), n), CONST_PF=uniform(0.8, 1.0, n), CONST_PF_EXCITATION=pick([-1, 1], n),
        CONST_PF_RT=uniform(0.0, 0.05, n) * scale_s, CONST_Q=uniform(-0.5, 0.5, n), CONST_Q_RT=uniform(0.0, 0.05, n) * scale_s,
        QV_VREF=uniform(0.98, 1.02, n), QV_VREF_AUTO_MODE=pick([False, True], n), QV_VREF_TIME=uniform(0.05, 0.3, n) * scale_s,
        QV_CURVE_V1=uniform(0.85, 0.94, n), QV_CURVE_V2=np.where(normal == 0, 1.0, uniform(0.96, 0.99, n)),
        QV_CURVE_V3=np.where(normal == 0, 1.0, uniform(1.0, 1.03, n)), QV_CURVE_V4=uniform(1.05, 1.15, n),
        QV_CURVE_Q1=q1, QV_CURVE_Q4=q4,
        QV_OLRT=uniform(0.0, 0.05, n) * scale_s, QP_CURVE_P1_GEN=uniform(0.1, 0.3, n), QP_CURVE_P2_GEN=uniform(0.4, 0.6, n),
        QP_CURVE_P3_GEN=uniform(0.8, 1.0, n), QP_CURVE_Q1_GEN=uniform(0.0, 0.1, n), QP_CURVE_Q2_GEN=uniform(-0.1, 0.0, n),
        QP_CURVE_Q3_GEN=q4, QP_CURVE_Q3_LOAD=q1, QP_RT=uniform(0.0, 0.05, n) * scale_s, PV_MODE_ENABLE=volt_watt,
        PV_CURVE_V1=uniform(1.02, 1.06, n), PV_CURVE_V2=uniform(1.07, 1.1, n), PV_CURVE_P2=np.where(storage, -0.5, 0.1),
        PV_OLRT=uniform(0.0, 0.1, n) * scale_s, PF_MODE_ENABLE=rng.random(n) < 0.7, PF_DBOF=dead, PF_DBUF=dead,
        PF_KOF=uniform(0.02, 0.05, n), PF_KUF=uniform(0.02, 0.05, n), PF_OLRT=uniform(0.0, 0.1, n) * scale_s,
        OV1_TRIP_T=trip_s[0], OV2_TRIP_T=trip_s[1], UV1_TRIP_T=trip_s[2], UV2_TRIP_T=trip_s[3], OF1_TRIP_T=trip_s[4],
        OF2_TRIP_T=trip_s[5], UF1_TRIP_T=trip_s[6], UF2_TRIP_T=trip_s[7],
        UV1_TRIP_V=uniform(0.7, 0.88, n), UV2_TRIP_V=uniform(0.3, 0.5, n), OF1_TRIP_F=uniform(60.5, 61.5, n),
        UF1_TRIP_F=uniform(58.5, 59.3, n), MC_ENABLE=np.where(category == 3, True, rng.random(n) < 0.3),
        MC_LVRT_V1=uniform(0.4, 0.6, n), MC_RESP_T=pick([0.0, 0.083], n), MC_RETURN_T=pick([0.0, 0.1], n),
        DVS_MODE_ENABLE=rng.random(n) < 0.3, DVS_K=uniform(2.0, 6.0, n),
    )  # fmt: skip


def walk(rng: np.random.Generator, m: int, n: int, spread: float) -> np.ndarray:
    """Smooth noise (m, n) of about the given spread."""
    steps = rng.normal(0.0, spread / 4, (m, n))
    out = np.empty((m, n))
    out[0] = rng.normal(0.0, spread, n)
    for k in range(1, m):
        out[k] = 0.97 * out[k - 1] + steps[k]
    return out


def random_trace(rng: np.random.Generator, settings: DerSettings, dt_s: np.ndarray) -> Trace:
    """Noise with sags, swells and interruptions of voltage on one or more phases, excursions of frequency, and changing power."""
    m, n = dt_s.size, len(settings)
    level = np.ones((m, n, 3)) + walk(rng, m, n, 0.015)[..., None] + walk(rng, m, 3 * n, 0.006).reshape(m, n, 3)
    f_hz = 60.0 + walk(rng, m, n, 0.02)
    p_w = np.empty((m, n))
    for row in range(n):
        for _ in range(4):
            begin, length = int(rng.integers(2, m)), int(rng.integers(1, m // 6))
            depth = rng.choice([rng.uniform(0.0, 0.9), rng.uniform(1.05, 1.3)])
            struck = rng.random(3) < 0.7
            level[begin : begin + length, row, struck] *= depth
        for _ in range(2):
            begin, length = int(rng.integers(2, m)), int(rng.integers(1, m // 6))
            f_hz[begin : begin + length, row] += rng.choice([rng.uniform(-4, 3), rng.uniform(-0.5, 0.5)])
        edges = np.sort(rng.integers(0, m, 4))
        storage = settings.NP_TYPE[row] == DerType.STORAGE
        levels = rng.uniform(-1.0 if storage else 0.0, 1.2, 5)
        p_w[:, row] = levels[np.searchsorted(edges, np.arange(m), side="right")] * settings.NP_P_MAX[row]
    # OpenDER cannot enter service in its very first step
    level[0, ~settings.STATUS_INIT] = 0.8
    common, own = walk(rng, m, n, 0.1), walk(rng, m, 3 * n, 0.03).reshape(m, n, 3)
    angle = common[..., None] + own + np.array([0.0, -2 * np.pi / 3, 2 * np.pi / 3])
    return Trace(dt_s, level * np.exp(1j * angle), f_hz, p_w)


def time_steps(kind: str, rng: np.random.Generator, m: int) -> np.ndarray:
    if kind == "normal, emergency, normal":
        return np.concatenate([np.full(m // 3, 1.0), np.full(m // 3, 0.02), np.full(m - 2 * (m // 3), 1.0)])
    if kind == "random":
        return rng.choice([0.005, 0.02, 0.1, 1.0, 4.0], m)
    return np.full(m, float(kind))


def agree(settings: DerSettings, trace: Trace, title: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Assert that both models agree over the trace; returns P, Q and status."""
    p, q, status = run_ours(settings, trace)
    p_ref, q_ref, status_ref = run_oracle(settings, trace)
    differing = np.argwhere(status != status_ref)
    worst_p, worst_q = np.abs(p - p_ref).max(), np.abs(q - q_ref).max()
    print(f"\n{title}: worst |dP| {worst_p:.1e}, |dQ| {worst_q:.1e} pu, {len(differing)} of {status.size} statuses differ")
    assert not differing.size, f"{title}: status differs first at step, DER {differing[0]}"
    assert worst_p <= TOLERANCE_PU and worst_q <= TOLERANCE_PU
    return p, q, status


@pytest.mark.parametrize("seed, kind", [(1, "0.02"), (2, "1"), (3, "normal, emergency, normal"), (4, "random"), (5, "60")])
def test_forty_random_traces(seed: int, kind: str) -> None:
    rng = np.random.default_rng([1547, seed])
    dt_s = time_steps(kind, rng, 200)
    settings = random_settings(rng, 40, dt_s)
    p, q, status = agree(settings, random_trace(rng, settings, dt_s), kind)
    # the traces must have gone through everything, else they prove nothing
    assert set(np.unique(status)) == set(DerStatus)
    assert np.abs(q).max() > 0.4 and p.max() > 0.9 and p.min() < -0.5


def balanced(dt_s: float, v: np.ndarray, f_hz: np.ndarray | float, p_w: np.ndarray | float, n: int = 1) -> Trace:
    """Balanced voltages (m,) or (m, n) in step with the others."""
    v_pu = np.broadcast_to(v.reshape(v.shape[0], -1), (v.shape[0], n))
    turn = np.exp(1j * np.array([0.0, -2 * np.pi / 3, 2 * np.pi / 3]))
    f, p = (np.asarray(x, dtype=float).reshape(*(np.shape(x)[:1] or (1,)), -1) for x in (f_hz, p_w))
    return Trace(np.full(v.shape[0], dt_s), v_pu[..., None] * turn, np.broadcast_to(f, v_pu.shape), np.broadcast_to(p, v_pu.shape))


def staircase(levels: list[float], steps: int) -> np.ndarray:
    return np.repeat(np.array(levels), steps)


SNAPSHOT_S = 1e5
BASE = {"NP_VA_MAX": 1e5, "NP_P_MAX": 1e5, "STATUS_INIT": True}


@pytest.mark.parametrize("category", ["A", "B"])
@pytest.mark.parametrize("vref", [0.95, 1.0, 1.05])
def test_volt_var_steps(category: str, vref: float) -> None:
    """IEEE 1547.1 5.14.3: steps of voltage through the curve, at full, part and minimum power and both priorities."""
    v = staircase([1.0, 0.97, 0.93, 0.9, 0.95, 1.0, 1.03, 1.05, 1.09, 1.06, 1.0], 15)
    settings = DerSettings.ieee1547_2018(6, normal_category=category, **BASE, Q_MODE="QV", QV_VREF=vref,
                                         NP_Q_CAPABILITY_LOW_P=["SAME", "REDUCED"] * 3)  # fmt: skip
    power = np.broadcast_to([1e5, 1e5, 6.6e4, 6.6e4, 1e4, 0.0], (v.size, 6))
    _, q, _ = agree(settings, balanced(1.0, v, 60.0, power, 6), f"volt-var {category} {vref}")
    assert q.max() > 0.05 and q.min() < -0.05


def test_volt_var_reference_follows_the_voltage() -> None:
    """IEEE 1547.1 5.14.5: after a step of voltage Q comes back as the reference follows."""
    v = staircase([1.0, 1.04, 0.96], 400)
    settings = DerSettings.ieee1547_2018(2, **BASE, Q_MODE="QV", QV_VREF_AUTO_MODE=True, QV_VREF_TIME=[300.0, 60.0])
    _, q, _ = agree(settings, balanced(5.0, v, 60.0, 5e4, 2), "vref")
    assert q[402, 1] < -0.03 and abs(q[799, 1]) < 1e-3


@pytest.mark.parametrize("priority", ["ACTIVE", "REACTIVE"])
@pytest.mark.parametrize("mode", list(QMode))
def test_priority_at_rest(mode: QMode, priority: str) -> None:
    """IEEE 1547.1 5.16: snapshots over voltage, power and frequency, with volt-watt, in each reactive mode and priority."""
    v, p, f = np.meshgrid([0.9, 0.94, 1.0, 1.05, 1.07, 1.09], [0.0, 0.04, 0.15, 0.5, 0.9, 1.1], [59.7, 60.0, 60.4], indexing="ij")
    for volt_watt in (False, True):
        settings = DerSettings.ieee1547_2018(3, **BASE, Q_MODE=mode, NP_PRIO_OUTSIDE_MIN_Q_REQ=priority,
                                             PV_MODE_ENABLE=volt_watt, CONST_PF=0.9, CONST_PF_EXCITATION=["ABS", "INJ", "ABS"],
                                             CONST_Q=[0.44, -0.44, 0.2],
                                             NP_Q_CAPABILITY_LOW_P=["SAME", "REDUCED", "REDUCED"])  # fmt: skip
        title = f"{mode.name} {priority} volt-watt {volt_watt}"
        agree(settings, balanced(SNAPSHOT_S, v.ravel(), f.ravel(), p.ravel() * 1e5, 3), title)


@pytest.mark.parametrize("storage", [False, True])
def test_volt_watt_steps(storage: bool) -> None:
    """IEEE 1547.1 5.15: steps of voltage above the curve; storage follows it into charging."""
    v = staircase([1.0, 1.05, 1.07, 1.08, 1.095, 1.07, 1.0], 30)
    more = {"NP_TYPE": "STORAGE", "PV_CURVE_P2": [0.0, -0.5, -1.0]} if storage else {"PV_CURVE_P2": [0.0, 0.2, 0.5]}
    settings = DerSettings.ieee1547_2018(3, **BASE, **more, PV_MODE_ENABLE=True, PV_OLRT=[0.5, 10.0, 60.0], OV1_TRIP_V=1.2)
    p, _, _ = agree(settings, balanced(1.0, v, 60.0, 9e4, 3), f"volt-watt storage {storage}")
    assert (p.min() < -0.3) == storage


@pytest.mark.parametrize("mode", [QMode.CONST_PF, QMode.QP, QMode.CONST_Q])
def test_power_steps(mode: QMode) -> None:
    """IEEE 1547.1 5.14.4, 5.14.6, 5.14.7: steps of active power, PV and storage from discharge to charge."""
    power = staircase([0.2, 0.5, 1.0, 0.66, 0.05, 1.0], 12)
    settings = DerSettings.ieee1547_2018(4, **BASE, NP_TYPE=["PV", "PV", "STORAGE", "STORAGE"], Q_MODE=mode, CONST_PF=0.9,
                                         CONST_PF_EXCITATION=["INJ", "ABS", "INJ", "ABS"],
                                         CONST_Q=[0.44, -0.44, 0.1, -0.3])  # fmt: skip
    p_w = 1e5 * np.stack([power, power, 2 * power - 1, -power], axis=1)
    _, q, _ = agree(settings, balanced(1.0, np.ones(power.size), 60.0, p_w, 4), mode.name)
    assert np.abs(q).max() > 0.3


@pytest.mark.parametrize("dt_s", [0.02, 1.0])
def test_frequency_steps(dt_s: float) -> None:
    """IEEE 1547.1 5.15.2: steps of frequency above and below, at part power, default and most sensitive droop."""
    f = staircase([60.0, 60.03, 60.5, 61.1, 60.1, 60.0, 59.9, 59.6, 59.3, 60.0], 60)
    settings = DerSettings.ieee1547_2018(4, **BASE, NP_TYPE=["PV", "PV", "STORAGE", "STORAGE"], PF_DBOF=[0.036, 0.017] * 2,
                                         PF_DBUF=[0.036, 0.017] * 2, PF_KOF=[0.05, 0.02] * 2, PF_KUF=[0.05, 0.02] * 2,
                                         PF_OLRT=[5.0, 0.2] * 2, AP_LIMIT_ENABLE=True, AP_LIMIT=0.6)  # fmt: skip
    p_w = np.broadcast_to([9e4, 9e4, -3e4, 5e4], (f.size, 4))
    p, _, status = agree(settings, balanced(dt_s, np.ones(f.size), f, p_w, 4), f"droop {dt_s}")
    assert p[239, 1] < 0.1 and p[-65, 1] > 0.7 and (status != DerStatus.TRIP).all()


@pytest.mark.parametrize("dt_s", [2.0, 10.0, 100.0])
def test_enter_service(dt_s: float) -> None:
    """IEEE 1547.1 5.6.2: no service without permission or within limits, an interrupted delay begins anew, then delay and ramp."""
    outside, inside = np.array([0.897, 1.0, 1.08, 1.0, 0.86, 1.0]), np.array([0.937, 1.0, 1.04, 1.0, 0.9, 1.0])
    f_outside, f_inside = np.array([60, 59.48, 60, 61.02, 60, 58.98]), np.array([60, 59.52, 60, 60.98, 60, 59.92])
    settings = DerSettings.ieee1547_2018(6, **{**BASE, "STATUS_INIT": False}, PF_MODE_ENABLE=False, ES_DELAY=[300, 0, 600, 0, 0, 0],
                                         ES_RAMP_RATE=[300, 0, 1000, 0, 1, 0], ES_RANDOMIZED_DELAY_ACTUAL=[0, 200, 0, 900, 0, 1],
                                         ES_V_LOW=[0.917, 0.917, 0.95, 0.95, 0.88, 0.88],
                                         ES_V_HIGH=[1.05, 1.05, 1.06, 1.06, 1.05, 1.05],
                                         ES_F_LOW=[59.5, 59.5, 59.9, 59.9, 59.0, 59.0],
                                         ES_F_HIGH=[60.1, 60.1, 61.0, 61.0, 60.1, 60.1])  # fmt: skip
    pattern = np.concatenate([np.zeros(3), np.ones(2), np.zeros(1), np.ones(int(2000 / dt_s) + 3), np.zeros(1), np.ones(4)])
    pattern = pattern[:, None]
    trace = balanced(dt_s, np.where(pattern, inside, outside), np.where(pattern, f_inside, f_outside), 1.1e5, 6)
    p, _, status = agree(settings, trace, f"enter service {dt_s}")
    assert (status[:3] == DerStatus.TRIP).all() and (p[len(pattern) - 7] > 0.99).all()


@pytest.mark.parametrize("category", ["I", "II", "III"])
@pytest.mark.parametrize("phases", [1.0, 3.0])
def test_ride_through_and_trip(category: str, phases: float) -> None:
    """IEEE 1547.1 5.4, 5.5: dips and swells of one or all phases and excursions of frequency, held until they trip and beyond."""
    v = np.array([0.0, 0.2, 0.4, 0.47, 0.55, 0.66, 0.75, 0.87, 1.05, 1.12, 1.16, 1.18, 1.21, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    f = np.array([60.0] * 13 + [56.0, 56.9, 58.0, 58.7, 61.5, 61.9])
    n = v.size
    settings = DerSettings.ieee1547_2018(n, category=category, **BASE, NP_PHASE=phases, Q_MODE="QV",
                                         DVS_MODE_ENABLE=[False, True] * 9 + [False])  # fmt: skip
    held = np.concatenate([np.zeros(5), np.ones(190), np.zeros(5)])[:, None]
    trace = balanced(0.02, np.where(held, v, 1.0), np.where(held, f, 60.0), 8e4, n)
    trace.dt_s[60:] = 0.2
    for struck in (3, 1):
        trace.v_pu[..., struck:] = np.exp(1j * np.array([0.0, -2, 2]) * np.pi / 3)[struck:]
        _, _, status = agree(settings, trace, f"ride-through {category}, {phases:g} phases, {struck} struck")
        assert (status == DerStatus.TRIP).any()


@pytest.mark.parametrize("dt_s", [30.0, 900.0])
def test_state_of_charge(dt_s: float) -> None:
    """Charge and discharge to the limits, with self-discharge and power tapering towards them."""
    m = int(40000 / dt_s)
    settings = DerSettings.ieee1547_2018(
        4, **BASE, NP_TYPE="STORAGE", NP_INV_DELAY=0.0, NP_EFFICIENCY=0.9, NP_BESS_CAPACITY=4e5,
        NP_BESS_SELF_DISCHARGE=[0.0, 0.0, 0.02, 0.02], NP_BESS_SELF_DISCHARGE_SOC=[0.0, 0.0, 0.05, 0.05],
        SOC_P_CHARGE_MAX=[0.5, 1.0], P_CHARGE_MAX_PU=[1.0, 0.2],
        SOC_P_DISCHARGE_MAX=[0.0, 0.5], P_DISCHARGE_MAX_PU=[0.2, 1.0],
    )  # fmt: skip
    demand = np.broadcast_to([1e5, -1e5, 1e5, -1e5], (m, 4))
    p, _, _ = agree(settings, balanced(dt_s, np.ones(m), 60.0, demand, 4), f"soc {dt_s}")
    assert p[-1, 0] < 0.3 and p[-1, 1] > -0.3
