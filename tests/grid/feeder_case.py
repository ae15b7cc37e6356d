"""Feeders for tests: the IEEE 123 with two DER, and a small network of one's own."""

from __future__ import annotations

from pathlib import Path

from federates.grid.feeder import DerSite, Feeder

SITES = (DerSite("pv1", "76.1.2.3", 4.16, 500e3), DerSite("pv2", "30.3", 2.4, 100e3))


def total(feeder: Feeder) -> complex:
    p, q = feeder.head()
    return complex(p.sum(), q.sum())


def write(folder: Path, text: str, name: str = "master.dss") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def small_network(folder: Path, hz: int = 60, source_kv: float = 12.47, load: str = "model=1", extra: str = "") -> str:
    return write(
        folder,
        f"""clear
        new circuit.small basekv={source_kv} bus1=head pu=1.0
        new line.l1 bus1=head bus2=mid r1=0.2 x1=0.4 r0=0.6 x0=1.2 c1=0 c0=0 length=2 units=km
        new line.sw1 bus1=mid bus2=end switch=yes
        new load.ld bus1=end kv={source_kv} kw=1000 kvar=300 {load}
        {extra}
        set voltagebases=[{source_kv}]
        calcv
        """,
    )
