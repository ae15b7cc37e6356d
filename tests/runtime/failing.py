"""Federates that go wrong on purpose, each in one way, at a given simulated time: what the supervisor must survive."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from federates.runtime.federate import MS_NS, S_NS, Federation, Link, Spec, Step
from federates.runtime.port import Port

AT_NS = 20 * MS_NS


@dataclass(frozen=True, slots=True)
class Misdeed:
    """What a federate does (a key of MISDEEDS, or a place: build, start, stop), and how long each of its steps takes."""

    does: str = "nothing"
    step_s: float = 0.0


def _raise() -> None:
    raise ValueError("the tap changer is stuck")


def _hang() -> NoReturn:
    while True:
        time.sleep(0.01)


def _hang_holding_the_interpreter() -> None:
    ctypes.PyDLL(None).sleep(1000)  # PyDLL, unlike CDLL, keeps the lock


def _leave_a_child_and_raise() -> None:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", f"left-by-{os.getppid()}"])
    raise ValueError("after starting a child")


def _stop_granting() -> None:
    from federates.runtime.seat import Seat

    Seat.next_call_ns = lambda self: _hang()  # type: ignore[method-assign]


def _fill_the_disk() -> None:
    """No file of this process can grow beyond 4 kB any more."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


MISDEEDS: Mapping[str, Callable[[], None]] = {
    "raise": _raise,
    "sys.exit": lambda: sys.exit(0),
    "os._exit": lambda: os._exit(0),
    "crash": os.abort,
    "hang": _hang,
    "hang in C": _hang_holding_the_interpreter,
    "child": _leave_a_child_and_raise,
    "no grant": _stop_granting,
    "full disk": _fill_the_disk,
}


class Culprit:
    """Adds one to what its neighbour said, and goes wrong at AT_NS."""

    period_ns = 10 * MS_NS
    inputs = (Port("x", "W"),)
    outputs = (Port("y", "W"),)

    def __init__(self, params: Misdeed) -> None:
        self.params = params
        self._at("build")

    def _at(self, place: str) -> None:
        if self.params.does == f"raise in {place}":
            raise ValueError(f"no {place}")
        if self.params.does == f"hang in {place}":
            _hang()

    def start(self, t_ns: int) -> dict[str, Any]:
        """First value, or a failure to start."""
        self._at("start")
        return {"y": 0.0}

    def step(self, t_ns: int, inputs: Mapping[str, Any]) -> Step:
        """One more, or the misdeed."""
        time.sleep(self.params.step_s)
        if t_ns == AT_NS and self.params.does in MISDEEDS:
            print(f"about to do: {self.params.does}")
            MISDEEDS[self.params.does]()
        return Step({"y": np.nan_to_num(inputs["x"].values) % 1000.0 + 1.0})

    def stop(self) -> None:
        """Nothing to release, or a failure to do so."""
        self._at("stop")


def ring(
    does: str = "nothing",
    *,
    stop_ns: int = S_NS // 2,
    step_s: float = 0.0,
    watchdog_ns: int = 30 * S_NS,
    start_limit_ns: int = 120 * S_NS,
) -> Federation:
    """Three federates in a ring and in two processes; `b` is the culprit and shares its process with `a`."""
    specs = tuple(Spec(name, "failing:Culprit", Misdeed(does if name == "b" else "nothing", step_s)) for name in "abc")
    links = tuple(Link(source, "y", target, "x") for source, target in ("ab", "bc", "ca"))
    groups = {"pair": ("a", "b"), "single": ("c",)}
    return Federation("ring", stop_ns, specs, links, groups=groups, watchdog_ns=watchdog_ns, start_limit_ns=start_limit_ns)


def chain(
    culprit: str = "a",
    does: str = "nothing",
    *,
    stop_ns: int = S_NS // 2,
    steps_s: tuple[float, float, float] = (0.0, 0.0, 0.0),
    watchdog_ns: int = 30 * S_NS,
    window_ns: int = 100 * MS_NS,
) -> Federation:
    """Three federates, each in a process of its own, that run ahead of each other: `a` feeds `b`, and `b` feeds `c`."""
    specs = tuple(
        Spec(name, "failing:Culprit", Misdeed(does if name == culprit else "nothing", step_s))
        for name, step_s in zip("abc", steps_s, strict=True)
    )
    links = tuple(Link(source, "y", target, "x") for source, target in ("ab", "bc"))
    groups = {"top": ("a",), "middle": ("b",), "bottom": ("c",)}
    return Federation("chain", stop_ns, specs, links, groups=groups, watchdog_ns=watchdog_ns, window_ns=window_ns)
