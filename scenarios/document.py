"""A YAML file as plain data with the line of every key, read as untrusted input.

YAML 1.2 by ruamel.yaml. Refused, each with its line: a file above 250 kB (before it is read), text that is not UTF-8, tabs used for
indentation, anchors and aliases (a few lines of them can stand for gigabytes), tags, duplicate keys, keys that are not text, and
nesting that no scenario needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent, StreamEndEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from scenarios.problem import Place, Problem, ScenarioError

LARGEST_BYTES = 250_000  # 3 s of parsing; a scenario of two hundred feeders has 100 kB
DEEPEST = 24
_PLAIN = "tag:yaml.org,2002:"


@dataclass(slots=True)
class Document:
    """`data` (dicts, lists, str, int, float, bool, None), the line of every place in it, and the problems found while reading.

    `file` is the name as the user gave it, for messages.
    """

    file: str
    data: Any
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, place: Place) -> int:
        """The line of a place, or of the nearest place around it that exists."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def problem(self, place: Place, message: str) -> Problem:
        """A problem at a place of this document."""
        return Problem(self.file, self.line(place), place, message)


def read_document(path: Path, file: str | None = None) -> Document:
    """Read a YAML file. Raises ScenarioError where there is no data to go on with; lesser problems are in `Document.problems`."""
    file = file or str(path)
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise _fatal(file, 1, "this is not a file; name a scenario's YAML file")
        if size > LARGEST_BYTES:
            raise _fatal(file, 1, f"{size / 1e3:.0f} kB; a scenario has at most 250 kB, put time series into files of their own")
        raw = path.read_bytes()
    except OSError as error:
        raise _fatal(file, 1, f"cannot be read ({error.strerror}); check the path") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _fatal(file, line, f"byte {raw[error.start]:#04x} is not UTF-8; save the file as UTF-8") from None
    return parse_document(text, file)


def parse_document(text: str, file: str) -> Document:
    """The data of a YAML text, as `read_document`."""
    _refuse_tabs(text, file)
    try:
        _refuse_unwanted(text, file)
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part).replace("\n", " ")
        raise _fatal(file, mark.line + 1 if mark else 1, f"not YAML ({what}); check indentation, colons and quotes") from None
    except YAMLError as error:
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise _fatal(file, line, "not YAML (a character that YAML does not allow); remove it") from None
    if node is None:
        raise _fatal(file, 1, "the file is empty; start from `run_cosim.py show tiny`")
    document = Document(file, None, {(): 1})
    document.data = _convert(node, (), document)
    if not isinstance(document.data, dict):
        raise _fatal(file, 1, "a scenario is a mapping of keys to values; start with `name: my_study`")
    return document


def _fatal(file: str, line: int, message: str) -> ScenarioError:
    return ScenarioError([Problem(file, line, (), message)])


def _refuse_tabs(text: str, file: str) -> None:
    tabbed = [n for n, line in enumerate(text.splitlines(), 1) if "\t" in line[: len(line) - len(line.lstrip())]]
    if tabbed:
        raise ScenarioError([Problem(file, n, (), "a tab in the indentation; write spaces") for n in tabbed[:20]])


def _refuse_unwanted(text: str, file: str) -> None:
    """One pass over the events, which needs no memory for what aliases stand for."""
    problems: list[Problem] = []
    depth = documents = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        line = event.start_mark.line + 1
        if isinstance(event, AliasEvent):
            problems.append(Problem(file, line, (), f"an alias (*{event.anchor}); write the value out"))
        elif isinstance(event, NodeEvent) and event.anchor is not None:
            problems.append(Problem(file, line, (), f"an anchor (&{event.anchor}); remove it and write values out"))
        tag = getattr(event, "tag", None)
        if tag is not None and getattr(event, "implicit", None) != (False, True):
            problems.append(Problem(file, line, (), f"a tag ({tag}); remove it, types follow from how a value is written"))
        if isinstance(event, CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                problems.append(Problem(file, line, (), f"nested deeper than {DEEPEST} levels; a scenario needs no more than 8"))
                break
        elif isinstance(event, CollectionEndEvent):
            depth -= 1
        elif type(event).__name__ == "DocumentStartEvent":
            documents += 1
            if documents == 2:
                problems.append(Problem(file, line, (), "a second document (---); a file holds one scenario"))
        elif isinstance(event, StreamEndEvent):
            break
        if len(problems) >= 20:
            break
    if problems:
        raise ScenarioError(problems)


def _convert(node: Node, place: Place, document: Document) -> Any:
    document.lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, MappingNode):
        return _mapping(node, place, document)
    if isinstance(node, SequenceNode):
        return [_convert(child, (*place, i), document) for i, child in enumerate(node.value)]
    assert isinstance(node, ScalarNode)
    return _scalar(node, place, document)


def _mapping(node: MappingNode, place: Place, document: Document) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, child in _pairs(node, place, document):
        here = (*place, key.value)
        line = key.start_mark.line + 1
        if key.value in values:
            first = document.lines[here]
            message = f"this key is already on line {first}; remove one of the two"
            document.problems.append(Problem(document.file, line, here, message))
            continue
        document.lines[here] = line
        values[key.value] = _convert(child, here, document)
    return values


def _pairs(node: MappingNode, place: Place, document: Document) -> Iterator[tuple[ScalarNode, Node]]:
    for key, child in node.value:
        if isinstance(key, ScalarNode) and key.tag == _PLAIN + "str":
            yield key, child
        else:
            written = key.value if isinstance(key, ScalarNode) else "a list or mapping"
            message = f"the key {written!r} is not text; put it in quotes or write a name"
            document.problems.append(Problem(document.file, key.start_mark.line + 1, place, message))


def _scalar(node: ScalarNode, place: Place, document: Document) -> Any:
    """YAML 1.2 core types; a date stays text, its meaning is the schema's."""
    kind, value = str(node.tag).removeprefix(_PLAIN), str(node.value)
    if kind == "null":
        return None
    if kind == "bool":
        return value.lower() == "true"
    try:
        if kind == "int":
            return int(value.replace("_", ""), 0) if not value.lstrip("+-").isdigit() else int(value)
        if kind == "float":
            number = float(value.replace("_", "").replace(".inf", "inf").replace(".nan", "nan").lower().replace(".inf", "inf"))
            if not math.isfinite(number):
                document.problems.append(document.problem(place, f"{value} is no quantity; write a finite number"))
            return number
    except (ValueError, OverflowError):
        message = f"{value[:40]} cannot be read as a number; write for instance 1.5 or 1e-3"
        document.problems.append(document.problem(place, message))
        return None
    return value
