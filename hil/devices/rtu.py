"""A DNP3 RTU (data concentrator): `python -m hil.devices.rtu --map rtu.csv --ied sw1=127.0.0.1:20001/10=sw1.csv ...`.

Towards the field it is the master of IEDs; towards SCADA it is an outstation. The rows of its own map are named after what they
pass on: row `sw1.closed` is row `closed` of the IED `sw1`. Values go up with the quality and the time the IED gave them; while an
IED is not heard its points keep their values and lose quality (COMM_LOST). Commands go down: an RTU's answer says that it has taken
the command, or why not; whether the IED carried it out is seen in its status points, and told as a `command` line.

`{"set": {"local": true}}` turns its switch to local: every command is refused. Faults act on the side of SCADA.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.devices.faults import Faults, cut_dnp3
from hil.devices.front import TcpFront
from hil.devices.rtu_routes import Ied, Routes, Upward
from hil.devices.stand_in import main, say
from hil.point_csv import load_map
from hil.point_dnp3 import POINT_TYPE, TYPE_OF_GROUP, command_encoding, crob_for, outstation_points, state_of, wire_command
from hil.points import MapPoint, Operate
from protocols.dnp3 import Command, CommandStatus, Crob, Flag, OperateMode, Outstation, OutstationConfig
from protocols.dnp3.application import IIN
from protocols.dnp3.functions import Restart
from protocols.dnp3.master import Master, MasterStack
from protocols.dnp3.master_config import MasterConfig, MasterError
from protocols.dnp3.server import OutstationServer
from protocols.dnp3.yadnp3_callbacks import PointReport

_WATCH_S = 0.05
_DOWN_S = 1.0


@dataclass(slots=True)
class _Field:
    """An IED as the RTU sees it."""

    ied: Ied
    master: Master
    is_heard: bool = False


class RtuDevice:
    """The concentrator. `poll_s`: how often it asks each IED for events, beside what they report by themselves."""

    def __init__(
        self, routes: Routes, *, port: int = 0, address: int = 10, masters: tuple[int, ...] = (1,), poll_s: float = 0.5
    ) -> None:
        self.faults = Faults(cut_dnp3)
        self._routes, self._port, self._poll_s = routes, port, poll_s
        config = OutstationConfig(
            address=address,
            masters=masters,
            cold_restart_s=_DOWN_S,
            keep_alive_s=None,
            # Reads wait while an unsolicited response is unconfirmed, so on a LAN it is not waited for long.
            unsolicited_confirm_timeout_s=1.0,
            confirm_timeout_s=1.0,
        )
        self._outstation = Outstation(
            config,
            outstation_points(routes.points),
            clock=time.monotonic_ns,
            handler=self,
            start_time_ms=time.time_ns() // 1_000_000,
        )
        self._server = OutstationServer(self._outstation, port=0)
        self._stack = MasterStack()
        self._fields: dict[str, _Field] = {}
        self._values: dict[str, Upward] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._restarts = 0

    async def start(self) -> Mapping[str, Any]:
        await self._stack.__aenter__()
        inner = await self._server.start()
        self._front = TcpFront(inner, self.faults, port=self._port)
        await self._front.open()
        for ied in self._routes.ieds:
            config = MasterConfig(
                ied.name,
                host=ied.host,
                port=ied.port,
                outstation=ied.outstation,
                address=ied.master,
                response_timeout_s=1.0,
                reconnect_s=(0.1, 1.0),
            )
            field = self._fields[ied.name] = _Field(ied, await self._stack.add(config))
            for work in (self._take_reports(field), self._poll(field)):
                self._run(work)
        self._run(self._refill())
        config_ = self._outstation.config
        address = f"dnp3://127.0.0.1:{self._front.port}/{config_.address}?master={config_.masters[0]}"
        return {"address": address, "host": "127.0.0.1", "port": self._front.port, "outstation": config_.address}

    def _run(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- upwards

    async def _take_reports(self, field: _Field) -> None:
        while True:
            for report in await field.master.reports():
                self._report(field, report)

    def _report(self, field: _Field, report: PointReport) -> None:
        kind = TYPE_OF_GROUP.get(report.group)
        route = None if kind is None else self._routes.up.get((field.ied.name, kind, report.point))
        if route is None:
            return
        flags = int(Flag.ONLINE) if report.flags is None else report.flags
        # The times of an IED that asks for the time are not worth passing on.
        own = report.time_ms is None or field.master.iin & IIN.NEED_TIME
        time_ms = self._outstation.time_ms() if own or report.time_ms is None else report.time_ms
        self._show(route.to.name, route.upward(report.value, flags, time_ms))

    def _show(self, name: str, upward: Upward) -> None:
        self._values[name] = upward
        row = self._routes.rows[name]
        self._server.update(POINT_TYPE[row.table], row.address, upward.value, flags=upward.flags, time_ms=upward.time_ms)

    async def _poll(self, field: _Field) -> None:
        """Events, again and again; after a silence everything."""
        while True:
            try:
                if field.master.is_connected:
                    await (field.master.scan((1, 2, 3)) if field.is_heard else field.master.integrity())
                    field.is_heard = True
                else:
                    self._lose(field)
            except MasterError:
                self._lose(field)
            if not field.master.is_connected:
                self._lose(field)
                await asyncio.sleep(_WATCH_S)
            else:
                await asyncio.sleep(self._poll_s)

    def _lose(self, field: _Field) -> None:
        field.is_heard = False
        now_ms = self._outstation.time_ms()
        for name in self._routes.names_of(field.ied.name):
            known = self._values.get(name)
            if known is not None and not known.flags & Flag.COMM_LOST:
                self._show(name, known.lost(now_ms))

    async def _refill(self) -> None:
        """After a restart every point waits for a value: give it the one known here."""
        while True:
            if self._outstation.restarts != self._restarts and not self._outstation.restarting:
                self._restarts = self._outstation.restarts
                for name, upward in self._values.items():
                    self._show(name, upward)
            await asyncio.sleep(_WATCH_S)

    # -- downwards: what the outstation asks

    def select(self, command: Command) -> CommandStatus:
        return self._take(command, go=False)

    def operate(self, command: Command, mode: OperateMode) -> CommandStatus:
        return self._take(command, go=True)

    def _take(self, command: Command, go: bool) -> CommandStatus:
        found = self._routes.down.get(command.point.name)
        if found is None:
            return CommandStatus.NOT_SUPPORTED
        ied, row = found
        field = self._fields[ied]
        if not field.master.is_connected:
            return CommandStatus.DOWNSTREAM_FAIL
        sent = _translated(row, command)
        if isinstance(sent, CommandStatus):
            return sent
        if go:
            self._run(self._send(field, row, sent, command.point.name))
        return CommandStatus.SUCCESS

    async def _send(self, field: _Field, row: MapPoint, sent: Crob | float, name: str) -> None:
        select, encoding = row.operate is Operate.SELECT, command_encoding(row)
        try:
            result = await field.master.operate(row.address, sent, select=select, encoding=encoding)
        except MasterError as error:
            say("command", point=name, state="FAILURE", status=str(error))
            return
        say("command", point=name, state=result.state, status=result.status.name)
        try:
            await field.master.scan((1, 2, 3))
        except MasterError:
            self._lose(field)

    # -- the device

    async def restart(self, down_s: float) -> None:
        self._outstation.begin_restart(Restart.COLD)
        await self._front.close()
        await asyncio.sleep(max(down_s, _DOWN_S))
        await self._front.open()

    def jump_clock(self, jump_s: float) -> None:
        now_ns = time.monotonic_ns()
        self._outstation.set_time(max(0, self._outstation.time_ms() + round(1000 * jump_s)), now_ns)

    def set(self, values: Mapping[str, Any]) -> None:
        if set(values) != {"local"} or not isinstance(values["local"], bool):
            raise ValueError('the RTU measures nothing itself; set {"local": true} or false')
        self._outstation.local_control = values["local"]

    def get(self) -> Mapping[str, Any]:
        points = {name: {"value": each.value, "flags": each.flags, "time_ms": each.time_ms} for name, each in self._values.items()}
        connected = {name: field.master.is_connected for name, field in self._fields.items()}
        return {"points": points, "connected": connected, "local": self._outstation.local_control}

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if hasattr(self, "_front"):
            await self._front.close()
            await self._server.close()
        await self._stack.__aexit__(None, None, None)


def _translated(row: MapPoint, command: Command) -> Crob | float | CommandStatus:
    """The command as the IED takes it, or why it cannot be given."""
    if command.crob is not None:
        state = state_of(command.crob)
        crob = None if state is None else crob_for(row, state)
        return CommandStatus.NOT_SUPPORTED if crob is None else crob
    assert command.value is not None
    if row.minimum is not None and row.maximum is not None and not row.minimum <= command.value <= row.maximum:
        return CommandStatus.OUT_OF_RANGE
    return wire_command(row, command.value)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="rtu", description="A DNP3 data concentrator, as a stand-in.")
    top.add_argument("--map", type=Path, required=True, metavar="FILE", help="what it shows to SCADA; rows are named IED.POINT")
    top.add_argument(
        "--ied", action="append", default=[], metavar="NAME=HOST:PORT/ADDRESS=FILE", help="an IED and its map; again for each"
    )
    top.add_argument("--port", type=int, default=0, help="0 (default) takes a free one, which the first line tells")
    top.add_argument("--address", type=int, default=10, help="link address towards SCADA (default 10)")
    top.add_argument(
        "--master",
        type=int,
        action="append",
        metavar="N",
        help="link address of SCADA's master, and of this one's (default 1); again for more",
    )
    top.add_argument("--poll", type=float, default=0.5, metavar="S", help="how often IEDs are asked for events (default 0.5)")
    return top


def routes_of(given: argparse.Namespace) -> Routes:
    """The routes that the arguments describe. ValueError (MapError) for what is wrong with them."""
    ieds = [Ied.parse(text, (given.master or [1])[0]) for text in given.ied]
    return Routes.of(load_map(given.map), ieds)


def device(arguments: list[str]) -> RtuDevice:
    given = parser().parse_args(arguments)
    if not 0.01 <= given.poll <= 3600:
        raise ValueError(f"--poll {given.poll}: give 0.01 to 3600 s")
    return RtuDevice(
        routes_of(given), port=given.port, address=given.address, masters=tuple(given.master or [1]), poll_s=given.poll
    )


if __name__ == "__main__":
    sys.exit(main("rtu", lambda: device(sys.argv[1:])))
