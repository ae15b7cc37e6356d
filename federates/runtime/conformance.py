"""`check_federate()`: what every federate must satisfy, tried on the federate itself. Public, so that third parties test their own.

    findings = check_federate(Spec("mine", "my_package.mine:MyFederate", MyParams(...)))
    assert not findings, findings

The rules, by the name that a finding carries:
    ports       names, ids and kinds are sound, units are known
    period      a positive whole number of microseconds
    start       it is built from its parameters; the first value of every vector output
    step        it raises nothing
    outputs     declared, of the right size, finite or flagged, JSON where they are events or documents
    repeatable  same inputs from the same start give the same bits
    inputs      they are not changed
    next        a later time is asked for, or none
    lost        LOST inputs (NaN) are handled, and what follows from them is flagged
    events      an unknown action is refused or ignored
    twice       a second step at one instant works
    stop        it works after a run, and before a start
    solve       (Iterable) `solve` repeats itself and changes no state
    rebuild     the same bits in another process
"""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from federates.runtime.answer import alike, bits_of, wrong_outputs
from federates.runtime.federate import MS_NS, S_NS, US_NS, Federate, Iterable, Spec
from federates.runtime.port import NO_DOCUMENT, Document, Event, Port, Sample, by_name, canonical_json
from federates.runtime.units import check_unit

Make = Callable[[], Federate] | Spec
InputGenerator = Callable[[Port, int], Any]
"""(port, t_ns) -> Sample or array for a vector, text for a document, payloads for events; None for what `plausible` gives."""

_PLAUSIBLE: Mapping[str, tuple[float, float]] = {
    # unit: (low, high) of the values that are tried where the caller names none
    "1": (0.0, 1.0),
    "pu": (0.95, 1.05),
    "Hz": (59.9, 60.1),
    "rad": (-0.2, 0.2),
    "V": (110.0, 130.0),
    "degC": (10.0, 30.0),
    "W/m2": (0.0, 1000.0),
    "%": (0.0, 100.0),
}
_KINDS = ("vector", "document", "event")
_CHILD_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that a federate breaks: the rule, where (a port, a call), and what is wrong and what to do."""

    rule: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.where}: {self.message}"


class ConformanceError(Exception):
    """A federate breaks rules; `findings` has all of them."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("\n".join(map(str, findings)))
        self.findings = tuple(findings)


def plausible(port: Port, t_ns: int) -> Any:
    """Values of a common size for the port's unit, different at each time, the same in every run; no events, no document."""
    if port.kind != "vector":
        return () if port.kind == "event" else None
    low, high = _PLAUSIBLE.get(port.unit, (100.0, 1000.0))
    digest = hashlib.sha256(f"{port.name}/{t_ns}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little")).uniform(low, high, port.size)


def require_conformance(make: Make, inputs: InputGenerator | None = None, **options: Any) -> None:
    """`check_federate` with the same arguments, raising ConformanceError with all findings where there is one."""
    findings = check_federate(make, inputs, **options)
    if findings:
        raise ConformanceError(findings)


def check_federate(
    make: Make,
    inputs: InputGenerator | None = None,
    *,
    periods: int = 4,
    solve_tolerance: float = 0.0,
    process: bool = True,
) -> list[Finding]:
    """Everything that is wrong with a federate; an empty list when it conforms.

    make: its Spec, or a callable that makes a new one at each call.
    inputs: values to try it with where `plausible` ones make no sense for it; a function of a module when `process` is set.
    periods: how many to walk before and after a stretch of 20 ms steps; more for a federate that acts only after many.
    solve_tolerance: how far two solves of the same inputs may be apart, in parts of a port's largest value: 0 asks for the same
        bits, a solver that starts from its last solution needs its own tolerance.
    process: build it in another process too, which needs a Spec or a callable that can be pickled; without it the rule `rebuild`
        is not tried.
    """
    trial = _Trial(make, inputs, periods)
    try:
        with trial.federate() as federate:
            findings, iterable = _ports(federate) + _period(federate), isinstance(federate, Iterable)
    except Exception as error:
        return [Finding("start", "build", f"{_said(error)}; a federate is built from its parameters alone")]
    if findings:
        return findings
    findings, first = trial.run()
    if findings:
        return findings
    again = trial.run()[1]
    findings += _same(
        first, again, "repeatable", "of two federates made alike; use a seed of the parameters, no clock, no shared state"
    )
    findings += trial.lost() + trial.unknown_events() + trial.twice() + trial.stop()
    if iterable:
        findings += trial.solve(solve_tolerance)
    if process:
        findings += _rebuild(trial, first)
    return findings


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _times(period_ns: int, periods: int) -> Iterator[int]:
    """When the federate is called: at periods, then every 20 ms as in an emergency, then at periods again, and once between two."""
    yield from (k * period_ns for k in range(periods))
    sub_ns, fine_ns = min(20 * MS_NS, period_ns), (periods - 1) * period_ns
    yield from (fine_ns + k * sub_ns for k in range(1, 6))
    coarse_ns = fine_ns + (5 * sub_ns // period_ns + 1) * period_ns
    yield coarse_ns
    yield coarse_ns + US_NS
    yield from (coarse_ns + k * period_ns for k in range(1, periods + 1))


def _ports(federate: Federate) -> list[Finding]:
    findings = []
    for side, ports in (("inputs", federate.inputs), ("outputs", federate.outputs)):
        try:
            by_name(ports)
        except ValueError as error:
            findings.append(Finding("ports", side, f"{error}; give each port of a side its own name"))
        for port in ports:
            where = f"{side} {port.name}"
            if port.kind not in _KINDS:
                findings.append(Finding("ports", where, f"kind '{port.kind}' is not known; use one of {', '.join(_KINDS)}"))
            if len(set(port.ids)) != len(port.ids):
                findings.append(Finding("ports", where, "an id is used twice; ids name the values, one each"))
            try:
                check_unit(port.unit, where)
            except ValueError as error:
                findings.append(Finding("ports", where, str(error)))
    return findings


def _period(federate: Federate) -> list[Finding]:
    period = federate.period_ns
    if type(period) is not int or period <= 0 or period % US_NS:
        return [Finding("period", "period_ns", f"{period!r} ns; give a positive whole number of microseconds, as an int")]
    return []


@dataclass(frozen=True, slots=True)
class _Trial:
    """A federate and what it is tried with."""

    make: Make
    given: InputGenerator | None
    periods: int

    def build(self) -> Federate:
        return self.make.build() if isinstance(self.make, Spec) else self.make()

    @contextmanager
    def federate(self) -> Iterator[Federate]:
        """A new federate, stopped at the end: it may hold files or a solver."""
        federate = self.build()
        try:
            yield federate
        finally:
            with suppress(Exception):  # the rule `stop` reports it
                federate.stop()

    def inputs(self, federate: Federate, t_ns: int) -> dict[str, Any]:
        """Complete inputs of a call, with arrays of their own that can be written, so that writing shows."""
        made: dict[str, Any] = {}
        for number, port in enumerate(federate.inputs):
            value = self.given(port, t_ns) if self.given else None
            if value is None:
                value = plausible(port, t_ns)
            if port.kind == "vector":
                sample = value if isinstance(value, Sample) else Sample.of(value, t_ns)
                made[port.name] = Sample(sample.values.copy(), sample.t_ns, sample.quality.copy())
            elif port.kind == "document":
                text = value if isinstance(value, str) or value is None else canonical_json(value)
                made[port.name] = Document(text, t_ns, 1) if text else NO_DOCUMENT
            else:
                made[port.name] = tuple(Event(t_ns, f"trial.{number}", t_ns + k + 1, dict(p)) for k, p in enumerate(value))
        return made

    def run(self) -> tuple[list[Finding], list[str]]:
        """Start and a walk of steps: findings, and the bits of every answer."""
        with self.federate() as federate:
            findings, bits = self.begin(federate)
            for t_ns in _times(federate.period_ns, self.periods):
                if findings:
                    break
                findings = self.walk(federate, t_ns, bits)
        return findings, bits

    def begin(self, federate: Federate) -> tuple[list[Finding], list[str]]:
        try:
            outputs = federate.start(0)
        except Exception as error:
            return [Finding("start", "start", _said(error))], []
        findings = _outputs(federate, outputs, "start", "start")
        missing = [port.name for port in federate.outputs if port.kind == "vector" and port.name not in outputs]
        if missing:
            message = f"no first value for {', '.join(missing)}; give one, LOST where nothing is known"
            findings.append(Finding("start", "start", message))
        return findings, [] if findings else [bits_of(outputs, 0)]

    def walk(self, federate: Federate, t_ns: int, bits: list[str]) -> list[Finding]:
        """One step: findings; the bits of its answer are added to `bits`."""
        where = f"step at {t_ns / S_NS:.9g} s"
        inputs = self.inputs(federate, t_ns)
        before = bits_of(inputs, t_ns)
        try:
            step = federate.step(t_ns, inputs)
        except Exception as error:
            return [Finding("step", where, _said(error))]
        findings = _outputs(federate, step.outputs, where, "outputs")
        if bits_of(inputs, t_ns) != before:
            findings.append(Finding("inputs", where, "the inputs were changed; copy what is to be altered"))
        if step.next_ns is not None and (type(step.next_ns) is not int or step.next_ns <= t_ns):
            findings.append(Finding("next", where, f"next_ns is {step.next_ns!r}; ask for a later time in whole ns, or None"))
        if not findings:
            bits.append(bits_of(step.outputs, t_ns) + f"/{step.next_ns}")
        return findings

    def attempt(self, rule: str, what: str, act: Callable[[Federate], Any]) -> list[Finding]:
        """Do something with a new federate that has started; a finding where it raises."""
        with self.federate() as federate:
            try:
                federate.start(0)
                act(federate)
            except Exception as error:
                return [Finding(rule, what, _said(error))]
        return []

    def lost(self) -> list[Finding]:
        """Every vector input LOST, at the first call and after good ones."""
        findings: list[Finding] = []

        def act(federate: Federate) -> None:
            period = federate.period_ns
            for k, lost in enumerate((True, False, True, True, False)):
                inputs = self.inputs(federate, k * period)
                if lost:
                    inputs.update({p.name: Sample.missing(p.size) for p in federate.inputs if p.kind == "vector"})
                step = federate.step(k * period, inputs)
                findings.extend(_outputs(federate, step.outputs, f"step {k} with {'LOST' if lost else 'good'} inputs", "lost"))

        return self.attempt("lost", "LOST inputs", act) + findings

    def unknown_events(self) -> list[Finding]:
        """Payloads that nobody sends, on every event port."""
        odd: tuple[dict[str, Any], ...] = (
            {},
            {"action": "no-such-action"},
            {"action": None},
            {"action": 7, "event": [], "point": {}},
        )
        findings: list[Finding] = []

        def act(federate: Federate) -> None:
            names = [port.name for port in federate.inputs if port.kind == "event"]
            for k, (name, payload) in enumerate((name, payload) for name in names for payload in odd):
                inputs = self.inputs(federate, k * federate.period_ns)
                inputs[name] = (Event(k * federate.period_ns, "trial.odd", k + 1, payload),)
                try:
                    step = federate.step(k * federate.period_ns, inputs)
                except Exception as error:
                    findings.append(Finding("events", f"{name} {payload}", _said(error)))
                    return
                findings.extend(_outputs(federate, step.outputs, f"{name} {payload}", "events"))

        return self.attempt("events", "start", act) + findings

    def twice(self) -> list[Finding]:
        """Two steps at one instant: an event may arrive where a period is due."""

        def act(federate: Federate) -> None:
            for t_ns in (0, 0, federate.period_ns, federate.period_ns):
                federate.step(t_ns, self.inputs(federate, t_ns))

        return self.attempt("twice", "two steps at one instant", act)

    def stop(self) -> list[Finding]:
        """`stop` after a run, and on a federate that never started (another one may fail first)."""

        def act(federate: Federate) -> None:
            federate.step(0, self.inputs(federate, 0))
            federate.stop()

        findings = self.attempt("stop", "after a step", act)
        try:
            self.build().stop()
        except Exception as error:
            findings.append(Finding("stop", "before start", _said(error)))
        return findings

    def solve(self, tolerance: float) -> list[Finding]:
        """Two walks side by side, one with solves before each step."""
        findings: list[Finding] = []

        def act(federate: Federate) -> None:
            assert isinstance(federate, Iterable)
            with self.federate() as plain:
                plain.start(0)
                for t_ns in _times(federate.period_ns, self.periods):
                    where = f"t = {t_ns / S_NS:.9g} s"
                    answer = federate.solve(t_ns, self.inputs(federate, t_ns))
                    federate.solve(t_ns, self.inputs(federate, t_ns + 1))
                    if port := alike(answer, federate.solve(t_ns, self.inputs(federate, t_ns)), tolerance):
                        message = f"the same inputs gave another {port}; `solve` starts from the last committed state"
                        findings.append(Finding("solve", where, message))
                        return
                    steps = [one.step(t_ns, self.inputs(federate, t_ns)) for one in (plain, federate)]
                    if port := alike(steps[0].outputs, steps[1].outputs, tolerance):
                        message = f"{port} differs with and without solves before the step; only `step` may change the state"
                        findings.append(Finding("solve", where, message))
                        return

        return self.attempt("solve", "a walk with solves", act) + findings


def _outputs(federate: Federate, outputs: Any, where: str, rule: str) -> list[Finding]:
    """What is wrong with the outputs of one call."""
    wrong = wrong_outputs(federate.outputs, outputs)
    return [Finding(rule, f"{where}, port {port}" if port else where, message) for port, message in wrong]


def _same(first: list[str], second: list[str], rule: str, how: str) -> list[Finding]:
    if first == second:
        return []
    number = next((k for k, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))
    return [Finding(rule, "start" if number == 0 else f"step {number}", f"the outputs differ {how}")]


def _rebuild(trial: _Trial, expected: list[str]) -> list[Finding]:
    """Build it from its pickled parameters in a new interpreter, and walk there."""
    where = "another process"
    try:
        job = pickle.dumps(trial)
    except Exception as error:
        cause = f"it cannot be pickled ({_said(error)}); give a Spec whose params are a frozen dataclass of plain values"
        return [Finding("rebuild", where, cause)]
    program = [sys.executable, "-c", "from federates.runtime.conformance import answer_parent; answer_parent()"]
    try:
        child = subprocess.run([*program, *sys.path], input=job, capture_output=True, timeout=_CHILD_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return [Finding("rebuild", where, f"no answer within {_CHILD_LIMIT_S:.0f} s")]
    if child.returncode:
        said = child.stderr.decode(errors="replace").strip().splitlines()
        return [Finding("rebuild", where, said[-1] if said else f"it ended with exit code {child.returncode}")]
    bits = json.loads(child.stdout.decode().splitlines()[-1])
    return _same(expected, bits, "rebuild", "in another process; nothing may hang on this one's state, hash seed or environment")


def answer_parent() -> None:
    """The other process: reads a job from standard input, prints the bits of its walk. Only `check_federate` calls this."""
    sys.path[:] = sys.argv[1:]
    trial: _Trial = pickle.loads(sys.stdin.buffer.read())
    findings, bits = trial.run()
    if findings:
        raise ConformanceError(findings)
    print(json.dumps(bits))
