"""yadnp3's outstation with ten points of each type, told what to do by JSON lines on stdin; the peer of our master.

In a process of its own, since one process has one stack. Argument: the port.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import opendnp3 as o
from yadnp3_master import guarded, say


class Commands(o.ICommandHandler):
    """Accepts indexes below 5, says NOT_AUTHORIZED to the others."""

    def Begin(self) -> None:
        pass

    def End(self) -> None:
        pass

    def Select(self, command: Any, index: int) -> Any:
        return o.CommandStatus.SUCCESS if index < 5 else o.CommandStatus.NOT_AUTHORIZED

    def Operate(self, command: Any, index: int, handler: Any, kind: Any) -> Any:
        report(command, index)
        return self.Select(command, index)


@guarded
def report(command: Any, index: int) -> None:
    value = command.opType.value if isinstance(command, o.ControlRelayOutputBlock) else command.value
    say("operate", kind=type(command).__name__, index=index, value=value)


class Application(o.IOutstationApplication):
    def SupportsWriteAbsoluteTime(self) -> bool:
        return False

    def SupportsAssignClass(self) -> bool:
        return False

    def GetApplicationIIN(self) -> Any:
        return o.ApplicationIIN()

    def ColdRestartSupport(self) -> Any:
        return o.RestartMode.UNSUPPORTED

    def WarmRestartSupport(self) -> Any:
        return o.RestartMode.UNSUPPORTED

    def Now(self) -> Any:
        return o.DNPTime(int(time.time() * 1000))


def main() -> None:
    manager = o.DNP3Manager(1)
    try:
        endpoint, mode = o.IPEndpoint("127.0.0.1", int(sys.argv[1])), o.ServerAcceptMode.CloseExisting
        channel = manager.AddTCPServer("channel", o.levels.NOTHING, mode, endpoint, None)
        stack = o.OutstationStackConfig(o.DatabaseConfig(10))
        stack.outstation.eventBufferConfig = o.EventBufferConfig.AllTypes(100)
        stack.outstation.params.allowUnsolicited = True
        stack.link.LocalAddr, stack.link.RemoteAddr = 10, 1
        outstation = channel.AddOutstation("outstation", Commands(), Application(), stack)
        outstation.Enable()
        say("ready")
        for line in sys.stdin:
            order = json.loads(line)
            builder = o.UpdateBuilder()
            builder.Update(getattr(o, order["type"])(order["value"]), order["index"])
            outstation.Apply(builder.Build())
    finally:
        manager.Shutdown()


if __name__ == "__main__":
    main()
