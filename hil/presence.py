"""Whether a device that we poll is there: a loss is named once, and so is the return.

Lost is a device without a connection, one that hung up and was reached again between two looks (it may have restarted, and hold
nothing of what it was told), and one that keeps its connection and says nothing, as a half-open TCP connection does, or a serial
line with the cable out.
"""

from __future__ import annotations

SILENT_POLLS = 3
"""Unanswered polls in a row, besides the time, before a device counts as silent: a single one may have been held up on our side."""


class Presence:
    """Of one device. Times are CLOCK_MONOTONIC, ns; `silence_ns` without an answer is too long."""

    def __init__(self, silence_ns: int, now_ns: int) -> None:
        self._silence_ns, self._answered_ns = silence_ns, now_ns
        self._unanswered = self._hang_ups = 0
        self.is_lost = True

    def met(self, hang_ups: int, now_ns: int) -> None:
        """It answers. `hang_ups`: how often its end was closed, or it restarted, so far."""
        self.is_lost, self._hang_ups = False, hang_ups
        self._answered_ns, self._unanswered = now_ns, 0

    def polled(self, *, answered: bool, connected: bool, hang_ups: int, error: str, now_ns: int) -> str:
        """A poll is over. Gives why the device is lost where it was there before, else nothing."""
        if answered:
            self._answered_ns, self._unanswered = now_ns, 0
        else:
            self._unanswered += 1
        silent_ns = now_ns - self._answered_ns
        if self.is_lost:
            if answered and connected:
                self.met(hang_ups, now_ns)
            return ""
        if not connected:
            why = error or "closed by the device"
        elif hang_ups != self._hang_ups:
            why = f"the device hung up, or restarted, and is there again: {error or 'no more is known'}"
        elif silent_ns > self._silence_ns and self._unanswered >= SILENT_POLLS:
            why = f"no answer for {silent_ns / 1e9:.2f} s (silence_s: {self._silence_ns / 1e9:g}): {error or 'nothing came'}"
        else:
            return ""
        self.is_lost = True
        return f"the connection was lost: {why}"
