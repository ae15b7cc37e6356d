"""One deliberately wrong federate per rule, and one that is right."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from federates.runtime.conformance import ConformanceError, check_federate, require_conformance
from federates.runtime.federate import S_NS, Spec, Step
from federates.runtime.port import Port, Quality, Sample


@dataclass(frozen=True, slots=True)
class Params:
    """Of the federates below."""

    gain: float = 2.0


class Right:
    """Multiplies its input and remembers the sum; refuses what it does not know."""

    period_ns: Any = S_NS
    inputs = (Port("p_w", "W", ("a", "b")), Port("command", kind="event"), Port("plan", kind="document"))
    outputs = (Port("p2_w", "W", ("a", "b")), Port("alarm", kind="event"), Port("state", kind="document"))

    def __init__(self, params: Params) -> None:
        self.gain, self.total = params.gain, np.zeros(2)

    def start(self, t_ns: int) -> dict[str, Any]:
        self.total = np.zeros(2)
        return {"p2_w": Sample.missing(2)}

    def answer(self, t_ns: int, inputs: Any) -> dict[str, Any]:
        p = inputs["p_w"]
        values = self.gain * p.values + self.total
        return {
            "p2_w": Sample(values, p.t_ns, p.quality.copy()),
            "alarm": [{"alarm": "refused"} for _ in inputs["command"]],
            "state": {"total": np.nan_to_num(self.total)},
        }

    def step(self, t_ns: int, inputs: Any) -> Step:
        outputs = self.answer(t_ns, inputs)
        self.total = self.total + np.nan_to_num(inputs["p_w"].values)
        return Step(outputs, t_ns + S_NS // 4)

    def stop(self) -> None:
        pass


class RightIterable(Right):
    def solve(self, t_ns: int, inputs: Any) -> dict[str, Any]:
        return self.answer(t_ns, inputs)


class SolveCommits(RightIterable):
    def solve(self, t_ns: int, inputs: Any) -> dict[str, Any]:
        outputs = self.answer(t_ns, inputs)
        self.total = self.total + inputs["p_w"].values
        return outputs


class SolveLeaksIntoStep(RightIterable):
    """Answers alike each time, and leaves something behind for the step."""

    left = 0.0

    def solve(self, t_ns: int, inputs: Any) -> dict[str, Any]:
        self.left = 1.0
        return self.answer(t_ns, inputs)

    def step(self, t_ns: int, inputs: Any) -> Step:
        self.total, self.left = self.total + self.left, 0.0
        return super().step(t_ns, inputs)


class NameTwice(Right):
    outputs = (*Right.outputs, Port("p2_w", "W"))


class IdTwice(Right):
    inputs = (Port("p_w", "W", ("a", "a")), *Right.inputs[1:])


class UnknownUnit(Right):
    outputs = (Port("p2_w", "MW", ("a", "b")), *Right.outputs[1:])


class UnknownKind(Right):
    inputs = (*Right.inputs, Port("x", kind="stream"))  # type: ignore[arg-type]


class NegativePeriod(Right):
    period_ns = -S_NS


class FloatPeriod(Right):
    period_ns = 1e9


class PeriodOffTheMicrosecond(Right):
    period_ns = S_NS + 1


class NeedsMore(Right):
    def __init__(self, params: Params) -> None:
        raise FileNotFoundError("model.dss")


class NoFirstValue(Right):
    def start(self, t_ns: int) -> dict[str, Any]:
        return {}


class FirstValueTooShort(Right):
    def start(self, t_ns: int) -> dict[str, Any]:
        return {"p2_w": [0.0]}


class Raises(Right):
    """In the fine steps only."""

    def step(self, t_ns: int, inputs: Any) -> Step:
        if t_ns % S_NS:
            raise ValueError("off my grid")
        return super().step(t_ns, inputs)


class UndeclaredOutput(Right):
    def step(self, t_ns: int, inputs: Any) -> Step:
        return Step({"p3_w": [1.0, 2.0]})


class UnflaggedNan(Right):
    def step(self, t_ns: int, inputs: Any) -> Step:
        return Step({"p2_w": [np.nan, 1.0]})


class EventThatIsNotJson(Right):
    def step(self, t_ns: int, inputs: Any) -> Step:
        return Step({"alarm": [{"who": object()}]})


class GlobalState(Right):
    numbers = itertools.count()

    def step(self, t_ns: int, inputs: Any) -> Step:
        return Step({"p2_w": [float(next(self.numbers)), 0.0]})


class Unseeded(Right):
    def step(self, t_ns: int, inputs: Any) -> Step:
        return Step({"p2_w": np.random.default_rng().normal(size=2)})


class ChangesInputs(Right):
    def step(self, t_ns: int, inputs: Any) -> Step:
        inputs["p_w"].values[inputs["p_w"].values > 0.0] *= self.gain
        return Step({"p2_w": Sample.of(inputs["p_w"].values, t_ns, inputs["p_w"].quality)})


class PopsInputs(Right):
    def step(self, t_ns: int, inputs: Any) -> Step:
        outputs = self.answer(t_ns, inputs)
        inputs.pop("p_w")
        return Step(outputs)


class AsksForNow(Right):
    def step(self, t_ns: int, inputs: Any) -> Step:
        return Step(self.answer(t_ns, inputs), t_ns)


class RaisesOnLost(Right):
    def step(self, t_ns: int, inputs: Any) -> Step:
        if inputs["p_w"].quality.any():
            raise ZeroDivisionError("no load")
        return super().step(t_ns, inputs)


class PassesLostOnAsGood(Right):
    def step(self, t_ns: int, inputs: Any) -> Step:
        return Step({"p2_w": self.gain * inputs["p_w"].values})


class TrustsEvents(Right):
    def step(self, t_ns: int, inputs: Any) -> Step:
        for event in inputs["command"]:
            {"trip": 1}[event.payload["action"]]
        return super().step(t_ns, inputs)


class DividesByItsStep(Right):
    before_ns = -1

    def step(self, t_ns: int, inputs: Any) -> Step:
        1 // (t_ns - self.before_ns)
        self.before_ns = t_ns
        return super().step(t_ns, inputs)


class StopNeedsStart(Right):
    file: Any = None

    def start(self, t_ns: int) -> dict[str, Any]:
        self.file = open(os.devnull)  # noqa: SIM115
        return super().start(t_ns)

    def stop(self) -> None:
        self.file.close()


class StopRaises(Right):
    def stop(self) -> None:
        if self.total.any():
            raise OSError("busy")


class DependsOnTheProcess(Right):
    def step(self, t_ns: int, inputs: Any) -> Step:
        return Step({"p2_w": [float(os.getpid()), 0.0]})


WRONG: list[tuple[type[Right], str]] = [
    (NameTwice, "ports"),
    (IdTwice, "ports"),
    (UnknownUnit, "ports"),
    (UnknownKind, "ports"),
    (NegativePeriod, "period"),
    (FloatPeriod, "period"),
    (PeriodOffTheMicrosecond, "period"),
    (NeedsMore, "start"),
    (NoFirstValue, "start"),
    (FirstValueTooShort, "start"),
    (Raises, "step"),
    (UndeclaredOutput, "outputs"),
    (UnflaggedNan, "outputs"),
    (EventThatIsNotJson, "outputs"),
    (GlobalState, "repeatable"),
    (Unseeded, "repeatable"),
    (ChangesInputs, "inputs"),
    (PopsInputs, "inputs"),
    (AsksForNow, "next"),
    (RaisesOnLost, "lost"),
    (PassesLostOnAsGood, "lost"),
    (TrustsEvents, "events"),
    (DividesByItsStep, "twice"),
    (StopNeedsStart, "stop"),
    (StopRaises, "stop"),
    (SolveCommits, "solve"),
    (SolveLeaksIntoStep, "solve"),
]


@pytest.mark.parametrize(("wrong", "rule"), WRONG, ids=lambda value: getattr(value, "__name__", None))
def test_a_wrong_federate_breaks_its_rule_and_no_other(wrong: type[Right], rule: str) -> None:
    findings = check_federate(lambda: wrong(Params()), process=False)
    assert {finding.rule for finding in findings} == {rule}
    assert all(finding.where and finding.message for finding in findings)


@pytest.mark.parametrize("right", [Right, RightIterable])
def test_a_right_federate_has_no_findings_in_this_process_or_another(right: type[Right]) -> None:
    assert check_federate(Spec("right", f"{__name__}:{right.__name__}", Params())) == []


def test_a_solver_that_starts_from_its_last_solution_is_given_its_tolerance_and_no_more() -> None:
    class Warm(RightIterable):
        near = 0.0

        def solve(self, t_ns: int, inputs: Any) -> dict[str, Any]:
            outputs = self.answer(t_ns, inputs)
            outputs["p2_w"].values[:] *= 1.0 + 1e-9 * self.near
            self.near = float(np.nan_to_num(inputs["p_w"].values[0])) / 1000.0
            return outputs

    assert {f.rule for f in check_federate(lambda: Warm(Params()), process=False)} == {"solve"}
    assert check_federate(lambda: Warm(Params()), process=False, solve_tolerance=1e-8) == []
    for wrong in (SolveCommits, SolveLeaksIntoStep):
        findings = check_federate(lambda make=wrong: make(Params()), process=False, solve_tolerance=1e-8)
        assert {finding.rule for finding in findings} == {"solve"}


def test_dependence_on_the_process_is_found() -> None:
    (finding,) = check_federate(Spec("wrong", f"{__name__}:DependsOnTheProcess", Params()))
    assert finding.rule == "rebuild" and "another process" in finding.message


def test_what_cannot_be_pickled_cannot_be_rebuilt() -> None:
    (finding,) = check_federate(lambda: Right(Params()))
    assert finding.rule == "rebuild" and "give a Spec" in finding.message


def test_a_factory_that_only_this_process_has_cannot_be_rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("federates.runtime.federate.OnlyHere", Right, raising=False)
    (finding,) = check_federate(Spec("wrong", "federates.runtime.federate:OnlyHere", Params()))
    assert finding.rule == "rebuild" and "OnlyHere" in finding.message


def test_inputs_of_the_caller_are_used() -> None:
    seen: set[float] = set()

    class Notes(Right):
        def step(self, t_ns: int, inputs: Any) -> Step:
            seen.update(inputs["p_w"].values[inputs["p_w"].quality == 0].tolist())
            return super().step(t_ns, inputs)

    def inputs(port: Port, t_ns: int) -> Any:
        return {"p_w": [7.0, 8.0], "command": [{"action": "trip"}]}.get(port.name)

    assert check_federate(lambda: Notes(Params()), inputs, process=False) == []
    assert seen == {7.0, 8.0}


def test_all_findings_are_raised_at_once() -> None:
    class Both(TrustsEvents):
        def stop(self) -> None:
            raise OSError("busy")

    make: Callable[[], Any] = lambda: Both(Params())  # noqa: E731
    with pytest.raises(ConformanceError, match="busy") as error:
        require_conformance(make, process=False)
    assert {finding.rule for finding in error.value.findings} == {"events", "stop"}
    require_conformance(lambda: Right(Params()), process=False)


def test_quality_lost_is_what_the_lost_rule_hands_over() -> None:
    flags: set[int] = set()

    class Notes(Right):
        def step(self, t_ns: int, inputs: Any) -> Step:
            flags.update(inputs["p_w"].quality.tolist())
            return super().step(t_ns, inputs)

    check_federate(lambda: Notes(Params()), process=False)
    assert flags == {0, int(Quality.LOST)}
