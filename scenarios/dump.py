"""A scenario as YAML with every default written out, such that it runs again from anywhere."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from federates.grid.feeder_library import BUILTIN_FEEDERS
from scenarios.load import LoadedScenario
from scenarios.outside import resolve


def dump(loaded: LoadedScenario, folder: Path | None = None) -> str:
    """YAML text that loads to the same scenario. Paths of the user's own files are written from `folder`, or whole without one."""
    data = loaded.scenario.model_dump(mode="json")
    for entry in data["federates"]:
        if entry["kind"] == "transmission" and not entry["network"].startswith("pandapower:"):
            _move(entry, "network", loaded, folder)
        if entry["kind"] == "distribution":
            _move(entry, "feeder", loaded, folder)
        if entry["kind"] == "player" and entry["file"]:
            _move(entry, "file", loaded, folder)
    for entry in data["recorded"]:
        if entry["file"]:
            _move(entry, "file", loaded, folder)
    for entry in data["devices"]:
        _move(entry, "map", loaded, folder)
        for key in ("certificate", "key", "authority") if entry["tls"] else ():
            _move(entry["tls"], key, loaded, folder)
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 160
    text = io.StringIO()
    yaml.dump(data, text)
    return text.getvalue()


def _move(entry: dict[str, Any], key: str, loaded: LoadedScenario, folder: Path | None) -> None:
    """Rewrite a path; a built-in name stays."""
    path = resolve(entry[key], loaded.folder)
    if Path(path).is_file() and entry[key] not in BUILTIN_FEEDERS:
        entry[key] = path if folder is None else os.path.relpath(path, folder.resolve())
