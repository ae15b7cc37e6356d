"""Federates that do nothing but what a benchmark asks for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from federates.runtime.federate import S_NS, Federation, Link, Spec, Step
from federates.runtime.port import Inputs, Outputs, Port


@dataclass(frozen=True)
class Toy:
    """`work_s`: processor time a step. `size`: values published, on one port or, `scattered`, on a port each."""

    name: str
    work_s: float = 0.0
    size: int = 1
    scattered: bool = False
    reads: bool = True


class ToyFederate:
    """Takes what its neighbour published, works, publishes."""

    def __init__(self, params: Toy) -> None:
        self.params = params
        self.period_ns = S_NS
        names = [f"x{i}" for i in range(params.size)]
        ids = tuple(names)
        self.outputs: Sequence[Port] = tuple(Port(n) for n in names) if params.scattered else (Port("x", ids=ids),)
        inputs = tuple(Port(f"in_{p.name}", ids=p.ids) for p in self.outputs)
        self.inputs: Sequence[Port] = inputs if params.reads else ()
        self._values = np.arange(float(params.size))

    def start(self, t_ns: int) -> Outputs:
        return self._answer()

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        until = time.thread_time() + self.params.work_s
        while time.thread_time() < until:
            pass
        return Step(self._answer())

    def stop(self) -> None:
        """Nothing to release."""

    def _answer(self) -> Outputs:
        if self.params.scattered:
            return {f"x{i}": self._values[i : i + 1] for i in range(self.params.size)}
        return {"x": self._values}


def ring(count: int, work_s: float, stop_s: int, groups: Sequence[Sequence[int]], *, closed: bool = True) -> Federation:
    """`count` federates, each of which reads its neighbour; the first reads the last where it is `closed`."""
    specs = tuple(Spec(f"f{i}", "tests.bench.toys:ToyFederate", Toy(f"f{i}", work_s)) for i in range(count))
    links = tuple(Link(f"f{i}", "x", f"f{(i + 1) % count}", "in_x") for i in range(count if closed else count - 1))
    named = {f"g{k}": tuple(f"f{i}" for i in members) for k, members in enumerate(groups)}
    return Federation("ring", stop_s * S_NS, specs, links, groups=named, record=frozenset(), window_ns=2 * S_NS)


def pair(size: int, scattered: bool, stop_s: int, groups: Sequence[Sequence[str]]) -> Federation:
    """A federate that publishes `size` values a step, and one that takes them."""
    toys = Toy("meters", size=size, scattered=scattered, reads=False), Toy("ami", size=size, scattered=scattered)
    specs = tuple(Spec(toy.name, "tests.bench.toys:ToyFederate", toy) for toy in toys)
    ports = [f"x{i}" for i in range(size)] if scattered else ["x"]
    links = tuple(Link("meters", port, "ami", f"in_{port}") for port in ports)
    named = {f"g{k}": tuple(members) for k, members in enumerate(groups)}
    return Federation("pair", stop_s * S_NS, specs, links, groups=named, record=frozenset())
