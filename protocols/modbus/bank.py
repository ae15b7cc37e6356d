"""What a server serves: tables of registers and bits, and the answer to a request on them. Sans-IO."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from protocols.modbus.pdu import (
    ExceptionCode,
    Function,
    MaskWrite,
    ModbusException,
    Read,
    ReadWrite,
    Request,
    Write,
    exception_answer,
    parse_request,
)
from protocols.modbus.points import Table
from protocols.modbus.security import Roles

_LOG = logging.getLogger(__name__)
DIRECT_UNITS = (0, 0xFF)  # a TCP server itself, as against the units behind it (Messaging Implementation Guide, 4.4.2.2)
_READ_TABLE = {table.read_function: table for table in Table}


class Bank(Protocol):
    """The tables of one unit. Bits are one byte each (0 or 1), registers two bytes, big-endian."""

    def read(self, table: Table, address: int, count: int) -> bytes:
        """`count` bits or registers. Raises ModbusException(2) where there are none."""

    def write(self, table: Table, address: int, values: bytes) -> None:
        """A client's write. Raises ModbusException, and then changes nothing."""


class MemoryBank:
    """Tables in memory, each a set of blocks. `on_write(table, address, count)` is called after each write of a client and may
    raise ModbusException, which undoes the write and is the client's answer."""

    def __init__(self, on_write: Callable[[Table, int, int], None] | None = None) -> None:
        self.on_write = on_write
        self._blocks: dict[Table, list[tuple[int, bytearray, bytearray]]] = {table: [] for table in Table}

    def add(self, table: Table, address: int, values: bytes, *, writable: bool = False) -> None:
        """Add a block. One that begins where another ends continues it: requests may span both. Raises ValueError on overlap."""
        size = self._size(table)
        count = len(values) // size
        if count * size != len(values) or not 0 <= address <= 0x10000 - count:
            raise ValueError(f"{table.value} block at {address}: {len(values)} bytes are no whole registers or leave 0..65535")
        blocks = self._blocks[table]
        for start, stored, _ in blocks:
            if address < start + len(stored) // size and start < address + count:
                raise ValueError(f"{table.value} block {address}..{address + count - 1} overlaps the one at {start}")
        blocks.append((address, bytearray(values), bytearray((writable,)) * count))
        blocks.sort(key=lambda block: block[0])
        merged = blocks[:1]
        for start, stored, flags in blocks[1:]:
            if merged[-1][0] + len(merged[-1][2]) == start:
                merged[-1][1].extend(stored)
                merged[-1][2].extend(flags)
            else:
                merged.append((start, stored, flags))
        self._blocks[table] = merged

    @staticmethod
    def _size(table: Table) -> int:
        return 1 if table.is_bits else 2

    def _find(self, table: Table, address: int, count: int) -> tuple[int, bytearray, bytearray]:
        for start, stored, flags in self._blocks[table]:
            if start <= address and address + count <= start + len(flags):
                return address - start, stored, flags
        raise ModbusException(ExceptionCode.ILLEGAL_DATA_ADDRESS, f"{table.value} {address}..{address + count - 1}")

    def read(self, table: Table, address: int, count: int) -> bytes:
        offset, stored, _ = self._find(table, address, count)
        size = self._size(table)
        return bytes(stored[offset * size : (offset + count) * size])

    def set(self, table: Table, address: int, values: bytes) -> None:
        """The device's own change: any existing address, no callback. Raises ModbusException(2) where there is none."""
        size = self._size(table)
        offset, stored, _ = self._find(table, address, len(values) // size)
        stored[offset * size : offset * size + len(values)] = values

    def write(self, table: Table, address: int, values: bytes) -> None:
        count = len(values) // self._size(table)
        offset, _, flags = self._find(table, address, count)
        if not all(flags[offset : offset + count]):
            raise ModbusException(ExceptionCode.ILLEGAL_DATA_ADDRESS, f"{table.value} {address}+{count} is read-only")
        before = self.read(table, address, count)
        self.set(table, address, values)
        if self.on_write is not None:
            try:
                self.on_write(table, address, count)
            except ModbusException:
                self.set(table, address, before)
                raise


class Dispatcher:
    """Answers requests from the banks of its units. With `roles` (a secured server), a role may do only what its rights say."""

    def __init__(self, units: Mapping[int, Bank], *, own_unit: int | None = None, roles: Roles | None = None) -> None:
        """`own_unit`: the unit that answers for 0 and 0xFF over TCP; by default the only one there is. Raises ValueError."""
        if not units or not all(0 <= unit <= 255 for unit in units):
            raise ValueError(f"a server needs units from 0 to 255, not {sorted(units)}")
        if own_unit is not None and own_unit not in units:
            raise ValueError(f"own unit {own_unit} is not one of {sorted(units)}")
        self.units = dict(units)
        self.own_unit = next(iter(units)) if own_unit is None and len(units) == 1 else own_unit
        self.roles = roles

    def answer(self, unit: int, pdu: bytes, role: str | None = None) -> bytes | None:
        """Answer over TCP; None (of a subclass that plays a faulty device) is silence. An unknown unit gets exception 11, as a
        gateway answers for a device that is not on its network."""
        bank = self.units.get(unit)
        if bank is None and unit in DIRECT_UNITS and self.own_unit is not None:
            bank = self.units[self.own_unit]
        function = pdu[0]
        if not self._allowed(unit, function, role):
            return exception_answer(function, ExceptionCode.ILLEGAL_FUNCTION)  # what the security specification asks for
        if bank is None:
            return exception_answer(function, ExceptionCode.GATEWAY_TARGET_FAILED)
        return _answer(bank, pdu)

    def _allowed(self, unit: int, function: int, role: str | None) -> bool:
        if self.roles is None:
            return True
        rights = self.roles.get(role) if role is not None else None
        meant = self.own_unit if unit in DIRECT_UNITS and unit not in self.units and self.own_unit is not None else unit
        return rights is not None and rights.allow(meant, function)

    def answer_serial(self, unit: int, pdu: bytes) -> bytes | None:
        """Answer on a serial line: other units are left alone, and unit 0 is a broadcast that all obey and none answers."""
        if unit == 0:
            for bank in self.units.values():
                _answer(bank, pdu)
            return None
        return _answer(self.units[unit], pdu) if unit in self.units else None


def _answer(bank: Bank, pdu: bytes) -> bytes:
    try:
        return _execute(bank, parse_request(pdu))
    except ModbusException as refusal:
        return exception_answer(pdu[0], refusal.code)
    except Exception:  # a device that fails says so on the wire and in the log; it does not take its server down
        _LOG.exception("request %s failed in the bank", pdu.hex())
        return exception_answer(pdu[0], ExceptionCode.SERVER_DEVICE_FAILURE)


def _execute(bank: Bank, request: Request) -> bytes:
    if isinstance(request, Read):
        table = _READ_TABLE[Function(request.function)]
        values = bank.read(table, request.address, request.count)
        return request.answer_head() + (pack_bits(values) if table.is_bits else values)
    if isinstance(request, Write):
        if request.function in (Function.WRITE_SINGLE_COIL, Function.WRITE_MULTIPLE_COILS):
            bank.write(Table.COIL, request.address, unpack_bits(request.data, request.count))
        else:
            bank.write(Table.HOLDING, request.address, request.data)
        return request.answer_head()
    if isinstance(request, MaskWrite):
        old = int.from_bytes(bank.read(Table.HOLDING, request.address, 1), "big")
        new = (old & request.and_mask) | (request.or_mask & ~request.and_mask & 0xFFFF)
        bank.write(Table.HOLDING, request.address, new.to_bytes(2, "big"))
        return request.answer_head()
    return _read_write(bank, request)


def _read_write(bank: Bank, request: ReadWrite) -> bytes:
    bank.read(Table.HOLDING, request.address, request.count)  # refuse before writing, not after
    bank.write(Table.HOLDING, request.write_address, request.data)
    return request.answer_head() + bank.read(Table.HOLDING, request.address, request.count)


def pack_bits(bits: bytes) -> bytes:
    """One byte per bit to eight bits per byte, the first in the lowest bit."""
    packed = bytearray((len(bits) + 7) // 8)
    for i, bit in enumerate(bits):
        if bit:
            packed[i >> 3] |= 1 << (i & 7)
    return bytes(packed)


def unpack_bits(packed: bytes, count: int) -> bytes:
    """Inverse of `pack_bits`."""
    return bytes(packed[i >> 3] >> (i & 7) & 1 for i in range(count))
