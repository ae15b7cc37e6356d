"""Addresses and certificates of devices, from their plans."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from hil.drivers.base import DeviceError
from hil.plan import DevicePlan, TlsSettings

if TYPE_CHECKING:
    from protocols.modbus import Address as ModbusAddress

_DEFAULT_PORT = {"dnp3": 20000, "modbus": 502}


def parse_host_port(text: str, default_port: int) -> tuple[str, int]:
    """`host`, `host:port` or `[v6]:port`. ValueError for anything else."""
    host, _, port = text.removeprefix("[").replace("]:", "|").rpartition("|" if text.startswith("[") else ":")
    if not host:
        host, port = text.strip("[]"), ""
    if not port:
        return host, default_port
    if not port.isdigit() or not 0 <= int(port) <= 65535 or not host:
        raise ValueError(f"{text!r} is no address; write host:port, or the path of a serial line")
    return host, int(port)


def tcp_address(device: DevicePlan) -> tuple[str, int]:
    """Host and port of a device, or where we listen for it. DeviceError for an address that is none."""
    try:
        return parse_host_port(device.address, _DEFAULT_PORT[device.role.protocol])
    except ValueError as error:
        raise DeviceError(f"device {device.name}: {error}") from error


def modbus_address(device: DevicePlan, target: tuple[str, int]) -> ModbusAddress:
    """The address as the Modbus client takes it. DeviceError for certificates that cannot be used."""
    from protocols.modbus import SerialAddress, TcpAddress, TlsAddress

    if device.is_serial:
        return SerialAddress(device.address, device.line.baud, device.line.parity, device.line.stop_bits)
    if device.tls is not None:
        return TlsAddress(target[0], tls_client(device.tls), target[1], device.tls.server_role)
    return TcpAddress(*target)


def tls_client(files: TlsSettings) -> ssl.SSLContext:
    """Mutual TLS as the client. DeviceError names the file that cannot be used."""
    return _context(files, ssl.PROTOCOL_TLS_CLIENT)


def tls_server(files: TlsSettings) -> ssl.SSLContext:
    """Mutual TLS as the server. DeviceError likewise."""
    return _context(files, ssl.PROTOCOL_TLS_SERVER)


def _context(files: TlsSettings, side: int) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # devices are known by the authority that signed them, seldom by a name
    context.verify_mode = ssl.CERT_REQUIRED
    names = (files.certificate, files.key, files.authority)
    try:
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(files.authority)
    except (OSError, ssl.SSLError) as error:
        missing = [name for name in names if not Path(name).is_file()]
        what = f"there is no file {missing[0]}" if missing else f"{', '.join(names)} cannot be used: {error}"
        raise DeviceError(f"TLS: {what}") from error
    return context
