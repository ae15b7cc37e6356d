"""Modbus/TCP Security: who may connect, and what each role may do. Certificates are made here."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from modbus_peers import HOST, counting_bank, registers

from protocols.modbus import (
    CertificateError,
    Device,
    Dispatcher,
    Function,
    Link,
    LinkError,
    ModbusException,
    NoConnection,
    PointState,
    Rights,
    TcpServer,
    TlsAddress,
    WriteState,
    client_context,
    server_context,
)
from protocols.modbus.pdu import READS, Read
from protocols.modbus.security import ROLE_OID, role_in

ROLES = {
    "Operator": Rights(frozenset(Function)),
    "Viewer": Rights(frozenset(READS), units=frozenset({1})),
}
DAY = datetime.timedelta(days=1)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


def utf8(text: str) -> bytes:
    return bytes((0x0C, len(text.encode()))) + text.encode()


class Authority:
    """A certificate authority of one test, and its files."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(name, self.key.public_key(), [(x509.BasicConstraints(True, None), True)], name, 0)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(
        self,
        subject: str,
        key: ec.EllipticCurvePublicKey,
        extensions: list[tuple[x509.ExtensionType, bool]],
        issuer: str,
        age_days: int,
    ) -> x509.Certificate:
        until = datetime.datetime.now(datetime.UTC) + DAY - age_days * DAY

        def named(common: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])

        builder = x509.CertificateBuilder(named(issuer), named(subject), key, x509.random_serial_number(), until - 5 * DAY, until)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, name: str, role: bytes | None = None, *, age_days: int = 0, critical: bool = False) -> tuple[Path, Path, Path]:
        """Authority, certificate and key files for `name`; `role` is the DER inside the role extension."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternative = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))])
        extensions: list[tuple[x509.ExtensionType, bool]] = [(alternative, False)]
        if role is not None:
            extensions.append((x509.UnrecognizedExtension(x509.ObjectIdentifier(ROLE_OID), role), critical))
        certificate = self._sign(name, key.public_key(), extensions, self.name, age_days)
        paths = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return self.file, *paths

    def der(self, role: bytes | None, *, critical: bool = False) -> bytes:
        _, file, _ = self.issue("der", role, critical=critical)
        return x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(serialization.Encoding.DER)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "utility")


def secured(authority: Authority) -> TcpServer:
    bank = counting_bank()
    return TcpServer(
        Dispatcher({1: bank, 2: bank}, roles=ROLES), context=server_context(*authority.issue("device", utf8("Device")))
    )


def test_the_right_role_reads_and_writes_and_another_only_reads(authority: Authority) -> None:
    async def scenario() -> None:
        async with secured(authority) as server:
            for role, written in (("Operator", WriteState.DONE), ("Viewer", WriteState.REFUSED)):
                context = client_context(*authority.issue(role, utf8(role)))
                address = TlsAddress(HOST, context, server.port, server_role="Device")
                device = Device(role, address, [*registers(2), *registers(1, unit=2)])
                readings = await device.cycle(2.0)
                assert list(readings.states[:2]) == [PointState.GOOD] * 2
                assert readings.states[2] == (PointState.GOOD if role == "Operator" else PointState.REFUSED)
                (result,) = await device.write(1, {"r0": 9})
                assert result.state is written
                if role == "Viewer":
                    assert "exception 1" in result.reason
                device.close()

    run(scenario)


@pytest.mark.parametrize("role", [None, "Intruder"])
def test_without_a_known_role_everything_is_refused_with_exception_1(authority: Authority, role: str | None) -> None:
    async def scenario() -> None:
        context = client_context(*authority.issue("nobody", None if role is None else utf8(role)))
        async with secured(authority) as server:
            link = Link(TlsAddress(HOST, context, server.port))
            await link.connect()
            with pytest.raises(ModbusException) as refusal:
                await link.request(1, Read(3, 0, 1))
            assert refusal.value.code == 1
            link.close()

    run(scenario)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("fault", ["none", "expired", "foreign"])
def test_a_client_without_a_good_certificate_does_not_get_in(
    authority: Authority, tmp_path: Path, fault: str, version: ssl.TLSVersion
) -> None:
    async def scenario() -> None:
        if fault == "none":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(authority.file)
        elif fault == "expired":
            context = client_context(*authority.issue("old", utf8("Operator"), age_days=3))
        else:
            other = Authority(tmp_path, "other")
            _, certificate, key = other.issue("spy", utf8("Operator"))
            context = client_context(authority.file, certificate, key)
        context.maximum_version = version
        async with secured(authority) as server:
            link = Link(TlsAddress(HOST, context, server.port))
            with pytest.raises(LinkError) as failure:  # TLS 1.3 "connects" and fails at the first answer
                await link.connect()
                await link.request(1, Read(3, 0, 1))
            assert isinstance(failure.value, NoConnection)
            assert "accept this client's certificate" in str(failure.value)
            assert server.requests == 0
            link.close()

    run(scenario)


def test_a_server_that_cannot_be_trusted_is_refused_with_the_reason(authority: Authority, tmp_path: Path) -> None:
    async def scenario() -> None:
        context = client_context(*authority.issue("client", utf8("Operator")))
        dispatcher = Dispatcher({1: counting_bank()}, roles=ROLES)
        stale = server_context(*authority.issue("stale", utf8("Device"), age_days=3))
        foreign = server_context(*Authority(tmp_path, "other").issue("foreign", utf8("Device")))
        for server_side, reason in ((stale, "expired"), (foreign, "certificate verify failed")):
            async with TcpServer(dispatcher, context=server_side) as server:
                with pytest.raises(NoConnection, match=reason):
                    await Link(TlsAddress(HOST, context, server.port)).connect()
        async with secured(authority) as server:
            with pytest.raises(NoConnection, match="role is 'Device', not 'Gateway'"):
                await Link(TlsAddress(HOST, context, server.port, server_role="Gateway")).connect()

    run(scenario)


def test_role_is_read_from_the_extension_and_from_nowhere_else(authority: Authority) -> None:
    assert role_in(authority.der(None)) is None
    assert role_in(authority.der(utf8("Operator"))) == "Operator"
    assert role_in(authority.der(utf8("Größe"), critical=True)) == "Größe"
    with pytest.raises(CertificateError, match="UTF8String"):
        role_in(authority.der(b"\x13\x08Operator"))  # a PrintableString
    with pytest.raises(CertificateError):
        role_in(authority.der(b"\x0c\x7fOperator"))  # a length past the end
    whole = authority.der(utf8("Operator"))
    for cut in range(1, len(whole), 7):
        with pytest.raises(CertificateError):
            role_in(whole[:cut])


def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    _, certificate, key = authority.issue("a", utf8("Operator"))
    with pytest.raises(CertificateError, match=r"missing\.pem"):
        client_context(tmp_path / "missing.pem", certificate, key)
    _, _, other_key = authority.issue("b")
    with pytest.raises(CertificateError, match=r"b\.key"):
        server_context(authority.file, certificate, other_key)


def test_a_secured_server_without_roles_is_a_mistake(authority: Authority) -> None:
    with pytest.raises(ValueError, match="roles"):
        TcpServer(Dispatcher({1: counting_bank()}), context=server_context(*authority.issue("device")))
