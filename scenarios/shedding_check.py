"""Priorities of a TBLM's actions: that each names an action which exists at its feeder."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from scenarios.problem import Place, did_you_mean

KINDS = ("ufls", "uvls", "sls", "dr", "cvr", "interruptible")
"""Of actions, as a priority may name them."""


def priority_problems(entries: Sequence[tuple[int, Mapping[str, Any]]], wrong: Collection[Place]) -> Iterator[tuple[Place, str]]:
    """(place, what is wrong) of each priority of an action that is neither a kind nor one of the feeder's own."""
    for n, entry in entries:
        given = (
            (entry.get("priorities") or {}).get("actions") if ("federates", n) not in wrong and entry["kind"] == "tblm" else None
        )
        if not given:
            continue
        relays = [(k, e) for k, e in entries if e["kind"] == "relays" and e.get("feeder") == entry.get("feeder")]
        if any(("federates", k) in wrong for k, _ in relays):
            continue  # which stages there will be is not known, and a problem already
        known = [*KINDS, *(program["name"] for program in entry.get("programs") or ())]
        for _, relay in relays:
            for scheme in ("ufls", "uvls"):
                stages = enumerate(relay.get(scheme) or (), start=1)
                known += [f"{scheme}:{stage.get('stage') or place}" for place, stage in stages]
        for name in given:
            if name not in known:
                text = f"no action {name!r} at feeder {entry.get('feeder')!r}; {did_you_mean(name, known, 'kind or action')}"
                yield ("federates", n, "priorities", "actions", name), text
