"""What is wrong with a scenario: every problem with its place, all at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

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
    """One thing that is wrong, where, and (in `message`) what to write instead. `line` counts from 1; 0 where what is wrong is no
    place in a file: `file` is then an option of the command line, or what was given as a scenario."""

    file: str
    line: int
    place: Place
    message: str

    def __str__(self) -> str:
        if not self.line:
            return f"{self.file}: {self.message}"
        return f"{self.file}:{self.line}: {path_text(self.place)}: {self.message}"


class ScenarioError(Exception):
    """A scenario that cannot be run, with everything that is wrong with it, in the order of the file.

    What is said of one thing in several places is said once, at the first, with the lines of the others.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        ordered = sorted(set(problems), key=lambda p: (p.file, p.line, path_text(p.place), p.message))
        self.problems = tuple(_joined(ordered))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def _joined(problems: Sequence[Problem]) -> Iterator[Problem]:
    """One problem for each message about a key of one name; one for a name that leads nowhere, whichever keys give it."""
    groups: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in problems:
        key = next((part for part in reversed(problem.place) if isinstance(part, str)), "")
        nowhere = problem.message.partition(";")[0] if problem.message.startswith("there is no federate") else None
        groups.setdefault((problem.file, *(("", nowhere) if nowhere else (key, problem.message))), []).append(problem)
    for first, *others in groups.values():
        lines = sorted({str(other.line) for other in others} - {str(first.line)}, key=int)
        where = f" (also on line{'s' if len(lines) > 1 else ''} {', '.join(lines)})" if lines else ""
        yield replace(first, message=first.message + where)


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
