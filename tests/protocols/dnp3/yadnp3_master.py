"""A yadnp3 master in a process of its own, told what to do by JSON lines on stdin, reporting by JSON lines on stdout.

Its own process, because the binding aborts or hangs where a callback raises or `manager.Shutdown()` is forgotten. Arguments: a
JSON object with port, and optionally address, time_sync ("LAN", "NonLAN") and tls (peer, certificate and key files).
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from typing import Any

import opendnp3 as o

_ANALOGS = {"i16": o.AnalogOutputInt16, "i32": o.AnalogOutputInt32, "f32": o.AnalogOutputFloat32, "f64": o.AnalogOutputDouble64}


def say(what: str, **fields: Any) -> None:
    """One line for the test. Writing from several threads: one write call a line."""
    sys.stdout.write(json.dumps({"what": what} | fields) + "\n")
    sys.stdout.flush()


def guarded(function: Any) -> Any:
    """No exception may leave a callback: it would abort the process or be printed and lost."""

    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except Exception:
            say("exception", text=traceback.format_exc())
            return None

    return call


class Soe(o.ISOEHandler):
    def BeginFragment(self, info: Any) -> None:
        pass

    def EndFragment(self, info: Any) -> None:
        pass

    @guarded
    def Process(self, info: Any, values: list[Any]) -> None:
        name = str(info.gv).rpartition(".")[2]
        for each in values:
            if isinstance(each, o.DNPTime):
                continue
            item = each.value
            if isinstance(item, o.OctetString):
                say("value", gv=name, event=info.isEventVariation, index=each.index, value=item.ToBytes().decode("latin-1"))
                continue
            value = item.value.value if isinstance(item, o.DoubleBitBinary) else item.value
            say(
                "value",
                gv=name,
                event=info.isEventVariation,
                index=each.index,
                value=value,
                flags=item.flags.value,
                time=item.time.value,
            )


class Application(o.IMasterApplication):
    @guarded
    def OnReceiveIIN(self, iin: Any) -> None:
        say("iin", value=iin.LSB | iin.MSB << 8)

    def OnTaskStart(self, kind: Any, number: Any) -> None:
        pass

    @guarded
    def OnTaskComplete(self, info: Any) -> None:
        say("task", task=info.type.name, result=info.result.name)

    @guarded
    def OnOpen(self) -> None:
        say("open")

    @guarded
    def OnClose(self) -> None:
        say("closed")

    def AssignClassDuringStartup(self) -> bool:
        return False

    def Now(self) -> Any:
        return o.UTCTimestamp(int(time.time() * 1000))


def perform(master: Any, soe: Soe, order: dict[str, Any]) -> None:
    """One order of the test."""

    @guarded
    def commanded(result: Any) -> None:
        points = [{"index": point.index, "state": point.state.name, "status": point.status.name} for point in result.to_list()]
        say("result", summary=result.summary.name, points=points)

    match order["do"]:
        case "scan":
            classes = order["classes"]
            master.ScanClasses(o.ClassField("0" in classes, "1" in classes, "2" in classes, "3" in classes), soe)
        case "range":
            master.ScanRange(o.GroupVariationID(order["group"], order["variation"]), order["start"], order["stop"], soe)
        case "all":
            master.ScanAllObjects(o.GroupVariationID(order["group"], order["variation"]), soe)
        case "select" | "direct":
            if order["type"] == "crob":
                command = o.ControlRelayOutputBlock(o.OperationType.__members__[order["value"]])
            else:
                command = _ANALOGS[order["type"]](order["value"])
            operate = master.SelectAndOperate if order["do"] == "select" else master.DirectOperate
            operate(command, order["index"], commanded)
        case "restart":
            kind = o.RestartType.COLD if order["kind"] == "cold" else o.RestartType.WARM
            master.Restart(kind, guarded(lambda result: say("restart", summary=result.summary.name)))
        case "freeze":
            master.Freeze(o.FreezeType.ImmediateFreeze, [o.Header.AllObjects(20, 0)])
        case "perform":
            headers = [o.Header.AllObjects(group, variation) for group, variation in order["headers"]]
            master.PerformFunction(order["name"], o.FunctionCode.__members__[order["function"]], headers)
        case "deadband":
            band = o.IndexedAnalogInputDeadband(o.AnalogInputDeadband(order["value"]), order["index"])
            master.WriteDeadBands([band], guarded(lambda result: say("deadband", summary=str(result))))
        case "link":
            master.CheckLinkStatus(guarded(lambda result: say("link", result=str(result))))
        case other:
            raise ValueError(f"unknown order {other}")


def main() -> None:
    settings = json.loads(sys.argv[1])
    manager = o.DNP3Manager(1)
    try:
        retry = o.ChannelRetry(o.TimeDuration.Milliseconds(100), o.TimeDuration.Milliseconds(200))
        endpoint = [o.IPEndpoint("127.0.0.1", settings["port"])]
        if tls := settings.get("tls"):
            config = o.TLSConfig(tls["peer"], tls["certificate"], tls["key"])
            channel = manager.AddTLSClient("channel", o.levels.NOTHING, retry, endpoint, "127.0.0.1", config, None)
        else:
            channel = manager.AddTCPClient("channel", o.levels.NOTHING, retry, endpoint, "127.0.0.1", None)
        stack = o.MasterStackConfig()
        stack.link.LocalAddr, stack.link.RemoteAddr = settings.get("address", 1), 10
        stack.master.responseTimeout = o.TimeDuration.Seconds(2)
        stack.master.timeSyncMode = o.TimeSyncMode.__members__[settings.get("time_sync", "None")]
        soe, application = Soe(), Application()
        master = channel.AddMaster("master", soe, application, stack)
        master.Enable()
        for line in sys.stdin:
            perform(master, soe, json.loads(line))
    finally:
        manager.Shutdown()


if __name__ == "__main__":
    main()
