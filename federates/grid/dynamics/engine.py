"""What the client asks for, around the ANDES system: advancing over many inner steps with what happens between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federates.grid.dynamics.cases import DynamicsError
from federates.grid.dynamics.loads import NativeModel
from federates.grid.dynamics.static import StaticCase
from federates.grid.dynamics.system import AndesSystem
from federates.grid.native_shedding import NativeShedding, SheddingBlock

FloatArray = NDArray[np.float64]
S_NS = 1_000_000_000


@dataclass(eq=False)
class _Order:
    """An action at inner step `k`. of: the fault that a `clear` ends; refused: it did not happen."""

    k: int
    action: str
    arguments: tuple[Any, ...]
    of: _Order | None = None
    refused: bool = False


class DynamicsEngine:
    """The requests of `client.Dynamics`, one method each. Power is in pu of the case's base."""

    def __init__(self, case: str, code_folder: Path, steps_per_s: int) -> None:
        self._system = AndesSystem(case, code_folder, steps_per_s)
        self._step_ns = S_NS // steps_per_s
        self._pending: list[_Order] = []
        self._faults: dict[Any, _Order] = {}
        self._shedding = NativeShedding(())

    def static(self) -> StaticCase:
        """The case in constants."""
        return self._system.static

    def begin(
        self,
        fed: FloatArray,
        native: FloatArray,
        stated_v_pu: FloatArray,
        v_pu: FloatArray,
        generator_p: FloatArray,
        native_model: NativeModel,
        blocks: Sequence[SheddingBlock],
    ) -> dict[str, Any]:
        """As `AndesSystem.begin`, with the under-frequency shedding of native load; gives the state."""
        self._shedding = NativeShedding(blocks)
        self._system.begin(fed, native, stated_v_pu, v_pu, generator_p, native_model)
        return self._system.state()

    def order(self, k: int, action: str, *arguments: Any) -> None:
        """Have `trip`, `switch`, `fault`, `clear` or `schedule` carried out at inner step `k`, before what follows it.

        A `clear` ends the fault at its bus that was ordered last; where that was refused, it ends nothing.
        """
        made = _Order(max(k, self._system.k), action, arguments)
        if action == "fault":
            self._faults[arguments[0]] = made
        elif action == "clear":
            made.of = self._faults.get(arguments[0])
        self._pending.append(made)
        self._pending.sort(key=lambda order: order.k)  # stable

    def advance(self, k: int, fed: FloatArray, secondary: float) -> tuple[dict[str, Any], list[dict[str, Any]], FloatArray]:
        """Inner steps up to `k` with these loads of the feeders and this power of secondary control. Orders for `k` itself are left
        for the next call, which begins at the same instant: what is given is what was solved.

        Gives the state, what happened with its time (`t_ns`), and the frequency after each step, Hz.
        """
        system = self._system
        system.feed(fed)
        system.set_secondary(secondary)
        rows: list[dict[str, Any]] = []
        f_hz = []
        while system.k < k:
            self._carry_out(rows)
            system.step()
            f_hz.append(system.static.f0_hz * system.frequency_pu())
            rows += [{"t_ns": system.k * self._step_ns, **row} for row in system.rows]
            system.rows.clear()
            rows += [{"t_ns": system.k * self._step_ns, **row} for row in self._shedding.update(system.k * self._step_ns, f_hz[-1])]
            system.keep(self._shedding.kept)
        return system.state(), rows, np.array(f_hz)

    def _carry_out(self, rows: list[dict[str, Any]]) -> None:
        while self._pending and self._pending[0].k <= self._system.k:
            order = self._pending.pop(0)
            if order.of is not None and order.of.refused:
                continue
            t_ns = self._system.k * self._step_ns
            try:
                getattr(self._system, order.action)(*order.arguments)
            except DynamicsError as error:
                if error.kind != "refused":
                    raise
                order.refused = True
                rows.append({"t_ns": t_ns, "event": "refused", "action": order.action, "reason": error.message})
            rows += [{"t_ns": t_ns, **row} for row in self._system.rows]
            self._system.rows.clear()
