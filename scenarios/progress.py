"""How a run shows itself while it runs: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from federates.runtime.supervisor import Progress

_EVERY_S = 5.0
"""Real time between two plain lines."""


class Display(Protocol):
    """Takes progress; used as a context."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def show(self, progress: Progress) -> None: ...


def display(stop_s: float, quiet: bool) -> Display:
    """The display that fits where the output goes."""
    if quiet:
        return Silent()
    return Bar(stop_s) if sys.stderr.isatty() else Lines(stop_s)


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, progress: Progress) -> None:
        """Nothing."""


class Lines(Silent):
    """A line every few seconds of real time, and one with its simulated time for each new event that was seen."""

    def __init__(self, stop_s: float) -> None:
        self._shown_s, self._event, self._pace = -_EVERY_S, "", Pace(stop_s)

    def show(self, progress: Progress) -> None:
        """Print a line if one is due."""
        if progress.event != self._event:
            self._event = progress.event
            print(f"  {progress.event}", file=sys.stderr, flush=True)
        if progress.wall_s - self._shown_s >= _EVERY_S:
            self._shown_s = progress.wall_s
            print(f"  {self._pace.text(progress)}", file=sys.stderr, flush=True)


class Bar(Silent):
    """A bar with simulated time, speed and the last event."""

    def __init__(self, stop_s: float) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._pace = Pace(stop_s)
        self._bar = RichProgress(
            BarColumn(bar_width=30),
            TextColumn("{task.fields[position]}"),
            TextColumn("{task.fields[event]}", style="dim"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("run", total=stop_s, position="starting", event="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, progress: Progress) -> None:
        """Move the bar."""
        text = progress.event.replace("[", "\\[")
        self._bar.update(self._task, completed=progress.t_ns / 1e9, position=self._pace.text(progress), event=text)


class Pace:
    """Where a run stands, and its speed since time began to move: starting up is not part of it."""

    def __init__(self, stop_s: float) -> None:
        self.stop_s = stop_s
        self._first: Progress | None = None

    def text(self, progress: Progress) -> str:
        """`620 of 3600 s, 62 x real time`."""
        if progress.t_ns <= 0:
            return f"starting, {progress.wall_s:.0f} s"
        self._first = self._first or progress
        moved_s, took_s = (progress.t_ns - self._first.t_ns) / 1e9, progress.wall_s - self._first.wall_s
        speed = f", {moved_s / took_s:.1f} x real time" if took_s > 0.2 else ""
        return f"{progress.t_ns / 1e9:.0f} of {self.stop_s:g} s{speed}"
