"""The RTU of `rtu.py` on another DNP3 stack: `python -m hil.devices.rtu_dnp3_python`, with the same arguments.

Both its sides are dnp3-python (OpenDNP3 2.x), an implementation that shares nothing with ours. It runs in a CPython 3.8 to 3.10 of
its own (`rtu_dnp3_python_peer.py`), found by uv or named by GRIDTANDEM_PYTHON310. Its outstation cannot be configured: every point
is class 1, analogs are 32-bit integers without time. So the scale in the RTU's map decides the resolution, and the times that IEDs
give end here.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hil.devices.faults import Faults, cut_dnp3
from hil.devices.front import TcpFront
from hil.devices.rtu import parser, routes_of
from hil.devices.rtu_routes import Routes, Upward
from hil.devices.stand_in import main, say
from hil.point_dnp3 import CODES, POINT_TYPE, TYPE_OF_GROUP, command_encoding, crob_for, state_of, wire_command
from hil.points import MapPoint, Operate, PointTable
from protocols.dnp3 import Crob, Flag, PointType

INTERPRETER = "GRIDTANDEM_PYTHON310"
_PEER = Path(__file__).with_name("rtu_dnp3_python_peer.py")
_TYPES = {
    PointType.BINARY_INPUT: "Binary", PointType.DOUBLE_BIT_INPUT: "DoubleBitBinary", PointType.COUNTER: "Counter",
    PointType.FROZEN_COUNTER: "FrozenCounter", PointType.ANALOG_INPUT: "Analog",
    PointType.BINARY_OUTPUT: "BinaryOutputStatus", PointType.ANALOG_OUTPUT: "AnalogOutputStatus",
}  # fmt: skip
_END_S = 3.0
_READY_S = 120.0
"""The first run fetches the package."""
_I32 = 2**31 - 1


def find_runner() -> list[str]:
    """The command that runs the peer. OSError says what is missing, and what would help."""
    uv = shutil.which("uv")
    if uv is None:
        raise OSError("dnp3-python is run by uv, and there is none on PATH: pip install uv")
    interpreter = os.environ.get(INTERPRETER)
    if interpreter is None:
        found = subprocess.run([uv, "python", "find", "3.10"], capture_output=True, text=True, timeout=60, check=False)
        if found.returncode:
            raise OSError(f"dnp3-python needs CPython 3.10: uv python install 3.10, or set {INTERPRETER} or UV_PYTHON_SEARCH_PATH")
        interpreter = found.stdout.strip()
    return [uv, "run", "--quiet", "--python", interpreter, "--script", str(_PEER)]


class PeerRtu:
    """The concentrator's decisions here, its DNP3 in the peer."""

    def __init__(self, routes: Routes, *, port: int = 0, address: int = 10, master: int = 1, poll_s: float = 0.5) -> None:
        self.faults = Faults(cut_dnp3)
        self._routes, self._port, self._poll_s = routes, port, poll_s
        self._address, self._master = address, master
        self._values: dict[str, Upward] = {}
        self._open = {ied.name: False for ied in routes.ieds}
        self._is_local = False
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._ids = itertools.count()
        self._commands: dict[int, str] = {}
        self._by_output = {self._output(name): name for name in routes.down}

    def _output(self, name: str) -> str:
        row = self._routes.rows[name]
        return f"{'crob' if row.table is PointTable.BINARY_OUTPUT else 'analog'} {row.address}"

    async def start(self) -> Mapping[str, Any]:
        self._runner = await asyncio.to_thread(find_runner)
        inner = await self._start_peer()
        self._front = TcpFront(("127.0.0.1", inner), self.faults, port=self._port)
        await self._front.open()
        self._inner = inner
        address = f"dnp3://127.0.0.1:{self._front.port}/{self._address}?master={self._master}"
        return {"address": address, "host": "127.0.0.1", "port": self._front.port, "outstation": self._address}

    async def _start_peer(self, port: int | None = None) -> int:
        if port is None:
            with socket.create_server(("127.0.0.1", 0)) as probe:  # the binding cannot tell which port the system chose
                port = probe.getsockname()[1]
        # Paths of this interpreter's libraries mean nothing to another version.
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
        self._process = await asyncio.create_subprocess_exec(
            *self._runner, stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=1 << 20, env=environment
        )
        sizes: dict[str, int] = {}
        for row in self._routes.points.points:
            name = _TYPES[POINT_TYPE[row.table]]
            sizes[name] = max(sizes.get(name, 0), row.address + 1)
        fields = ("name", "host", "port", "outstation", "master")
        ieds = [{name: getattr(ied, name) for name in fields} for ied in self._routes.ieds]
        told = {"port": port, "address": self._address, "master": self._master, "sizes": sizes}
        self._tell(**told, poll_ms=round(1000 * self._poll_s), ieds=ieds)
        async with asyncio.timeout(_READY_S):
            while (said := await self._line()).get("what") != "ready":
                self._heard(said)
        self._permit()
        self._listening = asyncio.create_task(self._listen())
        return port

    def _tell(self, **order: Any) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")

    async def _line(self) -> dict[str, Any]:
        """The peer's next line; what else its stack prints is passed over. OSError where it has ended."""
        assert self._process is not None and self._process.stdout is not None
        while line := await self._process.stdout.readline():
            with contextlib.suppress(json.JSONDecodeError):
                found = json.loads(line)
                if isinstance(found, dict):
                    return found
        raise OSError(f"dnp3-python ended with exit code {await self._process.wait()}; try: {' '.join(self._runner)}")

    async def _listen(self) -> None:
        with contextlib.suppress(OSError):  # it was ended by a restart or by close
            while True:
                self._heard(await self._line())

    def _heard(self, said: Mapping[str, Any]) -> None:
        match said.get("what"):
            case "value":
                self._value(said)
            case "line":
                self._open[said["ied"]] = said["open"]
                if not said["open"]:
                    self._lose(said["ied"])
                self._permit()
            case "operate":
                self._operate(said)
            case "result":
                status = said["statuses"][0] if said["statuses"] else said["summary"]
                state = "SUCCESS" if said["summary"] == "SUCCESS" else "FAILURE"
                say("command", point=self._commands.pop(said["id"]), state=state, status=status)
            case "exception":
                print(said["text"], file=sys.stderr)

    # -- upwards

    def _value(self, said: Mapping[str, Any]) -> None:
        kind = TYPE_OF_GROUP.get(said["group"])
        route = None if kind is None else self._routes.up.get((said["ied"], kind, said["index"]))
        if route is not None:
            time_ms = said["time"] or time.time_ns() // 1_000_000
            self._show(route.to.name, route.upward(said["value"], said["flags"] & 0x7F, time_ms))

    def _show(self, name: str, upward: Upward) -> None:
        self._values[name] = upward
        row = self._routes.rows[name]
        self._tell(
            do="update",
            type=_TYPES[POINT_TYPE[row.table]],
            index=row.address,
            value=_wire(row, upward),
            flags=upward.flags | (0x80 if row.is_binary and upward.value else 0),
            time=upward.time_ms,
        )

    def _lose(self, ied: str) -> None:
        for name in self._routes.names_of(ied):
            known = self._values.get(name)
            if known is not None and not known.flags & Flag.COMM_LOST:
                self._show(name, known.lost(time.time_ns() // 1_000_000))

    # -- downwards

    def _permit(self) -> None:
        """What the peer may say yes to, before it is asked: limits of the map, lines that are open, the switch."""
        table: dict[str, Any] = {}
        for name, (ied, source) in self._routes.down.items():
            row = self._routes.rows[name]
            status = "LOCAL" if self._is_local else "SUCCESS" if self._open[ied] else "DOWNSTREAM_FAIL"
            if row.table is PointTable.BINARY_OUTPUT:
                taken = [CODES[code] for code in row.codes]
                codes = [int(code) for code, state in taken if crob_for(source, state) is not None]
                table[self._output(name)] = {"status": status, "codes": codes}
            else:
                both = [limit for limit in (row.minimum, row.maximum, source.minimum, source.maximum) if limit is not None]
                low, high = max(both[0], both[2]), min(both[1], both[3])
                ends = sorted((value - row.offset) / row.scale for value in (low, high))
                table[self._output(name)] = {"status": status, "low": ends[0], "high": ends[1]}
        self._tell(do="permit", table=table)

    def _operate(self, said: Mapping[str, Any]) -> None:
        name = self._by_output[f"{said['kind']} {said['index']}"]
        ied, source = self._routes.down[name]
        number = next(self._ids)
        self._commands[number] = name
        order = {"do": "command", "id": number, "ied": ied, "index": source.address, "select": source.operate is Operate.SELECT}
        if said["kind"] == "crob":
            state = state_of(Crob(said["value"]))
            crob = None if state is None else crob_for(source, state)
            assert crob is not None  # only codes with an equivalent are permitted
            self._tell(**order, kind="crob", value=crob.code, on_ms=crob.on_ms, off_ms=crob.off_ms)
            return
        row = self._routes.rows[name]
        value = said["value"] * row.scale + row.offset
        self._tell(**order, kind=command_encoding(source), value=wire_command(source, value))

    # -- the device

    async def restart(self, down_s: float) -> None:
        """The process is killed, and another takes its place: what an RTU's power loss is."""
        await self._front.close()
        await self._end_peer()
        await asyncio.sleep(down_s)
        self._open = dict.fromkeys(self._open, False)
        await self._start_peer(self._inner)
        await self._front.open()

    def jump_clock(self, jump_s: float) -> None:
        raise ValueError("the outstation of dnp3-python sends no times, so a jump of its clock would not be seen")

    def set(self, values: Mapping[str, Any]) -> None:
        if set(values) != {"local"} or not isinstance(values["local"], bool):
            raise ValueError('the RTU measures nothing itself; set {"local": true} or false')
        self._is_local = values["local"]
        self._permit()

    def get(self) -> Mapping[str, Any]:
        points = {name: {"value": each.value, "flags": each.flags, "time_ms": each.time_ms} for name, each in self._values.items()}
        return {"points": points, "connected": self._open, "local": self._is_local}

    async def _end_peer(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        process = self._process
        if process is not None and process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()  # it ends by itself, and uv with it
            try:
                async with asyncio.timeout(_END_S):
                    await process.wait()
            except TimeoutError:
                process.kill()  # uv; the kernel then kills the peer (see its `die_with_uv`)
                await process.wait()

    async def close(self) -> None:
        if hasattr(self, "_front"):
            await self._front.close()
        await self._end_peer()


def _wire(row: MapPoint, upward: Upward) -> bool | int:
    """What the peer's database takes: it sends whole numbers only."""
    if row.is_binary:
        return bool(upward.value)
    assert not isinstance(upward.value, bytes)
    if row.table is PointTable.DOUBLE_BIT_INPUT:
        return int(upward.value)
    return max(-_I32, min(_I32, round((upward.value - row.offset) / row.scale)))


def device(arguments: list[str]) -> PeerRtu:
    given = parser().parse_args(arguments)
    routes, masters = routes_of(given), given.master or [1]
    if any(row.is_text for row in routes.points.points):
        raise ValueError("dnp3-python's outstation has no octet strings; leave them out of the RTU's map")
    if len(masters) > 1:
        raise ValueError("dnp3-python's outstation serves one master; give one --master")
    return PeerRtu(routes, port=given.port, address=given.address, master=masters[0], poll_s=given.poll)


if __name__ == "__main__":
    sys.exit(main("rtu_dnp3_python", lambda: device(sys.argv[1:])))
