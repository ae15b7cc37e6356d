"""For all tests: Ctrl-C reaches what they start, also where they run in the background of a shell, which has it ignored."""

from __future__ import annotations

import signal
import threading


def pytest_configure() -> None:
    """A handler of ours is not inherited by the programs that are started; an ignored signal would be."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
