"""TBLMs with curves of a known form, for tests of a consumer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from federates.runtime.federate import S_NS
from federates.runtime.port import Document, canonical_json
from federates.tblm.model import (
    Axes,
    Bus,
    Curve,
    DerSummary,
    LikeFeeders,
    Load,
    NativeVsDer,
    OperatingPoint,
    QualityOfData,
    Range,
    Tblm,
    Validity,
    Version,
    to_json,
)  # fmt: skip

HASH = "a" * 64
Power = Callable[[float, float], tuple[float, float]]


def exponential(p0_w: float, q0_var: float, np_: float, nq: float, kpf: float = 0.0) -> Power:
    """(V pu, f Hz) -> (P, Q): p0 V^np (1 + kpf df), q0 V^nq."""
    return lambda v, f: (p0_w * v**np_ * (1.0 + kpf * (f / 60.0 - 1.0)), q0_var * v**nq)


def tblm(
    bus: str, fast: Power, settled: Power | None = None, seq: int = 1, at_ns: int = 0, flag: str = "good", horizon_s: float = 180.0,
    model_hash: str = HASH, sets: Sequence[str] = ("fast", "settled"), points: int = 501,
) -> Tblm:  # fmt: skip
    """A document of the form, published at `at_ns`."""
    v, f = tuple(np.linspace(0.7, 1.2, points).tolist()), (57.0, 60.0, 63.0)
    curves = []
    for name in sets:
        power = fast if name == "fast" or settled is None else settled
        tables = [tuple(tuple(power(x, y)[k] for y in f) for x in v) for k in (0, 1)]
        curves.append(Curve(name, Axes(v, f), tables[0], tables[1], Range((0.7, 1.2), (57.0, 63.0)), (), 0.1, 0.0, 1))  # type: ignore[arg-type]
    p_w, q_var = fast(1.0, 60.0)
    return Tblm(
        Bus("id", bus, 345.0, max(abs(p_w), 1.0), "load_positive"),
        Version(seq, model_hash, "b" * 64, "1.0"),
        Validity(at_ns, at_ns, at_ns, at_ns + round(horizon_s * S_NS), horizon_s),
        QualityOfData(flag, 1.0, 1.0, 1.0, 0.0, 0.0, "periodic", ()),  # type: ignore[arg-type]
        OperatingPoint(1.0, 0.0, 60.0, p_w, q_var, 0.0),
        Load(tuple(curves), (), (), None, None),
        NativeVsDer(p_w, q_var, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        DerSummary(0, 0, 0.0, 0.0, 0.0, 0.0),
        LikeFeeders(1, 1.0, 0.0, 0.0),
        (),
    )


def document(made: Tblm, version: int, t_ns: int = 0) -> Document:
    """It as it travels; few points keep it under the size that a consumer takes."""
    return Document(canonical_json(to_json(made)), t_ns, version)
