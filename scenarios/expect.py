"""Judges the expectations of a scenario by the records of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scenarios.schema import SIGNAL_PATTERN, Expectation

S_NS = 1_000_000_000


class Records(Protocol):
    """What is read of a run; `monitor.results.Results` is one. Scenarios do not import the monitor: the command line joins them."""

    def vector(self, name: str) -> Any: ...
    def event_rows(self) -> list[dict[str, Any]]: ...
    def timing(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """`passed` is None where the run ended before the time in question. `value` is the one that decides: the worst of those that
    pass, the first of those that do not; None where there is none. `found` says in words what was seen."""

    text: str
    passed: bool | None
    found: str
    because: str
    value: float | None = None

    @property
    def line(self) -> str:
        """One line for a terminal."""
        word = {True: "passed", False: "FAILED", None: "not reached"}[self.passed]
        return f"{word}: {self.text} ({self.because}); {self.found}"


def judge(expectations: Sequence[Expectation], results: Records, reached_ns: int) -> list[Verdict]:
    """A verdict for each expectation; `reached_ns` is how far the run came."""
    return [_judge(expectation, results, reached_ns) for expectation in expectations]


def _judge(expectation: Expectation, results: Records, reached_ns: int) -> Verdict:
    def verdict(passed: bool | None, found: str, value: float | None = None) -> Verdict:
        return Verdict(wanted(expectation), passed, found, expectation.because, value)

    first_s, last_s = expectation.within_s or (expectation.at_s or 0.0,) * 2
    first_ns, last_ns = round(first_s * S_NS), round(last_s * S_NS)
    if last_ns > reached_ns:
        return verdict(None, "the run ended before")
    match = SIGNAL_PATTERN.match(expectation.signal)
    assert match is not None  # the schema says so
    try:
        vector = results.vector(f"{match[1]}.{match[2]}")
    except LookupError as error:
        return verdict(False, str(error))
    ids = vector.layout.columns
    if match[3] is not None and match[3] not in ids:
        return verdict(False, f"it has no {match[3]!r}; it has {', '.join(ids[:8])}")
    columns = [ids.index(match[3])] if match[3] is not None else list(range(len(ids)))
    # A value holds until the next one, so the one that holds at the start of the span counts too.
    begin = max(int(np.searchsorted(vector.t_ns, first_ns, side="right")) - 1, 0)
    end = int(np.searchsorted(vector.t_ns, last_ns, side="right"))
    values = vector.values[begin:end, columns]
    if not values.size:
        return verdict(False, "nothing was recorded by then")
    if expectation.since_s is not None:
        since = max(int(np.searchsorted(vector.t_ns, round(expectation.since_s * S_NS), side="right")) - 1, 0)
        values = values - vector.values[since, columns]
    bad = ~_within(expectation, values)
    if not bad.any():
        worst = _worst(expectation, values.ravel())
        return verdict(True, f"{worst:.9g} is closest to the limit" if values.size > 1 else f"it was {worst:.9g}", worst)
    row, column = (int(k) for k in np.argwhere(bad)[0])
    where = f" of {ids[columns[column]]}" if len(ids) > 1 else ""
    t_s = max(vector.t_ns[begin + row], first_ns) / S_NS
    value = float(values[row, column])
    found = f"{value:.9g}{where} at {t_s:g} s, {int(bad.sum())} of {bad.size} values are out"
    return verdict(False, found, value if np.isfinite(value) else None)


def _within(expectation: Expectation, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where the values are as expected; NaN never is."""
    good = np.isfinite(values)
    if expectation.min is not None:
        good &= values >= expectation.min
    if expectation.max is not None:
        good &= values <= expectation.max
    if expectation.equals is not None and expectation.tolerance is not None:
        good &= np.abs(values - expectation.equals) <= expectation.tolerance
    return np.asarray(good)


def _worst(expectation: Expectation, values: NDArray[np.float64]) -> float:
    """The value with the least room to a limit."""
    room = np.full(values.shape, np.inf)
    if expectation.min is not None:
        room = np.minimum(room, values - expectation.min)
    if expectation.max is not None:
        room = np.minimum(room, expectation.max - values)
    if expectation.equals is not None:
        room = np.minimum(room, -np.abs(values - expectation.equals))
    return float(values[np.argmin(room)])


def wanted(expectation: Expectation) -> str:
    """`grid.f_hz >= 59 within 30 to 60 s`."""
    parts = [f">= {expectation.min:g}"] if expectation.min is not None else []
    parts += [f"<= {expectation.max:g}"] if expectation.max is not None else []
    parts += [f"= {expectation.equals:g} +-{expectation.tolerance:g}"] if expectation.equals is not None else []
    span = expectation.within_s
    when = f"within {span[0]:g} to {span[1]:g} s" if span else f"at {expectation.at_s:g} s"
    since = "" if expectation.since_s is None else f" since {expectation.since_s:g} s"
    return f"{'change of ' if since else ''}{expectation.signal}{since} {' and '.join(parts)} {when}"
