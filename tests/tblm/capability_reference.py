"""The exact P-Q region of the case by AC optimal power flow: casadi and IPOPT over the full nodal equations.

Independent of what it judges: its own OpenDSS context, read for the passive network only (loads out of the circuit), and its own
equations of loads, inverters and limits. `python -m tests.tblm.capability_reference 256` writes the golden file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import casadi as ca
import numpy as np
import opendssdirect
import scipy.sparse as sp
from numpy.typing import NDArray

from tests.tblm import capability_case as case

Floats = NDArray[np.float64]
GOLDEN = Path(__file__).parents[1] / "golden" / "capability_ieee123" / "exact_region.json"


class ExactRegion:
    """The optimal power flow of the case. Voltages are per unit of each node's base, powers in MW and Mvar, currents in kA."""

    def __init__(self) -> None:
        dss = _network()
        names = [str(name).lower() for name in dss.Circuit.YNodeOrder()]
        self.node = {name: k for k, name in enumerate(names)}
        n = len(names)
        kv = np.array([_base_kv(dss, name) for name in names])
        loads = _loads(dss)
        dss.Text.Command("batchedit load..* enabled=no")
        dss.Text.Command("disable vsource.source")
        dss.Text.Command("new vsource.tiny phases=3 bus1=150.1.2.3 basekv=4.16 r1=0 x1=1e6 r0=0 x0=1e6")
        dss.Solution.Solve()
        assert [str(name).lower() for name in dss.Circuit.YNodeOrder()] == names
        y = sp.csc_matrix(dss.YMatrix.getYsparse(), shape=(n, n))
        vr, vi = ca.MX.sym("vr", n), ca.MX.sym("vi", n)
        m = len(case.BUSES)
        p, q, direction = ca.MX.sym("p", m), ca.MX.sym("q", m), ca.MX.sym("d", 2)
        of_pu = y @ sp.diags(kv)
        real, imaginary = _dm(of_pu.real), _dm(of_pu.imag)
        into_r, into_i = real @ vr - imaginary @ vi, real @ vi + imaginary @ vr
        out_r, out_i = [0.0] * n, [0.0] * n

        def draw(a: int, b: int | None, current: Any) -> None:
            for at, sign in ((a, 1.0), (b, -1.0)):
                if at is not None:
                    out_r[at], out_i[at] = out_r[at] + sign * current[0], out_i[at] + sign * current[1]

        for a, b, s, rated_kv, model in loads:
            ur = kv[a] * vr[a] - (kv[b] * vr[b] if b is not None else 0.0)
            ui = kv[a] * vi[a] - (kv[b] * vi[b] if b is not None else 0.0)
            square = ur**2 + ui**2
            of = {1: 1.0 / square, 2: 1.0 / rated_kv**2, 5: 1.0 / (ca.sqrt(square) * rated_kv)}[model]
            draw(a, b, ((s.real * ur + s.imag * ui) * of, (s.real * ui - s.imag * ur) * of))  # conj(s) u / |u|^2 and so on
        for k, bus in enumerate(case.BUSES):
            for phase in "123":
                a = self.node[f"{bus}.{phase}"]
                ur, ui = kv[a] * vr[a], kv[a] * vi[a]
                square = 3.0 * (ur**2 + ui**2)
                draw(a, None, (-(p[k] * ur + q[k] * ui) / square, -(p[k] * ui - q[k] * ur) / square))
        source = [self.node[f"150.{phase}"] for phase in "123"]
        inner = [k for k in range(n) if k not in source]
        balance = ca.vertcat(*[into_r[k] + out_r[k] for k in inner], *[into_i[k] + out_i[k] for k in inner])
        head = ca.vertcat(
            sum(kv[k] * (vr[k] * into_r[k] + vi[k] * into_i[k]) for k in source),
            sum(kv[k] * (vi[k] * into_r[k] - vr[k] * into_i[k]) for k in source),
        )
        matrix, i_max_ka = _line_currents(dss, self.node)
        of_pu = matrix @ sp.diags(kv)
        cr, ci = _dm(of_pu.real), _dm(of_pu.imag)
        flow = (cr @ vr - ci @ vi) ** 2 + (cr @ vi + ci @ vr) ** 2
        g = ca.vertcat(balance, vr[inner] ** 2 + vi[inner] ** 2, flow, p**2 + q**2)
        self._low = np.concatenate(
            (np.zeros(2 * len(inner)), np.full(len(inner), case.V_PU[0] ** 2), np.full(i_max_ka.size + m, -np.inf))
        )
        self._high = np.concatenate(
            (
                np.zeros(2 * len(inner)),
                np.full(len(inner), case.V_PU[1] ** 2),
                i_max_ka**2,
                np.full(m, (case.S_VA / 1e6) ** 2),
            )
        )
        angle = np.array([0.0, -2.0, 2.0])[[int(name[-1]) - 1 for name in names]] * np.pi / 3.0
        self._start = np.concatenate((np.cos(angle), np.sin(angle), np.full(m, case.P_NOW_W / 1e6), np.zeros(m)))
        fixed = np.concatenate((source, n + np.array(source))).astype(int)
        self._x_low, self._x_high = np.full(2 * n + 2 * m, -2.0), np.full(2 * n + 2 * m, 2.0)
        self._x_low[fixed] = self._x_high[fixed] = self._start[fixed]
        self._x_low[2 * n : 2 * n + m], self._x_high[2 * n : 2 * n + m] = 0.0, case.P_MAX_W / 1e6
        self._m = m
        x = ca.vertcat(vr, vi, p, q)
        self._x, self._g = x, g
        options = {"ipopt.print_level": 0, "print_time": 0, "ipopt.tol": 1e-9, "ipopt.sb": "yes", "ipopt.max_iter": 300}
        self._solver = ca.nlpsol("region", "ipopt", {"x": x, "f": -ca.dot(direction, head), "g": g, "p": direction}, options)
        self._head = ca.Function("head", [x], [head])

    def extreme(self, direction: Floats, start: Floats | None = None) -> tuple[Floats, Floats] | None:
        """(head P and Q in W and var, solution to start another from) farthest in a direction; None where IPOPT finds none."""
        found = self._solver(
            x0=self._start if start is None else start,
            p=direction, lbx=self._x_low, ubx=self._x_high, lbg=self._low, ubg=self._high,
        )  # fmt: skip
        if not self._solver.stats()["success"]:
            return None
        x = np.array(found["x"]).ravel()
        return np.array(self._head(x)).ravel() * 1e6, x


def _dm(matrix: sp.spmatrix) -> Any:
    """A sparse matrix as casadi's."""
    ordered = sp.csc_matrix(matrix)
    ordered.sort_indices()
    return ca.DM(ordered)


def _base_kv(dss: Any, node: str) -> float:
    dss.Circuit.SetActiveBus(node.rsplit(".", 1)[0])
    return float(dss.Bus.kVBase())


def _network() -> Any:
    dss = opendssdirect.NewContext()
    dss.Basic.AllowChangeDir(False)
    dss.Text.Command(f'redirect "{case.ieee123_model().master}"')
    for line in ("sw7", "sw8"):
        dss.Text.Command(f"disable line.{line}")
    dss.Text.Command("set controlmode=off")
    dss.Solution.Solve()
    for name, tap in case.TAPS.items():
        dss.RegControls.Name(name)
        dss.RegControls.TapNumber(tap)
    dss.Solution.Solve()
    return dss


def _loads(dss: Any) -> list[tuple[int, int | None, complex, float, int]]:
    """(node, other node or None for ground, MVA, nominal kV, model) of each branch of each load."""
    node = {str(name).lower(): k for k, name in enumerate(dss.Circuit.YNodeOrder())}
    out: list[tuple[int, int | None, complex, float, int]] = []
    for name in dss.Loads.AllNames():
        dss.Loads.Name(name)
        phases, kv, model, delta = dss.Loads.Phases(), dss.Loads.kV(), int(dss.Loads.Model()), dss.Loads.IsDelta()
        bus, *given = dss.CktElement.BusNames()[0].lower().split(".")
        at = [node[f"{bus}.{phase}"] for phase in (given or ["1", "2", "3"]) if phase != "0"]
        if not delta:
            pairs: list[tuple[int, int | None]] = [(a, None) for a in at[:phases]]
        elif phases == 1:
            pairs = [(at[0], at[1])]
        else:
            pairs = [(at[0], at[1]), (at[1], at[2]), (at[2], at[0])]
        base = kv if delta or phases == 1 else kv / np.sqrt(3.0)
        s = complex(dss.Loads.kW(), dss.Loads.kvar()) / 1e3 / len(pairs)
        out += [(a, b, s, base, model) for a, b in pairs]
    return out


def _line_currents(dss: Any, node: dict[str, int]) -> tuple[sp.csr_matrix, Floats]:
    """Currents into the first terminal of every line in kA per kV, and their limits."""
    rows, limits = [], []
    for name in dss.Lines.AllNames():
        dss.Circuit.SetActiveElement(f"line.{name}")
        if not dss.CktElement.Enabled():
            continue
        y = np.asarray(dss.CktElement.YPrim()).view(complex).ravel()
        order = round(y.size**0.5)
        y = y.reshape(order, order).T
        at = []
        for end in dss.CktElement.BusNames():
            bus, *phases = end.lower().split(".")
            at += [node[f"{bus}.{phase}"] for phase in (phases or ["1", "2", "3"]) if phase != "0"]
        for k in range(order // 2):
            row = np.zeros(len(node), complex)
            np.add.at(row, at, y[k])
            rows.append(row)
            limits.append(case.NEAR_SOURCE_A.get(name.lower(), case.I_A) / 1e3)
    return sp.csr_matrix(np.array(rows)), np.array(limits)


def corner(u: Floats, a: Floats, w: Floats, b: Floats) -> Floats:
    """Where the lines u.z = u.a and w.z = w.b meet."""
    met: Floats = np.linalg.solve(np.stack((u, w)), np.array((u @ a, w @ b)))
    return met


def outer_polygon(directions: Floats, points: Floats) -> Floats:
    """The corners of what no point of a convex region can leave whose farthest points these are; directions by rising angle."""
    after = np.roll(directions, -1, axis=0), np.roll(points, -1, axis=0)
    return np.array([corner(u, a, w, b) for u, a, w, b in zip(directions, points, *after, strict=True)])


def main() -> None:
    """Write the golden file: farthest points by direction, each direction where inner and outer polygon are farthest apart."""
    region, found, last = ExactRegion(), dict[float, Floats](), None
    wanted = [k * np.pi / 4.0 for k in range(8)]
    while len(found) < int(sys.argv[1]):
        if not wanted:
            angles = sorted(found)
            gaps = []
            for a, b in zip(angles, [*angles[1:], angles[0] + 2.0 * np.pi], strict=True):
                first, second = found[a], found[b % (2.0 * np.pi)]
                chord = second - first
                met = corner(_unit(a), first, _unit(b), second) - first
                gaps.append((abs(chord[0] * met[1] - chord[1] * met[0]), np.arctan2(-chord[0], chord[1]) % (2.0 * np.pi)))
            wanted = [float(max(gaps)[1])]
        angle = wanted.pop()
        tried = [x for x in (region.extreme(_unit(angle)), region.extreme(_unit(angle), last)) if x is not None]
        best, last = max(tried, key=lambda x: float(_unit(angle) @ x[0]))
        found[angle] = best
    rows = [[round(angle, 9), *(round(float(value), 1) for value in found[angle])] for angle in sorted(found)]
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    GOLDEN.write_text(json.dumps({"source": __doc__.split("\n")[0], "angle_rad, P_W, Q_var": rows}, indent=0) + "\n")


def _unit(angle: float) -> Floats:
    return np.array((np.cos(angle), np.sin(angle)))


if __name__ == "__main__":
    main()
