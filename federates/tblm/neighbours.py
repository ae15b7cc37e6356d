"""Where the search for a settled point may start: at what its known neighbours foretell. A point is the same wherever its search
starts; from a good place it is short."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_HZ_AS_PU = 0.03  # how far a hertz is, against voltage, when the nearest point is looked for
_FARTHEST = 1.5  # how far beyond two points, in parts of their distance, their line is followed


class At(NamedTuple):
    """Where regulators and DER stand: ratios [n_regulators], and P and Q [2 * n_der] as parts of the rating of all."""

    ratios: Floats
    der: Floats


_Line = dict[float, At]


class Neighbours:
    """The settled points of a snapshot that are known so far, by voltage and frequency, apart for each set of DER in service; and
    those of the snapshot before, which serve until there are new ones."""

    def __init__(self) -> None:
        self._known: dict[bytes, dict[float, _Line]] = {}  # service -> Hz -> V -> where
        self._earlier: dict[bytes, dict[float, _Line]] = {}

    def begin(self) -> None:
        """A new snapshot."""
        self._earlier, self._known = self._known or self._earlier, {}

    def add(self, v_pu: float, f_hz: float, in_service: Bools, at: At) -> None:
        """A point that was found."""
        self._known.setdefault(in_service.tobytes(), {}).setdefault(f_hz, {})[v_pu] = at

    def guess(self, v_pu: float, f_hz: float, in_service: Bools) -> At | None:
        """Where a search at (v, f) should start; None where no point with the same DER in service is known."""
        service = in_service.tobytes()
        lines = self._known.get(service)
        if lines is None:
            return _nearest(self._earlier.get(service, {}), v_pu, f_hz)
        same_f, same_v = lines.get(f_hz, {}), {f: line[v_pu] for f, line in lines.items() if v_pu in line}
        if same_f and same_v:  # the fourth corner of a parallelogram: what frequency changes hardly depends on voltage
            for f in sorted(same_v, key=lambda f: abs(f - f_hz)):
                if corners := same_f.keys() & lines[f].keys():
                    v = min(corners, key=lambda v: (abs(v - v_pu), v))
                    return _combined((1.0, same_v[f]), (1.0, same_f[v]), (-1.0, lines[f][v]))
        line, x = (same_f, v_pu) if len(same_f) > 1 else (same_v, f_hz)
        return (_on_line(line, x) if len(line) > 1 else None) or _nearest(lines, v_pu, f_hz)


def _on_line(line: _Line, x: float) -> At | None:
    """Between the two points beside x, or beyond the last two where that is not far."""
    b, a = sorted(line, key=lambda y: (abs(y - x), y))[:2]
    beyond = [y for y in line if (y - x) * (b - x) < 0.0]
    if beyond:
        a = min(beyond, key=lambda y: abs(y - x))
    part = (x - b) / (a - b)
    return _combined((1.0 - part, line[b]), (part, line[a])) if -_FARTHEST <= part <= 1.0 else None


def _nearest(lines: dict[float, _Line], v_pu: float, f_hz: float) -> At | None:
    places = ((abs(v - v_pu) + _HZ_AS_PU * abs(f - f_hz), f, v) for f, line in lines.items() for v in line)
    _, f, v = min(places, default=(0.0, None, None))
    return None if f is None or v is None else lines[f][v]


def _combined(*parts: tuple[float, At]) -> At:
    ratios, der = (np.sum([weight * at[k] for weight, at in parts], axis=0) for k in (0, 1))
    return At(ratios, der)
