"""The outstation on a socket: addresses, limits, TLS, and what happens when a master does not read."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from dnp3_rig import CLASS_0, every_type

from protocols.dnp3 import Outstation, OutstationConfig, PointConfig, PointType
from protocols.dnp3.application import Response
from protocols.dnp3.link import LinkFrame, LinkParser, Primary
from protocols.dnp3.server import OutstationServer, tls_context
from protocols.dnp3.transport import Reassembler, segment

READ_CLASS_0 = bytes((0xC0, 1)) + CLASS_0


def outstation(**settings: Any) -> Outstation:
    config = OutstationConfig(**({"masters": (1,), "unsolicited": False} | settings))
    return Outstation(config, every_type(2), clock=time.monotonic_ns)


def frames(fragment: bytes, master: int = 1) -> bytes:
    parts = segment(fragment, 0)
    return b"".join(
        LinkFrame(10, master, Primary.UNCONFIRMED_USER_DATA, from_master=True, user_data=part).encode() for part in parts
    )


async def answer(reader: asyncio.StreamReader) -> Response:
    parser, reassembler = LinkParser(), Reassembler()
    while True:
        octets = await asyncio.wait_for(reader.read(4096), 10)
        assert octets, "the outstation hung up"
        for frame in parser.feed(octets):
            if frame.user_data and (fragment := reassembler.receive(frame.user_data)):
                return Response.decode(fragment)


def served(scenario: Callable[[OutstationServer], Awaitable[None]], device: Outstation | None = None, **settings: Any) -> None:
    async def run() -> None:
        server = OutstationServer(device or outstation(), port=0, **settings)
        await server.start()
        try:
            await scenario(server)
        finally:
            await server.close()
        assert server.connections == 0

    asyncio.run(asyncio.wait_for(run(), 30))


def test_it_listens_on_loopback_and_answers_octet_by_octet():
    async def scenario(server: OutstationServer) -> None:
        assert server.address[0] == "127.0.0.1"
        reader, writer = await asyncio.open_connection(*server.address)
        for octet in frames(READ_CLASS_0):
            writer.write(bytes((octet,)))
            await writer.drain()
        assert (await answer(reader)).objects
        writer.close()

    served(scenario)


def test_a_port_in_use_is_named():
    async def scenario(server: OutstationServer) -> None:
        with pytest.raises(
            OSError, match=rf"DNP3 outstation 10 cannot listen on 127.0.0.1:{server.address[1]} .*choose another port"
        ):
            await OutstationServer(outstation(), port=server.address[1]).start()

    served(scenario)


def test_before_the_start_there_is_no_address():
    with pytest.raises(RuntimeError, match="start it first"):
        _ = OutstationServer(outstation()).address


def test_connections_beyond_the_limit_are_closed_and_do_no_harm():
    async def scenario(server: OutstationServer) -> None:
        reader, writer = await asyncio.open_connection(*server.address)
        other, other_writer = await asyncio.open_connection(*server.address)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(other.readexactly(1), 5)
        writer.write(frames(READ_CLASS_0))
        assert (await answer(reader)).objects
        for each in (writer, other_writer):
            each.close()

    served(scenario, max_connections=1)


def test_a_master_that_never_reads_is_cut_off():
    async def scenario(server: OutstationServer) -> None:
        _, writer = await asyncio.open_connection(*server.address)
        reads = frames(READ_CLASS_0) * 200
        with pytest.raises(ConnectionError):
            while True:
                writer.write(reads)
                await writer.drain()
        writer.close()
        reader, again = await asyncio.open_connection(*server.address)
        again.write(frames(READ_CLASS_0))
        assert (await answer(reader)).objects
        again.close()

    points = [PointConfig(PointType.OCTET_STRING, index) for index in range(7)]
    device = Outstation(OutstationConfig(masters=(1,), unsolicited=False), points, clock=time.monotonic_ns)
    for index in range(7):
        device.update(PointType.OCTET_STRING, index, bytes(250))
    served(scenario, device)


def test_updates_go_out_without_being_asked_and_together():
    async def scenario(server: OutstationServer) -> None:
        reader, writer = await asyncio.open_connection(*server.address)
        null = await answer(reader)
        writer.write(frames(bytes((0xD0 | null.control.sequence, 0))) + frames(bytes((0xC0, 20, 60, 2, 6))))
        assert not (await answer(reader)).control.uns
        for index in range(2):
            server.update(PointType.ANALOG_INPUT, index, 1.0)
        report = await answer(reader)
        assert report.control.uns and report.objects[3] == 2, "two events in one report"
        writer.close()

    served(scenario, outstation(unsolicited=True))


def test_timers_run_without_traffic():
    async def scenario(server: OutstationServer) -> None:
        reader, writer = await asyncio.open_connection(*server.address)
        octets = await asyncio.wait_for(reader.readexactly(10), 5)
        assert LinkParser().feed(octets)[0].function == Primary.REQUEST_LINK_STATUS
        assert await asyncio.wait_for(reader.read(), 5) == b"", "and the silent line is closed"
        writer.close()

    served(scenario, outstation(keep_alive_s=0.05, keep_alive_timeout_s=0.05))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server's and a master's certificate signed by it, and a stranger's."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make certificates")
    folder = tmp_path_factory.mktemp("tls")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("authority", "stranger"):
        run(*new, "-x509", "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")
    for name in ("outstation", "master"):
        run(*new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        run(
            "x509",
            "-req",
            "-in",
            f"{name}.csr",
            "-CA",
            "authority.pem",
            "-CAkey",
            "authority.key",
            "-days",
            "2",
            "-out",
            f"{name}.pem",
        )
    return folder


def client_context(folder: Path, name: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(folder / "authority.pem")
    if name is not None:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def test_tls_serves_masters_with_a_certificate_and_no_others(certificates):
    context = tls_context(certificates / "outstation.pem", certificates / "outstation.key", certificates / "authority.pem")

    async def scenario(server: OutstationServer) -> None:
        reader, writer = await asyncio.open_connection(*server.address, ssl=client_context(certificates, "master"))
        writer.write(frames(READ_CLASS_0))
        assert (await answer(reader)).objects
        writer.close()
        for name in ("stranger", None):
            # Under TLS 1.3 the refusal comes with the first read, not with the handshake.
            with pytest.raises((ssl.SSLError, ConnectionError)):
                reader, writer = await asyncio.open_connection(*server.address, ssl=client_context(certificates, name))
                writer.write(frames(READ_CLASS_0))
                if not await asyncio.wait_for(reader.read(1), 5):
                    raise ConnectionResetError
            writer.close()
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(frames(READ_CLASS_0))
        assert LinkParser().feed(await asyncio.wait_for(reader.read(), 10)) == [], "plain DNP3 is not answered"
        writer.close()

    served(scenario, ssl_context=context)
