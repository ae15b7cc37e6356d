"""A load-shedding relay on a wire: `python -m hil.devices.relay --map relay.csv --ied bay=127.0.0.1:20001/10=bay.csv
--measures bay.f --trips bay.trip1 --pickup 59.5 --delay 0.1`.

It is an RTU (`rtu.py`) that also looks at what it passes on: below its pickup for the definite time, it trips a control of the same
or another IED. What it measures comes as often as the IED reports it, so it sees a fall later than a relay on a transformer would,
by a report's interval and its way. While the IED is not heard, or says that the value is not good, the relay is blocked. It
operates once, and tries again where the IED does not take the trip; after a restart it is ready again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping
from typing import Any

from hil.devices.rtu import RtuDevice, routes_of
from hil.devices.rtu import parser as rtu_parser
from hil.devices.rtu_routes import Routes, Upward
from hil.devices.stand_in import main, say
from hil.point_dnp3 import crob_for
from hil.points import MapPoint, Operate
from protocols.dnp3 import CommandStatus, Flag
from protocols.dnp3.master_config import MasterError

_TRIES, _AGAIN_S = 20, 0.1


class RelayDevice(RtuDevice):
    """The relay. `measures`, `trips`: IED.ROW; `pickup`, `reset` in the unit of that row. ValueError for other rows."""

    def __init__(self, routes: Routes, measures: str, trips: str, pickup: float, delay_s: float, reset: float, **rtu: Any) -> None:
        super().__init__(routes, **rtu)
        if measures not in {route.to.name for route in routes.up.values()}:
            raise ValueError(f"--measures {measures}: its own map shows no such row of an IED; add it")
        self._measures, self._pickup, self._delay_s, self._dropout = measures, pickup, delay_s, pickup + reset
        self._trips = _control(routes, trips)
        self._since_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.operated = False

    def _show(self, name: str, upward: Upward) -> None:
        super()._show(name, upward)
        if name == self._measures and isinstance(upward.value, (int, float)):
            good = upward.flags & Flag.ONLINE and not upward.flags & (Flag.COMM_LOST | Flag.RESTART)
            self._look(float(upward.value) if good else None)

    def _look(self, value: float | None) -> None:
        """None: what is measured is not known."""
        if self.operated:
            return
        if self._since_s is None:
            if value is not None and value < self._pickup:
                self._since_s = time.monotonic()
                say("pickup", value=value)
                self._timer = asyncio.get_running_loop().call_later(self._delay_s, self._operate)
        elif value is None or value >= self._dropout:
            self._stand_down()
            say("dropout", value=value)

    def _stand_down(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._since_s = None

    def _operate(self) -> None:
        self.operated = True
        say("operate", after_s=round(time.monotonic() - (self._since_s or 0.0), 4))
        self._run(self._trip())

    async def _trip(self) -> None:
        ied, row = self._trips
        master, control = self._fields[ied].master, crob_for(row, 0.0)
        assert control is not None
        said = ""
        for _ in range(_TRIES):
            try:
                result = await master.operate(row.address, control, select=row.operate is Operate.SELECT)
            except MasterError as error:
                said = str(error)
            else:
                said = result.status.name
                if result.status is CommandStatus.SUCCESS:
                    break
            await asyncio.sleep(_AGAIN_S)
        say("command", point=f"{ied}.{row.name}", status=said)

    async def restart(self, down_s: float) -> None:
        self._stand_down()
        self.operated = False
        await super().restart(down_s)

    def get(self) -> Mapping[str, Any]:
        return {**super().get(), "picked_up": self._since_s is not None, "operated": self.operated}


def _control(routes: Routes, name: str) -> tuple[str, MapPoint]:
    """The IED and its row that is tripped."""
    ied_name, _, row_name = name.partition(".")
    rows = [row for ied in routes.ieds if ied.name == ied_name for row in ied.points.points if row.name == row_name]
    if not rows or not rows[0].is_write or crob_for(rows[0], 0.0) is None:
        raise ValueError(f"--trips {name}: no IED has such a control with a code for trip or latch_off")
    return ied_name, rows[0]


def parser() -> argparse.ArgumentParser:
    top = rtu_parser()
    top.prog, top.description = "relay", "A load-shedding relay over DNP3, as a stand-in."
    top.add_argument("--measures", required=True, metavar="IED.ROW", help="what it measures")
    top.add_argument("--trips", required=True, metavar="IED.ROW", help="the control that it trips")
    top.add_argument("--pickup", type=float, required=True, help="it picks up below this, in the unit of the row")
    top.add_argument("--delay", type=float, default=0.1, metavar="S", help="definite time from pickup to trip (default 0.1)")
    top.add_argument("--reset", type=float, default=0.02, help="it drops out this far above its pickup (default 0.02)")
    return top


def device(arguments: list[str]) -> RelayDevice:
    given = parser().parse_args(arguments)
    if not 0.01 <= given.poll <= 3600 or not 0 <= given.delay <= 3600 or given.reset < 0:
        raise ValueError("give --poll 0.01 to 3600 s, --delay 0 to 3600 s, --reset at least 0")
    return RelayDevice(
        routes_of(given), given.measures, given.trips, given.pickup, given.delay, given.reset,
        port=given.port, address=given.address, masters=tuple(given.master or [1]), poll_s=given.poll,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main("relay", lambda: device(sys.argv[1:])))
