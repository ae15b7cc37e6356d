"""A federate made of functions, and a federation of such, for tests that need one certain behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from federates.runtime.federate import S_NS, Coupling, Federate, Federation, Injection, Link, Spec, Step
from federates.runtime.local import run_local
from federates.runtime.port import Port, Sample
from federates.runtime.record import MemoryRecorder

Y, X = Port("y", "W", ("a", "b")), Port("x", "W", ("b",))
IN, OUT = Port("in", kind="event"), Port("out", kind="event")


class Part:
    """Publishes `y` and does at each step what it was told; keeps its calls."""

    def __init__(
        self,
        act: Callable[[int, Mapping[str, Any]], Any] = lambda t_ns, inputs: Step({"y": [t_ns / S_NS, -1.0]}),
        period_ns: int = S_NS,
        inputs: Sequence[Port] = (),
        outputs: Sequence[Port] = (Y, OUT),
        first: Any = None,
    ) -> None:
        self.act, self.period_ns, self.inputs, self.outputs = act, period_ns, inputs, outputs
        self.first = {"y": [0.0, -1.0]} if first is None else first
        self.steps: list[tuple[int, Mapping[str, Any]]] = []
        self.stopped = 0

    def start(self, t_ns: int) -> Any:
        """The first values."""
        return self.first

    def step(self, t_ns: int, inputs: Mapping[str, Any]) -> Any:
        """What it was told."""
        self.steps.append((t_ns, inputs))
        return self.act(t_ns, inputs)

    def stop(self) -> None:
        """Counted."""
        self.stopped += 1

    def times(self) -> list[int]:
        """When it was called."""
        return [t_ns for t_ns, _ in self.steps]


class Solver(Part):
    """y = constant + gain * x; iterable, and a leader. Linear, so that the fixed point is known."""

    def __init__(self, constant: float, gain: float, period_ns: int = S_NS, **more: Any) -> None:
        super().__init__(self._commit, period_ns, (X, IN), **more)
        self.constant, self.gain, self.solves = constant, gain, 0

    def _y(self, inputs: Mapping[str, Any]) -> list[float]:
        return [0.0, self.constant + self.gain * inputs["x"].scalar]

    def _commit(self, t_ns: int, inputs: Mapping[str, Any]) -> Step:
        return Step({"y": self._y(inputs)})

    def solve(self, t_ns: int, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """As a step."""
        self.solves += 1
        assert inputs["in"] == ()
        return {"y": self._y(inputs)}

    def residual(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
        """Change of y."""
        return abs(after["y"][1] - before["y"][1])


def federation(
    names: Sequence[str],
    links: Sequence[Link] = (),
    stop_ns: int = 3 * S_NS,
    injections: Sequence[Injection] = (),
    coupling: Coupling | None = None,
) -> Federation:
    """Names and links; the federates are handed over ready-made."""
    return Federation("test", stop_ns, tuple(Spec(n, "none:none", None) for n in names), tuple(links), tuple(injections), coupling)


def run(federates: Mapping[str, Federate], *links: Link, **more: Any) -> MemoryRecorder:
    """Run ready-made federates; gives the records."""
    recorder = MemoryRecorder()
    run_local(federation(list(federates), links, **more), recorder, federates=federates)
    return recorder


def values(recorder: MemoryRecorder, federate: str, port: str = "y") -> list[tuple[int, list[float]]]:
    """What a port published, with the times."""
    return [(t_ns, sample.values.tolist()) for t_ns, sample in recorder.samples[federate, port]]


def lost(size: int = 1) -> Sample:
    """An input of which nothing is known."""
    return Sample.missing(size)
