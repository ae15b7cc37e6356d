"""The emergency stop at hand while a live run goes on: a key on the terminal, and a signal to the supervisor.

Either writes the stop file, which every gatekeeper sees within a fiftieth of a second.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from types import FrameType

from hil.safety import EmergencyStop

KEY = " "
KEY_NAME = "space bar"


@contextlib.contextmanager
def watched(stop: EmergencyStop) -> Iterator[None]:
    """While entered, the space bar (where standard input is a terminal) and SIGUSR2 set the emergency stop. Main thread only."""

    def struck(number: int, _frame: FrameType | None) -> None:
        stop.set(f"signal {signal.Signals(number).name}")

    before = signal.signal(signal.SIGUSR2, struck)
    wake, woken = os.pipe()
    thread: threading.Thread | None = None
    saved = None
    if sys.stdin is not None and sys.stdin.isatty():
        saved = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
        thread = threading.Thread(target=_listen, args=(stop, sys.stdin.fileno(), wake), name="stop key", daemon=True)
        thread.start()
    try:
        yield
    finally:
        os.write(woken, b"x")
        if thread is not None:
            thread.join()
        if saved is not None:
            with contextlib.suppress(termios.error):  # the terminal is gone: nothing is left to restore
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)
        os.close(wake)
        os.close(woken)
        signal.signal(signal.SIGUSR2, before)


def _listen(stop: EmergencyStop, terminal: int, wake: int) -> None:
    while True:
        ready, _, _ = select.select([terminal, wake], [], [])
        if wake in ready:
            return
        try:
            typed = os.read(terminal, 64)
        except OSError:
            return  # the terminal is gone; SIGHUP, which comes with that, ends the run
        if not typed:
            return
        if KEY.encode() in typed:
            stop.set(f"{KEY_NAME} on the terminal")
