"""What the network allows: a voltage band for every node and a current for every line and phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federates.grid.feeder import Feeder
from federates.grid.feeder.network import BranchCurrents, Network

Floats = NDArray[np.float64]

_SUPPLIED_PU = 0.1  # a node below it has no supply, and no limit


@dataclass(frozen=True)
class LimitRules:
    """Limits by name, as a user gives them.

    v_pu: (lowest, highest) of every node. bus_v_pu: other bands, by bus. i_a: of every line and phase; None: none. line_i_a: other
    currents, by line (`sw1`, not `line.sw1`). rated_share: this part of each line's normal rating in the network file, where no
    current of either kind is given; None: none. rated_above_v: leaves out lines of a lower voltage, V to ground (secondaries are
    often overloaded on paper)."""

    v_pu: tuple[float, float] = (0.95, 1.05)
    bus_v_pu: Mapping[str, tuple[float, float]] | None = None
    i_a: float | None = None
    line_i_a: Mapping[str, float] | None = None
    rated_share: float | None = None
    rated_above_v: float = 0.0


@dataclass(frozen=True, eq=False)
class Limits:
    """Limits by node and by row of `branches`. node: index in `Feeder.node_names` of the nodes that have a limit; v_low, v_high
    [len(node)] pu; i_max_a [len(branches.line)], all finite."""

    node: NDArray[np.intp]
    v_low: Floats
    v_high: Floats
    branches: BranchCurrents
    i_max_a: Floats


def limits_of(feeder: Feeder, network: Network, rules: LimitRules) -> Limits:
    """The limits of a solved feeder. The transmission bus itself and nodes without supply have none. ValueError: a bus or line
    that it has not."""
    names = np.array([name.rsplit(".", 1)[0] for name in feeder.node_names])
    lines = network.branch_currents()
    bands = {bus.lower(): band for bus, band in (rules.bus_v_pu or {}).items()}
    amps = {line.lower(): value for line, value in (rules.line_i_a or {}).items()}
    for what, asked, known in (("bus", bands, set(names.tolist())), ("line", amps, set(lines.line))):
        unknown = [name for name in asked if name not in known]
        if unknown:
            raise ValueError(f"{feeder.model.master} has no {what} `{unknown[0]}`")
    v_low, v_high = np.full(names.size, rules.v_pu[0]), np.full(names.size, rules.v_pu[1])
    for bus, (low, high) in bands.items():
        v_low[names == bus], v_high[names == bus] = low, high
    supplied = np.isfinite(feeder.node_base_kv) & (feeder.node_v_pu() > _SUPPLIED_PU)
    supplied[np.isin(names, names[network.source_node])] = False
    node = np.flatnonzero(supplied)
    i_max = np.full(len(lines.line), np.inf if rules.i_a is None else rules.i_a)
    if rules.i_a is None and rules.rated_share is not None:
        counts = (lines.rated_a > 0.0) & (np.nan_to_num(feeder.node_base_kv[lines.node]) * 1e3 >= rules.rated_above_v)
        i_max = np.where(counts, rules.rated_share * lines.rated_a, np.inf)
    i_max = np.array([amps.get(line, limit) for line, limit in zip(lines.line, i_max.tolist(), strict=True)])
    keep = np.flatnonzero(np.isfinite(i_max))
    limited = BranchCurrents(lines.matrix[keep], tuple(lines.line[k] for k in keep), lines.node[keep], lines.rated_a[keep])
    return Limits(node, v_low[node], v_high[node], limited, i_max[keep])
