"""This end of the process that ANDES runs in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from federates.grid.dynamics.cases import DynamicsError, andes_version, cache_folder
from federates.grid.dynamics.loads import NativeModel
from federates.grid.dynamics.process import receive, send
from federates.grid.dynamics.static import StaticCase
from federates.grid.native_shedding import SheddingBlock

FloatArray = NDArray[np.float64]
_LEAVING_S = 2.0
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Dynamics:
    """A case in ANDES, in a process of its own. Everything raises DynamicsError; after one of kind "process" it is of no more use.

    Powers are in pu of `static.base_va`, times inner steps of 1 / `steps_per_s` s.
    """

    def __init__(self, case: str, steps_per_s: int = 32) -> None:
        """Start the process. The first start of a version generates code, for up to a minute; later ones take about 3 s."""
        andes_version()
        try:
            folder = cache_folder()
        except OSError as error:
            text = f"cannot make {error.filename} ({error.strerror}); set XDG_CACHE_HOME to a folder that can be written to"
            raise DynamicsError("start", text) from None
        self.case, self.steps_per_s, self._doing = case, steps_per_s, "starting"
        # One thread and one order of hashing: the same bits again. No display is asked for by the plotting library.
        environment = {**os.environ, **dict.fromkeys(_ONE_THREAD, "1"), "PYTHONHASHSEED": "0", "MPLBACKEND": "Agg"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "federates.grid.dynamics.process", case, str(folder), str(steps_per_s)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
        )  # fmt: skip
        try:
            self.static: StaticCase = self._ask("static")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def begin(
        self,
        fed: FloatArray,
        native: FloatArray,
        stated_v_pu: FloatArray,
        v_pu: FloatArray,
        generator_p: FloatArray,
        native_model: NativeModel,
        blocks: Sequence[SheddingBlock] = (),
    ) -> dict[str, Any]:
        """The start: see `engine.DynamicsEngine.begin`."""
        self._doing = "starting the machines"
        state: dict[str, Any] = self._ask("begin", fed, native, stated_v_pu, v_pu, generator_p, native_model, tuple(blocks))
        return state

    def order(self, k: int, action: str, *arguments: Any) -> None:
        """Have an action carried out at inner step `k`: trip(generator), switch(branch, closed), fault(bus), clear(bus),
        schedule(generator, change). What is refused then comes back as a row of `advance`."""
        self._doing = f"taking the order to {action}"
        self._ask("order", k, action, *arguments)

    def advance(self, k: int, fed: FloatArray, secondary: float) -> tuple[dict[str, Any], list[dict[str, Any]], FloatArray]:
        """To inner step `k`: see `engine.DynamicsEngine.advance`."""
        self._doing = f"advancing to t = {k / self.steps_per_s:.9g} s"
        state, rows, f_hz = self._ask("advance", k, fed, secondary)
        return state, rows, f_hz

    def close(self) -> None:
        """End the process, and reap it. May be called again."""
        process = self._process
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # it is gone already, with a request unread
        try:
            process.wait(timeout=_LEAVING_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _ask(self, name: str, *arguments: Any) -> Any:
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None and pipe_out is not None
        try:
            send(pipe_in, (name, arguments))
            answer = receive(pipe_out)
        except (BrokenPipeError, EOFError, ValueError):
            raise DynamicsError("process", f"the process of ANDES {self._ending()} while {self._doing}") from None
        if answer[0]:
            return answer[1]
        raise DynamicsError(answer[1], answer[2])

    def _ending(self) -> str:
        try:
            code = self._process.wait(timeout=_LEAVING_S)
        except subprocess.TimeoutExpired:
            return "no longer answers"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
