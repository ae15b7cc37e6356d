"""A field of IEDs (our outstations), an RTU between, and SCADA's master (yadnp3): what the tests of stand-in RTUs are made of."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hil.devices.process import StandIn
from hil.point_csv import parse_map
from hil.point_dnp3 import POINT_TYPE, outstation_points
from hil.points import PointMap
from protocols.dnp3 import Command, CommandStatus, OperateMode, Outstation, OutstationConfig, PointType
from protocols.dnp3.master import Master, MasterStack
from protocols.dnp3.master_config import MasterConfig, MasterError
from protocols.dnp3.server import OutstationServer
from protocols.dnp3.yadnp3_callbacks import PointReport

BREAKER = """\
name,table,address,direction,codes,fallback,scale,min,max,type,operate,deadband,unit
closed,binary_input,3,,,,,,,,,,
p_w,analog_input,1,,,,100,,,,,500,W
tap,analog_output,2,write,,hold,1,-16,16,i16,direct,,
trip,binary_output,0,write,trip|close,hold,,,,,,,
"""
METER = "name,table,address,unit\nenergy_wh,counter,0,Wh\nv_v,analog_input,0,V\n"
RTU = """\
name,table,address,direction,codes,fallback,scale,min,max,type,event_variation,unit
brk.closed,binary_input,0,,,,,,,,,
brk.p_w,analog_input,0,,,,10,,,,7,W
mtr.v_v,analog_input,1,,,,,,,,7,V
mtr.energy_wh,counter,0,,,,,,,,,Wh
brk.trip,binary_output,0,write,latch_on|latch_off|trip|close,hold,,,,,,
brk.tap,analog_output,0,write,,hold,,-32,32,f32,,
"""


@dataclass
class IedDevice:
    """One of our outstations as an IED: it remembers commands, and obeys them where told how."""

    points: PointMap
    status: CommandStatus = CommandStatus.SUCCESS
    operated: list[tuple[str, Any, OperateMode]] = field(default_factory=list)
    obey: Callable[[str, Any], None] = lambda _name, _value: None

    async def start(self, address: int = 10, port: int = 0) -> int:
        config = OutstationConfig(address=address, masters=(1,), cold_restart_s=0.2)
        points = outstation_points(self.points)
        self.server = OutstationServer(Outstation(config, points, clock=time.monotonic_ns, handler=self), port=port)
        return (await self.server.start())[1]

    def show(self, name: str, value: Any, **fields: Any) -> None:
        row = self.points.point(name)
        self.server.update(POINT_TYPE[row.table], row.address, value, **fields)

    def select(self, command: Command) -> CommandStatus:
        return self.status

    def operate(self, command: Command, mode: OperateMode) -> CommandStatus:
        if self.status is CommandStatus.SUCCESS:
            value = command.value if command.crob is None else command.crob.code
            self.operated.append((command.point.name, value, mode))
            self.obey(command.point.name, value)
        return self.status


@dataclass
class Scada:
    """The master above the RTU, and the last report of each point."""

    master: Master
    seen: dict[tuple[int, int], PointReport] = field(default_factory=dict)
    events: list[PointReport] = field(default_factory=list)

    async def until(self, done: Callable[[Scada], bool], what: str, timeout_s: float = 15.0) -> None:
        """Takes reports until `done`. AssertionError after the time, with what there was."""
        try:
            async with asyncio.timeout(timeout_s):
                while not done(self):
                    self.take(await self.master.reports())
        except TimeoutError:
            raise AssertionError(f"{what} did not happen within {timeout_s:g} s; last: {self.seen}") from None

    def take(self, reports: list[PointReport]) -> None:
        for report in reports:
            kind = {1: 1, 2: 1, 20: 20, 22: 20, 30: 30, 32: 30, 10: 10, 11: 10, 40: 40, 42: 40}.get(report.group)
            if kind is not None:
                self.seen[kind, report.point] = report
            if report.event:
                self.events.append(report)

    def value(self, group: int, index: int) -> Any:
        report = self.seen.get((group, index))
        return None if report is None else report.value


@dataclass
class Plant:
    breaker: IedDevice
    meter: IedDevice
    ports: dict[str, int]
    rtu: StandIn
    scada: Scada


@asynccontextmanager
async def plant(folder: Path, name: str = "rtu", *options: str) -> AsyncIterator[Plant]:
    """Two IEDs, the stand-in RTU of that name, and SCADA with its first integrity poll done."""
    breaker, meter = IedDevice(parse_map(BREAKER)), IedDevice(parse_map(METER))
    ports = {"brk": await breaker.start(), "mtr": await meter.start(11)}
    breaker.show("closed", True)
    breaker.show("p_w", 123_400.0)
    meter.show("energy_wh", 77)
    meter.show("v_v", 240.25)
    for file, text in (("brk.csv", BREAKER), ("mtr.csv", METER), ("rtu.csv", RTU)):
        (folder / file).write_text(text)
    ieds = [
        f"--ied=brk=127.0.0.1:{ports['brk']}/10={folder / 'brk.csv'}",
        f"--ied=mtr=127.0.0.1:{ports['mtr']}/11={folder / 'mtr.csv'}",
    ]
    arguments = ["--map", str(folder / "rtu.csv"), *ieds, "--poll", "0.2", *options]
    rtu = await asyncio.to_thread(StandIn, name, arguments)
    try:
        async with MasterStack() as stack:
            config = MasterConfig(
                "SCADA", port=rtu.ready["port"], outstation=rtu.ready["outstation"], reconnect_s=(0.1, 0.3), response_timeout_s=0.5
            )
            scada = Scada(await stack.add(config))
            polling = asyncio.create_task(_poll(scada.master))
            yield Plant(breaker, meter, ports, rtu, scada)
            polling.cancel()
    finally:
        await asyncio.to_thread(rtu.close)
        await breaker.server.close()
        await meter.server.close()


async def _poll(master: Master) -> None:
    """Asks for events four times a second, whatever becomes of it."""
    while True:
        with contextlib.suppress(MasterError):
            await master.scan((1, 2, 3))
        await asyncio.sleep(0.25)


__all__ = ["IedDevice", "Plant", "PointType", "Scada", "plant"]
