"""A three-phase meter, Modbus RTU on a pseudo terminal: `python -m hil.devices.meter [--baud 19200] [--unit 1]`.

A pseudo terminal has no speed, so the meter keeps that of its line: an answer leaves when request, silence and answer would have
been through. It takes no parity either, so the line is 8N2, the standard's eleven bits a character without one. Its first line
tells the path to open. What it measures comes by order, as `{"set": {"v_a_v": 241.5}}`; energy and clock are its own.
`METER_MAP` is its point map (`run_cosim.py device stand-in meter --map` prints it).
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import socket
import sys
import time
import tty
from collections.abc import Mapping
from typing import Any

from hil.devices.faults import Faults, cut_modbus_rtu
from hil.devices.front import SerialFront
from hil.devices.stand_in import main
from hil.point_modbus import TABLE, modbus_points
from hil.points import MapPoint, PointMap, PointTable
from protocols.modbus import Dispatcher, MemoryBank, SerialAddress, SerialServer
from protocols.modbus.points import raw_from_value, registers_from_raw

_STEP_S = 0.2
_MEASURED = {
    **{f"v_{phase}_v": ("V", 240.0) for phase in "abc"},
    **{f"i_{phase}_a": ("A", 20.0) for phase in "abc"},
    **{f"p_{phase}_w": ("W", 4_700.0) for phase in "abc"},
    **{f"q_{phase}_var": ("var", 900.0) for phase in "abc"},
    "f_hz": ("Hz", 60.0),
}
METER_MAP = PointMap(
    (
        *(
            MapPoint(name, PointTable.INPUT, 2 * i, type="f32", order="CDAB", unit=unit)
            for i, (name, (unit, _)) in enumerate(_MEASURED.items())
        ),
        MapPoint("energy_wh", PointTable.INPUT, 40, type="u64", unit="Wh"),
        MapPoint("pf", PointTable.INPUT, 44, type="s16", scale=0.001, sentinels=(0x8000,)),
        MapPoint("clock_s", PointTable.HOLDING, 100, type="u32", unit="s", clock="1970"),
    )
)
"""What the meter has; `pf` is not implemented (a sentinel) while no power flows."""


def point_map() -> PointMap:
    """What `--map` prints."""
    return METER_MAP


class MeterDevice:
    """The meter, its registers and its line."""

    def __init__(self, line: SerialAddress, unit: int = 1) -> None:
        if not 1 <= unit <= 247:
            raise ValueError(f"unit {unit} is not in 1..247, the addresses of a serial line")
        self.faults = Faults(cut_modbus_rtu)
        self._line, self._unit = line, unit
        self._points = {point.name: point for point in modbus_points(METER_MAP)}
        self._bank = MemoryBank()
        for row in METER_MAP.points:
            point = self._points[row.name]
            self._bank.add(TABLE[row.table], point.address, b"\0\0" * point.words)
        self._values = {name: value for name, (_, value) in _MEASURED.items()}
        self._energy_wh, self._skew_s = 0.0, 0.0
        self._last_s = time.monotonic()
        self._fds: list[int] = []

    async def start(self) -> Mapping[str, Any]:
        line_fd, device_fd = os.openpty()
        tty.setraw(device_fd)
        # The device's side stays open here too: else the line would end whenever a master closes it.
        self._fds = [line_fd, device_fd]
        self._ends = socket.socketpair()
        path = os.ttyname(device_fd)
        dispatcher = Dispatcher({self._unit: self._bank})
        self._server = SerialServer(dispatcher, self._line, fd=self._ends[0].fileno(), pace=True)
        self._front = SerialFront(line_fd, self._ends[1].fileno(), self.faults)
        self._server.start()
        self._front.open()
        self._stepping = asyncio.create_task(self._step())
        line = self._line
        address = f"modbus+rtu://{path}?unit={self._unit}&baud={line.baud}&parity={line.parity}&stop_bits={line.stop_bits}"
        return {"address": address, "path": path, "unit_id": self._unit, "baud": line.baud, "parity": line.parity, "stop_bits": 2}

    async def _step(self) -> None:
        while True:
            self._measure()
            next_second_s = 1.0 - (time.time() + self._skew_s) % 1.0  # its clock goes on in time
            await asyncio.sleep(min(_STEP_S, next_second_s + 1e-4))

    def _measure(self) -> None:
        """Energy and clock go on, and all registers show what is now."""
        now_s = time.monotonic()
        p_w = sum(self._values[f"p_{phase}_w"] for phase in "abc")
        q_var = sum(self._values[f"q_{phase}_var"] for phase in "abc")
        self._energy_wh += max(p_w, 0.0) * (now_s - self._last_s) / 3600.0
        self._last_s = now_s
        s_va = math.hypot(p_w, q_var)
        own = {"energy_wh": int(self._energy_wh), "clock_s": int(time.time() + self._skew_s) & 0xFFFF_FFFF}
        if s_va > 0:
            own["pf"] = p_w / s_va  # type: ignore[assignment]
        for name, value in {**self._values, **own}.items():
            point = self._points[name]
            self._bank.set(point.table, point.address, registers_from_raw(point, raw_from_value(point, value)))
        if s_va == 0:
            self._bank.set(self._points["pf"].table, self._points["pf"].address, b"\x80\x00")

    async def restart(self, down_s: float) -> None:
        """Deaf and mute; the energy is remembered, as meters do."""
        self._front.is_dead = True
        await asyncio.sleep(down_s)
        self._front.is_dead = False

    def jump_clock(self, jump_s: float) -> None:
        self._skew_s += jump_s

    def set(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if name not in _MEASURED:
                raise ValueError(f"the meter has no {name}; set one of {', '.join(_MEASURED)}")
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= 1e9:
                raise ValueError(f"{name} is {value!r}; give a number up to 1e9")
        self._values.update({name: float(value) for name, value in values.items()})
        self._measure()

    def get(self) -> Mapping[str, Any]:
        return {**self._values, "energy_wh": self._energy_wh}

    async def close(self) -> None:
        if not self._fds:
            return
        self._stepping.cancel()
        self._front.close()
        self._server.close()
        for end in self._ends:
            end.close()
        for fd in self._fds:
            os.close(fd)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="meter", description="A Modbus RTU meter on a pseudo terminal, as a stand-in.")
    top.add_argument("--baud", type=int, default=19200)
    top.add_argument("--unit", type=int, default=1)
    return top


def device(arguments: list[str]) -> MeterDevice:
    given = parser().parse_args(arguments)
    if not 300 <= given.baud <= 1_000_000:
        raise ValueError(f"--baud {given.baud}: give 300 to 1000000")
    return MeterDevice(SerialAddress("", given.baud, "N", 2), given.unit)


if __name__ == "__main__":
    sys.exit(main("meter", lambda: device(sys.argv[1:])))
