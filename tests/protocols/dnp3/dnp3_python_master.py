# /// script
# requires-python = ">=3.8,<3.11"
# dependencies = ["dnp3-python==0.3.0b2"]
# ///
"""dnp3-python's raw OpenDNP3 2.x master, told what to do by JSON lines on stdin, reporting by JSON lines on stdout.

A second opinion on our outstation beside yadnp3: an older, independent branch of the stack. In a process and an interpreter of
its own, run by uv, since the wheels end at CPython 3.10. The binding crashes where a callback raises or a handler is collected,
and hangs or crashes in Shutdown, so every callback is guarded and kept, and the process ends by `os._exit`. Argument: the port,
or --check to see whether it runs at all.
"""

import json
import os
import sys
import traceback

from pydnp3 import asiodnp3, asiopal, opendnp3, openpal

KEPT = []


def say(what, **fields):
    sys.stdout.write(json.dumps({"what": what, **fields}) + "\n")
    sys.stdout.flush()


def guarded(function):
    def call(*args):
        try:
            return function(*args)
        except Exception:
            say("exception", text=traceback.format_exc())
            return None

    return call


KINDS = (
    "Binary",
    "DoubleBitBinary",
    "Counter",
    "FrozenCounter",
    "Analog",
    "BinaryOutputStatus",
    "AnalogOutputStatus",
    "OctetString",
)


def visitor(kind, group, variation):
    """A visitor of one kind of values, which reports each of them."""
    base = getattr(opendnp3, "IVisitorIndexed" + kind)

    class Visitor(base):
        def __init__(self):
            super().__init__()

        @guarded
        def OnValue(self, each):
            item = each.value
            fields = {"group": group, "variation": variation, "index": each.index}
            if kind == "OctetString":
                say("value", **fields)
                return
            value = int(item.value) if kind == "DoubleBitBinary" else item.value
            say("value", **fields, value=value, flags=item.flags.value, time=int(item.time.value))

    return Visitor()


class Soe(opendnp3.ISOEHandler):
    def __init__(self):
        super().__init__()

    @guarded
    def Process(self, info, values):
        code = int(info.gv)
        for kind in KINDS:
            if type(values) is getattr(opendnp3, "ICollectionIndexed" + kind):
                one = visitor(kind, code >> 8, code & 0xFF)
                KEPT.append(one)
                values.Foreach(one)
                return

    def Start(self):
        pass

    def End(self):
        say("end")


def perform(master, order):
    @guarded
    def commanded(result):
        points = []

        @guarded
        def point(each):
            points.append({"index": each.index, "status": opendnp3.CommandStatusToString(each.status)})

        KEPT.append(point)
        result.ForeachItem(point)
        say("result", summary=opendnp3.TaskCompletionToString(result.summary), points=points)

    KEPT.append(commanded)
    config = opendnp3.TaskConfig().Default()
    if order["do"] == "scan":
        classes = order["classes"]
        master.ScanClasses(opendnp3.ClassField("0" in classes, "1" in classes, "2" in classes, "3" in classes), config)
    elif order["type"] == "crob":
        code = getattr(opendnp3.ControlCode, order["value"])
        block = opendnp3.ControlRelayOutputBlock(code, 1, 100, 100, opendnp3.CommandStatus.SUCCESS)
        master.SelectAndOperate(block, order["index"], commanded, config)
    else:
        output = opendnp3.AnalogOutputDouble64(order["value"])
        (master.SelectAndOperate if order["do"] == "select" else master.DirectOperate)(output, order["index"], commanded, config)


def main():
    manager = asiodnp3.DNP3Manager(1, asiodnp3.ConsoleLogger().Create())
    listener = asiodnp3.PrintingChannelListener().Create()
    channel = manager.AddTCPClient("channel", 0, asiopal.ChannelRetry(), "127.0.0.1", "0.0.0.0", int(sys.argv[1]), listener)
    stack = asiodnp3.MasterStackConfig()
    stack.master.responseTimeout = openpal.TimeDuration().Seconds(2)
    stack.master.timeSyncMode = opendnp3.TimeSyncMode.NonLAN
    stack.link.LocalAddr, stack.link.RemoteAddr = 1, 10
    soe, application = Soe(), asiodnp3.DefaultMasterApplication().Create()
    master = channel.AddMaster("master", soe, application, stack)
    KEPT.extend([manager, listener, channel, soe, application, master])
    master.Enable()
    for line in sys.stdin:
        perform(master, json.loads(line))


if sys.argv[1] == "--check":
    os._exit(0)
try:
    main()
except Exception:
    say("exception", text=traceback.format_exc())
sys.stdout.flush()
os._exit(0)
