"""Steps towards a fixed point that learn from the steps before."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MEMORY = 16
_RIDGE = 0.01  # of the size of a remembered change: what is smaller than the noise of the answers is not followed
_LARGEST = 20.0


class Secants:
    """Anderson's method for x = x + f(x): the next x is where a straight line through the answers so far says that f is nothing.

    What was learned at one point serves at its neighbours, whose f has nearly the same slopes: that is most of what it saves.
    """

    def __init__(self) -> None:
        self._pairs: deque[tuple[Floats, Floats]] = deque(maxlen=_MEMORY)
        self._last: tuple[Floats, Floats] | None = None

    def begin(self) -> None:
        """Another point: the next x does not follow from the last one."""
        self._last = None

    def forget(self) -> None:
        """Another f."""
        self._pairs.clear()
        self._last = None

    def next(self, x: Floats, f: Floats) -> Floats:
        """The next x [n], from x [n] and what is missing there, f(x) [n]; all in comparable units."""
        if self._last is not None:
            dx, df = x - self._last[0], f - self._last[1]
            size = float(np.sqrt(df @ df))
            if size > 0.0:
                self._pairs.append((dx / size, df / size))
        self._last = (x, f)
        if not self._pairs:
            return x + f
        dx, df = (np.array(part) for part in zip(*self._pairs, strict=True))
        square = df @ df.T
        weights = np.linalg.solve(square + _RIDGE * np.eye(len(square)), df @ f)
        step = f - weights @ (dx + df)
        size, most = float(np.sqrt(step @ step)), _LARGEST * float(np.sqrt(f @ f))
        return x + (step if size <= most else f)
