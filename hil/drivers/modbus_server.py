"""We play a Modbus server: the device that is wired in reads it and writes to it."""

from __future__ import annotations

from collections import defaultdict

from hil.channel import Frame
from hil.drivers.base import Command
from hil.plan import DevicePlan
from hil.point_modbus import TABLE, modbus_point
from hil.points import MapPoint
from hil.relay import Relay, Tap
from protocols.modbus import Dispatcher, ExceptionCode, MemoryBank, ModbusException, Point, PointError, Table, TcpServer
from protocols.modbus.points import raw_from_registers, raw_from_value, registers_from_raw, value_from_raw

Address = tuple[str, int]


class ModbusServer:
    """`shown`: the `read` rows in the order of the frames that `show` gets. `command` decides what a client may write."""

    def __init__(self, plan: DevicePlan, listen: Address, shown: tuple[MapPoint, ...], tap: Tap, command: Command) -> None:
        self._plan, self._listen, self._tap, self._command = plan, listen, tap, command
        self._shown = [(i, modbus_point(point)) for i, point in enumerate(shown)]
        self._writes: dict[tuple[int, Table], list[tuple[MapPoint, Point]]] = defaultdict(list)
        for point in plan.points.writes:
            self._writes[point.unit_id, TABLE[point.table]].append((point, modbus_point(point)))
        self._banks = {unit: self._bank(unit) for unit in sorted({point.unit_id for point in plan.points.points})}
        self._server = TcpServer(Dispatcher(self._banks))
        self._relay: Relay | None = None
        self._address: Address = ("", 0)
        self.last_error = ""
        """Why a value could not be shown."""

    def _bank(self, unit: int) -> MemoryBank:
        bank = MemoryBank(lambda table, address, count: self._written(unit, table, address, count))
        cells: dict[Table, dict[int, bool]] = defaultdict(dict)
        for point in self._plan.points.points:
            if point.unit_id == unit:
                made = modbus_point(point)
                for at in range(made.address, made.address + made.words):
                    cells[made.table][at] = cells[made.table].get(at, False) or point.is_write
        for table, used in cells.items():
            for at in sorted(used):
                bank.add(table, at, bytes(1 if table.is_bits else 2), writable=used[at])
        return bank

    @property
    def masters(self) -> int:
        return len(self._server.connections)

    @property
    def address(self) -> Address:
        return self._address

    async def open(self) -> None:
        """Listen. OSError says where that was not possible."""
        await self._server.start()
        self._relay = Relay(("127.0.0.1", self._server.port), listen=self._listen, tap=self._tap, faces_device=False)
        self._address = await self._relay.start()

    def show(self, frame: Frame, now_ns: int) -> None:
        """New values. What has no good quality keeps its last one: Modbus shows none."""
        for i, point in self._shown:
            value = float(frame.values[i])
            if value != value:
                continue
            bank = self._banks[point.unit]
            if point.table.is_bits:
                bank.set(point.table, point.address, bytes((int(value >= 0.5),)))
            elif point.bit is not None:
                word = int.from_bytes(bank.read(point.table, point.address, 1), "big")
                word = word | 1 << point.bit if value >= 0.5 else word & ~(1 << point.bit)
                bank.set(point.table, point.address, word.to_bytes(2, "big"))
            else:
                try:
                    bank.set(point.table, point.address, registers_from_raw(point, raw_from_value(point, value)))
                except PointError as error:
                    self.last_error = str(error)  # its registers keep the last value that fitted

    def _written(self, unit: int, table: Table, address: int, count: int) -> None:
        """A client wrote: each point is a command; a refusal is its exception. Nothing of a request acts where one of its points is
        written in part, or is no value that its row allows."""
        bank, wishes = self._banks[unit], []
        for row, point in self._writes[unit, table]:
            if point.address + point.words <= address or address + count <= point.address:
                continue
            if point.address < address or address + count < point.address + point.words:
                raise ModbusException(ExceptionCode.ILLEGAL_DATA_ADDRESS, f"half of point {row.name!r}")
            octets = bank.read(table, point.address, point.words)
            raw = bool(octets[0]) if table.is_bits else raw_from_registers(point, octets)
            value = None if raw is None else value_from_raw(point, raw)
            if value is None or isinstance(value, str) or not _allows(row, float(value)):
                raise ModbusException(ExceptionCode.ILLEGAL_DATA_VALUE, f"point {row.name!r}")
            wishes.append((row.name, float(value)))
        for name, value in wishes:
            if self._command(name, value, {"unit": unit}):
                raise ModbusException(ExceptionCode.ILLEGAL_DATA_VALUE, f"point {name!r}")

    async def close(self) -> None:
        """Stop listening."""
        if self._relay is not None:
            await self._relay.close()
        await self._server.close()


def _allows(row: MapPoint, value: float) -> bool:
    return row.minimum is None or row.maximum is None or row.minimum <= value <= row.maximum
