"""`run_cosim.py device ...`: look at devices, watch them, check their maps, and run stand-ins. Nothing here writes to a device.

Exit codes: 0 good, 2 a wrong map, address or option, 4 the device (or a stand-in) failed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

GOOD, USAGE, DEVICE_FAILED = 0, 2, 4


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `device` and its commands."""
    from hil.devices.process import NAMES

    device = commands.add_parser("device", help="look at a device, watch it, check its point map, run a stand-in")
    actions = device.add_subparsers(dest="action", metavar="ACTION", required=True)
    address_help = "modbus://HOST:PORT/UNIT, modbus+tls://, modbus+rtu:///dev/..., dnp3://HOST:PORT/OUTSTATION?master=1, ..."
    probe = actions.add_parser("probe", help="what is at an address; reads only")
    probe.add_argument("address", metavar="ADDRESS", help=address_help)
    probe.add_argument("--units", default="", metavar="1-10,247", help="Modbus: units to look for where the address names none")
    probe.add_argument("--last", type=int, default=999, metavar="N", help="Modbus: look at addresses 0 to N (default 999)")
    probe.add_argument(
        "--thorough", action="store_true", help="Modbus: try every address, not one in five, where a block is refused"
    )
    probe.add_argument("--requests", type=int, default=2000, metavar="N", help="Modbus: at most so many requests (default 2000)")
    probe.add_argument("--timeout", type=_seconds, default=1.0, metavar="S", help="for one answer (default 1)")
    probe.add_argument("--write-map", type=Path, metavar="FILE", help="write what was found as a point map to start from")
    watch = actions.add_parser("watch", help="live points of a map, with quality and age, until Ctrl-C; reads only")
    watch.add_argument("address", metavar="ADDRESS", help=address_help)
    watch.add_argument("--map", type=Path, required=True, metavar="FILE", help="the device's point map")
    watch.add_argument("--period", type=_seconds, default=1.0, metavar="S", help="between polls (default 1)")
    watch.add_argument("--count", type=int, metavar="N", help="end after N polls")
    watch.add_argument("--timeout", type=_seconds, default=1.0, metavar="S", help="for one answer (default 1)")
    mapped = actions.add_parser("map", help="check a point map, or make one of a DNP3 device profile (.xml)")
    mapped.add_argument("file", metavar="FILE", type=Path, nargs="?", help="without one: the columns of a map, and what they mean")
    stand_in = actions.add_parser("stand-in", help="run a device that is none, in this process")
    stand_in.add_argument("name", metavar="NAME", choices=NAMES, help=", ".join(NAMES))
    stand_in.add_argument(
        "arguments", nargs=argparse.REMAINDER, help="of the stand-in (--help lists them; --map prints its point map)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs a command of `device`; gives the exit code. Messages go to standard error, one for each thing that is wrong."""
    from hil.drivers.base import DeviceError
    from hil.points import MapError

    try:
        return _ACTIONS[arguments.action](arguments)
    except MapError as error:
        print(error, file=sys.stderr)
        return USAGE
    except DeviceError as error:
        print(f"device: {error}", file=sys.stderr)
        return DEVICE_FAILED
    except ValueError as error:
        print(f"device: {error}", file=sys.stderr)
        return USAGE


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} s; give more than 0")
    return value


def _units(text: str) -> list[int]:
    """1-10,247 -> 1, 2, ..., 10, 247. ValueError."""
    units: list[int] = []
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or int(last or first) > 255:
            raise ValueError(f"--units {text!r}: write units from 0 to 255, as 1-10,247")
        units += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(units))


def _probe(arguments: argparse.Namespace) -> int:
    import asyncio

    from hil import show
    from hil.address import DeviceAddress
    from hil.points import PointMap, Protocol

    show.quiet()
    address = DeviceAddress.parse(arguments.address)
    found: PointMap | None
    if address.protocol is Protocol.MODBUS:
        from hil.probe_modbus import probe_modbus

        units = _units(arguments.units)
        if not 0 <= arguments.last <= 65535 or arguments.requests < 1:
            raise ValueError("--last is an address from 0 to 65535, and --requests at least 1")
        modbus = asyncio.run(
            probe_modbus(
                address,
                units,
                last_address=arguments.last,
                max_requests=arguments.requests,
                thorough=arguments.thorough,
                timeout_s=arguments.timeout,
            )
        )
        found = show.modbus_report(address, modbus)
    else:
        from hil.probe_dnp3 import probe_dnp3

        found = show.dnp3_report(address, asyncio.run(probe_dnp3(address, timeout_s=arguments.timeout)))
    if arguments.write_map is not None:
        _write_map(arguments.write_map, found)
    return GOOD


def _write_map(file: Path, found: object) -> None:
    from hil.point_csv import map_text
    from hil.points import PointMap

    if not isinstance(found, PointMap):
        raise ValueError(f"nothing was found that a map could be made of; {file} is not written")
    try:
        with file.open("x", encoding="utf-8") as output:
            output.write(map_text(found))
    except OSError as error:
        raise ValueError(f"{file} cannot be written: {error.strerror or error}") from error
    print(
        f"{len(found.points)} points written to {file}; every row is read: set signals, and direction, limits and fallback to write"
    )


def _watch(arguments: argparse.Namespace) -> int:
    import asyncio

    from hil import show
    from hil.address import DeviceAddress
    from hil.point_csv import load_map
    from hil.watch import watch

    show.quiet()
    address = DeviceAddress.parse(arguments.address)
    watched = watch(address, load_map(arguments.map), timeout_s=arguments.timeout)
    try:
        asyncio.run(show.live(str(address), watched, arguments.period, arguments.count))
    except KeyboardInterrupt:
        print("ended")
    return GOOD


def _map(arguments: argparse.Namespace) -> int:
    from hil.point_csv import load_map, map_text
    from hil.profile_xml import load_profile

    if arguments.file is None:
        from hil import show

        show.columns()
        return GOOD
    if arguments.file.suffix.lower() == ".xml":
        print(map_text(load_profile(arguments.file)), end="")
        return GOOD
    found = load_map(arguments.file)
    print(f"{arguments.file}: good; {found.protocol}, {len(found.reads)} points to read, {len(found.writes)} to write")
    return GOOD


def _stand_in(arguments: argparse.Namespace) -> int:
    import importlib

    from hil.devices.stand_in import main

    module = importlib.import_module(f"hil.devices.{arguments.name}")
    given: Sequence[str] = arguments.arguments[1:] if arguments.arguments[:1] == ["--"] else arguments.arguments
    if given == ["--map"]:
        from hil.point_csv import map_text

        if not hasattr(module, "point_map"):
            raise ValueError(f"stand-in {arguments.name} has no map of its own: its points are those of the --map you give it")
        print(map_text(module.point_map()), end="")
        return GOOD
    return main(arguments.name, lambda: module.device(list(given)))


_ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {"probe": _probe, "watch": _watch, "map": _map, "stand-in": _stand_in}
