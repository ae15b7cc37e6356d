"""We play a DNP3 outstation: the device that is wired in polls it and commands it."""

from __future__ import annotations

import ssl
import time

from hil.channel import Frame
from hil.drivers.base import Command
from hil.drivers.quality import to_flags
from hil.plan import DevicePlan
from hil.point_dnp3 import POINT_TYPE, outstation_points, state_of
from hil.points import MapPoint
from hil.relay import Tap
from protocols.dnp3 import Command as ProtocolCommand
from protocols.dnp3 import CommandStatus, OperateMode, Outstation, OutstationConfig
from protocols.dnp3.server import Address, OutstationServer

_MS = 1_000_000


class Dnp3Outstation:
    """`shown`: the `read` rows in the order of the frames that `show` gets. `command` decides what a master may do."""

    def __init__(
        self, plan: DevicePlan, listen: Address, shown: tuple[MapPoint, ...], tap: Tap, command: Command, tls: ssl.SSLContext | None
    ) -> None:
        self._plan, self._shown, self._command = plan, shown, command
        self._writes = {(POINT_TYPE[point.table], point.wire_address): point for point in plan.points.writes}
        config = OutstationConfig(address=plan.dnp3_address, need_time=False, unsolicited_delay_s=0.0)
        self.last_error = ""
        start_ms = time.time_ns() // _MS
        self._outstation = Outstation(
            config, outstation_points(plan.points), clock=time.monotonic_ns, handler=self, start_time_ms=start_ms
        )

        def tapped(sender: Address, receiver: Address, octets: bytes) -> None:
            tap(sender, receiver, octets, time.time_ns())

        self._server = OutstationServer(self._outstation, host=listen[0], port=listen[1], ssl_context=tls, tap=tapped)

    @property
    def masters(self) -> int:
        return self._server.connections

    @property
    def address(self) -> Address:
        return self._server.address

    async def open(self) -> None:
        """Listen. OSError says where that was not possible."""
        await self._server.start()

    def show(self, frame: Frame, now_ns: int) -> None:
        """New values with their quality and the time of their measurement."""
        utc_ns = time.time_ns()
        for i, point in enumerate(self._shown):
            value, measured_ns = float(frame.values[i]), int(frame.measured_ns[i])
            if value != value:
                continue  # nothing was ever measured: the point stays in restart
            time_ms = (utc_ns - max(0, now_ns - measured_ns)) // _MS
            shown = bool(value >= 0.5) if point.is_binary else value
            self._server.update(
                POINT_TYPE[point.table], point.wire_address, shown, flags=to_flags(int(frame.quality[i])), time_ms=time_ms
            )

    # -- the outstation's ControlHandler

    def select(self, command: ProtocolCommand) -> CommandStatus:
        """Whether there is such a command; the operate decides."""
        return self._status(command)

    def operate(self, command: ProtocolCommand, mode: OperateMode) -> CommandStatus:
        """Hand it over."""
        known = self._status(command)
        if known is not CommandStatus.SUCCESS:
            return known
        point = self._writes[command.point.type, command.point.index]
        if command.crob is not None:
            state = state_of(command.crob)
            assert state is not None  # _status
            value, details = float(state), {"code": command.crob.code, "mode": mode.value, "master": command.master}
        else:
            assert command.value is not None
            value, details = command.value, {"mode": mode.value, "master": command.master}
        return CommandStatus.NOT_AUTHORIZED if self._command(point.name, value, details) else CommandStatus.SUCCESS

    def _status(self, command: ProtocolCommand) -> CommandStatus:
        if (command.point.type, command.point.index) not in self._writes:
            return CommandStatus.NOT_SUPPORTED
        if command.crob is not None and state_of(command.crob) is None:
            return CommandStatus.NOT_SUPPORTED
        return CommandStatus.SUCCESS

    async def close(self) -> None:
        """Stop listening."""
        await self._server.close()
