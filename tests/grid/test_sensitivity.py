"""Sensitivities against central differences of full solves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from federates.grid.feeder import DerSite, Feeder
from federates.grid.feeder.network import Network
from federates.grid.feeder_library import builtin_feeder
from federates.grid.sensitivity import Equations, Jacobian, der_inputs

P_W, Q_VAR, STEP_VA = 50e3, 10e3, 2e3
SITES = {
    "three phases": tuple(DerSite(f"d{bus}", f"{bus}.1.2.3", 4.16, 400e3) for bus in ("7", "18", "51", "76", "105", "300")),
    "one phase": tuple(
        DerSite(f"d{k}", bus, 2.4, 200e3) for k, bus in enumerate(("7.1", "18.2", "51.3", "76.2", "111.1", "104.3"))
    ),
    "two phases": (DerSite("d26", "26.1.3", 4.16, 200e3), DerSite("d36", "36.1.2", 4.16, 200e3)),
}


@pytest.fixture(params=SITES)
def feeder(request: pytest.FixtureRequest) -> Iterator[Feeder]:
    with Feeder(builtin_feeder("ieee123").with_(der=SITES[request.param], tolerance=1e-9)) as made:
        n = len(made.der_names)
        made.set_der(np.full(n, P_W), np.full(n, Q_VAR))
        made.settle()
        yield made


def differences(feeder: Feeder, read: Callable[[], NDArray[np.complex128]]) -> NDArray[np.complex128]:
    """Central differences of what is read by P, then Q, of every site."""
    n = len(feeder.der_names)
    at, columns = np.concatenate((np.full(n, P_W), np.full(n, Q_VAR))), []
    for k in range(2 * n):
        values = []
        for sign in (1.0, -1.0):
            x = at.copy()
            x[k] += sign * STEP_VA
            feeder.set_der(x[:n], x[n:])
            feeder.solve()
            values.append(read())
        columns.append((values[0] - values[1]) / (2.0 * STEP_VA))
    feeder.set_der(at[:n], at[n:])
    feeder.solve()
    return np.stack(columns, axis=-1)


def head_va(feeder: Feeder) -> complex:
    p, q = feeder.head()
    return complex(p.sum(), q.sum())


def test_head_by_the_adjoint(feeder: Feeder) -> None:
    jacobian = Jacobian(Equations(Network(feeder)))
    assert jacobian.head_va() == pytest.approx(head_va(feeder), rel=1e-9)
    brute = differences(feeder, lambda: np.array(head_va(feeder)))
    np.testing.assert_allclose(jacobian.head(der_inputs(feeder, jacobian.phasor_v)), brute, atol=1e-4)


def test_voltages_and_line_currents(feeder: Feeder) -> None:
    network = Network(feeder)
    jacobian, lines = Jacobian(Equations(network)), network.branch_currents()
    by_input = jacobian.voltages(der_inputs(feeder, jacobian.phasor_v))
    brute = differences(feeder, feeder.node_phasor_v)
    assert np.abs(by_input - brute).max() <= 1e-4 * np.abs(brute).max()
    currents = lines.matrix @ brute
    assert np.abs(lines.matrix @ by_input - currents).max() <= 1e-4 * np.abs(currents).max()


def test_line_currents_are_the_engines(feeder: Feeder) -> None:
    lines = Network(feeder).branch_currents()
    mine = lines.matrix @ feeder.node_phasor_v()
    element = feeder._engine.dss.CktElement
    for line in dict.fromkeys(lines.line):
        rows = [k for k, name in enumerate(lines.line) if name == line]
        feeder._engine.dss.Circuit.SetActiveElement(f"line.{line}")
        told = np.asarray(element.Currents()).view(np.complex128).ravel()[: len(rows)]
        np.testing.assert_allclose(mine[rows], told, atol=1e-6)


def test_curvature_of_the_head_is_that_of_the_sites(feeder: Feeder) -> None:
    """The terms left out, of loads, are the rest."""
    equations = Equations(Network(feeder))
    jacobian = Jacobian(equations)
    n = len(feeder.der_names)
    inputs = der_inputs(feeder, jacobian.phasor_v)
    curvature = jacobian.head_curvature(np.full(n, P_W), np.full(n, Q_VAR), jacobian.voltages(inputs))

    def slopes() -> NDArray[np.complex128]:
        moved = Jacobian(equations)
        return moved.head(der_inputs(feeder, moved.phasor_v))

    brute = differences(feeder, slopes)
    for mine, exact in ((curvature[0], brute.real), (curvature[1], brute.imag)):
        np.testing.assert_allclose(mine, mine.T, rtol=1e-9, atol=1e-20)
        assert np.abs(mine - exact).max() <= 0.25 * np.abs(exact).max()


def test_reading_the_equations_leaves_the_solution_alone(feeder: Feeder) -> None:
    before = feeder.node_phasor_v()
    Jacobian(Equations(Network(feeder)))
    np.testing.assert_array_equal(feeder.node_phasor_v(), before)


def test_a_bus_without_supply_is_no_obstacle() -> None:
    model = builtin_feeder("ieee123").with_(der=SITES["three phases"], open_switches=("sw7", "sw8", "sw5"), tolerance=1e-9)
    with Feeder(model) as feeder:
        assert (feeder.node_v_pu() < 0.01).any()
        jacobian = Jacobian(Equations(Network(feeder)))
        assert np.isfinite(jacobian.head(der_inputs(feeder, np.where(jacobian.phasor_v == 0.0, 1.0, jacobian.phasor_v)))).all()
