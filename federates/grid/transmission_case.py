"""Reading a transmission network: pandapower's own cases, MATPOWER files, pandapower JSON.

The network is solved once by pandapower when it is read. lightsim2grid, which solves it from then on, must
reproduce that solution to 1e-6 pu, or the network is refused: its converter documents that it may misread a
grid without saying so. (It does on every case with off-nominal transformers, by up to 0.02 pu, unless it is
told that pandapower 3 wrote the network; pandapower changed its transformer equations there.)

Names
    A bus is named by the text of pandapower's ``bus.name`` where all are present and distinct, by the number in
    the file for MATPOWER, else by the pandapower index. For ``pandapower:case39`` this gives the IEEE numbers
    "1".."39" (pandapower's index 15 is bus "16"). Branches (lines first, then transformers) are "16-17", a second
    one in parallel "16-17#2"; generators are "G31", a second one at the bus "G31#2"; a network's own names are
    taken instead where all are present and distinct.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from federates.grid.dynamics.cases import PREFIX, DynamicsError
from federates.grid.network_cache import remembered

if TYPE_CHECKING:
    from pandapower.auxiliary import pandapowerNet

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SELF_CHECK_PU = 1e-6
RATED_POWER_FACTOR = 0.9
"""Of a machine whose file states its largest active power and not its rating."""
_UNSUPPORTED = (
    "trafo3w",
    "impedance",
    "ward",
    "xward",
    "motor",
    "asymmetric_load",
    "asymmetric_sgen",
    "dcline",
    "svc",
    "tcsc",
    "ssc",
)
_Q_UNLIMITED_MVAR = 1e6
_NO_LIMIT_MVA = 99_999.0
"""What pandapower's converter writes for a transformer without a limit."""


class NetworkError(ValueError):
    """A transmission network that cannot be used: `source` (as given), `what` is wrong, `hint` what to do."""

    def __init__(self, source: str, what: str, hint: str) -> None:
        super().__init__(source, what, hint)
        self.source, self.what, self.hint = source, what, hint

    def __str__(self) -> str:
        return f"{self.source}: {self.what}. {self.hint}"


@dataclass(frozen=True)
class TransmissionCase:
    """A network that was read, solved and checked. Arrays are in the order of the names.

    `generator_table` says where each generator lives in the solver: ("gen", i) holds its bus voltage, ("sgen", i) is
    an injection of fixed P and Q. `generator_rating_va` as in `_ratings`. `base_v` is the complex solution (pu) of the
    network as read: every later solve starts from it. `rating_a` is NaN where the source states none.
    """

    source: str
    content_hash: str
    grid: Any
    bus_names: tuple[str, ...]
    base_kv: FloatArray
    base_v: NDArray[np.complex128]
    native_p_w: FloatArray
    native_q_var: FloatArray
    branch_names: tuple[str, ...]
    branch_from: IntArray
    branch_to: IntArray
    branch_in_service: NDArray[np.bool_]
    rating_a: FloatArray
    line_count: int
    generator_names: tuple[str, ...]
    generator_table: tuple[tuple[str, int], ...]
    generator_bus: IntArray
    generator_in_service: NDArray[np.bool_]
    generator_p_w: FloatArray
    generator_q_var: FloatArray
    generator_v_pu: FloatArray
    generator_p_max_w: FloatArray
    generator_rating_va: FloatArray
    slack_generator: int


def load_network(source: str) -> TransmissionCase:
    """Read, solve and check a network.

    `source`: "pandapower:case39" (any case of `pandapower.networks`), "andes:ieee39" (a case of `dynamics.CASES`), a path to a
    MATPOWER case (`.m` of plain matrices, or `.mat` holding `mpc`), or a path to a pandapower `.json`. Raises `NetworkError`. A
    network that was read before and has not changed since is copied: `grid` is the caller's own, the rest is shared and not to be
    changed.
    """
    file = None if source.startswith("pandapower:") or not Path(source).is_file() else Path(source).stat()
    case = _load(source, (file.st_mtime_ns, file.st_size) if file is not None else None)
    return replace(case, grid=case.grid.copy())


@lru_cache(maxsize=4)
def _load(source: str, version: tuple[int, int] | None) -> TransmissionCase:
    code = Path(__file__), *sorted((Path(__file__).parent / "dynamics").glob("*.py"))
    return remembered(source, code, TransmissionCase, lambda: _load_anew(source))


def _load_anew(source: str) -> TransmissionCase:
    import pandapower as pp

    net, matpower_numbers = _read(source)
    _refuse_unsupported(source, net)
    try:
        pp.runpp(net, algorithm="nr", calculate_voltage_angles=True, tolerance_mva=1e-9, numba=False)
    except pp.LoadflowNotConverged:
        raise NetworkError(source, "its power flow does not converge", "Give a case that pandapower's runpp solves.") from None
    if "in_service" in net.bus and not net.bus.in_service.all():
        pp.toolbox.drop_inactive_elements(net)
    if matpower_numbers:
        net.bus["name"] = [str(i + 1) for i in net.bus.index]
    dead = net.res_bus.index[~np.isfinite(net.res_bus.vm_pu)]
    if len(dead):
        raise NetworkError(source, f"buses {list(dead)[:10]} (pandapower index) have no supply", "Take them out of service.")
    base_v = (net.res_bus.vm_pu * np.exp(1j * np.radians(net.res_bus.va_degree))).sort_index().to_numpy(dtype=np.complex128)
    return _assemble(source, net, base_v)


def _read(source: str) -> tuple[pandapowerNet, bool]:
    """The pandapower net, and whether bus index + 1 is a MATPOWER number."""
    if source.startswith(PREFIX):
        from federates.grid.dynamics.static import load_static, pandapower_net

        try:
            return pandapower_net(load_static(source)), False
        except DynamicsError as error:
            raise NetworkError(source, str(error), "Or give a network that needs no ANDES: pandapower:case39.") from None
    if source.startswith("pandapower:"):
        from pandapower import networks

        name = source.removeprefix("pandapower:")
        build = getattr(networks, name, None)
        if build is None or not callable(build) or name.startswith("_"):
            raise NetworkError(
                source, f"pandapower.networks has no {name!r}", "Write for example pandapower:case39 or pandapower:case118."
            )
        return build(), False
    path = Path(source)
    if not path.is_file():
        raise NetworkError(source, "no such file", "Give pandapower:<case>, or the path of a .m, .mat or .json case.")
    suffix = path.suffix.lower()
    if suffix == ".json":
        import pandapower as pp

        try:
            net = pp.from_json(str(path))
        except Exception as error:
            raise NetworkError(source, f"not a pandapower JSON file ({error})", "Write it with pandapower.to_json.") from error
        if not hasattr(net, "bus"):
            raise NetworkError(source, "not a pandapower JSON file (no bus table)", "Write it with pandapower.to_json.")
        return net, False
    if suffix in (".m", ".mat"):
        return _read_matpower(source, path), True
    raise NetworkError(
        source, f"files ending in {suffix!r} are not read", "Convert the case to MATPOWER .m or .mat or pandapower .json."
    )


def _read_matpower(source: str, path: Path) -> pandapowerNet:
    from pandapower.converter.matpower import from_mpc

    if path.suffix.lower() == ".m":
        code = re.sub(r"%.*", "", path.read_text(encoding="utf-8", errors="replace"))
        # Some published cases convert units in code after the matrices (ohms to pu): read as data they are silently wrong.
        if computed := re.search(r"^\s*mpc\.\w+\s*\([^=\n]*=[^=]", code, re.MULTILINE):
            line = code.count("\n", 0, computed.start()) + 1
            raise NetworkError(
                f"{source}:{line}", "the case computes on its matrices", "Run it in MATPOWER and save it with savecase as .mat."
            )
    try:
        return from_mpc(str(path))
    except NotImplementedError:
        raise NetworkError(
            source, "reading .m needs matpowercaseframes", "pip install matpowercaseframes, or save as .mat."
        ) from None
    except Exception as error:
        raise NetworkError(
            source, f"not a MATPOWER version 2 case ({error})", "It must hold mpc with bus, gen, branch, baseMVA."
        ) from error


def _refuse_unsupported(source: str, net: pandapowerNet) -> None:
    for table in _UNSUPPORTED:
        if table in net and len(net[table]):
            raise NetworkError(
                source,
                f"it has {len(net[table])} {table} elements, which the solver does not model",
                "Replace them by equivalents.",
            )
    if len(net.switch) and not net.switch.closed.all():
        raise NetworkError(source, "it has open switches", "Take the elements behind them out of service instead.")
    if len(net.switch) and (net.switch.et == "b").any():
        raise NetworkError(source, "it has bus-bus switches", "Fuse the buses (pandapower.toolbox.fuse_buses).")
    varying = [c for c in net.load.columns if c.startswith("const_") and net.load[c].fillna(0.0).to_numpy().any()]
    if varying:
        raise NetworkError(source, f"loads state {varying}", "Set them to 0 and give native_exponents instead.")
    if len(net.ext_grid[net.ext_grid.in_service]) + int(net.gen.slack.sum() if len(net.gen) else 0) != 1:
        raise NetworkError(
            source, "it has not exactly one reference (ext_grid or slack generator)", "Keep one, make the others generators."
        )


def _assemble(source: str, net: pandapowerNet, base_v: NDArray[np.complex128]) -> TransmissionCase:
    from pandapower import toolbox
    from pandapower.create import create_loads

    bus_names = _names(net.bus.name.sort_index(), [str(i) for i in net.bus.index.sort_values()])
    toolbox.create_continuous_bus_index(net)
    net.bus.sort_index(inplace=True)
    if len(net.ext_grid):
        toolbox.replace_ext_grid_by_gen(net, slack=True)
    for frame in (net.gen, net.sgen):
        frame["p_mw"] = frame.p_mw * frame.scaling
    net.sgen["q_mvar"] = net.sgen.q_mvar * net.sgen.scaling
    for frame in (net.gen, net.sgen):
        frame["scaling"] = 1.0
    for column, value in (("min_q_mvar", -_Q_UNLIMITED_MVAR), ("max_q_mvar", _Q_UNLIMITED_MVAR)):
        net.gen[column] = net.gen[column].fillna(value) if column in net.gen else value
    # A tap position counts from the neutral one; lightsim2grid wants it counted from 0.
    net.trafo["tap_pos"] = net.trafo.tap_pos.fillna(0.0) - net.trafo.tap_neutral.fillna(0.0)
    net.trafo["tap_neutral"] = 0.0

    n_bus = len(net.bus)
    alive = net.load[net.load.in_service]
    native_p_w, native_q_var = np.zeros(n_bus), np.zeros(n_bus)
    np.add.at(native_p_w, alive.bus.to_numpy(), (alive.p_mw * alive.scaling).to_numpy() * 1e6)
    np.add.at(native_q_var, alive.bus.to_numpy(), (alive.q_mvar * alive.scaling).to_numpy() * 1e6)
    net.load.drop(net.load.index, inplace=True)
    create_loads(net, buses=range(n_bus), p_mw=native_p_w / 1e6, q_mvar=native_q_var / 1e6)

    grid = _to_lightsim(source, net)
    _self_check(source, grid, base_v, bus_names)

    branch_from = np.concatenate((net.line.from_bus, net.trafo.hv_bus)).astype(np.int64)
    branch_to = np.concatenate((net.line.to_bus, net.trafo.lv_bus)).astype(np.int64)
    rating_a = np.concatenate(
        (
            1e3 * (net.line.max_i_ka * net.line.df * net.line.parallel).to_numpy(dtype=float),
            1e3 * (net.trafo.sn_mva * net.trafo.df / (np.sqrt(3.0) * net.trafo.vn_hv_kv)).to_numpy(dtype=float),
        )
    )
    rating_a[len(net.line) :][net.trafo.sn_mva.to_numpy(dtype=float) >= _NO_LIMIT_MVA] = np.nan
    rating_a[~(rating_a > 0.0) | (rating_a >= 9.9e7)] = np.nan  # pandapower's converter writes 99999 kA for "no limit"
    generator_bus = np.concatenate((net.gen.bus, net.sgen.bus)).astype(np.int64)
    p_w = 1e6 * np.concatenate((net.gen.p_mw, net.sgen.p_mw)).astype(float)
    p_max_w = 1e6 * np.concatenate(
        [f.max_p_mw if "max_p_mw" in f else np.full(len(f), np.nan) for f in (net.gen, net.sgen)]
    ).astype(float)
    p_max_w = np.where(np.isfinite(p_max_w), p_max_w, np.maximum(p_w, 0.0))
    ends = zip(branch_from, branch_to, strict=True)
    branch_names = _names(_column(net.line, net.trafo), _numbered(f"{bus_names[f]}-{bus_names[t]}" for f, t in ends))
    generator_names = _names(_column(net.gen, net.sgen), _numbered(f"G{bus_names[b]}" for b in generator_bus))
    return TransmissionCase(
        source=source,
        content_hash=_content_hash(net, bus_names, branch_names, generator_names),
        grid=grid,
        bus_names=bus_names,
        base_kv=net.bus.vn_kv.to_numpy(dtype=float),
        base_v=base_v,
        native_p_w=native_p_w,
        native_q_var=native_q_var,
        branch_names=branch_names,
        branch_from=branch_from,
        branch_to=branch_to,
        branch_in_service=np.concatenate((net.line.in_service, net.trafo.in_service)).astype(bool),
        rating_a=rating_a,
        line_count=len(net.line),
        generator_names=generator_names,
        generator_table=tuple([("gen", i) for i in range(len(net.gen))] + [("sgen", i) for i in range(len(net.sgen))]),
        generator_bus=generator_bus,
        generator_in_service=np.concatenate((net.gen.in_service, net.sgen.in_service)).astype(bool),
        generator_p_w=p_w,
        generator_q_var=1e6 * np.concatenate((np.zeros(len(net.gen)), net.sgen.q_mvar)).astype(float),
        generator_v_pu=np.concatenate((net.gen.vm_pu, np.full(len(net.sgen), np.nan))).astype(float),
        generator_p_max_w=p_max_w,
        generator_rating_va=_ratings(net, grid, p_max_w),
        slack_generator=int(np.flatnonzero(net.gen.slack.to_numpy(dtype=bool))[0]),
    )


def _content_hash(net: pandapowerNet, *names: Sequence[str]) -> str:
    """SHA-256 of what was read (names, connections, impedances as seen in the solution), 64 hex digits."""
    digest = hashlib.sha256()
    for each in names:
        digest.update("\n".join(each).encode())
    for table in ("bus", "line", "trafo", "shunt", "gen", "sgen", "load"):
        frame = net[table].select_dtypes(include=["number", "bool"])
        digest.update(f"{table}:{','.join(frame.columns)}".encode())
        digest.update(np.ascontiguousarray(frame.to_numpy(dtype=np.float64)).tobytes())
    return digest.hexdigest()


def _ratings(net: pandapowerNet, grid: Any, p_max_w: FloatArray) -> FloatArray:
    """Apparent power of each generator, VA: as stated; else its largest active power over `RATED_POWER_FACTOR`.

    One without active power (a condenser, or a file that leaves the limit out) is taken for as large as its reactive limit, or,
    where that is none either, as what it delivers in the network as read.
    """
    stated = np.concatenate([f.sn_mva if "sn_mva" in f else np.full(len(f), np.nan) for f in (net.gen, net.sgen)]).astype(float)
    held, fixed = grid.get_gen_res(), grid.get_sgens_res()
    delivered = np.hypot(np.concatenate((held[0], fixed[0])), np.concatenate((held[1], fixed[1])))
    q_limit = np.concatenate([np.maximum(-net.gen.min_q_mvar, net.gen.max_q_mvar), np.full(len(net.sgen), np.nan)]).astype(float)
    reactive = np.isfinite(q_limit) & (q_limit > 0.0) & (q_limit < _Q_UNLIMITED_MVAR)
    without_p = np.where(reactive, np.maximum(q_limit, delivered), delivered)
    by_power = np.where(p_max_w > 0.0, p_max_w / 1e6 / RATED_POWER_FACTOR, without_p)
    return np.asarray(1e6 * np.where(np.isfinite(stated) & (stated > 0.0), stated, by_power))


def _to_lightsim(source: str, net: pandapowerNet) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # missing tap columns read as 0: what pandapower does too
        from lightsim2grid.network import init_from_pandapower

        try:
            return init_from_pandapower(net, pp_orig_file="pandapower_v3")
        except RuntimeError as error:
            raise NetworkError(source, f"lightsim2grid cannot model it ({error})", "Replace the element it names.") from error


def _self_check(source: str, grid: Any, base_v: NDArray[np.complex128], bus_names: Sequence[str]) -> None:
    solved = grid.ac_pf(base_v.copy(), 20, 1e-9)
    if not len(solved):
        raise NetworkError(
            source, "lightsim2grid does not converge where pandapower does", "Simplify the network, or report the case."
        )
    gap = np.abs(solved - base_v)
    worst = int(np.argmax(gap))
    if not gap[worst] <= SELF_CHECK_PU:
        what = f"lightsim2grid and pandapower differ by {gap[worst]:.2g} pu at bus {bus_names[worst]!r}"
        raise NetworkError(source, what, "The network holds something the fast solver reads otherwise: simplify it.")


def _column(*frames: Any) -> list[Any]:
    return [value for frame in frames for value in frame.name]


def _names(given: Iterable[Any], otherwise: Sequence[str]) -> tuple[str, ...]:
    texts = [str(n).strip() for n in given if n is not None and n == n]
    return tuple(texts) if len(texts) == len(otherwise) and all(texts) and len(set(texts)) == len(texts) else tuple(otherwise)


def _numbered(stems: Iterable[str]) -> list[str]:
    """Distinct names: the second "16-17" becomes "16-17#2"."""
    seen: dict[str, int] = {}
    names = []
    for stem in stems:
        seen[stem] = seen.get(stem, 0) + 1
        names.append(stem if seen[stem] == 1 else f"{stem}#{seen[stem]}")
    return names
