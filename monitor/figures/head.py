"""The power of a bus as measured, against what its TBLMs said it would be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from federates.runtime.port import NEVER_NS, Floats
from federates.tblm.model import CurveSet, Tblm, evaluate
from monitor.figures.lines import Clock, line, time_plot
from monitor.figures.style import COLOURS, CONSTANT, QUIET, TBLM, TRUTH, draw, engineering, legend, single
from monitor.figures.system import bus_voltages, frequencies, transmission_federates
from monitor.page import Html, Section, heading, paragraph, table, tag
from monitor.results import Results, Vector

_WORDS = {"settled": "settled curves", "fast": "fast curves", "constant": "constant P, Q"}
_MOVED_V_PU, _MOVED_HZ = 0.005, 0.05
"""From here on V or f is called moved since the TBLM was made: where its curves can show what they are worth."""
_MOVED = "where V or f had moved"
_SAME_POWER = 0.05
"""Of S: powers that are further apart than this are not those of one bus."""


Series = tuple[Floats, Floats]
"""Times in s and values, float64 [k] each."""


@dataclass(frozen=True)
class Measured:
    """A bus as it truly was: all float64 [k], load positive. `source` names where P comes from."""

    source: str
    t_s: Floats
    v_pu: Floats
    f_hz: Floats
    p_w: Floats
    q_var: Floats


def measured(results: Results, bus: str, tblms: Sequence[Tblm]) -> Measured:
    """P, Q, V and f of a bus from the recorded signals; failing those, from the operating points of its TBLMs."""
    v, f = _of_bus(bus_voltages(results), bus), next(((f.t_s, f.values[:, 0]) for f in frequencies(results)), None)
    federate = _source(results, bus, tblms)
    p, q = (_bus_power(results, federate, quantity, bus) for quantity in ("bus_p_w", "bus_q_var"))
    if p and q and v and f:
        t_s = p[0]
        return Measured(f"{federate}.bus_p_w", t_s, _held(t_s, *v), _held(t_s, *f), p[1], _held(t_s, *q))
    points = [tblm.operating_point for tblm in tblms]
    values = np.array([(point.V_pu, point.f_Hz, point.P_W, point.Q_var) for point in points]).T
    times = np.array([tblm.t_valid.t_meas_ns for tblm in tblms]) / 1e9
    return Measured("the operating points of the TBLMs themselves", times, *values)


def _source(results: Results, bus: str, tblms: Sequence[Tblm]) -> str:
    """The federate that publishes the power of this bus; empty when there is none.

    It says so by a column of that name, or by its catalogue. Where neither names a bus, it is the feeder whose power is nearest to
    what the TBLMs were made from.
    """
    names = results.find("bus_p_w", "W")
    for name in names:
        if bus in results.layouts[name].columns or _catalogued_bus(results, results.layouts[name].federate) == bus:
            return results.layouts[name].federate
    usable = [tblm for tblm in tblms if tblm.quality.flag != "bad"]
    feeders = {results.layouts[name].federate for name in results.find("node_v_pu")}
    nearest, distance = "", _SAME_POWER * tblms[-1].bus.S_base_VA
    for name in names:
        federate = results.layouts[name].federate
        power = _bus_power(results, federate, "bus_p_w", bus)
        if usable and power and federate in feeders and _catalogued_bus(results, federate) is None:
            at = _held(np.array([tblm.t_valid.t_meas_ns for tblm in usable]) / 1e9, *power)
            away = float(np.median(np.abs(at - [tblm.operating_point.P_W for tblm in usable])))
            if away < distance:
                nearest, distance = federate, away
    return nearest


def _catalogued_bus(results: Results, federate: str) -> str | None:
    if federate not in results.document_ports.get("catalogue", ()):
        return None
    bus = results.documents("catalogue", federate)[-1].document.get("bus")
    return None if bus is None else str(bus)


def _bus_power(results: Results, federate: str, port: str, bus: str) -> Series | None:
    """P or Q that a federate publishes for the bus: the column of that name, or the sum over phases."""
    name = f"{federate}.{port}"
    if name not in results.layouts:
        return None
    vector = results.vector(name)
    return _of_bus([vector], bus) or (vector.t_s, vector.values.sum(axis=1))


def _of_bus(vectors: Sequence[Vector], bus: str) -> Series | None:
    for vector in vectors:
        if bus in vector.layout.columns:
            return vector.t_s, vector.values[:, vector.layout.columns.index(bus)]
    return None


def _held(t_s: Floats, own_t_s: Floats, values: Floats) -> Floats:
    """A series at other times: the last value held."""
    return np.asarray(values[np.maximum(np.searchsorted(own_t_s, t_s, side="right") - 1, 0)])


@dataclass(frozen=True)
class Predicted:
    """What the TBLM in force foretold at each instant of a `Measured`; NaN before the first and after its validity.

    `p_w`, `q_var`: prediction -> float64 [k]. `p_off_w`, `q_off_var`: by how much each was off when a TBLM with these curves first
    came into force: load unseen, errors of transducers. `moved`: bool [k], V or f were no longer what the TBLM was made at.
    `v_error_pu`: the constant error of the voltage that TBLMs are made from, which whoever asks them measures too: it is added to
    the true voltage.
    """

    p_w: dict[str, Floats]
    q_var: dict[str, Floats]
    p_off_w: dict[str, Floats]
    q_off_var: dict[str, Floats]
    moved: NDArray[np.bool_]
    v_error_pu: float


def predicted(tblms: Sequence[Tblm], truth: Measured) -> Predicted:
    """Ask each TBLM for the V and f of each instant, from its publication until the next one's.

    A TBLM marked bad is passed over, as the EMS does. `constant` is its own operating point, whatever V and f.
    """
    k = len(truth.t_s)
    p_w, q_var, p_off_w, q_off_var = ({name: np.full(k, np.nan) for name in _WORDS} for _ in range(4))
    first: dict[tuple[float, ...], int] = {}
    moved = np.zeros(k, bool)
    tblms = [tblm for tblm in tblms if tblm.quality.flag != "bad"]
    v_error_pu = _v_error_pu(tblms, truth)
    ends = [*(tblm.t_valid.t_publish_ns for tblm in tblms[1:]), NEVER_NS]
    for tblm, end_ns in zip(tblms, ends, strict=False):
        until_s = min(end_ns, tblm.t_valid.to_ns) / 1e9
        rows = (truth.t_s > tblm.t_valid.t_publish_ns / 1e9) & (truth.t_s <= until_s)
        if not rows.any():
            continue
        v, f, own = truth.v_pu[rows] + v_error_pu, truth.f_hz[rows], tblm.operating_point
        which: CurveSet
        for which in get_args(CurveSet):
            p_w[which][rows], q_var[which][rows], _ = evaluate(tblm.curve(which), v, f)
        p_w["constant"][rows], q_var["constant"][rows] = own.P_W, own.Q_var
        moved[rows] = (np.abs(v - own.V_pu) >= _MOVED_V_PU) | (np.abs(f - own.f_Hz) >= _MOVED_HZ)
        # In an emergency a TBLM goes out again and again with the curves it had.
        at = first.setdefault((own.V_pu, own.f_Hz, own.P_W, own.Q_var), int(np.argmax(rows)))
        for guess, off, true in ((p_w, p_off_w, truth.p_w), (q_var, q_off_var, truth.q_var)):
            for name in _WORDS:
                off[name][rows] = guess[name][at] - true[at]
    return Predicted(p_w, q_var, p_off_w, q_off_var, moved, v_error_pu)


def _v_error_pu(tblms: Sequence[Tblm], truth: Measured) -> float:
    """How far the voltages of the operating points are off, as a rule: a transducer's error is constant, and most of the time the
    voltage stands long enough for the oldest of a TBLM's measurements to be of the same voltage as its newest."""
    if not tblms:
        return 0.0
    then_s = np.array([tblm.t_valid.t_meas_ns / 1e9 for tblm in tblms])
    own_v_pu = np.array([tblm.operating_point.V_pu for tblm in tblms])
    return float(np.median(own_v_pu - _held(then_s, truth.t_s, truth.v_pu)))


def section(results: Results, clock: Clock) -> Section | None:
    """For each bus with TBLMs: measured and predicted P and Q, and the statistics of the error."""
    blocks: list[Any] = []
    for bus in results.buses:
        tblms = results.tblms(bus)
        if tblms:
            blocks += _bus(results, clock, bus, tblms)
    if not blocks:
        return None
    explanation = paragraph(
        "Every TBLM is asked, at the voltage and frequency that were then measured, what the bus would take until the next TBLM "
        "comes. Good is a prediction that lies on the measured line. The settled curves hold after the controls came to rest, the "
        "fast ones for about two seconds after a disturbance; the constant P, Q is what an EMS would use without curves. What no "
        "prediction can know is load that changes within the minute."
    )
    return Section("head", "Head power: measured against predicted", [explanation, *blocks])


def _bus(results: Results, clock: Clock, bus: str, tblms: Sequence[Tblm]) -> list[Any]:
    truth = measured(results, bus, tblms)
    guesses = predicted(tblms, truth)
    s_base = tblms[-1].bus.S_base_VA
    divisor, prefix = engineering(float(np.nanmax(np.abs(np.concatenate([truth.p_w, truth.q_var])), initial=1.0)))
    blocks: list[Any] = [
        heading(f"Bus {bus}"),
        paragraph(f"{len(tblms)} TBLMs; S base {s_base / divisor:.3g} {prefix}VA; measured: {truth.source}.", css="note"),
        *_reconciled(results, bus, truth),
    ]
    for values, guess, word, unit in ((truth.p_w, guesses.p_w, "active", "W"), (truth.q_var, guesses.q_var, "reactive", "var")):
        fig = time_plot(clock, f"{word} power, bus {bus} ({prefix}{unit})", height=260)
        line(fig, clock, truth.t_s, guess["constant"] / divisor, _WORDS["constant"], CONSTANT, "dotdash", 1.2)
        line(fig, clock, truth.t_s, guess["fast"] / divisor, f"TBLM, {_WORDS['fast']}", COLOURS[4], "dashed", 1.2)
        line(fig, clock, truth.t_s, guess["settled"] / divisor, f"TBLM, {_WORDS['settled']}", TBLM, width=1.6)
        line(fig, clock, truth.t_s, values / divisor, "measured", TRUTH, width=1.1)
        _published(fig, clock, tblms, values, divisor, truth)
        legend(fig)
        blocks.append(fig)
    return [*blocks, *_statistics(truth, guesses, s_base)]


def _reconciled(results: Results, bus: str, truth: Measured) -> list[Html]:
    """The load of the whole bus beside that of the feeders that the TBLM stands for, at the start and at the end."""
    totals: list[Series | None] = []
    for quantity in ("load_p_w", "load_q_var"):
        vectors = [results.vector(name) for name in results.find(quantity) if bus in results.layouts[name].columns]
        transmission = [vector for vector in vectors if vector.layout.federate in transmission_federates(results)]
        totals.append(_of_bus(transmission, bus))
    known = [series for series in totals if series]
    if len(known) < 2 or not len(truth.t_s):
        return []
    rows = []
    for words, at in (("start", 0), ("end", -1)):
        t_s = truth.t_s[[at]]
        cells = [words, f"{t_s[0]:.6g}"]
        for series, of_feeders in zip(known, (truth.p_w, truth.q_var), strict=True):
            whole, feeders = float(_held(t_s, *series)[0]), float(of_feeders[at])
            cells += [f"{value / 1e6:.2f}" for value in (feeders, whole - feeders, whole)]
        rows.append(cells)
    parts = ("feeders", "native", "whole bus")
    headers = ["At", "t (s)", *(f"{name}, {part} ({unit})" for name, unit in (("P", "MW"), ("Q", "Mvar")) for part in parts)]
    return [
        paragraph(
            "Everything below is the power of the feeders at this bus, for which the TBLM stands. The bus has native load besides, "
            "which no feeder models; the EMS adds it from its own measurement of the whole bus. Native Q below zero stands for "
            "compensation that the network file counts in the load of the bus.",
            css="note",
        ),
        table(headers, rows, numeric=range(1, 8)),
    ]


def _published(fig: Any, clock: Clock, tblms: Sequence[Tblm], values: Floats, divisor: float, truth: Measured) -> None:
    from bokeh.models.glyphs import Scatter

    times = np.array([tblm.t_valid.t_publish_ns for tblm in tblms]) / 1e9
    level = values[np.clip(np.searchsorted(truth.t_s, times), 0, len(values) - 1)] / divisor
    if len(tblms) <= 200:
        tick = Scatter(x="x", y="y", marker="dash", angle=np.pi / 2, line_color=QUIET, size=10)
        draw(fig, tick, {"x": single(times / clock.scale), "y": single(level)}, "TBLM published")


def _statistics(truth: Measured, guesses: Predicted, s_base: float) -> list[Html]:
    """Errors of the three predictions in % of S, over all instants and over those at which V or f had moved: of the value, and of
    its change since the TBLM came into force."""
    rows, sentences = [], []
    known = np.isfinite(guesses.p_w["constant"]) & np.isfinite(truth.p_w) & np.isfinite(truth.q_var)
    moved = known & guesses.moved
    for when, mask, change in (("all the time", known, 0.0), (_MOVED, moved, 0.0), (f"change since then, {_MOVED}", moved, 1.0)):
        if not mask.any():
            continue
        for quantity, guess, off, true in (
            ("P", guesses.p_w, guesses.p_off_w, truth.p_w),
            ("Q", guesses.q_var, guesses.q_off_var, truth.q_var),
        ):
            missed = {name: guess[name][mask] - true[mask] - change * off[name][mask] for name in _WORDS}
            sizes = {name: 100.0 * np.abs(value) / s_base for name, value in missed.items()}
            rms = {name: float(np.sqrt(np.mean(size**2))) for name, size in sizes.items()}
            largest = [f"{size.max():.3f}" for size in sizes.values()]
            rows.append([when, quantity, f"{int(mask.sum()):,}", *(f"{x:.3f}" for x in rms.values()), *largest])
            nearest = min(rms, key=lambda name: rms[name])
            sentences.append(f"{quantity} {when}: {_WORDS[nearest]} came nearest (RMS {rms[nearest]:.3f} % of S)")
    if not rows:
        return [paragraph("No measurement falls into the time in which one of these TBLMs was in force.", css="note")]
    headers = [f"{what} {name}" for what in ("RMS,", "Max,") for name in _WORDS]
    note = (
        f"Size of the error in % of S. Moved: by {_MOVED_V_PU} pu or {_MOVED_HZ} Hz or more from where the TBLM was made: there "
        "curves can differ from constant P, Q. The change leaves out by how much each was off when the TBLM came into force (load "
        "unseen, errors of transducers), as an EMS does, which measures the power of the bus itself. The voltage at which TBLMs "
        f"are asked has their transducer's constant error of {guesses.v_error_pu:+.4f} pu."
    )
    verdict = tag("p", "; ".join(sentences) + ".", css="finding")
    return [verdict, table(["When", "", "Points", *headers], rows, numeric=range(2, 9)), paragraph(note, css="note")]
