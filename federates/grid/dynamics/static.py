"""A case of ANDES as constants: what a power flow, a list of names and a second opinion need.

The tables are read by ANDES once per version and kept as JSON beside the generated code, so that `check` and the other processes
of a run have them without starting ANDES.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from federates.grid.dynamics.cases import DynamicsError, cache_folder, case_of

if TYPE_CHECKING:
    from pandapower.auxiliary import pandapowerNet


@dataclass(frozen=True)
class StaticCase:
    """Tables in pu of `base_va` and of the buses' own voltages; generators with the slack among them, in the order of the file.

    A branch: (from, to, r, x, b, tap, shift_rad, closed), its tap at the first bus; a load and a shunt: (bus, p, q), the shunt's at
    1 pu as drawn; a generator: (bus, p, v, rating_va, running). Buses are row numbers.
    """

    name: str
    base_va: float
    f0_hz: float
    bus_names: tuple[str, ...]
    base_kv: tuple[float, ...]
    loads: tuple[tuple[int, float, float], ...]
    shunts: tuple[tuple[int, float, float], ...]
    branches: tuple[tuple[int, int, float, float, float, float, float, bool], ...]
    generators: tuple[tuple[int, float, float, float, bool], ...]
    slack: int
    slack_angle_rad: float

    @classmethod
    def from_json(cls, text: str) -> StaticCase:
        """The inverse of `to_json`."""
        given = json.loads(text)
        for key in ("bus_names", "base_kv"):
            given[key] = tuple(given[key])
        for key in ("loads", "shunts", "branches", "generators"):
            given[key] = tuple(tuple(row) for row in given[key])
        return cls(**given)

    def to_json(self) -> str:
        """Numbers round-trip exactly."""
        return json.dumps(asdict(self))

    def is_transformer(self, row: int) -> bool:
        """Whether a branch joins two voltages, has a tap or shifts."""
        i, j, *_, tap, shift_rad, _ = self.branches[row]
        return self.base_kv[i] != self.base_kv[j] or tap != 1.0 or shift_rad != 0.0

    def windings(self, row: int) -> tuple[int, int]:
        """The buses of a branch; of a transformer the one of higher voltage first."""
        i, j = self.branches[row][:2]
        return (j, i) if self.base_kv[i] < self.base_kv[j] else (i, j)

    def branch_order(self) -> list[int]:
        """Rows of `branches` in the order of a transmission case: lines first, then transformers."""
        return sorted(range(len(self.branches)), key=self.is_transformer)

    def branch_names(self) -> tuple[str, ...]:
        """Names by the rule of `transmission_case`, in `branch_order`."""
        ends = (self.windings(row) for row in self.branch_order())
        return tuple(_numbered(f"{self.bus_names[i]}-{self.bus_names[j]}" for i, j in ends))

    def generator_names(self) -> tuple[str, ...]:
        """Names by the rule of `transmission_case`, in the order of `generators`."""
        return tuple(_numbered(f"G{self.bus_names[row[0]]}" for row in self.generators))


def load_static(network: str) -> StaticCase:
    """The tables of `andes:<case>`; the first time they are read by ANDES. DynamicsError."""
    case = case_of(network)
    if (kept := kept_static(network)) is not None:
        return kept
    from federates.grid.dynamics.client import Dynamics

    with Dynamics(case) as engine:
        static = engine.static
    folder = cache_folder()
    try:
        with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".part", delete=False, encoding="utf-8") as file:
            file.write(static.to_json())
        os.replace(file.name, _path(folder, case))
    except OSError as error:
        raise DynamicsError("start", f"cannot write to {folder} ({error.strerror}); free space, or set XDG_CACHE_HOME") from error
    return static


def kept_static(network: str) -> StaticCase | None:
    """The tables of a case that was read before; None where it was not."""
    path = _path(cache_folder(), case_of(network))
    return StaticCase.from_json(path.read_text(encoding="utf-8")) if path.is_file() else None


def _path(folder: Path, case: str) -> Path:
    return folder / f"{case}.json"


_UNRATED = 1e9
"""Of a transformer's rating, which is the system's base here and none of its own: the cases of ANDES state no ratings."""


def pandapower_net(static: StaticCase) -> pandapowerNet:
    """The case as a pandapower net, whose power flow is that of ANDES (a test holds it to 1e-6 pu)."""
    import numpy as np
    import pandapower as pp

    from federates.grid.transmission_case import RATED_POWER_FACTOR

    net = pp.create_empty_network(f_hz=static.f0_hz, sn_mva=static.base_va / 1e6)
    mva = static.base_va / 1e6
    for name, kv in zip(static.bus_names, static.base_kv, strict=True):
        pp.create_bus(net, kv, name=name)
    for bus, p, q in static.loads:
        pp.create_load(net, bus, p * mva, q * mva)
    for bus, p, q in static.shunts:
        pp.create_shunt(net, bus, q_mvar=q * mva, p_mw=p * mva)
    for k, (bus, p, v, rating_va, running) in enumerate(static.generators):
        if k == static.slack:
            pp.create_ext_grid(
                net, bus, v, float(np.degrees(static.slack_angle_rad)), max_p_mw=RATED_POWER_FACTOR * rating_va / 1e6
            )
        else:
            pp.create_gen(
                net, bus, p * mva, v, sn_mva=rating_va / 1e6, max_p_mw=RATED_POWER_FACTOR * rating_va / 1e6, in_service=running
            )
    for row in static.branch_order():
        i, j, r, x, b, tap, shift_rad, closed = static.branches[row]
        if not static.is_transformer(row):
            ohm = static.base_kv[i] ** 2 / mva
            c_nf = b / ohm / (2.0 * np.pi * static.f0_hz) * 1e9
            pp.create_line_from_parameters(net, i, j, 1.0, r * ohm, x * ohm, c_nf, 99999.0, in_service=closed)
            continue
        # The tap is at the first bus; the impedance is in pu behind it, seen from the second.
        hv, lv = static.windings(row)
        low_first = hv == j
        z = float(np.sign(x) * np.hypot(r, x)) * 100.0
        pp.create_transformer_from_parameters(
            net, hv, lv, mva, static.base_kv[hv], static.base_kv[lv], vkr_percent=r * 100.0, vk_percent=z, pfe_kw=0.0,
            i0_percent=0.0, shift_degree=float(np.degrees(-shift_rad if low_first else shift_rad)), in_service=closed,
            tap_side="lv" if low_first else "hv", tap_neutral=0, tap_pos=1 if tap >= 1.0 else -1,
            tap_step_percent=abs(tap - 1.0) * 100.0, tap_changer_type="Ratio", df=_UNRATED,
        )  # fmt: skip
        # its charging, half on either side of the impedance
        for bus, q in ((i, -b / 2.0 / tap**2), (j, -b / 2.0)):
            if b:
                pp.create_shunt(net, bus, q_mvar=q * mva)
    return net


def _numbered(stems: Iterable[str]) -> list[str]:
    seen: dict[str, int] = {}
    names = []
    for stem in stems:
        seen[stem] = seen.get(stem, 0) + 1
        names.append(stem if seen[stem] == 1 else f"{stem}#{seen[stem]}")
    return names
