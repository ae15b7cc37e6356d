"""Requests and answers of the Modbus application protocol: bytes in, dataclasses out, and back. No input or output here.

Source: MODBUS Application Protocol Specification V1.1b3, section 6. One model serves both ends: the server parses requests with
`parse_request`, the client learns from `answer_head` and `answer_length` what a true answer looks like and refuses all others.
Registers are big-endian bytes, coils and discrete inputs are packed eight to a byte, lowest address in the lowest bit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

MAX_READ_BITS = 2000
MAX_READ_REGISTERS = 125
MAX_WRITE_BITS = 1968
MAX_WRITE_REGISTERS = 123
MAX_READ_WRITE_REGISTERS = 121  # the writing half of function 23
MAX_PDU_BYTES = 253
COIL_ON, COIL_OFF = 0xFF00, 0x0000


class Function(IntEnum):
    """Function codes spoken here."""

    READ_COILS = 1
    READ_DISCRETE_INPUTS = 2
    READ_HOLDING_REGISTERS = 3
    READ_INPUT_REGISTERS = 4
    WRITE_SINGLE_COIL = 5
    WRITE_SINGLE_REGISTER = 6
    WRITE_MULTIPLE_COILS = 15
    WRITE_MULTIPLE_REGISTERS = 16
    MASK_WRITE_REGISTER = 22
    READ_WRITE_MULTIPLE_REGISTERS = 23


BIT_READS = frozenset({Function.READ_COILS, Function.READ_DISCRETE_INPUTS})
REGISTER_READS = frozenset({Function.READ_HOLDING_REGISTERS, Function.READ_INPUT_REGISTERS})
READS = BIT_READS | REGISTER_READS


class ExceptionCode(IntEnum):
    """Exception codes of section 7; devices send others too, so a received code stays a plain int."""

    ILLEGAL_FUNCTION = 1
    ILLEGAL_DATA_ADDRESS = 2
    ILLEGAL_DATA_VALUE = 3
    SERVER_DEVICE_FAILURE = 4
    ACKNOWLEDGE = 5
    SERVER_DEVICE_BUSY = 6
    MEMORY_PARITY_ERROR = 8
    GATEWAY_PATH_UNAVAILABLE = 10
    GATEWAY_TARGET_FAILED = 11


class ModbusException(Exception):
    """A request was refused with an exception code: raised by banks in a server, and in a client by what the device answered."""

    def __init__(self, code: int, where: str = "") -> None:
        self.code = code
        known = {member.value: member.name.replace("_", " ").lower() for member in ExceptionCode}
        super().__init__(f"exception {code} ({known.get(code, 'not in the standard')})" + (f": {where}" if where else ""))


def byte_count(function: int, count: int) -> int:
    """Bytes that `count` bits or registers take in the answer to a read."""
    return (count + 7) // 8 if function in BIT_READS else 2 * count


@dataclass(frozen=True, slots=True)
class Read:
    """Functions 1 to 4: `count` bits or registers from protocol address `address` (counted from 0)."""

    function: int
    address: int
    count: int

    def encode(self) -> bytes:
        return struct.pack(">BHH", self.function, self.address, self.count)

    def answer_head(self) -> bytes:
        return bytes((self.function, byte_count(self.function, self.count)))

    def answer_length(self) -> int:
        return 2 + byte_count(self.function, self.count)


@dataclass(frozen=True, slots=True)
class Write:
    """Functions 5, 6, 15 and 16. `data`: registers as big-endian bytes, or packed coils (for function 5 one byte, 0 or 1)."""

    function: int
    address: int
    count: int
    data: bytes

    def encode(self) -> bytes:
        if self.function in (Function.WRITE_MULTIPLE_COILS, Function.WRITE_MULTIPLE_REGISTERS):
            return struct.pack(">BHHB", self.function, self.address, self.count, len(self.data)) + self.data
        return struct.pack(">BH", self.function, self.address) + self._single()

    def _single(self) -> bytes:
        if self.function == Function.WRITE_SINGLE_COIL:
            return struct.pack(">H", COIL_ON if self.data[0] else COIL_OFF)
        return self.data

    def answer_head(self) -> bytes:
        """The whole answer: functions 5 and 6 echo the request, 15 and 16 its address and count."""
        if self.function in (Function.WRITE_MULTIPLE_COILS, Function.WRITE_MULTIPLE_REGISTERS):
            return struct.pack(">BHH", self.function, self.address, self.count)
        return self.encode()

    def answer_length(self) -> int:
        return 5


@dataclass(frozen=True, slots=True)
class MaskWrite:
    """Function 22: register = (register AND and_mask) OR (or_mask AND NOT and_mask), in one step inside the device."""

    address: int
    and_mask: int
    or_mask: int
    function: int = Function.MASK_WRITE_REGISTER

    def encode(self) -> bytes:
        return struct.pack(">BHHH", self.function, self.address, self.and_mask, self.or_mask)

    def answer_head(self) -> bytes:
        return self.encode()

    def answer_length(self) -> int:
        return 7


@dataclass(frozen=True, slots=True)
class ReadWrite:
    """Function 23: the device first writes `data` from `write_address` on, then reads `count` registers from `address` on."""

    address: int
    count: int
    write_address: int
    data: bytes
    function: int = Function.READ_WRITE_MULTIPLE_REGISTERS

    def encode(self) -> bytes:
        head = (self.function, self.address, self.count, self.write_address, len(self.data) // 2, len(self.data))
        return struct.pack(">BHHHHB", *head) + self.data

    def answer_head(self) -> bytes:
        return bytes((self.function, 2 * self.count))

    def answer_length(self) -> int:
        return 2 + 2 * self.count


Request = Read | Write | MaskWrite | ReadWrite


def exception_answer(function: int, code: int) -> bytes:
    """The PDU that refuses a request."""
    return bytes((function | 0x80, code))


def parse_request(pdu: bytes) -> Request:
    """Read a request. Raises ModbusException in the order of the state diagrams of section 6: unknown function 1, a bad count or
    length 3, an address range that leaves the 65,536 addresses 2."""
    function = pdu[0] if pdu else 0
    parser = _PARSERS.get(function)
    if parser is None:
        raise ModbusException(ExceptionCode.ILLEGAL_FUNCTION, f"function {function}")
    try:
        request = parser(pdu)
    except (struct.error, IndexError):
        raise ModbusException(ExceptionCode.ILLEGAL_DATA_VALUE, f"function {function}: {len(pdu)} bytes are too few") from None
    if request.encode() != pdu:  # bytes after the end of the request
        raise ModbusException(ExceptionCode.ILLEGAL_DATA_VALUE, f"function {function}: {len(pdu)} bytes are too many")
    return request


def _check_range(address: int, count: int, limit: int) -> None:
    if not 1 <= count <= limit:
        raise ModbusException(ExceptionCode.ILLEGAL_DATA_VALUE, f"count {count} is not in 1..{limit}")
    if address + count > 0x10000:
        raise ModbusException(ExceptionCode.ILLEGAL_DATA_ADDRESS, f"{address}+{count} ends after 65535")


def _parse_read(pdu: bytes) -> Read:
    function, address, count = struct.unpack_from(">BHH", pdu)
    _check_range(address, count, MAX_READ_BITS if function in BIT_READS else MAX_READ_REGISTERS)
    return Read(function, address, count)


def _parse_single_coil(pdu: bytes) -> Write:
    function, address, state = struct.unpack_from(">BHH", pdu)
    if state not in (COIL_ON, COIL_OFF):
        raise ModbusException(ExceptionCode.ILLEGAL_DATA_VALUE, f"coil state {state:#06x} is neither 0xFF00 nor 0x0000")
    return Write(function, address, 1, bytes((state == COIL_ON,)))


def _parse_single_register(pdu: bytes) -> Write:
    function, address, register = struct.unpack_from(">BH2s", pdu)
    return Write(function, address, 1, register)


def _parse_multiple(pdu: bytes) -> Write:
    function, address, count, announced = struct.unpack_from(">BHHB", pdu)
    bits = function == Function.WRITE_MULTIPLE_COILS
    _check_range(address, count, MAX_WRITE_BITS if bits else MAX_WRITE_REGISTERS)
    expected = (count + 7) // 8 if bits else 2 * count
    if announced != expected or len(pdu) != 6 + expected:
        raise ModbusException(ExceptionCode.ILLEGAL_DATA_VALUE, f"{count} values take {expected} bytes, not {announced}")
    return Write(function, address, count, pdu[6:])


def _parse_mask(pdu: bytes) -> MaskWrite:
    _, address, and_mask, or_mask = struct.unpack_from(">BHHH", pdu)
    return MaskWrite(address, and_mask, or_mask)


def _parse_read_write(pdu: bytes) -> ReadWrite:
    _, address, count, write_address, write_count, announced = struct.unpack_from(">BHHHHB", pdu)
    _check_range(address, count, MAX_READ_REGISTERS)
    _check_range(write_address, write_count, MAX_READ_WRITE_REGISTERS)
    if announced != 2 * write_count or len(pdu) != 10 + announced:
        raise ModbusException(ExceptionCode.ILLEGAL_DATA_VALUE, f"{write_count} registers take not {announced} bytes")
    return ReadWrite(address, count, write_address, pdu[10:])


_PARSERS: dict[int, Callable[[bytes], Request]] = {
    Function.READ_COILS: _parse_read,
    Function.READ_DISCRETE_INPUTS: _parse_read,
    Function.READ_HOLDING_REGISTERS: _parse_read,
    Function.READ_INPUT_REGISTERS: _parse_read,
    Function.WRITE_SINGLE_COIL: _parse_single_coil,
    Function.WRITE_SINGLE_REGISTER: _parse_single_register,
    Function.WRITE_MULTIPLE_COILS: _parse_multiple,
    Function.WRITE_MULTIPLE_REGISTERS: _parse_multiple,
    Function.MASK_WRITE_REGISTER: _parse_mask,
    Function.READ_WRITE_MULTIPLE_REGISTERS: _parse_read_write,
}
