"""Runs the benches and prints a table: `python -m tests.bench [--smoke] [NAME ...]`."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from federates.runtime import supervisor
from federates.runtime.federate import Federation
from tests.bench import toys

WARM_STEPS = 3


def span_s(federation: Federation, runner: str, skip_s: float = WARM_STEPS) -> tuple[float, int]:
    """Wall seconds between the first call after `skip_s` and the end of the last, and how many calls; start-up left out."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = supervisor.run(federation, Path(folder), runner)
        if outcome.exit_code:
            raise RuntimeError(outcome.message)
        table = pq.read_table(Path(folder) / "timing.parquet")
        t, begun, took = (table.column(name).to_numpy() for name in ("t_ns", "started_ns", "compute_ns"))
        at_work = (t >= skip_s * 1e9) & (t < federation.stop_ns)
        return float((begun + took)[at_work].max() - begun[at_work].min()) * 1e-9, int(at_work.sum())


def row(what: str, value: str, goal: str = "") -> None:
    """One line of the table."""
    print(f"  {what:<66} {value:>14}   {goal}", flush=True)


def ratio_of(pairs: list[tuple[float, float]]) -> str:
    """Median of the ratios, pair by pair, with the range."""
    ratios = [a / b for a, b in pairs]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"


def federation(smoke: bool) -> None:
    """Five federates of 10 ms a step: HELICS against the plain loop."""
    stop, rounds = (8, 1) if smoke else (60, 3)
    everyone = range(5)
    one, two, ahead = [], [], []
    for _ in range(rounds):
        plain, _ = span_s(toys.ring(5, 0.010, stop, [everyone]), "local")
        one.append((span_s(toys.ring(5, 0.010, stop, [everyone]), "helics")[0], plain))
        two.append((span_s(toys.ring(5, 0.010, stop, [(0, 2, 4), (1, 3)]), "helics")[0], plain))
        ahead.append((span_s(toys.ring(5, 0.010, stop, [(0, 1, 2), (3, 4)], closed=False), "helics")[0], plain))
    row("5 federates x 10 ms, HELICS in one process / plain loop", ratio_of(one), "goal <= 1.05")
    row("in two that feed each other, in step / plain loop", ratio_of(two), "goal <= 0.65")
    row("in two of which one only hears, ahead / plain loop", ratio_of(ahead), "goal <= 0.65")


def values(smoke: bool) -> None:
    """10,000 meter values a step between two federates."""
    size, stop, rounds = (1_000, 13, 1) if smoke else (10_000, 203, 3)
    for where, groups, goal in (
        ("one process", [("meters", "ami")], "goal <= 0.3 ms"),
        ("two processes", [("meters",), ("ami",)], "goal <= 2 ms"),
    ):
        packed = [span_s(toys.pair(size, False, stop, groups), "helics")[0] / (stop - WARM_STEPS) for _ in range(rounds)]
        row(f"{size} values a step as one vector, {where}", f"{1e3 * statistics.median(packed):.2f} ms", goal)
    few = max(size // 10, 100)
    scattered_stop = WARM_STEPS + 10
    single = span_s(toys.pair(few, True, scattered_stop, [("meters", "ami")]), "helics")[0] / 10 * size / few
    row(f"{size} values a step as one publication each, one process", f"{1e3 * single:.0f} ms", f"from {few} publications")


def curves(smoke: bool) -> None:
    """A 189-point curve table on IEEE 123 against 189 bare solves."""
    from tests.bench.curves import table_against_solves

    pairs, adaptive_s = table_against_solves(2 if smoke else 9)
    row("189-point table on IEEE 123 / 189 bare solves", ratio_of(pairs), "goal <= 1.3")
    for name, seconds in adaptive_s.items():
        row(f"both adaptive tables of a TBLM, {name}", f"{1e3 * seconds:.0f} ms")


def feeders(smoke: bool) -> None:
    """A step of a feeder (source, loads, solve, read) against a bare solve."""
    from federates.grid.feeder import Feeder
    from federates.grid.feeder_library import builtin_feeder

    for name in ("ieee13", "ieee34", "ieee123", *(() if smoke else ("ieee9500",))):
        with Feeder(builtin_feeder(name)) as feeder:
            p, q = feeder.load_p0_w, feeder.load_q0_var
            steps = 20 if smoke else 200 if name != "ieee9500" else 20
            spent = {"bare": [], "step": []}
            for k in range(steps):
                scale = 1.0 + 0.03 * (k % 2)
                feeder.set_loads(p * scale, q * scale)
                begun = time.perf_counter()
                feeder.solve()
                spent["bare"].append(time.perf_counter() - begun)
                begun = time.perf_counter()
                feeder.set_source(1.0 + 0.001 * (k % 3), 0.01)
                feeder.set_loads(p * (2.03 - scale), q * (2.03 - scale))
                feeder.solve()
                feeder.head(), feeder.node_v_pu(), feeder.load_v_pu()
                spent["step"].append(time.perf_counter() - begun)
            bare, step = (statistics.median(spent[key]) for key in ("bare", "step"))
            row(f"{name}: a step / a bare solve", f"{step / bare:.2f}", f"{1e3 * step:.3f} ms a step")


def quickstart(smoke: bool) -> None:
    """The quickstart over HELICS against the plain loop, and whether it takes a minute."""
    _scenario("quickstart", 60.0 if smoke else 3600.0)


def large(smoke: bool) -> None:
    """`large_9500`: steps a second and memory."""
    import resource

    from scenarios.build import build
    from scenarios.inventory import take_inventory
    from scenarios.load import load_scenario
    from scenarios.run import changed

    loaded = changed(load_scenario("large_9500"), 5.0 if smoke else 60.0, None)
    made = build(loaded, take_inventory(loaded))
    seconds, _ = span_s(made, "helics", skip_s=0.0)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    row("large_9500: simulated seconds a second", f"{made.stop_ns * 1e-9 / seconds:.1f}")
    row("large_9500: memory of its largest process", f"{peak:.0f} MB")


def capability(smoke: bool) -> None:
    """P-Q regions and sensitivities, processor time of one thread (set OPENBLAS_NUM_THREADS=1)."""
    from tests.bench.capability import ieee9500, large_region, sensitivity_cost, small_region
    from tests.tblm.capability_case import P_NOW_W, ieee123

    found = small_region()
    row("IEEE 123, 12 inverters: part of the exact area", f"{100.0 * found.share:.2f} %", "goal >= 99.5 %")
    row("IEEE 123, 12 inverters: region", f"{found.cpu_s:.2f} s", f"goal <= 0.5 s; {found.corners} corners, {found.solves} solves")
    for name, make, p_w in (("IEEE 123", ieee123, P_NOW_W), *(() if smoke else (("IEEE 9500", ieee9500, 50e3),))):
        cost = sensitivity_cost(make, p_w, 1 if name == "IEEE 9500" else 5)
        times = f"{1e3 * cost.all_voltages_s:.1f} ms", f"{1e3 * cost.head_s:.1f} ms, apart by {cost.apart:.1e} W/W"
        row(f"{name}: sensitivities, brute force / all voltages", f"{cost.brute_s / cost.all_voltages_s:.1f}", times[0])
        row(f"{name}: sensitivities, brute force / head only", f"{cost.brute_s / cost.head_s:.1f}", times[1])
    if not smoke:
        found = large_region(32)
        row("IEEE 9500, 100 inverters, 32 directions: region", f"{found.cpu_s:.1f} s", f"goal <= 20 s; {found.corners} corners")


def dynamics(smoke: bool) -> None:
    """The dynamics engine against real time: alone, with 125 ms exchanges, and in the federation with ten feeders."""
    from scenarios.build import build
    from scenarios.inventory import take_inventory
    from scenarios.load import load_scenario
    from scenarios.run import changed
    from tests.bench.dynamics import alone

    for case in ("ieee39",) if smoke else ("kundur", "ieee39", "npcc", "wecc"):
        wall, cpu = alone(case, 2.0 if smoke else 20.0)
        goal = "goal >= 5" if case == "ieee39" else ""
        row(f"{case} alone, x real time (x its CPU time)", f"{wall:.1f} ({cpu:.1f})", goal)
    loaded = changed(load_scenario("ieee39_islanding"), 12.0 if smoke else 60.0, None)
    made = build(loaded, take_inventory(loaded))
    for runner in ("local", "helics"):
        seconds, _ = span_s(made, runner, skip_s=10.0)
        factor = (made.stop_ns * 1e-9 - 10.0) / seconds
        row(f"ieee39_islanding in its emergency, {runner}, x real time", f"{factor:.1f}", "goal >= 3")


def _scenario(name: str, stop_s: float) -> None:
    from scenarios.build import build
    from scenarios.inventory import take_inventory
    from scenarios.load import load_scenario
    from scenarios.run import changed

    loaded = changed(load_scenario(name), stop_s, None)
    made = build(loaded, take_inventory(loaded))
    plain, calls = span_s(made, "local", skip_s=0.0)
    spread, _ = span_s(made, "helics", skip_s=0.0)
    row(f"{name}, {stop_s:g} s: HELICS / plain loop", f"{spread / plain:.2f}", f"{spread:.1f} s / {plain:.1f} s, {calls} calls")


def hil(smoke: bool) -> None:
    """Real devices: fallbacks on the wire, and lateness of the gatekeeper's loop."""
    from tests.bench.hil import measure

    measure(smoke, row)


def replay(smoke: bool) -> None:
    """Ten simulated minutes of gb_2019_08_09, without feeders."""
    from tests.bench.replay import ten_minutes

    whole, alone = ten_minutes(1 if smoke else 5)
    row("gb_2019_08_09, 600 s, plain loop without files, CPU", f"{statistics.median(whole):.2f} s", "goal <= 1 s")
    row("its model alone, from event to event, CPU", f"{1e3 * statistics.median(alone):.0f} ms")


def modbus(smoke: bool) -> None:
    """Modbus: polls beside bare pymodbus, the planner beside brute force, a hundred devices, malformed frames."""
    import asyncio

    from tests.protocols.modbus import bench

    seconds = 0.5 if smoke else 10.0
    with bench.Servers(3 if smoke else 100) as servers:
        ours, bare, ratio = asyncio.run(bench.poll_ratio(servers.ports[0], seconds))
        row(
            "poll, scale, publish 100 registers / bare pymodbus",
            f"{ratio:.2f}",
            f"goal >= 0.7; {ours:,.0f} and {bare:,.0f} a second",
        )
        row("requests of the planner / fewest possible", f"{bench.requests_over_optimum(5 if smoke else 40):.3f}", "goal <= 1.1")
        share, bad = asyncio.run(bench.park_load(servers.ports, max(2, round(seconds))))
        row(f"{len(servers.ports)} devices x 200 points at 1 Hz, of a core", f"{share:.3f}", f"goal < 0.25; {bad} points not good")
    frames = 2_000 if smoke else 100_000
    slowest_s, growth = asyncio.run(bench.attack(frames, seed=1, traced=smoke))
    row(f"{frames:,} malformed frames: slowest good answer", f"{slowest_s * 1e3:.0f} ms", f"goal < 1000; memory {growth:+.1%}")


def dnp3(smoke: bool) -> None:
    """DNP3: our outstation alone, and our master beside the bare binding of OpenDNP3."""
    from tests.bench.dnp3 import class_0_per_second, events_per_second
    from tests.bench.dnp3_master import EVENTS, side_by_side

    rate = events_per_second(3 if smoke else 50)
    row("our outstation: events encoded, sent and confirmed a second", f"{rate:,.0f}", "goal >= 20,000")
    row("our outstation: class 0 of 1,200 points a second", f"{class_0_per_second(1200, 3 if smoke else 20):,.0f}")
    found = side_by_side(*((1, 1, 20) if smoke else (5, 3, 200)))
    bare_s, our_s = (statistics.median(column) for column in zip(*found.events_s, strict=True))
    rates = f"{EVENTS / our_s:,.0f} and {EVENTS / bare_s:,.0f} a second"
    row("our master: events a second / the bare binding's", ratio_of([(bare, ours) for bare, ours in found.events_s]), rates)
    bare_s, our_s = (statistics.median(column) for column in zip(*found.command_s, strict=True))
    times = f"goal <= 2; {1e3 * our_s:.2f} and {1e3 * bare_s:.2f} ms"
    row("our master: select-before-operate / the bare binding's", ratio_of([(ours, bare) for bare, ours in found.command_s]), times)
    from tests.bench import dnp3_bridge

    for kind, pairs in dnp3_bridge.side_by_side(*((1, 1) if smoke else (5, 3))).items():
        bare_s, our_s = (statistics.median(column) for column in zip(*pairs, strict=True))
        rates = f"{EVENTS / our_s:,.0f} and {EVENTS / bare_s:,.0f} a second"
        row(f"{kind} events a second through the bridge / the bare binding's", ratio_of(pairs), rates)


BENCHES: dict[str, Callable[[bool], None]] = {
    "federation": federation,
    "values": values,
    "curves": curves,
    "feeders": feeders,
    "capability": capability,
    "quickstart": quickstart,
    "dynamics": dynamics,
    "replay": replay,
    "large": large,
    "modbus": modbus,
    "dnp3": dnp3,
    "hil": hil,
}


def main() -> int:
    """Run the benches named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--smoke", action="store_true", help="short runs: does it work, not how fast is it")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHES]
    if unknown:
        parser.error(f"no bench {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    print(f"Python {sys.version.split()[0]}, numpy {np.__version__}; ratios are medians with their range")
    short = [name for name in BENCHES if name != "large"]  # a single document of its TBLM takes longer than the rest together
    for name in arguments.names or (short if arguments.smoke else BENCHES):
        print(f"{name}: {BENCHES[name].__doc__}")
        BENCHES[name](arguments.smoke)
    return 0


if __name__ == "__main__":
    sys.exit(main())
