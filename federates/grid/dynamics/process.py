"""The process that ANDES runs in: reads requests from standard input, answers on what was standard output.

    python -P -m federates.grid.dynamics.process <case> <code folder> <steps per second>

A request is a pickled (name, arguments), an answer (True, value) or (False, kind, message); both behind their length. It ends when
its input ends, so that it never outlives its client.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import struct
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from federates.grid.dynamics.cases import DynamicsError

LENGTH = struct.Struct("<Q")


def send(pipe: IO[bytes], message: Any) -> None:
    """Write one message."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(LENGTH.pack(len(body)) + body)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """Read one message; EOFError where the other end is gone."""
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    (size,) = LENGTH.unpack(head)
    body = pipe.read(size)
    if len(body) < size:
        raise EOFError
    return pickle.loads(body)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else generates code into the folder meanwhile."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(case: str, folder: Path, steps_per_s: int) -> Any:
    code = folder / "pycode"
    with _alone(folder):
        made, began_s = (code / "__init__.py").is_file(), time.monotonic()
        if not made:
            print(f"ANDES generates its numerical code in {code}: once per version, up to a minute", file=sys.stderr, flush=True)
        from federates.grid.dynamics.engine import DynamicsEngine

        engine = DynamicsEngine(case, code, steps_per_s)
        if not made:
            print(f"ANDES has generated its code in {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
    return engine


def main(case: str, folder: Path, steps_per_s: int) -> int:
    """Serve one client until it leaves."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever ANDES prints goes to the log, never between the answers
    engine: Any = None
    while True:
        try:
            name, arguments = receive(requests)
        except EOFError:
            return 0
        try:
            if engine is None:
                engine = _make(case, folder, steps_per_s)
            send(answers, (True, getattr(engine, name)(*arguments)))
        except DynamicsError as error:
            send(answers, (False, error.kind, error.message))
        except Exception as error:
            traceback.print_exc()
            send(answers, (False, "process", f"ANDES fails in {name}: {type(error).__name__}: {error}"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
