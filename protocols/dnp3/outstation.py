"""A DNP3 outstation without I/O: octets in, octets out, and a clock that is passed in.

    outstation = Outstation(config, points, clock=clock, handler=handler)
    connection = outstation.connect()            # one per TCP connection or serial line
    connection.receive(octets)                   # what came in
    octets = connection.data_to_send()           # what must go out; connection.closing says when to hang up
    outstation.advance()                         # after update(), and when next_deadline_ns() is reached

The clock returns nanoseconds that never go back; it may be simulated time. DNP3 time is this clock plus an offset that a
master sets. `server.py` puts this on asyncio; a test drives it with a variable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .application import IIN
from .config import OutstationConfig, ns
from .connection import Connection
from .control import ControlHandler, RefuseControls
from .database import Database, EventMode, Point
from .functions import Restart
from .points import PointConfig
from .session import Session
from .values import Flag, PointType

_MS = 1_000_000


class Outstation:
    """The device: points, time, indications, and one session per master.

    `start_time_ms` is DNP3 time (ms since 1970 UTC) when the clock shows its value at construction. `local_control`,
    `device_trouble` and `config_corrupt` may be set at any time and appear in the indications of every master.
    """

    def __init__(
        self,
        config: OutstationConfig,
        points: Iterable[PointConfig],
        *,
        clock: Callable[[], int],
        handler: ControlHandler | None = None,
        start_time_ms: int = 0,
    ) -> None:
        self.config = config
        self.now_ns = clock
        self.handler: ControlHandler = handler or RefuseControls()
        self.database = Database(points)
        self.database.on_event = self._on_event
        self.wide_types = frozenset(kind for kind in PointType if any(index > 0xFF for index in self.database.points(kind)))
        self.local_control = False
        self.device_trouble = False
        self.config_corrupt = False
        self.connections: list[Connection] = []
        self.restarts = 0
        self._offset_ns = start_time_ms * _MS - clock()
        self._time_valid_until_ns: int | None = None
        self._synchronized = not config.need_time
        self.restart_until_ns = 0
        self._sessions = {master: Session(self, master) for master in config.masters}

    # -- points

    def update(
        self,
        kind: PointType,
        index: int,
        value: bool | int | float | bytes,
        *,
        flags: int = int(Flag.ONLINE),
        time_ms: int | None = None,
        mode: EventMode = EventMode.DETECT,
    ) -> bool:
        """A new value in the point's units, measured at `time_ms` (None: now). True where it made an event.

        Nothing is sent before `advance`, so that the events of one simulation step travel together. Errors: `Database.update`.
        """
        at_ms = self.time_ms() if time_ms is None else time_ms
        return self.database.update(kind, index, value, time_ms=at_ms, flags=flags, mode=mode)

    def _on_event(self, point: Point) -> None:
        now_ns = self.now_ns()
        for session in self._sessions.values():
            session.buffer.add(point, self._synchronized)
            session.unsolicited.event_added(now_ns)

    # -- time

    def time_ms(self) -> int:
        """DNP3 time now, milliseconds since 1970-01-01 UTC, within 48 bits."""
        return max(0, (self.now_ns() + self._offset_ns) // _MS) & ((1 << 48) - 1)

    def set_time(self, time_ms: int, at_ns: int) -> None:
        """It was `time_ms` when the clock showed `at_ns`: NEED_TIME falls until the next period."""
        self._offset_ns = time_ms * _MS - at_ns
        self._synchronized = True
        period_s = self.config.time_sync_period_s
        self._time_valid_until_ns = None if period_s is None else self.now_ns() + ns(period_s)

    @property
    def needs_time(self) -> bool:
        if self._time_valid_until_ns is not None and self.now_ns() >= self._time_valid_until_ns:
            self._time_valid_until_ns = None
            self._synchronized = False
        return not self._synchronized

    # -- indications and restart

    def iin(self, session: Session) -> IIN:
        """The indications of the device and of one master's session; those of a request are added to them."""
        iin = IIN(0)
        for event_class, bit in ((1, IIN.CLASS_1_EVENTS), (2, IIN.CLASS_2_EVENTS), (3, IIN.CLASS_3_EVENTS)):
            if session.buffer.waiting(event_class):
                iin |= bit
        for raised, bit in (
            (session.all_stations(), IIN.ALL_STATIONS),
            (self.needs_time, IIN.NEED_TIME),
            (self.local_control, IIN.LOCAL_CONTROL),
            (self.device_trouble, IIN.DEVICE_TROUBLE),
            (session.restart_iin, IIN.DEVICE_RESTART),
            (session.buffer.overflown, IIN.EVENT_BUFFER_OVERFLOW),
            (self.config_corrupt, IIN.CONFIG_CORRUPT),
        ):
            if raised:
                iin |= bit
        return iin

    def restart_duration_ns(self, kind: Restart) -> int | None:
        """How long a restart takes, or None where it is not supported."""
        seconds = self.config.cold_restart_s if kind is Restart.COLD else self.config.warm_restart_s
        return None if seconds is None else ns(seconds)

    def begin_restart(self, kind: Restart) -> None:
        """Restarts: connections close once their octets are out, and until the restart is over nothing is heard.

        A cold restart forgets events, time, assigned classes and written dead bands, and every point waits for its next
        update. A warm one keeps them. Both stop unsolicited reports and set DEVICE_RESTART for every master.
        """
        cold = kind is Restart.COLD
        self.restart_until_ns = self.now_ns() + (self.restart_duration_ns(kind) or 0)
        self.restarts += 1
        for connection in self.connections:
            connection.closing = True
        for session in self._sessions.values():
            session.restart(keep_events=not cold)
        if cold:
            self.database.reset()
            self._synchronized = not self.config.need_time
            self._time_valid_until_ns = None

    @property
    def objects_capacity(self) -> int:
        """Octets of objects in one fragment sent: all but control, function code and indications."""
        return self.config.max_tx_fragment - 4

    @property
    def restarting(self) -> bool:
        return self.now_ns() < self.restart_until_ns

    # -- masters

    def connect(self) -> Connection:
        """A new line. The only configured master is taken to be on it until a frame says otherwise."""
        connection = Connection(self)
        self.connections.append(connection)
        if len(self.config.masters) == 1:
            session = self._sessions[self.config.masters[0]]
            if not session.attached and not self.restarting:
                connection.presume(session)
        return connection

    def session(self, master: int) -> Session | None:
        """The session of a master's link address; a new one where any master is served and there is a place."""
        session = self._sessions.get(master)
        if session is not None or self.config.masters:
            return session
        if len(self._sessions) >= self.config.max_masters:
            idle = [each for each in self._sessions.values() if not each.attached]
            if not idle:
                return None
            del self._sessions[min(idle, key=lambda each: each.last_heard_ns).master]
        session = self._sessions[master] = Session(self, master)
        return session

    def sessions(self) -> list[Session]:
        return list(self._sessions.values())

    def selected_elsewhere(self, session: Session, kind: PointType, index: int) -> bool:
        """Whether another master has this output selected."""
        now_ns = self.now_ns()
        return any(other is not session and other.controls.holds(kind, index, now_ns) for other in self._sessions.values())

    # -- timers

    def advance(self) -> None:
        """Acts on every timer that has run out, and sends the unsolicited responses that are due."""
        now_ns = self.now_ns()
        for session in self.sessions():
            session.advance(now_ns)
        for connection in list(self.connections):
            connection.advance(now_ns)

    def next_deadline_ns(self) -> int | None:
        """When `advance` must be called next; None for never, and a time in the past for at once."""
        deadlines = [session.deadline_ns() for session in self._sessions.values()]
        deadlines += [connection.deadline_ns() for connection in self.connections]
        return min((at for at in deadlines if at is not None), default=None)
