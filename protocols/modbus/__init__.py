"""Modbus: read and write devices, and be one. Needs pymodbus, pyserial, numpy, and pysunspec2 for SunSpec.

From the wire upwards:

* `pdu.py` requests and answers, `frame.py` how they travel over TCP and serial lines; sans-IO, shared by both ends.
* `points.py` what a register means: type, order of bytes and words, scale, scale-factor register, sentinels, limits, access.
  `blocks.py` the same for thousands of points at once. `planner.py` which requests read them: fewest possible, no value torn.
* `address.py`, `security.py`, `adapter.py` one connection: TCP, TLS with roles, RTU. The adapter is the only importer of pymodbus.
* `client.py` devices and their poll cycles, `write.py` a write and its reading back.
* `bank.py`, `server.py` the server's side. `sunspec_model.py`, `sunspec.py` self-describing devices, both roles.

What a reader of other Modbus code may miss: answers are compared with the request byte for byte, since short, long, late and
foreign answers occur and pymodbus lets them pass; nothing is ever sent twice by itself; a unit that is silent does not take the
others' time; and a device that refuses a range is asked for its parts until the bad point or hole is known.
"""

from protocols.modbus.adapter import BadAnswer, Exchange, Link, LinkError, NoAnswer, NoConnection
from protocols.modbus.address import Address, SerialAddress, TcpAddress, TlsAddress
from protocols.modbus.bank import Bank, Dispatcher, MemoryBank
from protocols.modbus.blocks import PointState
from protocols.modbus.client import Device, Readings, poll
from protocols.modbus.pdu import ExceptionCode, Function, ModbusException
from protocols.modbus.planner import ReadLimits, plan_reads, plan_write
from protocols.modbus.points import Order, Point, PointError, Table, Value, ValueType
from protocols.modbus.security import CertificateError, Rights, client_context, server_context
from protocols.modbus.server import SerialServer, TcpServer
from protocols.modbus.sunspec import Scan, SunSpecServer, scan
from protocols.modbus.sunspec_model import SunSpecError
from protocols.modbus.write import WriteResult, WriteState

__all__ = [
    "Address",
    "BadAnswer",
    "Bank",
    "CertificateError",
    "Device",
    "Dispatcher",
    "ExceptionCode",
    "Exchange",
    "Function",
    "Link",
    "LinkError",
    "MemoryBank",
    "ModbusException",
    "NoAnswer",
    "NoConnection",
    "Order",
    "Point",
    "PointError",
    "PointState",
    "ReadLimits",
    "Readings",
    "Rights",
    "Scan",
    "SerialAddress",
    "SerialServer",
    "SunSpecError",
    "SunSpecServer",
    "Table",
    "TcpAddress",
    "TcpServer",
    "TlsAddress",
    "Value",
    "ValueType",
    "WriteResult",
    "WriteState",
    "client_context",
    "plan_reads",
    "plan_write",
    "poll",
    "scan",
    "server_context",
]
