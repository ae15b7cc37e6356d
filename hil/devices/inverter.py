"""A SunSpec inverter over Modbus TCP: `python -m hil.devices.inverter [--port 0] [--unit 1] [--p-max 50000]`.

It serves models 1 and 701 to 714, and acts on enter service (703), limit of active power and fixed var with their reversion timers
and power factor (704), volt-var (705) and volt-watt (706) curves with adoption and reversion; the other curves can be written and
read, and nothing follows them. What its terminals see comes by order (`{"set": {"v_pu": 1.04}}`), or over Modbus from what plays
the grid: unit 200 (`--grid-unit`) has v_pu, f_hz and available_w as f32 in holding registers 0, 2 and 4.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
import sys
import time
from collections.abc import Mapping
from typing import Any

from hil.devices.faults import Faults, cut_modbus_tcp
from hil.devices.front import TcpFront
from hil.devices.inverter_map import inverter_map
from hil.devices.inverter_model import DEFAULT_RATING, Inverter, Rating
from hil.devices.inverter_sunspec import InverterSunSpec
from hil.devices.stand_in import main
from hil.points import PointMap
from protocols.modbus import Dispatcher, ExceptionCode, MemoryBank, ModbusException, Table, TcpServer

_STEP_S = 0.05
INPUTS = ("v_pu", "f_hz", "available_w")
_RANGES = {"v_pu": (0.0, 2.0), "f_hz": (0.0, 100.0), "available_w": (0.0, 1e9)}


class InverterDevice:
    """The inverter, its registers, its server and its face."""

    def __init__(self, port: int = 0, unit: int = 1, grid_unit: int = 200, rating: Rating | None = None) -> None:
        if unit == grid_unit:
            raise ValueError(f"the inverter and the grid cannot both be unit {unit}")
        self.faults = Faults(cut_modbus_tcp)
        self._port, self._unit, self._grid_unit = port, unit, grid_unit
        self._rating = rating or DEFAULT_RATING
        self._skew_s = 0.0
        self._power_on()

    def _power_on(self) -> None:
        """What is volatile is as delivered; the terminals are the world's and stay."""
        before = getattr(self, "_inverter", None)
        self._inverter = Inverter(self._rating)
        for name in INPUTS if before is not None else ():
            setattr(self._inverter, name, getattr(before, name))
        self._sunspec = InverterSunSpec(self._inverter, self._unit, self._now_s)
        self._grid = MemoryBank(self._grid_written)
        values = struct.pack(">3f", *(getattr(self._inverter, name) for name in INPUTS))
        self._grid.add(Table.HOLDING, 0, values, writable=True)
        self._dispatcher = Dispatcher({self._unit: self._sunspec.bank, self._grid_unit: self._grid}, own_unit=self._unit)

    def _now_s(self) -> float:
        """The device's own clock."""
        return time.monotonic() + self._skew_s

    async def start(self) -> Mapping[str, Any]:
        self._server = TcpServer(self._dispatcher)
        await self._server.start()
        self._front = TcpFront(("127.0.0.1", self._server.port), self.faults, port=self._port)
        await self._front.open()
        self._stepping = asyncio.create_task(self._step())
        address = f"modbus://127.0.0.1:{self._front.port}/{self._unit}"
        return {
            "address": address,
            "host": "127.0.0.1",
            "port": self._front.port,
            "unit_id": self._unit,
            "grid_unit": self._grid_unit,
        }

    async def _step(self) -> None:
        while True:
            self._sunspec.step()
            await asyncio.sleep(_STEP_S)

    async def restart(self, down_s: float) -> None:
        await self._front.close()
        await asyncio.sleep(down_s)
        self._power_on()
        self._server.dispatcher = self._dispatcher
        await self._front.open()

    def jump_clock(self, jump_s: float) -> None:
        self._skew_s += jump_s

    def set(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            self._check(name, value)
        for name, value in values.items():
            setattr(self._inverter, name, float(value))
            self._grid.set(Table.HOLDING, 2 * INPUTS.index(name), struct.pack(">f", value))

    @staticmethod
    def _check(name: str, value: Any) -> None:
        if name not in INPUTS:
            raise ValueError(f"the inverter has no {name}; set one of {', '.join(INPUTS)}")
        low, high = _RANGES[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise ValueError(f"{name} is {value!r}; give a number from {low:g} to {high:g}")

    def _grid_written(self, table: Table, _address: int, _count: int) -> None:
        for name, value in zip(INPUTS, struct.unpack(">3f", self._grid.read(table, 0, 6)), strict=True):
            try:
                self._check(name, value)
            except ValueError as error:
                raise ModbusException(ExceptionCode.ILLEGAL_DATA_VALUE, str(error)) from error
            setattr(self._inverter, name, value)

    def get(self) -> Mapping[str, Any]:
        self._sunspec.step()
        inverter = self._inverter
        inputs = {name: getattr(inverter, name) for name in INPUTS}
        return {**inputs, "p_w": inverter.p_w, "q_var": inverter.q_var, "volt_var": inverter.settings.volt_var}

    async def close(self) -> None:
        for task in (getattr(self, "_stepping", None),):
            if task is not None:
                task.cancel()
        for part in (getattr(self, "_front", None), getattr(self, "_server", None)):
            if part is not None:
                await part.close()


def point_map() -> PointMap:
    """What `--map` prints."""
    return inverter_map()


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="inverter", description="A SunSpec inverter over Modbus TCP, as a stand-in.")
    top.add_argument("--port", type=int, default=0, help="0 (default) takes a free one, which the first line tells")
    top.add_argument("--unit", type=int, default=1)
    top.add_argument("--grid-unit", type=int, default=200, help="unit whose registers are what the terminals see")
    top.add_argument("--p-max", type=float, default=DEFAULT_RATING.p_max_w, metavar="W", help="rating; others follow in proportion")
    return top


def device(arguments: list[str]) -> InverterDevice:
    given = parser().parse_args(arguments)
    if not 1000 <= given.p_max <= 1e7:
        raise ValueError(f"--p-max {given.p_max:g} W: the registers hold ratings from 1 kW to 10 MW")
    share = given.p_max / DEFAULT_RATING.p_max_w
    rating = Rating(given.p_max, DEFAULT_RATING.s_max_va * share, DEFAULT_RATING.q_max_var * share)
    return InverterDevice(given.port, given.unit, given.grid_unit, rating)


if __name__ == "__main__":
    sys.exit(main("inverter", lambda: device(sys.argv[1:])))
