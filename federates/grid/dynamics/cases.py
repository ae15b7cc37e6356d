"""The cases that come with ANDES and hold machine data, and where this version keeps the code that it generates."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PREFIX = "andes:"
"""Of the name of a network: `andes:ieee39`."""

CASES: dict[str, str] = {
    "ieee39": "ieee39/ieee39_full.xlsx",
    "kundur": "kundur/kundur_full.xlsx",
    "ieee14": "ieee14/ieee14_full.xlsx",
    "npcc": "npcc/npcc.xlsx",
    "wecc": "wecc/wecc_full.xlsx",
}
"""Name: file among the cases of ANDES. GENROU machines (NPCC: also classical ones) with exciters and governors."""

EXCHANGE_NS = 125_000_000
"""Exchanges are at multiples of this: the shortest time of a power of two of which 1 s and the emergency are multiples."""

STEPS_PER_S = (16, 32, 64, 128, 256)
"""Inner steps that can be asked for; each divides `EXCHANGE_NS` and is a whole number of ns."""

_LAYOUT = 1  # of what is kept beside the generated code


class DynamicsError(RuntimeError):
    """The dynamics engine cannot do what is asked: `kind` is "missing" (ANDES is not installed), "start", "diverged", "unknown" (a
    name), "refused" (an action that the state does not allow) or "process" (the process ended)."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind, self.message = kind, message

    def __str__(self) -> str:
        return self.message


def andes_version() -> str:
    """The installed version, without importing it. DynamicsError "missing" names the extra."""
    try:
        return version("andes")
    except PackageNotFoundError:
        text = "ANDES is not installed; pip install 'gridtandem[dynamics]' (GPL-3.0, runs in a process of its own)"
        raise DynamicsError("missing", text) from None


def case_of(network: str) -> str:
    """`andes:ieee39` -> `ieee39`. DynamicsError "unknown" with what there is."""
    name = network.removeprefix(PREFIX)
    if not network.startswith(PREFIX) or name not in CASES:
        there = ", ".join(PREFIX + case for case in CASES)
        raise DynamicsError("unknown", f"{network!r} holds no machine data; write one of {there}")
    return name


def cache_folder() -> Path:
    """Private to a version of ANDES, of Python and of this layout: versions that share one generate code at every alternation.

    Under XDG_CACHE_HOME, else ~/.cache. It is made; OSError where it cannot be.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "gridtandem" / f"andes-{andes_version()}-python-{platform.python_version()}-{_LAYOUT}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
