"""What a feeder is, apart from any engine: an immutable, picklable description and the typed error."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .script import FeederError, read_script

__all__ = ["DerSite", "FeederError", "FeederModel", "FeederState", "Ltc", "Substation"]


@dataclass(frozen=True)
class Ltc:
    """Load tap changer on the substation's low side: `taps` steps each way over `range_pu`.

    It measures phase a at the low-side terminals, and moves all three phases together. `delay_s` is the time out of band before
    the first move, `tap_delay_s` the time between further moves of the same excursion."""

    v_set_pu: float = 1.0
    band_pu: float = 0.0167  # 2 V on 120 V, the usual bandwidth
    delay_s: float = 30.0
    tap_delay_s: float = 2.0
    range_pu: float = 0.10
    taps: int = 16


@dataclass(frozen=True)
class Substation:
    """Transformer between the transmission bus and the bus at which the file has its source.

    kv_primary: line-to-line transmission voltage. x_pct, r_pct: leakage reactance and total winding resistance in per cent on
    `mva`. `ltc` None: fixed ratio."""

    kv_primary: float
    mva: float
    x_pct: float = 8.0
    r_pct: float = 0.5
    connection: Literal["delta-wye", "wye-wye"] = "delta-wye"
    ltc: Ltc | None = Ltc()


@dataclass(frozen=True)
class DerSite:
    """A place where the DER federate injects: a constant-P,Q generator of ours, 0 W until `Feeder.set_der`.

    bus: with its phases, for instance `76.1.2.3` or `30.2`; kv: line-to-line for two or three phases, line-to-neutral for one;
    s_va: rating."""

    name: str
    bus: str
    kv: float
    s_va: float

    @property
    def phases(self) -> tuple[int, ...]:
        """Phases of the connection, (1, 2, 3) when the bus names none."""
        return tuple(int(n) for n in self.bus.split(".")[1:] if n != "0") or (1, 2, 3)


@dataclass(frozen=True)
class FeederModel:
    """Everything needed to build one feeder, in this process or another.

    vmin_pu, vmax_pu: the band in which a load keeps the model its file gives it (constant P,Q, Z, I, ZIP, CVR). Below vmin_pu and
    above vmax_pu OpenDSS turns it into a constant impedance, which is a kink in P(V); its default band 0.95..1.05 puts that kink
    into normal operation, so the band is always set from here and is part of the hash.
    der_vmin_pu, der_vmax_pu: the same for the generators of `der`.
    load_classes: pairs (load name, class) for `federates.grid.load`; loads not named are of `default_class`.
    tolerance: of the iteration, in per unit of voltage; the engine's own 1e-4 leaves errors of per cents in sensitivities.
    line_unit_km: kilometres per length unit for lines whose unit the file does not give. regulator_delay_s: first-move delay for
    every regulator of the file, None leaves the file's.
    edits: further OpenDSS statements, executed after the file and under the same rules."""

    master: str
    substation: Substation | None = None
    open_switches: tuple[str, ...] = ()
    close_switches: tuple[str, ...] = ()
    base_hz: float = 60.0
    vmin_pu: float = 0.7
    vmax_pu: float = 1.3
    der_vmin_pu: float = 0.5
    der_vmax_pu: float = 1.5
    load_classes: tuple[tuple[str, str], ...] = ()
    default_class: str = "residential"
    der: tuple[DerSite, ...] = ()
    tolerance: float = 1e-6
    line_unit_km: float = 1.0
    regulator_delay_s: float | None = None
    edits: tuple[str, ...] = ()

    def with_(self, **changes: object) -> FeederModel:
        """The same feeder with some fields changed, for instance `model.with_(der=sites)`."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def hash(self) -> str:
        """sha256 (hex) over the contents of every file the master reads and over all fields but the place of the master, so that a
        copy elsewhere has the same hash."""
        digest = hashlib.sha256()
        script = read_script(self.master, self.edits)
        for path in sorted(script.files, key=script.relative):
            content = Path(path).read_bytes()
            digest.update(f"{script.relative(path)}\0{len(content)}\0".encode())
            digest.update(content)
        for field in fields(self):
            if field.name != "master":
                digest.update(f"{field.name}={getattr(self, field.name)!r}\0".encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class FeederState:
    """The discrete state of a feeder. Arrays follow `Feeder.reg_names`, `.capacitor_names` (steps in service) and `.switch_names`
    (closed)."""

    taps: NDArray[np.int32]
    capacitors: NDArray[np.int32]
    switches: NDArray[np.bool_]
    t_s: float
