"""Certificates for tests of TLS, made here: an authority, and what it signs."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from protocols.modbus.security import ROLE_OID

_DAY = datetime.timedelta(days=1)


class Authority:
    """Signs with a key of its own. `file` is its certificate."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._builder("authority", self._key.public_key(), 0)
        certificate = certificate.add_extension(x509.BasicConstraints(True, None), critical=True)
        self.file = folder / "authority.pem"
        self.file.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    @staticmethod
    def _builder(name: str, key: ec.EllipticCurvePublicKey, age_days: int) -> x509.CertificateBuilder:
        until = datetime.datetime.now(datetime.UTC) + (1 - age_days) * _DAY
        issuer, subject = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in ("authority", name))
        return x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), until - 5 * _DAY, until)

    def issue(self, name: str, role: str, *, age_days: int = 0) -> tuple[Path, Path]:
        """Files of a certificate with a Modbus role and of its key. An age of two days or more: it has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(name, key.public_key(), age_days)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        text = bytes((0x0C, len(role))) + role.encode()
        builder = builder.add_extension(names, critical=False)
        builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(ROLE_OID), text), critical=False)
        files = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        files[0].write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        files[1].write_bytes(key.private_bytes(*form))
        return files
