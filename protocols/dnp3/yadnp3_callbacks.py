"""The callbacks that yadnp3 makes from its own threads: they copy plain tuples, and hand them to the event loop.

Nothing of the stack leaves this file, and no exception leaves a callback (one in a command's result callback would abort the
process): it is logged and counted in `Handover.faults`. The hand-over is bounded; what does not fit is counted as lost, and
whoever reads the reports asks for everything again.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from .application import IIN

try:
    import opendnp3
except ImportError as error:
    text = "the DNP3 master needs yadnp3; install it with: pip install 'gridtandem[hil]'"
    raise ModuleNotFoundError(text, name="opendnp3") from error

__all__ = ["Application", "Handover", "PointReport", "SoeHandler", "opendnp3"]

log = logging.getLogger(__name__)


class PointReport(NamedTuple):
    """One value as the outstation reported it.

    `flags` has the state bits of binary points removed and is None for octet strings. `time_ms` is None where the variation has no
    time; `synchronized` is False where the outstation says that its clock was not set. `event` tells events from static values.
    """

    group: int
    variation: int
    point: int
    value: bool | int | float | bytes
    flags: int | None
    time_ms: int | None
    synchronized: bool
    event: bool


class Handover:
    """What passes from the stack's threads to one event loop for one master: reports, ends of tasks, the state of the line."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int, wake: Callable[[], None]) -> None:
        self._loop, self._limit, self._wake = loop, limit, wake
        self._lock = threading.Lock()
        self._reports: deque[PointReport] = deque()
        self._fragment: list[PointReport] = []
        self.lost = 0
        self.overflown = False
        self.faults = 0
        self.reactions = 0
        """Tasks the stack started by itself, and connections it opened: a broken outstation makes thousands a second."""
        self.last_iin = 0
        self.restarts = 0
        """How often the outstation began to say that it has restarted, or was new to us in that state."""

    def take(self) -> list[PointReport]:
        """All reports so far, oldest first."""
        with self._lock:
            taken = list(self._reports)
            self._reports.clear()
        return taken

    def collect(self, reports: list[PointReport]) -> None:
        self._fragment += reports

    def fragment_ends(self) -> None:
        """The reports of one fragment pass together, or not at all."""
        fragment, self._fragment = self._fragment, []
        with self._lock:
            if len(self._reports) + len(fragment) > self._limit:
                self.lost += len(fragment)
                self.overflown = True
            else:
                self._reports += fragment
        self.call(self._wake)

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Runs `function` in the loop; nothing where the loop has been closed meanwhile."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            log.info("the event loop is closed; a report of the DNP3 stack is dropped")

    def guarded(self, function: Callable[..., None]) -> Callable[..., None]:
        """`function` as a callback that never raises."""

        def call(*arguments: Any) -> None:
            try:
                function(*arguments)
            except Exception:
                self.faults += 1
                log.exception("fault in a callback of the DNP3 stack")

        return call


_NAMES: dict[str, tuple[int, int]] = {}


def _group_variation(name: str) -> tuple[int, int]:
    known = _NAMES.get(name)
    if known is None:
        found = re.search(r"Group(\d+)Var(\d+)$", name)
        known = _NAMES[name] = (int(found[1]), int(found[2])) if found else (0, 0)
    return known


def _reports(info: Any, values: list[Any]) -> list[PointReport]:
    group, variation = _group_variation(info.gv.name)
    event = info.isEventVariation or group == 111
    timed = info.tsquality != opendnp3.TimestampQuality.INVALID
    synchronized = info.tsquality == opendnp3.TimestampQuality.SYNCHRONIZED
    if not values or not hasattr(values[0], "value"):
        return []
    items = [(each.index, each.value) for each in values]
    # All values of one header are of one type. The stack's own objects end here: only numbers and bytes go on.
    kind = type(items[0][1])
    if kind is opendnp3.OctetString:
        return [PointReport(group, item.Size(), index, item.ToBytes(), None, None, False, event) for index, item in items]
    if not hasattr(kind, "flags"):
        return []
    times = [item.time.value for _, item in items] if timed else [None] * len(items)
    if kind is opendnp3.DoubleBitBinary:
        readings = [(index, item.value.value, item.flags.value & 0x3F) for index, item in items]
    else:
        keep = 0x7F if isinstance(items[0][1].value, bool) else 0xFF
        readings = [(index, item.value, item.flags.value & keep) for index, item in items]
    return [
        PointReport(group, variation, index, value, flags, time_ms, synchronized, event)
        for (index, value, flags), time_ms in zip(readings, times, strict=True)
    ]


class SoeHandler(opendnp3.ISOEHandler):  # type: ignore[misc]
    """Receives the objects of every response."""

    def __init__(self, handover: Handover) -> None:
        super().__init__()
        self._process = handover.guarded(lambda info, values: handover.collect(_reports(info, values)))
        self._end = handover.guarded(handover.fragment_ends)

    def BeginFragment(self, info: Any) -> None:
        """Fragments of one session never overlap."""

    def EndFragment(self, info: Any) -> None:
        self._end()

    def Process(self, info: Any, values: list[Any]) -> None:
        self._process(info, values)


class Application(opendnp3.IMasterApplication):  # type: ignore[misc]
    """Receives indications, the ends of tasks, and the state of the line."""

    def __init__(
        self,
        handover: Handover,
        now_ms: Callable[[], int],
        task_ended: Callable[[str], None],
        line_changed: Callable[[bool], None],
    ) -> None:
        super().__init__()
        self._now_ms = now_ms

        def received(iin: Any) -> None:
            now = iin.LSB | iin.MSB << 8
            handover.restarts += bool(now & IIN.DEVICE_RESTART and not handover.last_iin & IIN.DEVICE_RESTART)
            handover.last_iin = now

        def started(kind: Any) -> None:
            if kind != opendnp3.MasterTaskType.USER_TASK:
                handover.reactions += 1

        def completed(info: Any) -> None:
            if info.type == opendnp3.MasterTaskType.USER_TASK:
                handover.call(task_ended, info.result.name)

        def changed(open_: bool) -> None:
            handover.reactions += open_
            handover.call(line_changed, open_)

        self._received, self._started = handover.guarded(received), handover.guarded(started)
        self._completed, self._changed = handover.guarded(completed), handover.guarded(changed)

    def OnReceiveIIN(self, iin: Any) -> None:
        self._received(iin)

    def OnTaskStart(self, kind: Any, number: Any) -> None:
        self._started(kind)

    def OnTaskComplete(self, info: Any) -> None:
        self._completed(info)

    def OnOpen(self) -> None:
        self._changed(True)

    def OnClose(self) -> None:
        self._changed(False)

    def AssignClassDuringStartup(self) -> bool:
        return False

    def Now(self) -> Any:
        return opendnp3.UTCTimestamp(self._now_ms())
