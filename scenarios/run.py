"""Runs a scenario from beginning to end: check, solve once, build, run, judge, report."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from federates.runtime.federate import US_NS
from scenarios import meta, replay_build
from scenarios.bench import Bench
from scenarios.build import build
from scenarios.dump import dump
from scenarios.expect import Records, Verdict, judge
from scenarios.inventory import take_inventory
from scenarios.load import LoadedScenario
from scenarios.problem import Problem, ScenarioError
from scenarios.progress import display
from scenarios.warn import warnings

GOOD, EXPECTATION_FAILED, SCENARIO, FEDERATE, DEVICE, OURS, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
DEFAULT_OUT = Path("runs")


def changed(loaded: LoadedScenario, stop_s: float | None, seed: int | None, *, real_time: bool = False) -> LoadedScenario:
    """The scenario with another stop time or seed, or held to the clock on the wall; events after the new stop do not happen.
    Raises ScenarioError."""
    update: dict[str, object] = {"real_time": True} if real_time else {}
    if stop_s is not None:
        if not 0.0 < stop_s <= 86_400 * 366 or round(stop_s * 1e9) % US_NS:
            wanted = "write seconds above 0, a whole number of microseconds"
            raise ScenarioError([Problem("--stop", 0, (), f"{stop_s:g} s is not allowed; {wanted}")])
        update["stop_s"] = stop_s
        update["events"] = tuple(event for event in loaded.scenario.events if event.t_s < stop_s)
    if seed is not None:
        if not 0 <= seed < 2**31:
            raise ScenarioError([Problem("--seed", 0, (), f"{seed} is not allowed; write a whole number from 0 to 2147483647")])
        update["seed"] = seed
    return replace(loaded, scenario=loaded.scenario.model_copy(update=update))


@dataclass(frozen=True)
class Monitor:
    """How a finished run is read and reported (by `monitor`, which scenarios do not import)."""

    load: Callable[[Path], Records]
    report: Callable[[Path], Path]


def run(
    loaded: LoadedScenario, runner: Literal["helics", "local"], out: Path, quiet: bool, monitor: Monitor, bench: Bench | None = None
) -> int:
    """Run a scenario and print how it went; gives the exit code. Raises ScenarioError before anything is started or written.

    `bench` is for scenarios with devices: without a warrant these run dry.
    """
    warrant, stop_file = (bench.warrant, bench.stop_file) if bench else (None, None)
    federation = build(loaded, take_inventory(loaded), warrant, stop_file)
    from federates.runtime import supervisor

    started = datetime.now(UTC).isoformat(timespec="seconds")
    fingerprint = hashlib.sha256(dump(loaded).encode()).hexdigest()[:6]
    try:
        run_dir = supervisor.exclusive_run_dir(out, loaded.scenario.name, fingerprint)
        (run_dir / "scenario.yaml").write_text(dump(_reachable(loaded), run_dir), encoding="utf-8")
        known = meta.before(loaded.scenario, runner, started)
        if loaded.scenario.recorded:
            known["recorded"] = replay_build.recorded(loaded.scenario, loaded.folder)
        if loaded.scenario.devices:
            known["devices"] = {"mode": "live" if warrant else "dry run", "operator": warrant.operator if warrant else ""}
        meta.write(run_dir, known)
    except OSError as error:
        raise ScenarioError(
            [Problem("--out", 0, (), f"cannot write to {out} ({error.strerror}); choose another directory")]
        ) from None
    if not quiet:
        print(f"{loaded.scenario.name}: {loaded.scenario.about}\n{run_dir}", file=sys.stderr)
    with display(loaded.scenario.stop_s, quiet) as shown, bench.watched() if bench else nullcontext():
        outcome = supervisor.run(federation, run_dir, runner, shown.show)
    if outcome.exit_code == SCENARIO:
        shutil.rmtree(run_dir)
        raise ScenarioError([loaded.document.problem((), outcome.message)])
    records = monitor.load(run_dir)
    mode = "live" if warrant else "dry"
    verdicts = judge([e for e in loaded.scenario.expect if e.mode in ("any", mode)], records, outcome.reached_ns)
    failed = outcome.exit_code == GOOD and any(verdict.passed is False for verdict in verdicts)
    exit_code = EXPECTATION_FAILED if failed else outcome.exit_code
    warned = warnings(loaded.scenario, records)
    meta.write(run_dir, {**known, **meta.after(outcome, exit_code, verdicts, warned)})
    report = monitor.report(run_dir)
    if outcome.exit_code != GOOD:
        print(f"gridtandem: {outcome.message}", file=sys.stderr)
        for line in outcome.log_tail:
            print(f"    {line}", file=sys.stderr)
    for sentence in warned:
        print(f"gridtandem: warning: {sentence}", file=sys.stderr)
    if not quiet:
        _summary(records, verdicts)
    reached = [verdict.passed for verdict in verdicts if verdict.passed is not None]
    judged = f"{sum(reached)} of {len(reached)} expectations hold" if reached else "no expectation was reached"
    if reached and len(reached) < len(verdicts):
        judged += f", {len(verdicts) - len(reached)} not reached"
    length = f"{loaded.scenario.stop_s:g} s"
    ended = f"ended at t = {outcome.ended_ns / 1e9:.9g} s of {length} after"
    took = f"{f'{length} simulated in' if outcome.exit_code == GOOD else ended} {outcome.wall_s:.1f} s"
    print(f"{loaded.scenario.name}: exit {exit_code}, {took}, {judged}; report: {report}")
    return exit_code


def _reachable(loaded: LoadedScenario) -> LoadedScenario:
    """Without the expectations that lie after a stop time from the command line: what is written must run again as it is."""
    scenario = loaded.scenario
    kept = tuple(e for e in scenario.expect if max((e.at_s or 0.0, *(e.within_s or ()))) <= scenario.stop_s)
    return replace(loaded, scenario=scenario.model_copy(update={"expect": kept}))


def _summary(records: Records, verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        print(f"  {verdict.line}", file=sys.stderr)
    events = records.event_rows()
    ours = sum(row["source"].startswith("scenario.") for row in events)
    print(f"  {len(events)} events, {ours} of them the scenario's", file=sys.stderr)
    timing = records.timing()
    if len(timing):
        spent = timing.groupby("federate")["compute_ns"].agg(["sum", "count"]).sort_values("sum", ascending=False)
        for name, row in spent.iterrows():
            total_s, calls = row["sum"] / 1e9, int(row["count"])
            print(f"  {total_s:7.2f} s  {1e3 * total_s / calls:7.3f} ms a call  {calls:7d} calls  {name}", file=sys.stderr)
