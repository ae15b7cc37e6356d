# /// script
# requires-python = ">=3.8,<3.11"
# dependencies = ["dnp3-python==0.3.0b2"]
# ///
"""dnp3-python's raw OpenDNP3 2.x outstation with ten points of each type, told what to do by JSON lines on stdin.

The peer of our master; see `dnp3_python_master.py` for why it looks as it does. Its points cannot be configured: class 1, analogs
as 32-bit integers without time. Argument: the port.
"""

import json
import os
import sys
import traceback

from pydnp3 import asiodnp3, asiopal, opendnp3

KEPT = []


def say(what, **fields):
    sys.stdout.write(json.dumps({"what": what, **fields}) + "\n")
    sys.stdout.flush()


class Commands(opendnp3.ICommandHandler):
    """Accepts indexes below 5, says NOT_AUTHORIZED to the others."""

    def __init__(self):
        super().__init__()

    def Start(self):
        pass

    def End(self):
        pass

    def Select(self, command, index):
        return self._answer(index)

    def Operate(self, command, index, op_type):
        kind = type(command).__name__
        try:
            value = int(command.rawCode) if kind == "ControlRelayOutputBlock" else command.value
            say("operate", kind=kind, index=index, value=value)
        except Exception:
            say("exception", text=traceback.format_exc())
        return self._answer(index)

    @staticmethod
    def _answer(index):
        return opendnp3.CommandStatus.SUCCESS if index < 5 else opendnp3.CommandStatus.NOT_AUTHORIZED


def main():
    manager = asiodnp3.DNP3Manager(1, asiodnp3.ConsoleLogger().Create())
    listener = asiodnp3.PrintingChannelListener().Create()
    channel = manager.AddTCPServer("channel", 0, asiopal.ChannelRetry().Default(), "127.0.0.1", int(sys.argv[1]), listener)
    stack = asiodnp3.OutstationStackConfig(opendnp3.DatabaseSizes.AllTypes(10))
    stack.outstation.eventBufferConfig = opendnp3.EventBufferConfig().AllTypes(100)
    stack.outstation.params.allowUnsolicited = True
    stack.link.LocalAddr, stack.link.RemoteAddr = 10, 1
    commands, application = Commands(), opendnp3.DefaultOutstationApplication().Create()
    outstation = channel.AddOutstation("outstation", commands, application, stack)
    KEPT.extend([manager, listener, channel, commands, application, outstation])
    outstation.Enable()
    say("ready")
    for line in sys.stdin:
        order = json.loads(line)
        builder = asiodnp3.UpdateBuilder()
        builder.Update(getattr(opendnp3, order["type"])(order["value"]), order["index"])
        updates = builder.Build()
        KEPT.append(updates)
        outstation.Apply(updates)


try:
    main()
except Exception:
    say("exception", text=traceback.format_exc())
sys.stdout.flush()
os._exit(0)
