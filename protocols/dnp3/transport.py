"""DNP3 transport function: fragments of the application layer in segments of at most 249 octets (IEEE 1815, clause 8).

Each segment starts with one octet: FIN (0x80), FIR (0x40) and a six-bit sequence number.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SEGMENT_SIZE = 249
FIN, FIR = 0x80, 0x40


def segment(fragment: bytes, sequence: int) -> list[bytes]:
    """`fragment` as segments, the first numbered `sequence` (0 to 63); the next fragment continues after the last."""
    if not fragment:
        raise ValueError("an application fragment has at least one octet")
    starts = range(0, len(fragment), SEGMENT_SIZE)
    last = len(starts) - 1
    return [
        bytes([(FIR if k == 0 else 0) | (FIN if k == last else 0) | ((sequence + k) & 0x3F)]) + fragment[at : at + SEGMENT_SIZE]
        for k, at in enumerate(starts)
    ]


@dataclass(slots=True)
class Reassembler:
    """Segments in, fragments out; holds at most `max_fragment` octets.

    A first segment always starts anew. A later one must continue the number sequence, else everything held is dropped; an exact
    repetition of the segment just taken is ignored.
    """

    max_fragment: int = 2048
    discarded: int = 0
    _held: bytearray = field(default_factory=bytearray)
    _last: bytes = b""

    def clear(self) -> None:
        self._held.clear()
        self._last = b""

    def receive(self, one: bytes) -> bytes | None:
        """The fragment that `one` completes, or None."""
        if len(one) < 2:
            self.discarded += 1
            return None
        head = one[0]
        if head & FIR:
            if self._last:
                self.discarded += 1
            self.clear()
        elif not self._last:
            self.discarded += 1
            return None
        elif one == self._last:
            return None
        elif (self._last[0] + 1) & 0x3F != head & 0x3F:
            self.discarded += 1
            self.clear()
            return None
        self._held += one[1:]
        self._last = one
        if len(self._held) > self.max_fragment:
            self.discarded += 1
            self.clear()
            return None
        if not head & FIN:
            return None
        fragment = bytes(self._held)
        self.clear()
        return fragment
