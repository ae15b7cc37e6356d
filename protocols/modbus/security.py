"""Modbus/TCP Security: TLS contexts, and the role that a peer's certificate carries.

Source: MODBUS/TCP Security Protocol Specification MB-TCP-Security-v21. Both ends show certificates; a client's certificate carries
its role as a UTF8String in the extension 1.3.6.1.4.1.50316.802.1. OpenSSL checks the chain and the dates but knows nothing of
roles, so they are read here, from a certificate that OpenSSL has already accepted.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROLE_OID = "1.3.6.1.4.1.50316.802.1"
_SEQUENCE, _OBJECT_ID, _OCTETS, _UTF8, _EXTENSIONS = 0x30, 0x06, 0x04, 0x0C, 0xA3


class CertificateError(ValueError):
    """A certificate cannot be read, or carries its role in a way the specification forbids."""


def client_context(authority: Path, certificate: Path, key: Path, *, check_hostname: bool = True) -> ssl.SSLContext:
    """TLS 1.2 or later; trusts servers signed by `authority` only and shows `certificate`. Raises CertificateError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_hostname
    return _loaded(context, authority, certificate, key)


def server_context(authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or later; admits only clients that show a certificate signed by `authority`. Raises CertificateError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, authority, certificate, key)


def _loaded(context: ssl.SSLContext, authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(authority)
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(f"cannot use authority {authority}, certificate {certificate}, key {key}: {error}") from error
    return context


@dataclass(frozen=True)
class Rights:
    """What a role may do: function codes, and the units it may do it to (None: all)."""

    functions: frozenset[int]
    units: frozenset[int] | None = None

    def allow(self, unit: int, function: int) -> bool:
        return function in self.functions and (self.units is None or unit in self.units)


Roles = Mapping[str, Rights]


def peer_role(tls: ssl.SSLObject) -> str | None:
    """The role in the peer's certificate; None if it has no certificate or no role. Raises CertificateError."""
    certificate = tls.getpeercert(binary_form=True)
    return None if certificate is None else role_in(certificate)


def role_in(certificate: bytes) -> str | None:
    """The role in an X.509 certificate (DER). Raises CertificateError if it is malformed or carries more than one role."""
    try:
        roles = _roles(certificate)
    except (IndexError, UnicodeDecodeError) as error:
        raise CertificateError(f"certificate cannot be read: {error}") from error
    if len(roles) > 1:
        raise CertificateError(f"certificate carries {len(roles)} roles; exactly one is allowed")
    return roles[0] if roles else None


def _roles(certificate: bytes) -> list[str]:
    ((_, whole),) = _elements(certificate)[:1]
    ((_, signed),) = _elements(whole)[:1]
    wanted = _encoded_oid(ROLE_OID)
    roles = []
    for tag, wrapped in _elements(signed):
        if tag != _EXTENSIONS:
            continue
        for _, extension in _elements(_elements(wrapped)[0][1]):
            fields = _elements(extension)  # object id, perhaps `critical`, octets that hold the value
            if fields[0] != (_OBJECT_ID, wanted):
                continue
            value_tag, value = _elements(fields[-1][1])[0]
            if fields[-1][0] != _OCTETS or value_tag != _UTF8:
                raise CertificateError(f"role extension {ROLE_OID} is not a UTF8String")
            roles.append(value.decode())
    return roles


def _elements(der: bytes) -> list[tuple[int, bytes]]:
    """The (tag, content) pairs one after the other in DER. Raises IndexError where a length runs past the end."""
    elements, at = [], 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:
            octets = length & 0x7F
            length = int.from_bytes(der[at : at + octets], "big")
            at += octets
        if at + length > len(der):
            raise IndexError(f"an element of {length} bytes runs past the end")
        elements.append((tag, der[at : at + length]))
        at += length
    return elements


def _encoded_oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    encoded = bytearray((40 * first + second,))
    for part in rest:
        digits = [part & 0x7F]
        while part := part >> 7:
            digits.insert(0, part & 0x7F | 0x80)
        encoded += bytes(digits)
    return bytes(encoded)
