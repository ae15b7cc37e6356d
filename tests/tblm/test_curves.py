"""Tables against full solves, on functions that are known and on the built-in feeders; the traps of frequency and of voltage
bands."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from telemetry import Truth, ieee123_with_der, inverters

from federates.grid.feeder import Feeder, FeederState
from federates.grid.feeder_library import builtin_feeder
from federates.grid.load import frequency_response
from federates.tblm.curves import CurveOptions, build_curve, dense_table
from federates.tblm.model import Curve, evaluate
from federates.tblm.study import Base, Point, Study, StudyError
from federates.tblm.views import exponent_fit, frequency_coefficients, zip_fit

FEEDERS = ("ieee13", "ieee34", "ieee123")
SETS = ("fast", "settled")
V_TEST, F_TEST, N_TEST = (0.9, 1.1), (59.0, 61.0), 200


def base_of(study: Study, v: float = 1.0, available_w: float = 150e3) -> Base:
    """The feeder of the file at rest, DER in service with what is available."""
    n = len(study.feeder.der_names)
    p = np.full(n, available_w)
    return Base(
        study.rest,
        study.feeder.load_p0_w,
        study.feeder.load_q0_var,
        v,
        60.0,
        np.ones(n, bool),
        p,
        np.full(n, np.nan),
        np.full(n, np.nan),
    )


def s_of(study: Study) -> float:
    return float(np.hypot(study.feeder.load_p0_w.sum(), study.feeder.load_q0_var.sum()))


def table(study: Study, which: str, options: CurveOptions | None = None, breaks: tuple[float, ...] = ()) -> Curve:
    band = (study.feeder.model.vmin_pu, study.feeder.model.vmax_pu)
    return build_curve(which, getattr(study, which), 1.0, 60.0, s_of(study), options or CurveOptions(), breaks, band)  # type: ignore[arg-type]


def errors_pct(curve: Curve, study: Study, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(V, f, worse of the errors of P and Q in % of S) at random points of the test range."""
    rng = np.random.default_rng(seed)
    v, f = rng.uniform(*V_TEST, N_TEST), rng.uniform(*F_TEST, N_TEST)
    table_value = evaluate(curve, v, f)
    full = [getattr(study, curve.set)(a, b) for a, b in zip(v, f, strict=True)]
    miss = np.abs([table_value.p_w - [x.p_w for x in full], table_value.q_var - [x.q_var for x in full]]).max(axis=0)
    return v, f, 100.0 * miss / s_of(study)


@pytest.fixture(scope="module", params=FEEDERS)
def study(request: pytest.FixtureRequest) -> Iterator[Study]:
    made = Study(builtin_feeder(request.param))
    made.begin(base_of(made))
    yield made
    made.close()


@pytest.mark.parametrize("which", SETS)
def test_table_is_within_half_a_per_cent_of_full_solves(study: Study, which: str) -> None:
    curve = table(study, which)
    _, _, error = errors_pct(curve, study)
    name = study.feeder.model.master.rsplit("/", 1)[-1]
    print(f"\n{name} {which}: at most {error.max():.3f}, median {np.median(error):.3f} % of S, {curve.solves} solves", end="")
    assert error.max() <= 0.5 and np.median(error) <= 0.1
    (v_low, v_high), (f_low, f_high) = curve.range_ok.V_pu, curve.range_ok.f_Hz
    assert v_low <= V_TEST[0] and v_high >= V_TEST[1] and f_low <= F_TEST[0] and f_high >= F_TEST[1]
    assert curve.solves < 100, "adaptive: far fewer points than a full grid"


def test_settled_is_fast_where_nothing_has_to_move(study: Study) -> None:
    fast, settled = study.fast(1.0, 60.0), study.settled(1.0, 60.0)
    assert settled.p_w == pytest.approx(fast.p_w, abs=2e-4 * s_of(study))
    assert settled.q_var == pytest.approx(fast.q_var, abs=2e-4 * s_of(study))


def test_points_do_not_depend_on_their_order(study: Study) -> None:
    points = [(v, f) for v in (0.92, 0.97, 1.03, 1.08) for f in (59.2, 60.6)]
    for which in SETS:
        solve = getattr(study, which)
        forth, back = [solve(*x) for x in points], [solve(*x) for x in reversed(points)][::-1]
        for a, b in zip(forth, back, strict=True):
            assert (a.p_w, a.q_var) == pytest.approx((b.p_w, b.q_var), abs=3e-4 * s_of(study))


def test_settled_is_near_the_engine_with_whole_taps_and_delays(study: Study) -> None:
    """A second feeder, its controls run in time until nothing has moved for two minutes: within a tap of it, half a tap on
    average."""
    s_va, misses = s_of(study), []
    with Feeder(study.feeder.model) as real:
        for v in (0.95, 0.97, 0.985, 1.015, 1.03, 1.05):
            real.restore(FeederState(study.rest.taps, study.rest.capacitors, study.rest.switches, 0.0))
            real.set_source(v)
            taps, still = real.taps(), 0
            while still < 60:
                real.step_controls(2.0)
                still = still + 1 if np.array_equal(taps, real.taps()) else 0
                taps = real.taps()
            misses.append(100.0 * (study.settled(v, 60.0).p_w - float(real.head()[0].sum())) / s_va)
    assert np.abs(misses).max() <= 1.0 and abs(np.mean(misses)) <= 0.4


@pytest.mark.parametrize("which", SETS)
def test_tables_with_der_hold_where_they_say(which: str) -> None:
    """IEEE 123 with 12 inverters, three of them of 2003 with narrow trips, taps at rest with them."""
    model, settings = ieee123_with_der(), inverters(12, legacy=3)
    truth, study = Truth(model, settings, scale=1.0), Study(model, settings)
    service = np.ones(12, bool)
    study.begin(
        Base(
            truth.feeder.state(),
            truth.p0_w,
            truth.q0_var,
            1.01,
            60.0,
            service,
            truth.der_available_w,
            truth.der_p_w,
            truth.der_q_var,
        )
    )
    curve = build_curve(which, getattr(study, which), 1.01, 60.0, s_of(study), CurveOptions(), (59.3, 59.964, 60.036, 60.5))  # type: ignore[arg-type]
    v, f, error = errors_pct(curve, study)
    told = evaluate(curve, v, f).inside
    for b in curve.breakpoints:
        told &= (b.axis == "V_pu") | (np.abs(f - b.value) > b.width)
    assert told.mean() >= 0.55, "below and above it inverters trip one after the other"
    assert error[told].max() <= 0.5 and np.median(error[told]) <= 0.1
    trips = {b.value: b.jump_P_W for b in curve.breakpoints if b.axis == "f_Hz"}
    assert trips[59.3] == pytest.approx(-3 * 150e3, rel=0.1), "above 59.3 Hz three inverters deliver, below they have tripped"
    assert trips[60.5] == pytest.approx(3 * 150e3, rel=0.1)
    assert any(b.axis == "V_pu" and "DER" in b.cause for b in curve.breakpoints)
    study.close()


# ---- traps


def test_frequency_enters_through_loads_and_der_only() -> None:
    """The engine itself stays at nominal frequency; the bus follows kpf of its loads, and with kpf = kqf = 0 it would not
    follow at all."""
    study = Study(builtin_feeder("ieee13"))
    study.begin(base_of(study))
    nominal, low = study.fast(1.0, 60.0), study.fast(1.0, 59.0)
    kpf = (nominal.p_w - low.p_w) / nominal.p_w * 60.0
    assert 0.6 < kpf < 1.0, "residential loads: 0.8"
    with Feeder(study.feeder.model) as other:
        other.set_loads(*frequency_response(other.load_p0_w, other.load_q0_var, other.load_class, 59.0, 60.0))
        other.restore(study.rest)
        other.solve()
        assert float(other.head()[0].sum()) == pytest.approx(low.p_w, rel=1e-6), "the whole effect is that of the loads"
    assert low.p_w > 0.5 * nominal.p_w, "the engine's own frequency setting would give 0 W"
    study.close()


def test_frequency_answer_of_der_alone() -> None:
    """Loads without frequency dependence cannot be made here; the droop of inverters is the difference to a fleet without
    it."""
    heads = []
    for droop in (True, False):
        study = Study(ieee123_with_der(), inverters(12, PF_MODE_ENABLE=droop))
        study.begin(base_of(study))
        heads.append(study.settled(1.0, 61.0).p_w)
        study.close()
    # 5 % droop on 300 kW beyond a dead band of 36 mHz: (1 - 0.036) / 60 / 0.05 of rating, twelve times
    assert heads[0] - heads[1] == pytest.approx(12 * 300e3 * (1.0 - 0.036) / 60.0 / 0.05, rel=0.05)


def test_a_voltage_band_of_loads_is_recorded_as_a_breakpoint() -> None:
    """With OpenDSS's default band of 0.95..1.05 pu loads bend into constant impedances in normal operation: never
    unrecorded."""
    narrow = Study(builtin_feeder("ieee13").with_(vmin_pu=0.95, vmax_pu=1.05))
    narrow.begin(base_of(narrow))
    curve = table(narrow, "fast")
    causes = {b.cause for b in curve.breakpoints}
    assert causes == {"loads leave their voltage model at 0.95 pu", "loads leave their voltage model at 1.05 pu"}
    _, _, error = errors_pct(curve, narrow)
    assert error.max() <= 0.5, "the table follows the bends"
    wide = Study(builtin_feeder("ieee13"))
    wide.begin(base_of(wide))
    assert table(wide, "fast").breakpoints == ()
    narrow.close()
    wide.close()


# ---- on known functions


def known(v: float, f: float) -> Point:
    """ZIP in V, linear in f, with a step of 5 % at 0.93 pu."""
    tripped = v < 0.93
    p = 1e6 * (0.4 * v**2 + 0.3 * v + 0.3 + (0.05 if tripped else 0.0)) * (1.0 + 1.2 * (f - 60.0) / 60.0)
    return Point(p, 3e5 * v**2, b"out" if tripped else b"in", v, v)


def test_a_jump_is_located_and_given_twice() -> None:
    curve = build_curve("fast", known, 1.0, 60.0, 1e6, CurveOptions())
    (jump,) = curve.breakpoints
    assert jump.axis == "V_pu" and abs(jump.value - 0.93) <= jump.width <= 1.3e-4
    assert jump.jump_P_W == pytest.approx(-5e4, rel=0.02)
    assert sum(a == b for a, b in zip(curve.axes.V_pu, curve.axes.V_pu[1:], strict=False)) == 1
    v, f = np.random.default_rng(3).uniform((0.86, 57.5), (1.14, 61.5), (500, 2)).T
    away = np.abs(v - 0.93) > 3e-4
    miss = evaluate(curve, v, f).p_w - [known(a, b).p_w for a, b in zip(v, f, strict=True)]
    assert np.abs(miss[away]).max() <= 0.0015 * 1e6


def test_the_table_ends_where_there_is_no_solution() -> None:
    def nose(v: float, f: float) -> Point:
        if v < 0.9123:
            raise StudyError("no solution")
        return Point(1e6 * v**2, 3e5 * v, b"", v, v)

    curve = build_curve("fast", nose, 1.0, 60.0, 1e6, CurveOptions())
    assert 0.9123 <= curve.range_ok.V_pu[0] <= 0.9123 + 5e-3
    assert not evaluate(curve, 0.9, 60.0).inside
    with pytest.raises(StudyError, match="no solution"):
        build_curve("fast", nose, 0.9, 60.0, 1e6, CurveOptions())


def test_views_recover_what_they_are_views_of() -> None:
    def smooth(v: float, f: float) -> Point:
        scale = 1.0 + 1.2 * (f - 60.0) / 60.0
        return Point(1e6 * (0.4 * v**2 + 0.3 * v + 0.3) * scale, 4e5 * v**2 * (1.0 - 2.0 * (f - 60.0) / 60.0), b"", v, v)

    curve = build_curve("fast", smooth, 1.0, 60.0, 1e6, CurveOptions(tolerance_pct=0.005))
    fit = zip_fit(curve, 1.0, 60.0, 1e6)
    assert np.allclose(fit.P_W, (0.4e6, 0.3e6, 0.3e6), atol=5e3) and fit.error_P_pct < 0.01
    assert np.allclose(fit.Q_var, (4e5, 0.0, 0.0), atol=5e3)
    exponents = exponent_fit(curve, 1.0, 60.0, 1e6)
    assert exponents.kqv == pytest.approx(2.0, abs=0.01) and exponents.kpv == pytest.approx(1.1, abs=0.02)
    assert frequency_coefficients(curve, 1.0, 60.0, 1e6) == pytest.approx((1.2, -2.0), abs=0.01)
    assert exponent_fit(curve, 1.0, 60.0, 1e8).kpv is None, "no ratio to a power that is next to nothing"


def test_dense_table_equals_single_points(study: Study) -> None:
    v, f = np.linspace(0.95, 1.05, 4), np.linspace(59.5, 60.5, 3)
    dense = dense_table(study.fast, v.tolist(), f.tolist())
    again = [[study.fast(float(a), float(b)).p_w for b in f] for a in v]
    assert np.allclose(dense[0], again, rtol=1e-4)


@pytest.mark.parametrize("wrong", [{"v_pu": (1.1, 0.9)}, {"f_hz": (0.0, 60.0)}, {"tolerance_pct": 0.0}, {"v_points": 2}])
def test_options_are_checked(wrong: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match="curve options"):
        CurveOptions(**wrong)


def test_options_must_contain_nominal_frequency() -> None:
    with pytest.raises(ValueError, match="does not contain the nominal 50 Hz"):
        build_curve("fast", known, 1.0, 50.0, 1e6, CurveOptions())
