"""What is wrong with a scenario: every problem with its place, all at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Place = tuple[str | int, ...]
"""Keys and list positions from the top of a document, for instance ("federates", 2, "period_s")."""


def path_text(place: Place) -> str:
    """`federates[2].period_s`; an empty place is the whole document."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "scenario"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where, and (in `message`) what to write instead. `line` counts from 1."""

    file: str
    line: int
    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {path_text(self.place)}: {self.message}"


class ScenarioError(Exception):
    """A scenario that cannot be run, with everything that is wrong with it, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems), key=lambda p: (p.file, p.line, path_text(p.place), p.message)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def did_you_mean(wrong: str, known: Sequence[str], noun: str = "") -> str:
    """`did you mean 'x'?` where something like it exists, else what there is to choose from."""
    close = difflib.get_close_matches(wrong.lower(), [k.lower() for k in known], n=1, cutoff=0.7)
    if close:
        right = next(k for k in known if k.lower() == close[0])
        return f"did you mean {right!r}?"
    if not known:
        return f"there is no {noun or 'such thing'} in this scenario"
    shown = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    return f"write one of {shown}"
