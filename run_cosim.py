"""The command line: `python run_cosim.py --help`. Without arguments it runs the `quickstart` scenario.

Exit codes: 0 good, 1 an expectation failed, 2 scenario or usage, 3 a federate or the broker failed, 4 a device failed, 5 a fault of
our own, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.cli_device import add_commands as add_device_commands
from scenarios import DEFAULT
from scenarios.bench import add_commands, add_run_options, audit_command, bench_of, safety_command
from scenarios.capability import add_commands as add_capability_command

if TYPE_CHECKING:
    from monitor.results import Results

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_SCENARIO_HELP = "name of a library scenario (see `list`), or the path of a YAML file"


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"gridtandem {version('gridtandem')}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="gridtandem",
        description="Co-simulation of transmission and distribution grids, centred on the Transmission Bus Load Model.",
        epilog=f"Without a command: run {DEFAULT}.",
    )
    top.add_argument("--version", action=_Version, nargs=0, help="show the version and end")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    run = commands.add_parser("run", help="run a scenario; leaves a run directory with records and a report")
    run.add_argument("scenario", metavar="SCENARIO", nargs="?", default=DEFAULT, help=_SCENARIO_HELP)
    run.add_argument(
        "--runner", choices=("helics", "local"), default="helics", help="helics: a process a group; local: one, the plain loop"
    )
    run.add_argument("--out", type=Path, default=Path("runs"), metavar="DIR", help="where run directories go (default: runs)")
    run.add_argument("--stop", type=float, metavar="T", help="simulated seconds, instead of the scenario's")
    run.add_argument("--seed", type=int, metavar="N", help="instead of the scenario's")
    run.add_argument("--real-time", action="store_true", help="hold it to the clock on the wall, as scenarios with devices are")
    run.add_argument("--quiet", action="store_true", help="only the last line")
    add_run_options(run)
    check = commands.add_parser("check", help="say everything that is wrong with a scenario")
    check.add_argument("scenario", metavar="SCENARIO", help=_SCENARIO_HELP)
    check.add_argument("--solve", action="store_true", help="also build every federate and make its first power flow")
    commands.add_parser("list", help="the scenarios of the library")
    show = commands.add_parser("show", help="a scenario with every default written out")
    show.add_argument("scenario", metavar="SCENARIO", help=_SCENARIO_HELP)
    commands.add_parser("schema", help="JSON Schema of a scenario")
    report = commands.add_parser("report", help="write the report of a run directory again, also of a run that failed")
    report.add_argument("run_dir", metavar="RUN_DIR", type=Path)
    add_commands(commands)
    compare = commands.add_parser("compare", help="are the records of two runs the same, bit for bit?")
    compare.add_argument("a", metavar="RUN", type=Path)
    compare.add_argument("b", metavar="RUN", type=Path)
    add_device_commands(commands)
    add_capability_command(commands)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run a command; gives the exit code."""
    arguments = parser().parse_args(argv if argv is not None else sys.argv[1:] or None)
    if arguments.command is None:
        arguments = parser().parse_args(["run"])
    for variable in _ONE_THREAD:  # a sum in another order has other bits; the processes of a run inherit this
        os.environ[variable] = "1"
    from scenarios.problem import ScenarioError

    try:
        return _COMMANDS[arguments.command](arguments)
    except ScenarioError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gridtandem: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("federates", "scenarios", "monitor"):
            raise
        from scenarios.extras import missing_extra

        if message := missing_extra(error):
            print(f"gridtandem: {message}", file=sys.stderr)
            return 2
        where = "run it as .venv/bin/python run_cosim.py, or `source .venv/bin/activate` first (`make run` makes .venv)"
        print(f"gridtandem: {sys.executable} has no package {error.name}; {where}", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        print("gridtandem: this is a fault of ours; please report it with the lines above", file=sys.stderr)
        return 5


def _run(arguments: argparse.Namespace) -> int:
    from scenarios.load import load_scenario
    from scenarios.run import Monitor, changed, run

    def load(run_dir: Path) -> Results:
        from monitor.results import load

        return load(run_dir)

    def report(run_dir: Path) -> Path:
        from monitor.report import write

        return write(run_dir)

    loaded = changed(load_scenario(arguments.scenario), arguments.stop, arguments.seed, real_time=arguments.real_time)
    return run(loaded, arguments.runner, arguments.out, arguments.quiet, Monitor(load, report), bench_of(loaded, arguments))


def _check(arguments: argparse.Namespace) -> int:
    from scenarios.load import load_scenario

    loaded = load_scenario(arguments.scenario)
    scenario = loaded.scenario
    if arguments.solve:
        from scenarios.solve import check_by_solving

        check_by_solving(loaded)
    solved = ", every federate starts and solves" if arguments.solve else ""
    size = f"{len(scenario.federates)} federates, {len(scenario.events)} events, {scenario.stop_s:g} s"
    print(f"{scenario.name}: good; {size}{solved}")
    return 0


def _list(_arguments: argparse.Namespace) -> int:
    from scenarios.load import library, load_scenario
    from scenarios.problem import ScenarioError

    known = library()
    width = max(map(len, known))
    for name, path in known.items():
        try:
            about = load_scenario(name).scenario.about
        except ScenarioError as error:  # an extra that it needs is not installed
            about = f"cannot run here: {error.problems[0].message} ({path.name})"
        print(f"{name:{width}} {about}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from scenarios.dump import dump
    from scenarios.load import load_scenario

    print(dump(load_scenario(arguments.scenario)), end="")
    return 0


def _schema(_arguments: argparse.Namespace) -> int:
    import json

    from scenarios.load import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from monitor.report import write
    from monitor.results import NotARunError

    try:
        print(write(arguments.run_dir))
    except NotARunError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from monitor.compare import compare
    from monitor.results import NotARunError

    try:
        comparison = compare(arguments.a, arguments.b)
    except NotARunError as error:
        print(error, file=sys.stderr)
        return 2
    print(comparison)
    return comparison.exit_code


def _capability(arguments: argparse.Namespace) -> int:
    from scenarios.capability import run

    def plot(path: Path, title: str, regions: Sequence[Any], present: tuple[float, float]) -> None:
        from monitor.figures.capability import write_page

        write_page(path, title, regions, present)

    return run(arguments, plot)


def _device(arguments: argparse.Namespace) -> int:
    from hil.cli_device import run

    return run(arguments)


_COMMANDS = {
    "run": _run,
    "safety": safety_command,
    "audit": audit_command,
    "check": _check,
    "list": _list,
    "show": _show,
    "schema": _schema,
    "report": _report,
    "compare": _compare,
    "device": _device,
    "capability": _capability,
}

if __name__ == "__main__":
    sys.exit(main())
