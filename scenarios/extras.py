"""What to install where a module is missing that only the extra `hil` of this package brings."""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import find_spec

OF_HIL = {
    "pymodbus": "pymodbus",
    "serial": "pyserial",
    "sunspec2": "pysunspec2",
    "cryptography": "cryptography",
    "opendnp3": "yadnp3",
}
"""Modules that the extra brings, and the packages they are in. (ANDES, of `dynamics`, is never imported: it tells of itself.)"""
_SPOKEN_BY = {"modbus": "pymodbus", "dnp3": "opendnp3"}


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """What is missing and how to get it; None where it is no module of the extra."""
    return _told((error.name or "").partition(".")[0])


def devices_lack(protocols: Collection[str]) -> str | None:
    """What is missing for devices of these protocols, and how to get it; None where all is there. Nothing is imported."""
    needed = ["cryptography", *(module for protocol, module in _SPOKEN_BY.items() if protocol in protocols)]
    return next((_told(module) for module in needed if find_spec(module) is None), None)


def _told(module: str) -> str | None:
    return f"{OF_HIL[module]} is not installed; pip install 'gridtandem[hil]'" if module in OF_HIL else None
