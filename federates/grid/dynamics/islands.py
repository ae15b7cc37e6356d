"""Which buses hang together, and which of these parts lives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Islands:
    """`label` [bus]: number of its part; `main`: the part with the most inertia, -1 where none has any; `dead` [bus]: no machine
    turns in its part, or its part is one bus alone."""

    label: IntArray
    main: int
    dead: BoolArray

    @property
    def apart(self) -> BoolArray:
        """[bus]: alive, and not in the main part: its frequency is not the system's."""
        return np.asarray((self.label != self.main) & ~self.dead)


def find_islands(
    buses: int, ends: tuple[IntArray, IntArray], closed: BoolArray, machine_bus: IntArray, inertia: NDArray[np.float64]
) -> Islands:
    """The parts of a network of `buses`, joined by the branches `closed`, with machines [m] of this inertia (0: not running).

    A bus alone is dead even with a machine at it: ANDES holds the voltage of such a bus fixed, so that the machine would feed
    nothing.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = ends[0][closed], ends[1][closed]
    graph = coo_array((np.ones(len(pairs[0])), pairs), shape=(buses, buses))
    count, label = connected_components(graph, directed=False)
    turning = np.bincount(label[machine_bus], weights=inertia, minlength=count)
    alive = (turning > 0.0) & (np.bincount(label, minlength=count) > 1)
    main = int(np.argmax(np.where(alive, turning, -1.0))) if alive.any() else -1
    return Islands(label.astype(np.int64), main, ~alive[label])
