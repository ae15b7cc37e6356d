"""The sections of a report that are words and tables: how the run went, its events, and what it recorded."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from federates.runtime.port import canonical_json
from federates.runtime.words import is_news, payload_words
from monitor.figures.lines import Clock
from monitor.figures.system import frequencies
from monitor.page import Html, Section, heading, paragraph, table, tag, text
from monitor.results import Results

EXIT_CODES = {
    0: "good",
    1: "an expectation failed",
    2: "the scenario or its use is wrong",
    3: "a federate or the broker failed",
    4: "a device failed",
    5: "a fault of the tool itself",
    130: "interrupted",
}
_FACTS = {"start": "simulated from", "started_utc": "started (UTC)", "host": "host", "commit": "commit"}
_MOST_EVENTS = 300


def last_record_s(results: Results) -> float:
    """Simulated time of the last recorded value or event, in seconds; 0.0 when there is none."""
    times = [times_ns[-1] for name in results.layouts if (times_ns := results.times_ns(name)).size]
    times += [row["t_ns"] for row in results.event_rows()[-1:]]
    return float(max(times, default=0)) / 1e9


def scenario_events(results: Results) -> list[dict[str, Any]]:
    """The events that the scenario itself sent, in order of time."""
    return [row for row in results.event_rows() if row["source"].startswith("scenario.")]


def clock(results: Results) -> Clock:
    """The time axis for this run: to its stop time, to where it ended, or for a run that was killed to its last record."""
    stop_ns = results.meta.get("stop_ns")
    marks = tuple((row["t_ns"] / 1e9, f"E{k + 1}") for k, row in enumerate(scenario_events(results)))
    if isinstance(stop_ns, int) and results.meta.get("exit_code") in (0, 1):
        return Clock(stop_ns / 1e9, marks)
    if isinstance(ended_ns := results.meta.get("ended_ns"), int) and ended_ns > 0:
        return Clock(ended_ns / 1e9, marks)
    return Clock(max(last_record_s(results), 1e-3), marks)


def name(results: Results) -> str:
    """The scenario's name, or the directory's where the run did not get to write it."""
    return str(results.meta.get("scenario") or results.run_dir.name)


def section(results: Results) -> Section:
    """How the run ended, its facts, and its expectations."""
    warned = [tag("div", "Warning: ", sentence, ".", css="banner bad") for sentence in results.meta.get("warnings") or []]
    blocks: list[Any] = [_banner(results), *warned, _cards(results)]
    expectations = results.meta.get("expectations") or []
    later = results.meta.get("expectations_not_reached") or []
    if expectations or later:
        rows = [
            [
                tag("span", "passed" if item.get("passed") else "FAILED", css="good" if item.get("passed") else "bad"),
                item.get("text") or item.get("signal", ""),
                item.get("found") or _figure(item.get("value")),
                item.get("because") or "",
            ]
            for item in expectations
        ]
        rows += [["not reached", text, "", "the run ended before"] for text in later]
        blocks += [heading("Expectations"), table(["Result", "Expectation", "Found", "Because"], rows)]
    facts = [[words, _plain(results.meta[key])] for key, words in _FACTS.items() if results.meta.get(key)]
    facts += [["run directory", results.run_dir.resolve().name]]
    versions = results.meta.get("versions")
    if isinstance(versions, dict):
        facts.append(["versions", ", ".join(f"{key} {value}" for key, value in sorted(versions.items()))])
    return Section("summary", "Summary", [*blocks, heading("The run"), table(["", ""], facts)])


def _banner(results: Results) -> Html:
    meta = results.meta
    code, cause = meta.get("exit_code"), meta.get("message") or meta.get("cause")
    failed = sum(not item.get("passed") for item in meta.get("expectations") or [])
    if code == 0:
        return tag(
            "div", "The run ended well", ", and every expectation holds." if meta.get("expectations") else ".", css="banner good"
        )
    if code is None:
        words = "The run did not come to its end: it was killed, or is still running."
        words += f" Its records reach t = {last_record_s(results):.9g} s."
    elif code == 1:
        words = f"The run came to its end, and {failed} of {len(meta.get('expectations') or [])} expectations failed."
    else:
        at, stop = meta.get("ended_ns"), meta.get("stop_ns")
        when = f" at t = {at / 1e9:.9g} s of {stop / 1e9:.9g} s" if isinstance(at, int) and isinstance(stop, int) else ""
        words = f"The run ended early{when} with exit code {code}: {EXIT_CODES.get(code, 'unknown')}."
    return tag("div", words, *([tag("pre", cause)] if cause else []), css="banner bad")


def _cards(results: Results) -> Html:
    meta = results.meta
    cards: list[tuple[str, str, str]] = []
    reached_s = clock(results).end_s
    stop_ns, wall_s = meta.get("stop_ns"), meta.get("wall_s")
    of = f"of {_duration(stop_ns / 1e9)} wanted" if isinstance(stop_ns, int) and stop_ns / 1e9 > reached_s + 1e-9 else ""
    cards.append(("Simulated time", _duration(reached_s), of))
    if isinstance(wall_s, int | float) and wall_s > 0:
        cards.append(("Wall time", _duration(wall_s), f"{reached_s / wall_s:.3g} x real time, start-up included"))
    if meta.get("runner"):
        cards.append(("Runner", str(meta["runner"]), f"seed {meta['seed']}" if "seed" in meta else ""))
    measured = frequencies(results)
    for vector in measured:
        values = vector.values[:, 0]
        if np.isfinite(values).any():
            nominal = results.nominal_hz
            above = nominal is not None and float(np.nanmax(values)) - nominal > nominal - float(np.nanmin(values))
            k = int(np.nanargmax(values) if above else np.nanargmin(values))
            whose = f", {vector.layout.port.name}" if len(measured) > 1 else ""
            title = "Highest frequency" if above else "Lowest frequency"
            cards.append((title, f"{values[k]:.3f} Hz", f"at t = {vector.t_s[k]:.2f} s{whose}"))
    if results.buses:
        counts = {bus: len(results.tblm_documents(bus)) for bus in results.buses}
        cards.append(
            ("TBLMs published", str(sum(counts.values())), "buses " + ", ".join(f"{bus}: {n}" for bus, n in counts.items()))
        )
    events = results.event_rows()
    if events:
        cards.append(("Events", f"{len(events):,}", f"{len(scenario_events(results))} of them the scenario's"))
    boxes = [
        tag("div", tag("div", label, css="label"), tag("div", value, css="value"), tag("div", more, css="more"), css="card")
        for label, value, more in cards
    ]
    return tag("div", *boxes, css="cards")


def events_section(results: Results) -> Section | None:
    """The scenario's own events, numbered as in the figures, and the log of all others."""
    rows = results.event_rows()
    if not rows:
        return None
    blocks: list[Any] = []
    own = scenario_events(results)
    if own:
        cells = [
            [f"E{k + 1}", f"{row['t_ns'] / 1e9:.3f}", row["source"].removeprefix("scenario."), _payload(row["payload"])]
            for k, row in enumerate(own)
        ]
        blocks += [
            heading("Sent by the scenario"),
            table(["", "t (s)", "To", "What"], cells, numeric=(1,), limit=_MOST_EVENTS),
        ]
    sent = [row for row in rows if not row["source"].startswith("scenario.")]
    counts = Counter(row["source"] for row in sent)
    others = [row for row in sent if is_news(row["source"], row["payload"])]
    if others:
        cells = [[f"{row['t_ns'] / 1e9:.3f}", row["source"], _payload(row["payload"])] for row in others]
        blocks += [
            heading("Sent by federates"),
            paragraph(
                "How many each sent: " + ", ".join(f"{source} {count:,}" for source, count in sorted(counts.items())) + ". "
                "Left out below: what SCADA repeats of others' events, and TBLMs that the EMS took.",
                css="note",
            ),
            table(["t (s)", "From", "What"], cells, numeric=(0,), limit=_MOST_EVENTS),
        ]
    return Section("events", "Events", blocks)


def records_section(results: Results) -> Section | None:
    """Every signal that was recorded, so that a reader knows what `monitor.results.load` can give."""
    rows = [
        [tag("code", signal), layout.port.unit, f"{layout.port.size:,}", f"{results.times_ns(signal).size:,}", layout.port.doc]
        for signal, layout in results.layouts.items()
    ]
    if not rows:
        return None
    run_dir = results.run_dir.resolve()
    intro = paragraph(
        "In a notebook: ",
        tag("code", f"monitor.results.load('{run_dir.parent.name}/{run_dir.name}').signal('{rows[0][0][6:-7]}')"),
        ".",
    )
    return Section(
        "records", "What was recorded", [intro, table(["Signal", "Unit", "Ids", "Rows", "Meaning"], rows, numeric=(2, 3))]
    )


def _payload(payload: dict[str, Any]) -> Html:
    return text(payload_words(payload))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)


def _figure(value: Any) -> str:
    return (
        f"{value:.6g}" if isinstance(value, int | float) and not isinstance(value, bool) else "" if value is None else _plain(value)
    )


def _duration(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.4g} s"
    return f"{seconds / 60:.3g} min" if seconds < 2 * 3600 else f"{seconds / 3600:.3g} h"
