"""The commands around wired devices: who arms a live run, the emergency stop, the audit log.

    run SCENARIO --live --operator NAME [--second NAME] [--lease S]
    safety status | stop | clear
    audit verify RUN_DIR

Importing this costs nothing; `hil` is imported when a command needs it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hil.safety import EmergencyStop, Warrant
    from scenarios.load import LoadedScenario


@dataclass(frozen=True)
class Bench:
    """How devices are run: who arms them (None: a dry run), where their emergency stop is, and what listens for it meanwhile."""

    warrant: Warrant | None
    stop_file: Path
    watched: Callable[[], AbstractContextManager[object]]


def add_run_options(run: argparse.ArgumentParser) -> None:
    """What arms a live run."""
    run.add_argument("--live", action="store_true", help="let writes out to the scenario's devices; without it they run dry")
    run.add_argument("--operator", default="", metavar="NAME", help="who answers for a live run")
    run.add_argument("--second", default="", metavar="NAME", help="a second person who agrees, where a site asks for two")
    run.add_argument("--lease", type=float, metavar="S", help="longest live run, s; never longer than a device's own lease_s")


def add_commands(commands: Any) -> None:
    """`safety` and `audit`."""
    safety = commands.add_parser("safety", help="the emergency stop of wired devices: status, stop, clear")
    safety.add_argument("what", choices=("status", "stop", "clear"), help="clear needs --operator")
    safety.add_argument(
        "--out", type=Path, default=Path("runs"), metavar="DIR", help="the runs whose stop is meant (default: runs)"
    )
    safety.add_argument("--stop-file", type=Path, metavar="FILE", help="another stop file")
    safety.add_argument("--operator", default="", metavar="NAME", help="who clears it")
    audit = commands.add_parser("audit", help="judge the audit logs of a run")
    audit.add_argument("what", choices=("verify",))
    audit.add_argument("run_dir", metavar="RUN_DIR", type=Path)
    audit.add_argument(
        "--key", metavar="HEX", help="public key that must have signed; default: that of this account, where it has one"
    )


def bench_of(loaded: LoadedScenario, arguments: argparse.Namespace) -> Bench | None:
    """How the scenario's devices are to be run; None where it has none. ScenarioError for options that do not fit."""
    from scenarios.problem import Problem, ScenarioError

    if not loaded.scenario.devices:
        if arguments.live:
            raise ScenarioError([Problem("--live", 0, (), f"{loaded.scenario.name} has no devices; leave it out")])
        return None
    from hil.safety import EmergencyStop, SafetyError, Warrant, default_stop_file
    from hil.stop_key import KEY_NAME, watched

    stop = EmergencyStop(default_stop_file(arguments.out))
    try:
        warrant = Warrant(arguments.operator, arguments.lease, arguments.second) if arguments.live else None
    except SafetyError as error:
        raise ScenarioError([Problem("--live", 0, (), str(error))]) from error
    if warrant is not None and stop.is_set:
        how = f"run_cosim.py safety clear {_named(stop, arguments.out)}--operator NAME"
        raise ScenarioError([Problem("--live", 0, (), f"the emergency stop is set ({stop.why()}); a person clears it with: {how}")])
    if not arguments.quiet:
        real = [device.name for device in loaded.scenario.devices if device.commands and device.stand_in is None]
        who = f"LIVE by {warrant.operator}" if warrant else "a dry run: nothing is written; add --live --operator NAME"
        touched = f" Real devices: {', '.join(real)}." if real else " Stand-ins only."
        print(f"devices: {who}.{touched} Emergency stop: {KEY_NAME}, or touch {stop.path}", file=sys.stderr)
    return Bench(warrant, stop.path, lambda: watched(stop))


def _named(stop: EmergencyStop, out: Path) -> str:
    return "" if out == Path("runs") else f"--stop-file {stop.path} "


def safety_command(arguments: argparse.Namespace) -> int:
    """Say whether the stop is set, set it, or clear it."""
    from hil.safety import EmergencyStop, SafetyError, default_stop_file

    stop = EmergencyStop(arguments.stop_file or default_stop_file(arguments.out))
    try:
        if arguments.what == "stop":
            stop.set("the command line")
        elif arguments.what == "clear":
            print(f"cleared by {arguments.operator}: {stop.clear(arguments.operator)}")
    except (SafetyError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{stop.path}: {f'SET ({stop.why()})' if stop.is_set else 'not set'}")
    return 0


def audit_command(arguments: argparse.Namespace) -> int:
    """0 where every log is whole, 1 where something is wrong with one, 2 where there is none."""
    from hil.audit import AuditError, key_path, load_or_make_key, public_text
    from hil.audit_verify import verify_run

    try:
        trusted = arguments.key or (public_text(load_or_make_key().public_key()) if key_path().exists() else None)
        judged = verify_run(arguments.run_dir, trusted)
    except AuditError as error:
        print(error, file=sys.stderr)
        return 2
    for found in judged:
        ended = "ended in good order" if found.ended else "not ended: its process was killed"
        what = f"{found.records} records, {ended}, key {found.key[:16]}..." if found.records else "no records"
        print(f"{found.path.name}: {what}, {'whole' if not found.problems else 'NOT WHOLE'}")
        for problem in found.problems:
            print(f"  {problem}")
    if trusted is None:
        print("the key was taken from the logs themselves: compare it with the bench's, or give --key")
    return 1 if any(found.problems for found in judged) else 0
