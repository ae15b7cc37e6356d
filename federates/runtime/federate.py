"""The contract that every federate satisfies, and how one is described before it exists."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from federates.runtime.port import Inputs, Outputs, Port

S_NS = 1_000_000_000
MS_NS = 1_000_000
US_NS = 1_000
DEFAULT_EVENT_DELAY_NS = MS_NS


@dataclass(frozen=True, slots=True)
class Step:
    """What a step gives: values to publish, and when to be called again beside its periods (at the next whole microsecond).

    A new wish takes the place of one that is still open; None leaves that as it is.
    """

    outputs: Outputs = field(default_factory=dict)
    next_ns: int | None = None


@runtime_checkable
class Federate(Protocol):
    """A part of the simulated world. A Protocol, not a base class.

    It is called at multiples of `period_ns`, at a `next_ns` it asked for, and when an event reaches one of its event ports;
    never otherwise, and always on a whole microsecond. `start` gives the first value of every vector output. `step` publishes, and
    must not change its inputs, print, sleep or open sockets.
    """

    @property
    def period_ns(self) -> int: ...
    @property
    def inputs(self) -> Sequence[Port]: ...
    @property
    def outputs(self) -> Sequence[Port]: ...

    def start(self, t_ns: int) -> Outputs: ...
    def step(self, t_ns: int, inputs: Inputs) -> Step: ...
    def stop(self) -> None: ...


@runtime_checkable
class Iterable(Federate, Protocol):
    """A federate that can be asked again at the same instant: `solve` answers as `step` would, and changes no state.

    `solve` may be called any number of times; the `step` that follows commits.
    """

    def solve(self, t_ns: int, inputs: Inputs) -> Outputs: ...


@runtime_checkable
class Leader(Iterable, Protocol):
    """The iterable federate that decides when a coupled group has converged (the transmission system)."""

    def residual(self, before: Outputs, after: Outputs) -> float:
        """Largest change between two answers of `solve`, in the unit of the scenario's tolerance (pu of voltage)."""
        ...


@dataclass(frozen=True, slots=True)
class Spec:
    """A federate before it exists: enough to build it in any process.

    `factory` is `module:name` of a callable that takes `params` (a frozen, picklable dataclass) and returns a Federate.
    """

    name: str
    factory: str
    params: Any

    def build(self) -> Federate:
        """Import the factory and make the federate."""
        module, _, attribute = self.factory.partition(":")
        federate: Federate = getattr(importlib.import_module(module), attribute)(self.params)
        return federate


@dataclass(frozen=True, slots=True)
class Link:
    """From an output port to an input port of the same kind and unit.

    A vector's destination may name a subset of the source's ids, in any order.
    `delay_ns` is for events only and is never 0, so that both runners deliver at the same call.
    """

    source: str
    source_port: str
    target: str
    target_port: str
    delay_ns: int = DEFAULT_EVENT_DELAY_NS


@dataclass(frozen=True, slots=True)
class Injection:
    """An event that the scenario itself sends: `payload` reaches `target.target_port` at `t_ns`."""

    t_ns: int
    target: str
    target_port: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Coupling:
    """Which federates answer each other at an instant: iterated at t = 0 and, with `always`, at each period.

    They share one period. `tolerance` is in the unit of the leader's `residual`; failing it in `max_iterations` ends the run.
    """

    leader: str
    followers: tuple[str, ...]
    always: bool = False
    tolerance: float = 1e-6
    max_iterations: int = 20


@dataclass(frozen=True, slots=True)
class Companion:
    """A process beside the workers that hosts no federate (`companion.py`): a gatekeeper of devices, or a stand-in for one.

    `factory` is `module:name` of a callable (params, host) that returns when it has ended in good order; `params` must be
    picklable.
    """

    name: str
    factory: str
    params: Any
    ends_last: bool = False


@dataclass(frozen=True, slots=True)
class Federation:
    """A whole federation, ready to be run by either runner. `groups` maps a process name to the names of its federates.

    `record` holds `federate.port` names (exact) whose values are written to the run directory; events and documents always are.
    Processes that may run ahead of each other exchange every `window_ns` (`ahead.py`); it changes no result.
    `real_time` holds every process to the clock on the wall. `companions` run beside, for the supervised runners only.
    """

    name: str
    stop_ns: int
    specs: tuple[Spec, ...]
    links: tuple[Link, ...]
    injections: tuple[Injection, ...] = ()
    coupling: Coupling | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    record: frozenset[str] | None = None
    watchdog_ns: int = 30 * S_NS
    start_limit_ns: int = 120 * S_NS
    window_ns: int = 10 * S_NS
    real_time: bool = False
    companions: tuple[Companion, ...] = ()

    def spec(self, name: str) -> Spec:
        """The spec of that name; KeyError when there is none."""
        for spec in self.specs:
            if spec.name == name:
                return spec
        raise KeyError(name)


class FederationError(Exception):
    """The federation cannot be built or run as described: links that do not fit, a layout that differs, a bad granted time."""


class FederateFailure(Exception):
    """A federate failed: which, at what simulated time, doing what."""

    def __init__(self, federate: str, t_ns: int, doing: str, cause: str) -> None:
        super().__init__(f"federate {federate} failed in {doing} at t = {t_ns / S_NS:.9g} s: {cause}")
        self.federate, self.t_ns, self.doing, self.cause = federate, t_ns, doing, cause
