"""DNP3 (IEEE 1815): an outstation of our own, free of I/O, a master on yadnp3, and a reader that explains frames.

From the wire upwards, one file a layer: `crc` and `link` (frames), `transport` (segments), `application` (requests and
responses), with `values`, `codecs` and `objects` for what they carry. `points` and `database` are the outstation's memory, `events`
what each master has still to hear. A request goes through `connection` (whose line is it?), `session` (sequence numbers,
confirmations), `functions` (what to do), `reading` or `control`; the answer leaves through `fragment`. `unsolicited` speaks
without being asked. `outstation` is the device around all this, `server` its socket, `serial_server` its serial line, `explain`
a frame in prose, `inquiry` a master that can only ask.

`master` is the other side, on yadnp3 (extra [hil]; not imported from here), with `master_config` and `yadnp3_callbacks`.

The protocol's subset level 2 is complete, with floating point analogs, double-bit inputs, output events, dead bands, class
assignment, octet strings and LAN time synchronisation added; docs/dnp3_outstation_profile.md lists what is answered and how.
"""

from .config import OutstationConfig
from .control import Command, ControlHandler, OperateMode, RefuseControls
from .database import EventMode
from .outstation import Outstation
from .points import PointConfig
from .values import AnalogCommand, CommandStatus, ControlCode, Crob, DoubleBit, Flag, PointType, Reading

__all__ = [
    "AnalogCommand",
    "Command",
    "CommandStatus",
    "ControlCode",
    "ControlHandler",
    "Crob",
    "DoubleBit",
    "EventMode",
    "Flag",
    "OperateMode",
    "Outstation",
    "OutstationConfig",
    "PointConfig",
    "PointType",
    "Reading",
    "RefuseControls",
]
