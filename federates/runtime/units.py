"""The closed table of units. Checked once when a link is made, never per sample."""

from __future__ import annotations

UNITS: dict[str, str] = {
    "1": "a number: per unit, a tap, a state, a count",
    "W": "active power",
    "var": "reactive power",
    "VA": "apparent power",
    "V": "voltage",
    "A": "current",
    "Hz": "frequency",
    "rad": "angle",
    "s": "time",
    "Wh": "energy",
    "varh": "reactive energy",
    "W/m2": "irradiance",
    "degC": "temperature",
    "USD/MWh": "price",
    "pu": "per unit of the nominal value named in the port's doc",
    "%": "hundredth parts",
}


def check_unit(unit: str, where: str) -> None:
    """ValueError, naming `where`, for a unit that is not in the table."""
    if unit not in UNITS:
        raise ValueError(f"{where}: unit '{unit}' is not known; use one of {', '.join(UNITS)}")


def check_same(source: str, target: str, where: str) -> None:
    """ValueError, naming the link `where`, when two units differ. There are no silent conversions."""
    check_unit(source, where)
    check_unit(target, where)
    if source != target:
        raise ValueError(f"{where}: unit {source} cannot feed unit {target}; link ports of one unit")
