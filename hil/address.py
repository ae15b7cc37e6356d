"""Addresses of devices as people type them.

modbus://HOST[:502][/UNIT]
modbus+tls://HOST[:802][/UNIT]?ca=FILE&cert=FILE&key=FILE[&role=SERVER_ROLE]
modbus+rtu:///dev/ttyUSB0?[unit=1&baud=19200&parity=E&stop_bits=1]
dnp3://HOST[:20000][/OUTSTATION][?master=1]
dnp3+tls://HOST[:20000][/OUTSTATION]?ca=FILE&cert=FILE&key=FILE[&master=1]
dnp3+serial:///dev/ttyUSB0?[outstation=10&master=1&baud=9600]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from hil.plan import USUAL_LINE, SerialSettings, TlsSettings
from hil.points import Protocol

if TYPE_CHECKING:
    from protocols.modbus import Address as ModbusAddress

FORMS = "modbus://, modbus+tls://, modbus+rtu://, dnp3://, dnp3+tls:// or dnp3+serial://"
_TLS = {"ca", "cert", "key"}
_LINE = {"baud", "parity", "stop_bits"}
_KNOWN = {
    "modbus": set(),
    "modbus+tls": _TLS | {"role"},
    "modbus+rtu": _LINE | {"unit"},
    "dnp3": {"master"},
    "dnp3+tls": _TLS | {"master"},
    "dnp3+serial": _LINE | {"outstation", "master"},
}
_PORTS = {"modbus": 502, "modbus+tls": 802, "dnp3": 20000, "dnp3+tls": 20000}


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """Where a device is. `station` is the Modbus unit or the DNP3 outstation, None where the address names none."""

    text: str
    protocol: Protocol
    host: str = ""
    port: int = 0
    path: str = ""
    station: int | None = None
    master: int = 1
    serial: SerialSettings | None = None
    tls: TlsSettings | None = None

    def __str__(self) -> str:
        return self.text.split("?")[0]

    @classmethod
    def parse(cls, text: str) -> DeviceAddress:
        """ValueError says what is wrong, and what an address looks like."""
        parts = urlsplit(text)
        if parts.scheme not in _KNOWN:
            raise ValueError(f"{text!r} is no address of a device; begin it with {FORMS}")
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = sorted(set(given) - _KNOWN[parts.scheme])
        if unknown:
            takes = ", ".join(sorted(_KNOWN[parts.scheme])) or "no settings"
            raise ValueError(f"{text!r}: {parts.scheme} has no {', '.join(unknown)}; it takes {takes}")
        protocol = Protocol(parts.scheme.split("+")[0])
        tls = _tls(text, given) if parts.scheme.endswith("+tls") else None
        master = _number(text, "master", given.get("master", "1"), 0xFFEF)
        if parts.scheme not in _PORTS:
            name = "unit" if protocol is Protocol.MODBUS else "outstation"
            station = _number(text, name, given[name], 255 if name == "unit" else 0xFFEF) if name in given else None
            if parts.netloc or len(parts.path) < 2:
                raise ValueError(f"{text!r}: write the path of the line with three slashes, as {parts.scheme}:///dev/ttyUSB0")
            return cls(
                text, protocol, path=unquote(parts.path), station=station, master=master, serial=_line(text, protocol, given)
            )
        try:
            host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}") from None
        if not host:
            raise ValueError(f"{text!r} names no host; write {parts.scheme}://HOST:{_PORTS[parts.scheme]}")
        last = parts.path.strip("/")
        most = 255 if protocol is Protocol.MODBUS else 0xFFEF
        station = _number(text, "the unit" if most == 255 else "the outstation", last, most) if last else None
        return cls(text, protocol, host, port, station=station, master=master, tls=tls)

    def modbus(self) -> ModbusAddress:
        """As the Modbus client takes it. DeviceError for certificates that cannot be used."""
        from hil.endpoints import tls_client
        from protocols.modbus import SerialAddress, TcpAddress, TlsAddress

        if self.serial is not None:
            return SerialAddress(self.path, self.serial.baud, self.serial.parity, self.serial.stop_bits)
        if self.tls is not None:
            return TlsAddress(self.host, tls_client(self.tls), self.port, self.tls.server_role)
        return TcpAddress(self.host, self.port)


def _number(text: str, name: str, value: str, most: int) -> int:
    if not value.isdecimal() or int(value) > most:
        raise ValueError(f"{text!r}: {name} is {value!r}; write 0 to {most}")
    return int(value)


def _line(text: str, protocol: Protocol, given: dict[str, str]) -> SerialSettings:
    default = USUAL_LINE[protocol]
    parity = given.get("parity", default.parity).upper()
    if parity not in ("N", "E", "O"):
        raise ValueError(f"{text!r}: parity is {parity!r}; write N, E or O")
    baud = _number(text, "baud", given.get("baud", str(default.baud)), 4_000_000)
    stop_bits = _number(text, "stop_bits", given.get("stop_bits", str(default.stop_bits)), 2)
    if baud == 0 or stop_bits == 0:
        raise ValueError(f"{text!r}: baud and stop_bits cannot be 0")
    return SerialSettings(baud, parity, stop_bits)


def _tls(text: str, given: dict[str, str]) -> TlsSettings:
    missing = sorted(_TLS - set(given))
    if missing:
        raise ValueError(f"{text!r}: {', '.join(missing)} missing; TLS takes ?ca=FILE&cert=FILE&key=FILE (PEM)")
    files = {name: str(Path(given[name]).expanduser()) for name in _TLS}
    return TlsSettings(files["cert"], files["key"], files["ca"], given.get("role"))
