"""Where a device is: over TCP, over TLS (Modbus/TCP Security), or on a serial line."""

from __future__ import annotations

import ssl
from dataclasses import dataclass


@dataclass(frozen=True)
class TcpAddress:
    host: str
    port: int = 502

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class TlsAddress:
    """Modbus/TCP Security. `server_role`: refuse a server whose certificate does not carry this role (None: any)."""

    host: str
    context: ssl.SSLContext
    port: int = 802
    server_role: str | None = None

    def __str__(self) -> str:
        return f"tls {self.host}:{self.port}"


@dataclass(frozen=True)
class SerialAddress:
    """RTU on a serial port or a pseudo terminal. The standard's default is even parity and one stop bit."""

    path: str
    baud: int = 19200
    parity: str = "E"
    stop_bits: int = 1

    def __str__(self) -> str:
        return f"{self.path} at {self.baud} baud"

    @property
    def character_s(self) -> float:
        """Time of one character: start bit, 8 data bits, parity, stop bits."""
        return (9 + (self.parity != "N") + self.stop_bits) / self.baud

    @property
    def silence_s(self) -> float:
        """Silence between frames: 3.5 characters, 1.75 ms above 19,200 baud (MODBUS over Serial Line V1.02, 2.5.1.1)."""
        return 3.5 * self.character_s if self.baud <= 19200 else 1.75e-3


Address = TcpAddress | TlsAddress | SerialAddress
