"""What of the dynamics engine needs no ANDES: loads, islands, names, and the message where it is missing."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federates.grid.dynamics import cases
from federates.grid.dynamics.cases import EXCHANGE_NS, STEPS_PER_S, DynamicsError
from federates.grid.dynamics.islands import find_islands
from federates.grid.dynamics.loads import NativeModel, ZipLoads, drawn
from federates.grid.dynamics.secondary import SecondaryControl
from federates.grid.native_shedding import NativeShedding, SheddingBlock
from federates.grid.relay import Stage

NATIVE, FED = np.array([[3.0, 1.0]]), np.array([[2.0, -0.5]])


def loads(p_exponent: float, q_exponent: float, v0: float = 1.03, stated: float = 1.01) -> ZipLoads:
    return ZipLoads(NativeModel(p_exponent, q_exponent, 1.5), np.array([v0]), np.array([stated]), NATIVE, FED)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_whole_exponents_are_exact(exponent: float) -> None:
    for v in (0.72, 0.9, 1.0, 1.1):
        p, _ = drawn(loads(exponent, exponent).coefficients(0.0, 1.0), np.array([v]))[0]
        assert p == pytest.approx(2.0 + 3.0 * (v / 1.01) ** exponent, rel=1e-12)


@given(st.floats(0.0, 4.0))
def test_other_exponents_hold_value_and_slope_at_the_start(exponent: float) -> None:
    made = loads(exponent, exponent).coefficients(0.0, 1.0)
    power = [float(drawn(made, np.array([1.03 + dv]))[0, 0]) for dv in (-1e-5, 0.0, 1e-5)]
    assert power[1] == pytest.approx(2.0 + 3.0 * (1.03 / 1.01) ** exponent, rel=1e-9)
    assert (power[2] - power[0]) / 2e-5 == pytest.approx(3.0 * exponent * (1.03 / 1.01) ** exponent / 1.03, rel=1e-4, abs=1e-6)


def test_damping_and_shedding_are_of_native_load_alone() -> None:
    made = loads(0.0, 0.0).coefficients(-0.01, 0.8)
    assert drawn(made, np.array([1.0]))[0] == pytest.approx([2.0 + 3.0 * 0.8 * (1.0 - 0.015), -0.5 + 0.8])


def test_under_the_low_voltage_a_load_is_an_impedance_without_a_jump() -> None:
    made = loads(0.0, 1.0)
    just_above = drawn(made.coefficients(0.0, 1.0), np.array([0.7]))
    assert made.see(np.array([0.69])) and not made.see(np.array([0.71])), "it comes back a little higher than it went"
    low = made.coefficients(0.0, 1.0)
    assert drawn(low, np.array([0.7])) == pytest.approx(just_above) and drawn(low, np.array([0.07])) == pytest.approx(
        just_above / 100
    )
    assert made.see(np.array([0.73]))
    assert drawn(made.coefficients(0.0, 1.0), np.array([0.7])) == pytest.approx(just_above)


def test_islands_live_by_their_machines() -> None:
    """0-1-2 with a machine, 3-4 with a larger one, 5-6 without, 7 alone with one."""
    ends = np.array([0, 1, 3, 5, 2]), np.array([1, 2, 4, 6, 3])
    closed = np.array([True, True, True, True, False])
    found = find_islands(8, ends, closed, np.array([0, 4, 7]), np.array([5.0, 9.0, 1.0]))
    assert np.flatnonzero(found.dead).tolist() == [5, 6, 7] and np.flatnonzero(found.apart).tolist() == [0, 1, 2]
    stopped = find_islands(8, ends, closed, np.array([0, 4, 7]), np.array([5.0, 0.0, 1.0]))
    assert np.flatnonzero(stopped.dead).tolist() == [3, 4, 5, 6, 7] and not stopped.apart.any()


def test_every_inner_step_is_exact_in_seconds_and_nanoseconds_and_divides_the_exchange() -> None:
    for per_s in STEPS_PER_S:
        assert 1_000_000_000 % per_s == 0 and EXCHANGE_NS % (1_000_000_000 // per_s) == 0
        assert sum(1.0 / per_s for _ in range(per_s)) == 1.0


def test_without_andes_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(cases, "version", absent)
    with pytest.raises(DynamicsError, match=r"pip install 'gridtandem\[dynamics\]'"):
        cases.andes_version()


def test_generated_code_is_kept_by_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = []
    for name in ("2.0.0", "2.0.1"):
        monkeypatch.setattr(cases, "version", lambda _package, name=name: name)
        found.append(cases.cache_folder())
    assert found[0] != found[1] and all(folder.is_dir() and tmp_path in folder.parents for folder in found)


def test_a_network_without_machines_is_refused() -> None:
    with pytest.raises(DynamicsError, match="holds no machine data; write one of andes:ieee39, andes:kundur"):
        cases.case_of("pandapower:case39")


def test_secondary_control_integrates_the_error() -> None:
    control = SecondaryControl(60.0, 1e9, 50.0)
    control.advance(1.0, 59.9)
    assert control.advance(1.0, 59.9) == pytest.approx(1e9 * (0.05 + 0.1) / 50.0)


def block(n: int, share: float, quantity: str = "f_hz") -> SheddingBlock:
    return SheddingBlock(Stage("native", n, quantity, 59.5 - 0.2 * n, 100_000_000, 80_000_000), share)  # type: ignore[arg-type]


def test_stages_shed_once_each_and_say_when() -> None:
    shedding = NativeShedding([block(0, 0.05), block(1, 0.1)])
    assert shedding.update(0, 60.0) == [] and shedding.due_ns is None
    assert [row["event"] for row in shedding.update(10_000_000, 59.4)] == ["relay_pickup"] and shedding.due_ns == 110_000_000
    assert [row["event"] for row in shedding.update(110_000_000, 59.4)] == ["relay_operate"] and shedding.kept == 1.0
    (shed,) = shedding.update(200_000_000, 59.4)
    assert shed["event"] == "native_load_shed" and shed["t_relay_ns"] == 190_000_000 and shedding.kept == 0.95
    assert shedding.update(900_000_000, 59.45) == []


def test_more_than_all_and_voltage_stages_are_refused() -> None:
    with pytest.raises(ValueError, match=r"add up to 1\.1 of the native load"):
        NativeShedding([block(0, 0.6), block(1, 0.5)])
    with pytest.raises(ValueError, match="shed by frequency"):
        NativeShedding([block(0, 0.1, "v_pu")])
