# /// script
# requires-python = ">=3.8,<3.11"
# dependencies = ["dnp3-python==0.3.0b2"]
# ///
"""The DNP3 stacks of an RTU on dnp3-python (OpenDNP3 2.x), moved by JSON lines: masters of IEDs, and an outstation.

Run by uv in a CPython of its own, since its wheels end at 3.10; `rtu_dnp3_python.py` starts it, tells it everything, and decides
what values and commands mean. The binding crashes where a callback raises or a handler is collected, and hangs or crashes in
Shutdown, so every callback is guarded and kept, commands leave from the main thread only, and the process ends by `os._exit`.

First line in: port, address, master, poll_ms, sizes (type: number of points), ieds (name, host, port, outstation, master). Then
{"do": "update", type, index, value, flags, time}, {"do": "permit", "table": {"crob 0": {status, codes}, "analog 0": {status, low,
high}}} and {"do": "command", id, ied, select, index, kind, value, on_ms, off_ms}. Out: ready, value, line, operate, result,
exception.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any

from pydnp3 import asiodnp3, asiopal, opendnp3, openpal

KEPT: list[Any] = []
PERMITTED: dict[str, Any] = {}
LOCK = threading.Lock()
KINDS = ("Binary", "DoubleBitBinary", "Counter", "FrozenCounter", "Analog", "BinaryOutputStatus", "AnalogOutputStatus")
ENCODINGS = {"i16": "AnalogOutputInt16", "i32": "AnalogOutputInt32", "f32": "AnalogOutputFloat32", "f64": "AnalogOutputDouble64"}


def say(what: str, **fields: Any) -> None:
    with LOCK:
        sys.stdout.write(json.dumps({"what": what, **fields}) + "\n")
        sys.stdout.flush()


def guarded(function: Any) -> Any:
    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception:
            say("exception", text=traceback.format_exc())
            return None

    return call


def visitor(ied: str, kind: str, group: int) -> Any:
    """Tells each value of one collection."""

    class Visitor(getattr(opendnp3, "IVisitorIndexed" + kind)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        @guarded
        def OnValue(self, each: Any) -> None:
            item = each.value
            value = int(item.value) if kind == "DoubleBitBinary" else item.value
            say("value", ied=ied, group=group, index=each.index, value=value, flags=item.flags.value, time=int(item.time.value))

    return Visitor()


class Soe(opendnp3.ISOEHandler):  # type: ignore[misc]
    def __init__(self, ied: str) -> None:
        super().__init__()
        self.ied = ied

    @guarded
    def Process(self, info: Any, values: Any) -> None:
        for kind in KINDS:
            if type(values) is getattr(opendnp3, "ICollectionIndexed" + kind):
                one = visitor(self.ied, kind, int(info.gv) >> 8)
                KEPT.append(one)
                values.Foreach(one)
                KEPT.remove(one)
                return

    def Start(self) -> None:
        pass

    def End(self) -> None:
        pass


class Application(opendnp3.IMasterApplication):  # type: ignore[misc]
    """Tells whether the line to an IED is open."""

    def __init__(self, ied: str) -> None:
        super().__init__()
        self.ied = ied

    @guarded
    def OnOpen(self) -> None:
        say("line", ied=self.ied, open=True)

    @guarded
    def OnClose(self) -> None:
        say("line", ied=self.ied, open=False)

    def Now(self) -> Any:
        return openpal.UTCTimestamp(int(1000 * time.time()))

    def AssignClassDuringStartup(self) -> bool:
        return False

    def ConfigureAssignClassRequest(self, write: Any) -> None:
        pass

    def OnReceiveIIN(self, iin: Any) -> None:
        pass

    def OnStateChange(self, value: Any) -> None:
        pass

    def OnTaskStart(self, kind: Any, number: Any) -> None:
        pass

    def OnTaskComplete(self, info: Any) -> None:
        pass

    def OnKeepAliveInitiated(self) -> None:
        pass

    def OnKeepAliveFailure(self) -> None:
        pass

    def OnKeepAliveSuccess(self) -> None:
        pass


class Commands(opendnp3.ICommandHandler):  # type: ignore[misc]
    """Answers at once from the table of what is permitted; an operate that is permitted is told."""

    def __init__(self) -> None:
        super().__init__()

    def Start(self) -> None:
        pass

    def End(self) -> None:
        pass

    def Select(self, command: Any, index: int) -> Any:
        return self._answer(command, index, go=False)

    def Operate(self, command: Any, index: int, op_type: Any) -> Any:
        return self._answer(command, index, go=True)

    @staticmethod
    def _answer(command: Any, index: int, go: bool) -> Any:
        try:
            is_crob = type(command).__name__ == "ControlRelayOutputBlock"
            value = int(command.rawCode) if is_crob else command.value
            row = PERMITTED.get(("crob " if is_crob else "analog ") + str(index))
            if row is None or (is_crob and value not in row["codes"]):
                return opendnp3.CommandStatus.NOT_SUPPORTED
            if not is_crob and not row["low"] <= value <= row["high"]:
                return opendnp3.CommandStatus.OUT_OF_RANGE
            status = getattr(opendnp3.CommandStatus, row["status"])
            if go and row["status"] == "SUCCESS":
                say("operate", kind="crob" if is_crob else "analog", index=index, value=value)
            return status
        except Exception:
            say("exception", text=traceback.format_exc())
            return opendnp3.CommandStatus.HARDWARE_ERROR


def manager_of_its_own() -> Any:
    """Calls into the stack wait for its thread while they hold the interpreter, and that thread waits for the interpreter in every
    callback. So each session has a thread of its own, and is given no order that waits once its callbacks have begun."""
    manager = asiodnp3.DNP3Manager(1, asiodnp3.ConsoleLogger().Create())
    KEPT.append(manager)
    return manager


def add_ied(ied: dict[str, Any], poll_ms: int) -> Any:
    manager, listener = manager_of_its_own(), asiodnp3.PrintingChannelListener().Create()
    retry = asiopal.ChannelRetry(openpal.TimeDuration().Milliseconds(100), openpal.TimeDuration().Milliseconds(1000))
    channel = manager.AddTCPClient(ied["name"], 0, retry, ied["host"], "0.0.0.0", ied["port"], listener)
    stack = asiodnp3.MasterStackConfig()
    stack.master.responseTimeout = openpal.TimeDuration().Seconds(1)
    stack.master.timeSyncMode = opendnp3.TimeSyncMode.NonLAN
    stack.link.LocalAddr, stack.link.RemoteAddr = ied["master"], ied["outstation"]
    soe, application = Soe(ied["name"]), Application(ied["name"])
    master = channel.AddMaster(ied["name"], soe, application, stack)
    scan = master.AddClassScan(opendnp3.ClassField(False, True, True, True), openpal.TimeDuration().Milliseconds(poll_ms))
    KEPT.extend([listener, channel, soe, application, scan])
    master.Enable()
    return master


def add_outstation(told: dict[str, Any]) -> Any:
    manager, listener, sizes = manager_of_its_own(), asiodnp3.PrintingChannelListener().Create(), told["sizes"]
    channel = manager.AddTCPServer("scada", 0, asiopal.ChannelRetry().Default(), "127.0.0.1", told["port"], listener)
    numbers = [sizes.get(kind, 0) for kind in ("Binary", "DoubleBitBinary", "Analog", "Counter", "FrozenCounter")]
    numbers += [sizes.get("BinaryOutputStatus", 0), sizes.get("AnalogOutputStatus", 0), 0]
    stack = asiodnp3.OutstationStackConfig(opendnp3.DatabaseSizes(*numbers))
    stack.outstation.eventBufferConfig = opendnp3.EventBufferConfig().AllTypes(200)
    stack.outstation.params.allowUnsolicited = True
    stack.outstation.params.unsolConfirmTimeout = openpal.TimeDuration().Seconds(1)
    stack.link.LocalAddr, stack.link.RemoteAddr = told["address"], told["master"]
    commands, application = Commands(), opendnp3.DefaultOutstationApplication().Create()
    outstation = channel.AddOutstation("rtu", commands, application, stack)
    KEPT.extend([listener, channel, commands, application])
    outstation.Enable()
    return outstation


def update(outstation: Any, order: dict[str, Any]) -> None:
    value = order["value"]
    if order["type"] == "DoubleBitBinary":
        value = opendnp3.DoubleBit(value)
    flags, at = opendnp3.Flags(order["flags"]), opendnp3.DNPTime(order["time"])
    builder = asiodnp3.UpdateBuilder()
    builder.Update(getattr(opendnp3, order["type"])(value, flags, at), order["index"])
    outstation.Apply(builder.Build())


def command(master: Any, order: dict[str, Any]) -> None:
    @guarded
    def commanded(result: Any) -> None:
        statuses: list[str] = []

        @guarded
        def point(each: Any) -> None:
            statuses.append(opendnp3.CommandStatusToString(each.status))

        KEPT.append(point)
        result.ForeachItem(point)
        say("result", id=order["id"], summary=opendnp3.TaskCompletionToString(result.summary), statuses=statuses)

    KEPT.append(commanded)
    if order["kind"] == "crob":
        code = opendnp3.ControlCode(order["value"])
        sent = opendnp3.ControlRelayOutputBlock(code, 1, order["on_ms"], order["off_ms"], opendnp3.CommandStatus.SUCCESS)
    else:
        sent = getattr(opendnp3, ENCODINGS[order["kind"]])(order["value"])
    send = master.SelectAndOperate if order["select"] else master.DirectOperate
    send(sent, order["index"], commanded, opendnp3.TaskConfig().Default())


def die_with_uv() -> None:
    """A hung binding does not see that its input has ended; the kernel kills it with its parent (prctl PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))


def main() -> None:
    die_with_uv()
    told = json.loads(sys.stdin.readline())
    outstation = add_outstation(told)
    masters = {ied["name"]: add_ied(ied, told["poll_ms"]) for ied in told["ieds"]}
    KEPT.extend([*masters.values(), outstation])
    say("ready")
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "update":
            update(outstation, order)
        elif order["do"] == "permit":
            PERMITTED.update(order["table"])
        else:
            command(masters[order["ied"]], order)


try:
    main()
except Exception:
    say("exception", text=traceback.format_exc())
sys.stdout.flush()
os._exit(0)
