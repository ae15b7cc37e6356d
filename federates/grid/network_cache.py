"""Transmission networks that were read before: on disk, so that a run need not import pandapower and solve anew (3.5 of 4 s).

A file per network, under XDG_CACHE_HOME, else ~/.cache, in a folder of the user's own. Its name is the hash of everything that
decides what reading gives: the file's bytes, the versions of the packages, and the code that reads. What is not there, or does not
load, is read anew; a folder that cannot be written to costs time only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

_DECIDING = ("pandapower", "lightsim2grid", "numpy", "scipy", "matpowercaseframes", "andes")
_OTHER_BYTES = (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, ImportError, IndexError, RuntimeError)

T = TypeVar("T")


def remembered(source: str, code: tuple[Path, ...], kind: type[T], read: Callable[[], T]) -> T:
    """What `read` gave for `source` (a name, or the path of a file) when it was last called, else what it gives now.

    `code`: the files whose text decides what is read. Whatever `read` raises passes.
    """
    file = _folder() / f"{_key(source, code)}.pickle"
    with contextlib.suppress(OSError, *_OTHER_BYTES):
        if file.stat().st_uid == os.getuid():  # a pickle runs code: only what this user wrote is opened
            found = pickle.loads(file.read_bytes())
            if isinstance(found, kind):
                return found
    made = read()
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as part:
            part.write(pickle.dumps(made))
        os.replace(part.name, file)
    return made


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gridtandem" / "networks"


def _key(source: str, code: tuple[Path, ...]) -> str:
    digest = hashlib.sha256(f"{source} {sys.version}".encode())
    for package in _DECIDING:
        with contextlib.suppress(PackageNotFoundError):
            digest.update(f" {package} {version(package)}".encode())
    for file in (*code, *([Path(source)] if Path(source).is_file() else [])):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]
