"""libmodbus, an independent implementation in C, as client of our server and as server of our client, over TCP and RTU."""

from __future__ import annotations

import asyncio
import ctypes
import ctypes.util
import os
import select
import socket
import struct
import threading
import tty
from collections.abc import Callable

import pytest
from modbus_peers import HOST, counting_bank

from protocols.modbus import (
    Device,
    Dispatcher,
    Order,
    Point,
    PointState,
    SerialAddress,
    SerialServer,
    Table,
    TcpAddress,
    TcpServer,
    ValueType,
    WriteState,
)

_NAME = ctypes.util.find_library("modbus")
pytestmark = pytest.mark.skipif(_NAME is None, reason="libmodbus is not installed: apt-get install libmodbus5 (Debian, Ubuntu)")
U16, U8 = ctypes.c_uint16, ctypes.c_uint8


class _Mapping(ctypes.Structure):
    """modbus_mapping_t of libmodbus 3.1."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("nb_bits", "start_bits", "nb_input_bits", "start_input_bits")),
        *((name, ctypes.c_int) for name in ("nb_input_registers", "start_input_registers", "nb_registers", "start_registers")),
        ("tab_bits", ctypes.POINTER(U8)),
        ("tab_input_bits", ctypes.POINTER(U8)),
        ("tab_input_registers", ctypes.POINTER(U16)),
        ("tab_registers", ctypes.POINTER(U16)),
    )


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    found = ctypes.CDLL(_NAME, use_errno=True)
    for name in ("modbus_new_tcp", "modbus_new_rtu"):
        getattr(found, name).restype = ctypes.c_void_p
    found.modbus_new_tcp.argtypes = [ctypes.c_char_p, ctypes.c_int]
    found.modbus_new_rtu.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_char, ctypes.c_int, ctypes.c_int]
    found.modbus_mapping_new.restype = ctypes.POINTER(_Mapping)
    found.modbus_get_float_dcba.restype = found.modbus_get_float_cdab.restype = ctypes.c_float
    for name in ("connect", "close", "free", "set_slave", "read_registers", "read_input_registers", "read_bits", "read_input_bits"):
        getattr(found, f"modbus_{name}").argtypes = None
    return found


def c_client(library: ctypes.CDLL, context: int) -> None:
    """Everything libmodbus's client can ask of unit 1 of a counting bank."""
    handle = ctypes.c_void_p(context)
    assert library.modbus_set_slave(handle, 1) == 0
    assert library.modbus_connect(handle) == 0, os.strerror(ctypes.get_errno())
    try:
        registers, bits = (U16 * 125)(), (U8 * 2000)()
        assert library.modbus_read_registers(handle, 3, 125, registers) == 125
        assert list(registers) == list(range(3, 128))
        assert library.modbus_read_input_registers(handle, 0, 2, registers) == 2
        assert list(registers[:2]) == [1000, 1001]
        assert library.modbus_read_bits(handle, 0, 11, bits) == 11
        assert list(bits[:11]) == [i % 3 == 0 for i in range(11)]
        assert library.modbus_read_input_bits(handle, 1, 9, bits) == 9
        assert list(bits[:9]) == [i % 3 == 0 for i in range(1, 10)]
        assert library.modbus_write_register(handle, 200, 4711) == 1
        assert library.modbus_write_bit(handle, 7, 1) == 1
        assert library.modbus_write_bits(handle, 20, 10, (U8 * 10)(*[1] * 10)) == 10
        assert library.modbus_write_registers(handle, 201, 3, (U16 * 3)(1, 2, 3)) == 3
        assert library.modbus_mask_write_register(handle, 203, 0xFFFE, 0x0004) == 1
        assert library.modbus_write_and_read_registers(handle, 204, 1, (U16 * 1)(99), 200, 5, registers) == 5
        assert list(registers[:5]) == [4711, 1, 2, 2, 99]
        assert library.modbus_read_registers(handle, 399, 2, registers) == -1
        assert ctypes.get_errno() == 112345678 + 2  # EMBXILADD: exception 2
    finally:
        library.modbus_close(handle)
        library.modbus_free(handle)


def test_libmodbus_client_over_tcp(library: ctypes.CDLL) -> None:
    async def scenario() -> None:
        async with TcpServer(Dispatcher({1: counting_bank()})) as server:
            await asyncio.to_thread(c_client, library, library.modbus_new_tcp(HOST.encode(), server.port))

    asyncio.run(scenario())


def test_libmodbus_client_over_rtu(library: ctypes.CDLL) -> None:
    async def scenario() -> None:
        controller, device = os.openpty()
        tty.setraw(device)
        path = os.ttyname(device)
        server = SerialServer(Dispatcher({1: counting_bank()}), SerialAddress(path, baud=115200), fd=controller)
        server.start()
        try:
            await asyncio.to_thread(c_client, library, library.modbus_new_rtu(path.encode(), 115200, b"N", 8, 1))
        finally:
            server.close()
            os.close(device)
            os.close(controller)

    asyncio.run(scenario())


class CServer:
    """libmodbus's server in a thread, with registers that its own functions fill."""

    def __init__(self, library: ctypes.CDLL, context: int, accept: Callable[[ctypes.c_void_p], None]) -> None:
        self.library, self.handle = library, ctypes.c_void_p(context)
        self.mapping = library.modbus_mapping_new(50, 50, 300, 300)
        self._accept = accept
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        self._accept(self.handle)
        query = (U8 * 260)()
        while (length := self.library.modbus_receive(self.handle, query)) != -1:
            if length > 0:
                self.library.modbus_reply(self.handle, query, length, self.mapping)

    def __enter__(self) -> CServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(5)  # the client has hung up, which ends modbus_receive
        assert not self._thread.is_alive()
        self.library.modbus_close(self.handle)
        self.library.modbus_mapping_free(self.mapping)
        self.library.modbus_free(self.handle)


KNOWN = {"ABCD": (0x47F1, 0x2000), "CDAB": (0x2000, 0x47F1), "BADC": (0xF147, 0x0020), "DCBA": (0x0020, 0xF147)}  # 123456.0


def setters(library: ctypes.CDLL) -> dict[str, Callable[[ctypes.c_float, object], None]]:
    """libmodbus's function that writes a float in each order, by what it makes of 123456.0: their names vary by version."""
    found = {}
    for name in ("abcd", "cdab", "badc", "dcba"):
        function, registers = getattr(library, f"modbus_set_float_{name}"), (U16 * 2)()
        function(ctypes.c_float(123456.0), registers)
        found[next(order for order, known in KNOWN.items() if known == tuple(registers))] = function
    assert set(found) == set(Order)
    return found


def getters(library: ctypes.CDLL) -> dict[str, Callable[[object], float]]:
    """libmodbus's function that reads a float in each order, found in the same way."""
    found = {}
    for name in ("abcd", "cdab", "badc", "dcba"):
        function = getattr(library, f"modbus_get_float_{name}")
        function.restype = ctypes.c_float
        found[next(order for order, known in KNOWN.items() if function((U16 * 2)(*known)) == 123456.0)] = function
    assert set(found) == set(Order)
    return found


def read_and_write(server: CServer, address: TcpAddress | SerialAddress) -> None:
    """Our client against libmodbus's server: every table, every order of floats as libmodbus writes them, every write function."""
    library, tables = server.library, server.mapping.contents
    tables.tab_input_bits[5] = 1
    tables.tab_input_registers[9] = 4321
    at = {order: ctypes.byref(tables.tab_registers.contents, 2 * (10 + 2 * i)) for i, order in enumerate(Order)}
    for order, function in setters(library).items():
        function(ctypes.c_float(-59.97), at[Order(order)])
    points = [
        *(Point(o, Table.HOLDING, 10 + 2 * i, ValueType.F32, order=o, access="rw") for i, o in enumerate(Order)),
        Point("di", Table.DISCRETE, 5, ValueType.BIT),
        Point("in", Table.INPUT, 9, ValueType.U16),
        Point("six", Table.HOLDING, 30, ValueType.U16, access="rw"),
        Point("twenty_three", Table.HOLDING, 40, ValueType.S32, access="rw", write_function=23),
        Point("mask", Table.HOLDING, 50, ValueType.BIT, bit=7, access="rw"),
        Point("five", Table.COIL, 3, ValueType.BIT, access="rw"),
        Point("fifteen", Table.COIL, 9, ValueType.BIT, access="rw", write_function=15),
        Point("beyond", Table.HOLDING, 299, ValueType.U32),
    ]

    async def scenario() -> None:
        device = Device("c", address, points, timeout_s=2.0)
        readings = await device.cycle(5.0)
        (single,) = struct.unpack(">f", struct.pack(">f", -59.97))
        assert list(readings.values[:6]) == [single] * 4 + [1, 4321], readings.problems
        assert readings.states[-1] == PointState.REFUSED
        values = {"six": 6, "twenty_three": -23, "mask": True, "five": True, "fifteen": True, **dict.fromkeys(map(str, Order), 1.5)}
        results = await device.write(1, values)
        assert all(result.state is WriteState.DONE for result in results), results
        device.close()

    asyncio.run(scenario())
    assert tables.tab_registers[30] == 6 and tables.tab_registers[50] == 0x80
    assert tables.tab_bits[3] == tables.tab_bits[9] == 1
    for order, getter in getters(library).items():
        assert getter(at[Order(order)]) == 1.5


def test_libmodbus_server_over_tcp(library: ctypes.CDLL) -> None:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    context = library.modbus_new_tcp(HOST.encode(), port)
    listening = library.modbus_tcp_listen(ctypes.c_void_p(context), 1)
    assert listening != -1

    def accept(handle: ctypes.c_void_p) -> None:
        library.modbus_tcp_accept(handle, ctypes.byref(ctypes.c_int(listening)))

    with CServer(library, context, accept) as server:
        read_and_write(server, TcpAddress(HOST, port))
    os.close(listening)


def test_libmodbus_server_over_rtu(library: ctypes.CDLL) -> None:
    near, near_device = os.openpty()
    far, far_device = os.openpty()  # two pseudo terminals joined by a thread: a null modem
    for device in (near_device, far_device):
        tty.setraw(device)
    stop_read, stop_write = os.pipe()

    def join() -> None:
        while stop_read not in (ready := select.select([near, far, stop_read], [], [])[0]):
            for source, sink in ((near, far), (far, near)):
                if source in ready:
                    os.write(sink, os.read(source, 1024))

    modem = threading.Thread(target=join, daemon=True)
    modem.start()
    context = library.modbus_new_rtu(os.ttyname(far_device).encode(), 115200, b"N", 8, 1)
    handle = ctypes.c_void_p(context)
    assert library.modbus_set_slave(handle, 1) == 0 and library.modbus_connect(handle) == 0
    library.modbus_set_indication_timeout(handle, 1, 0)  # modbus_receive ends a second after the last request
    try:
        with CServer(library, context, lambda _: None) as server:
            read_and_write(server, SerialAddress(os.ttyname(near_device), baud=115200, parity="N"))
    finally:
        os.write(stop_write, b"x")
        modem.join(5)
        for descriptor in (near, near_device, far, far_device, stop_read, stop_write):
            os.close(descriptor)
