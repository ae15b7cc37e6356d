"""The check word of DNP3's data link layer: CRC-16/DNP (IEEE 1815, clause 9.2)."""

from __future__ import annotations

_POLYNOMIAL_REFLECTED = 0xA6BC  # x16 + x13 + x12 + x11 + x10 + x8 + x6 + x5 + x2 + 1


def _table() -> tuple[int, ...]:
    entries = []
    for octet in range(256):
        remainder = octet
        for _ in range(8):
            remainder = (remainder >> 1) ^ _POLYNOMIAL_REFLECTED if remainder & 1 else remainder >> 1
        entries.append(remainder)
    return tuple(entries)


_TABLE = _table()


def crc16(block: bytes) -> int:
    """The 16-bit check word of `block`; on the wire it follows the block, low octet first."""
    table = _TABLE
    remainder = 0
    for octet in block:
        remainder = (remainder >> 8) ^ table[(remainder ^ octet) & 0xFF]
    return remainder ^ 0xFFFF


def with_crc(block: bytes) -> bytes:
    """`block` followed by its check word."""
    return block + crc16(block).to_bytes(2, "little")
