"""The command `capability`: the P-Q regions and the dispatch stack of one feeder alone.

    capability FEEDER --der FILE --limits FILE [--out JSON] [--plot HTML]

Importing this costs nothing; engines are imported when the command runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenarios.problem import Problem, ScenarioError, did_you_mean

if TYPE_CHECKING:
    from federates.grid.feeder import Feeder, FeederModel
    from federates.tblm.capability.compute import Capability, CapabilityOptions
    from federates.tblm.dispatch import Block
    from scenarios.capability_files import DerRow, LimitFile

Plot = Callable[[Path, str, Sequence[Any], tuple[float, float]], None]
"""(file, title, regions as `CapabilityRegion`, present head P and Q)."""

_KV_OFF = 0.05  # of the bus's base: a DER's rated voltage farther off is a mistake


def add_commands(commands: Any) -> None:
    """`capability`."""
    command = commands.add_parser("capability", help="what P and Q a feeder can be brought to within its limits, and at what cost")
    command.add_argument("feeder", metavar="FEEDER", help="ieee13, ieee34, ieee123, ieee9500, smartds, or an OpenDSS master file")
    command.add_argument(
        "--der", type=Path, required=True, metavar="FILE", help="DER and what they offer, CSV (docs/capability.md)"
    )
    command.add_argument("--limits", type=Path, required=True, metavar="FILE", help="voltages and currents to keep, CSV")
    command.add_argument("--out", metavar="JSON", help="where the regions go, with set-points for each corner; - is the screen")
    command.add_argument("--plot", type=Path, metavar="HTML", help="draw them into a page that opens offline")
    command.add_argument("--bus-v", default="1.0", metavar="PU,...", help="voltages at the head (default: 1.0)")
    command.add_argument("--delivery", default="2,60,900", metavar="S,...", help="delivery classes, s (default: 2,60,900)")
    command.add_argument("--quantiles", default="P10,P50,P90", metavar="Q,...", help="of what DER have (default: P10,P50,P90)")
    command.add_argument("--directions", type=int, default=48, metavar="N", help="most directions of a region (default: 48)")
    command.add_argument("--devices", default="all", metavar="NAME,...", help="regulators and capacitors to move; all, or none")
    command.add_argument(
        "--tap-moves", type=int, default=8, metavar="N", help="most taps that a regulator is moved by (default: 8)"
    )
    command.add_argument("--taps", default="", metavar="NAME=TAP,...", help="regulators held where they are put, not settled")
    command.add_argument("--edit", action="append", default=[], metavar="STATEMENT", help="OpenDSS statement after the file")
    command.add_argument(
        "--no-substation", action="store_true", help="the head is the file's own source bus, without a transformer"
    )
    command.add_argument("--base-hz", type=float, metavar="HZ", help="of the network (default: 60)")


def run(arguments: argparse.Namespace, plot: Plot) -> int:
    """Compute, print, write, draw. Gives the exit code: 0, or 1 where every region is empty. ScenarioError for what is wrong."""
    from federates.grid.feeder import Feeder, FeederError
    from federates.tblm.capability.compute import CapabilityStudy
    from scenarios.capability_files import read_der, read_limits

    options = _options(arguments)
    der, limits = read_der(arguments.der), read_limits(arguments.limits)
    try:
        model = _model(arguments)
        with Feeder(model) as bare:
            _check(bare, arguments, der, limits)
        with Feeder(model.with_(der=tuple(row.site for row in der))) as feeder:
            _stand(feeder, der, arguments)
            head_p, head_q = feeder.head()
            study = CapabilityStudy(feeder, [row.resource for row in der], limits.rules, options.v_pu[0])
            regions = study.run(options)
            feeder.set_source(options.v_pu[0])
            blocks = _stacks(feeder, der, limits)
            out = _document(feeder, model, der, regions, blocks)
    except FeederError as error:
        raise ScenarioError([Problem(error.path, 1, (), f"{error.what}; {error.hint}")]) from error
    except ValueError as error:
        raise ScenarioError([Problem("capability", 0, (), str(error))]) from error
    if arguments.out == "-":
        print(json.dumps(out, indent=1))
    else:
        _print(regions, blocks)
        if arguments.out:
            Path(arguments.out).write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
            print(f"regions with set-points: {arguments.out}")
    if arguments.plot:
        plot(
            arguments.plot,
            f"Capability of {arguments.feeder}",
            [_region(c) for c in regions if len(c.pq)],
            (head_p.sum(), head_q.sum()),
        )
        print(f"drawn: {arguments.plot}", file=sys.stderr if arguments.out == "-" else sys.stdout)
    return 0 if any(len(c.pq) for c in regions) else 1


def _options(arguments: argparse.Namespace) -> CapabilityOptions:
    from federates.tblm.capability.compute import CapabilityOptions
    from federates.tblm.capability.region import RegionOptions
    from federates.tblm.capability.resources import QUANTILES

    v_pu, delivery = _numbers(arguments.bus_v, "--bus-v"), _numbers(arguments.delivery, "--delivery")
    asked = [name.strip().upper() for name in arguments.quantiles.split(",")]
    for name in asked:
        if name not in QUANTILES:
            raise _usage("--quantiles", f"{name!r} is none; {did_you_mean(name, QUANTILES)}")
    if arguments.directions < 8:
        raise _usage("--directions", "give 8 or more")
    devices: tuple[str, ...] | None = tuple(name.strip().lower() for name in arguments.devices.split(",") if name.strip())
    devices = None if devices == ("all",) else () if devices == ("none",) else devices
    quantiles = tuple(q for q in QUANTILES if q in asked)
    region = RegionOptions(directions=arguments.directions)
    return CapabilityOptions(tuple(v_pu), tuple(sorted(set(delivery))), quantiles, devices, arguments.tap_moves, region)


def _model(arguments: argparse.Namespace) -> FeederModel:
    from federates.grid.feeder import FeederModel
    from federates.grid.feeder_library import BUILTIN_FEEDERS, builtin_feeder

    name = arguments.feeder
    if name in BUILTIN_FEEDERS:
        model = builtin_feeder(name)
    elif Path(name).is_file():
        model = FeederModel(str(Path(name).resolve()))
    else:
        raise _usage("FEEDER", f"there is no feeder and no file {name!r}; {did_you_mean(name, BUILTIN_FEEDERS)}")
    changes: dict[str, object] = {"edits": (*model.edits, *arguments.edit), "tolerance": min(model.tolerance, _tolerance(name))}
    if arguments.no_substation:
        changes["substation"] = None
    if arguments.base_hz:
        changes["base_hz"] = arguments.base_hz
    return model.with_(**changes)


def _tolerance(name: str) -> float:
    """Corners are only as exact as the power flow; the largest network never meets a finer tolerance than its own."""
    return 1e-4 if name == "ieee9500" else 1e-7


def _check(feeder: Feeder, arguments: argparse.Namespace, der: Sequence[DerRow], limits: LimitFile) -> None:
    """Every bus, phase, voltage and line that the files name, against the network. ScenarioError with their places."""
    import numpy as np

    from federates.grid.feeder.network import Network

    problems: list[Problem] = []
    kv: dict[str, dict[str, float]] = {}
    for node, base in zip(feeder.node_names, feeder.node_base_kv.tolist(), strict=True):
        bus, _, phase = node.rpartition(".")
        kv.setdefault(bus, {})[phase] = base
    for row in der:
        bus = row.site.bus.split(".")[0].lower()
        where = (str(arguments.der), row.line)
        if bus not in kv:
            problems.append(Problem(*where, ("bus",), f"the network has no bus {bus!r}; {did_you_mean(bus, sorted(kv))}"))
            continue
        missing = [phase for phase in row.site.phases if str(phase) not in kv[bus]]
        if missing:
            has = ".".join(sorted(kv[bus]))
            problems.append(Problem(*where, ("bus",), f"bus {bus} has no phase {missing[0]}; write {bus}.{has}, or some of these"))
            continue
        base = kv[bus][str(row.site.phases[0])] * (np.sqrt(3.0) if len(row.site.phases) > 1 else 1.0)
        if np.isfinite(base) and abs(row.site.kv / base - 1.0) > _KV_OFF:
            problems.append(Problem(*where, ("kv",), f"bus {bus} has {base:.4g} kV for such a connection, not {row.site.kv:g}"))
    lines = set(Network(feeder).branch_currents().line)
    for line, name in limits.buses:
        if name not in kv:
            problems.append(
                Problem(str(arguments.limits), line, ("element",), f"no bus {name!r}; {did_you_mean(name, sorted(kv))}")
            )
    for line, name in limits.lines:
        if name not in lines:
            text = f"no line {name!r}; {did_you_mean(name, sorted(lines))}"
            problems.append(Problem(str(arguments.limits), line, ("element",), text))
    if problems:
        raise ScenarioError(problems)


def _stand(feeder: Feeder, der: Sequence[DerRow], arguments: argparse.Namespace) -> None:
    """DER where they are, controls at rest, then the taps that were asked for."""
    feeder.set_source(_numbers(arguments.bus_v, "--bus-v")[0])
    feeder.set_der([row.resource.p_now_w for row in der], [row.resource.q_now_var for row in der])
    feeder.settle()
    taps = dict(zip(feeder.reg_names, feeder.taps().tolist(), strict=True))
    for pair in filter(None, (part.strip() for part in arguments.taps.split(","))):
        name, _, tap = pair.partition("=")
        if name.lower() not in taps:
            raise _usage("--taps", f"no regulator {name!r}; {did_you_mean(name, feeder.reg_names)}")
        try:
            taps[name.lower()] = int(tap)
        except ValueError:
            raise _usage("--taps", f"{pair!r}: write NAME=TAP, as {name}=4") from None
    feeder.set_taps(list(taps.values()))
    feeder.solve()


def _stacks(feeder: Feeder, der: Sequence[DerRow], limits: LimitFile) -> list[Block]:
    import numpy as np

    from federates.grid.feeder.network import Network
    from federates.tblm.capability.limits import limits_of
    from federates.tblm.capability.space import Space
    from federates.tblm.dispatch import stack

    feeder.solve()
    network = Network(feeder)
    resources = [row.resource for row in der]
    space = Space(feeder, network, limits_of(feeder, network, limits.rules), resources, np.ones(len(der), bool))
    terms = [row.terms for row in der]
    return [*stack(space, terms, "up"), *stack(space, terms, "down")]


def _document(
    feeder: Feeder, model: FeederModel, der: Sequence[DerRow], regions: Sequence[Capability], blocks: Sequence[Block]
) -> dict[str, Any]:
    names = [row.site.name for row in der]

    def vertex(c: Capability, k: int) -> dict[str, Any]:
        return {
            "P_W": round(float(c.pq[k, 0]), 1),
            "Q_var": round(float(c.pq[k, 1]), 1),
            "der": {
                name: {"p_w": round(float(p), 1), "q_var": round(float(q), 1)}
                for name, p, q in zip(names, c.der_p_w[k], c.der_q_var[k], strict=True)
            },
            "taps": dict(zip(feeder.reg_names, c.taps[k].tolist(), strict=True)),
            "capacitors": dict(zip(feeder.capacitor_names, c.capacitors[k].tolist(), strict=True)),
        }

    return {
        "feeder": model.master,
        "model_hash": feeder.model.hash(),
        "sign": "load positive at the head, generation positive at DER",
        "regions": [
            {
                "V_pu": c.v_pu,
                "delivery_s": c.delivery_s,
                "quantile": c.quantile,
                "area_W_var": c.area,
                "gap_pct": 100.0 * c.gap,
                "verified": bool(len(c.pq)),
                "why_empty": c.why_empty,
                "vertices": [vertex(c, k) for k in range(len(c.pq))],
            }
            for c in regions
        ],
        "dispatchable": [
            {
                "direction": b.direction,
                "P_W": b.p_w,
                "Q_var": b.q_var,
                "cost_per_MWh": b.cost,
                "notice_s": b.notice_s,
                "ramp_W_per_s": b.ramp_w_per_s,
                "duration_s": b.duration_s,
                "energy_Wh": b.energy_wh,
                "rebound": b.rebound,
                "der_p_w": dict(b.der_p_w),
            }
            for b in blocks
        ],
    }


def _print(regions: Sequence[Capability], blocks: Sequence[Block]) -> None:
    print(f"{'V (pu)':>7} {'class':>7} {'':4} {'area (MW Mvar)':>14} {'P (MW)':>19} {'Q (Mvar)':>19} {'corners':>8} {'gap':>7}")
    for c in regions:
        head = f"{c.v_pu:7.3f} {c.delivery_s:5g} s {c.quantile:4}"
        if not len(c.pq):
            print(f"{head} empty: {c.why_empty}")
            continue
        (p0, q0), (p1, q1) = c.pq.min(axis=0) / 1e6, c.pq.max(axis=0) / 1e6
        spans = f"{p0:8.3f} .. {p1:7.3f} {q0:8.3f} .. {q1:7.3f}"
        print(f"{head} {c.area / 1e12:14.4f} {spans} {len(c.pq):8} {100.0 * c.gap:6.2f} %")
    for b in blocks:
        extra = f", for {b.duration_s:g} s at most" if b.duration_s is not None else ""
        print(
            f"{b.direction:4} {b.p_w / 1e6:8.3f} MW at {b.cost:8.2f} per MWh, notice {b.notice_s:g} s{extra}, {len(b.der_p_w)} DER"
        )


def _region(c: Capability) -> Any:
    from federates.tblm.flexibility_model import CapabilityRegion

    return CapabilityRegion(
        c.v_pu, c.delivery_s, c.quantile, tuple(c.pq[:, 0].tolist()), tuple(c.pq[:, 1].tolist()), True, 100.0 * c.gap
    )


def _numbers(text: str, option: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        values = []
    if not values or min(values) <= 0.0:
        raise _usage(option, f"{text!r}: write positive numbers with commas between them")
    return values


def _usage(option: str, message: str) -> ScenarioError:
    return ScenarioError([Problem(f"capability {option}", 0, (), message)])
