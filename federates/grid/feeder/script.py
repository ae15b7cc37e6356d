"""OpenDSS scripts read as data.

A .dss file is a program: it may start an editor or a shell, change the directory, write reports beside itself, load shared
libraries or solve a year. Somebody's network file must not be able to do that to us, so the engine never sees the file. It is read
here, statement by statement. Statements that describe a circuit are passed on; those that would only report or solve, and the
series of load shapes (profiles are ours), are left out and listed; the rest are refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

# fmt: off
# Verbs that describe a circuit. The engine gets the full word, never the abbreviation.
_DESCRIBE = (
    "new", "edit", "more", "set", "open", "close", "enable", "disable", "batchedit", "setkvbase", "calcvoltagebases",
    "makebuslist", "buscoords", "latlongcoords", "setbusxy", "var", "allocateloads", "select",
)
# Verbs that solve or report: the circuit is the same without them.
_LEAVE_OUT = (
    "solve", "show", "export", "plot", "visualize", "dump", "save", "sample", "help", "quit", "panel", "reset", "closedi",
    "summary", "init", "di_plot", "comparecases", "yearlycurves", "get", "?", "about", "addbusmarker", "clearbusmarkers",
    "buildy", "totals", "uuids", "guids", "comhelp", "voltages", "currents", "powers", "seqvoltages",
    "seqcurrents", "seqpowers", "losses", "phaselosses", "cktlosses", "relcalc", "interpolate", "puvoltages", "wait",
)
# fmt: on
_FOLLOW = ("redirect", "compile")
_REFUSE = {
    "doscmd": "runs a shell command",
    "cd": "changes the directory",
    "fileedit": "starts an editor",
    "formedit": "opens a form",
}
# `set` options that choose directories, programs, files or time-series runs: left out.
_OPTIONS_LEFT_OUT = (
    "datapath",
    "editor",
    "recorder",
    "dssvisualizationtool",
    "mode",
    "controlmode",
    "number",
    "casename",
    "demandinterval",
    "tracecontrol",
    "year",
    "activeactor",
    "parallel",
    "concatenatereports",
    "cpu",
)
# Properties by which an element loads a shared library.
_CODE_PROPERTIES = ("usermodel", "shaftmodel", "dynadll")
_CODE_CLASSES = ("generator", "pvsystem", "storage", "capcontrol", "windgen")
_FILE_REFERENCE = re.compile(
    r"(?P<key>\b(?:file|csvfile|sngfile|dblfile|pqcsvfile)\s*=\s*)(?P<value>\"[^\"]*\"|'[^']*'|[^\s,)\]\}\"']+)",
    re.IGNORECASE,
)
_TOKEN = re.compile(
    r"""\s*,?\s*(?:(?P<name>[^\s=,"'(\[{]+)\s*=\s*)?(?P<value>"[^"]*"|'[^']*'|\([^)]*\)|\[[^\]]*\]|\{[^}]*\}|[^\s,=]+)""",
    re.VERBOSE,
)
_MAX_DEPTH = 20


class FeederError(Exception):
    """A feeder that cannot be read, built or solved. path: the file (with its line where one is to blame); what: what is wrong;
    hint: what to do."""

    def __init__(self, path: str, what: str, hint: str) -> None:
        super().__init__(path, what, hint)  # all three as args: it must survive pickling between processes
        self.path, self.what, self.hint = path, what, hint

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.hint}"


@dataclass
class Script:
    """The statements of a master file and of all files it redirects to, in order: ('file:line', statement). files: every file that
    plays a part."""

    master: str
    statements: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def relative(self, path: str) -> str:
        """`path` as seen from the master's folder, with forward slashes."""
        return Path(os.path.relpath(path, os.path.dirname(self.master))).as_posix()


def read_script(master: str, edits: Sequence[str] = ()) -> Script:
    """Read a master file and what it redirects to, then `edits`, further statements under the same rules.

    Raises FeederError for a missing or unreadable file, a statement that is refused (shell, editor, directory change, native code,
    unknown verb), redirects without end."""
    path = os.path.abspath(master)
    if not os.path.isfile(path):
        raise FeederError(master, "no such file", "give the path of the OpenDSS master file (.dss)")
    script = Script(path)
    _read_file(script, path, 0)
    _read_lines(script, path, edits, 0, "edits of the model")
    circuits = [s for s in script.statements if re.match(r"new\s+(object\s*=\s*)?[\"']?circuit\.", s[1], re.IGNORECASE)]
    if len(circuits) != 1:
        raise FeederError(
            master, f"{len(circuits)} `New Circuit` statements where exactly one is needed", "give the master file of one circuit"
        )
    return script


def _read_file(script: Script, path: str, depth: int) -> None:
    if path not in script.files:
        script.files.append(path)
    _read_lines(script, path, _read_text(path).splitlines(), depth, path)


def _read_lines(script: Script, path: str, lines: Sequence[str], depth: int, label: str) -> None:
    """Sort the statements of one file. path: what its references are relative to; label: how messages call it."""
    in_comment = False
    edited_class = ""
    for number, raw in enumerate(lines, start=1):
        line = raw.strip().lstrip("\ufeff")
        if in_comment or line.startswith("/*"):
            in_comment = "*/" not in line
            continue
        line = _without_comment(line)
        if not line:
            continue
        where = f"{label}:{number}"
        head = _TOKEN.match(line)
        if head is None:
            raise FeederError(where, f"cannot read `{line[:60]}`", "write one OpenDSS statement a line")
        name, rest = head["name"], line[head.end() :]
        if line.startswith("~"):
            verb, rest = "more", line[1:]
        elif name is not None and "." in name:
            _refuse_native_code(where, name.split(".")[0].lower(), [(name.rsplit(".", 1)[1], head["value"]), *parameters_of(rest)])
            _keep(script, path, where, line)
            continue
        elif name is not None:
            raise FeederError(where, f"`{name}=` does not start a statement", "write a verb, or class.name.property=value")
        else:
            verb = _verb(where, head["value"].lower())
        if verb in _FOLLOW:
            if depth >= _MAX_DEPTH:
                raise FeederError(
                    where, f"more than {_MAX_DEPTH} files deep", "remove the redirect that leads back to its own file"
                )
            _read_file(script, _find(where, path, rest), depth + 1)
            continue
        if verb in ("clear", "clearall"):
            script.statements.clear()  # as in OpenDSS: of several circuits the last one stands
            continue
        if verb in _LEAVE_OUT:
            script.left_out.append((where, line))
            continue
        parameters = list(parameters_of(rest))
        if verb == "set":
            kept = [(n, v) for n, v in parameters if not _abbreviates(n, _OPTIONS_LEFT_OUT)]
            if any(not n for n, _ in parameters):
                raise FeederError(where, f"`{line[:60]}` has a value without the name of its option", "write `set option=value`")
            if len(kept) != len(parameters):
                script.left_out.append((where, line))
            if not kept:
                continue
            rest = " ".join(f"{n}={v}" for n, v in kept)
        elif verb in ("new", "edit", "batchedit") and parameters:
            edited_class = parameters[0][1].strip("\"'").split(".")[0].lower()
            _refuse_native_code(where, edited_class, parameters[1:])
            if edited_class == "loadshape" and verb == "new":
                # the name must exist for the loads that refer to it; its series is not used and may be a year long
                script.left_out.append((where, line))
                rest = f"{parameters[0][1]} npts=1 interval=1 mult=[1]"
        elif verb == "more":
            _refuse_native_code(where, edited_class, parameters)
            if edited_class == "loadshape":
                continue
        elif verb in ("buscoords", "latlongcoords", "setbusxy"):
            script.left_out.append((where, line))  # drawings only; nothing of ours reads them
            continue
        _keep(script, path, where, f"{verb} {rest.strip()}")


def _keep(script: Script, path: str, where: str, statement: str) -> None:
    """Add a statement, its file references made absolute: the engine's own directory plays no part."""

    def absolute(match: re.Match[str]) -> str:
        found = _find(where, path, match["value"])
        if found not in script.files:
            script.files.append(found)
        return f'{match["key"]}"{found}"'

    script.statements.append((where, _FILE_REFERENCE.sub(absolute, statement)))


def _read_text(path: str) -> str:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise FeederError(path, f"cannot be read ({error.strerror})", "check the file and its permissions") from error
    if b"\0" in content:
        raise FeederError(path, "is not a text file", "give an OpenDSS script (.dss)")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")  # old test feeders carry Windows characters in their comments


def _without_comment(line: str) -> str:
    """`line` up to `!` or `//` outside quotes."""
    quote = ""
    for i, c in enumerate(line):
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'":
            quote = c
        elif c == "!" or line.startswith("//", i):
            return line[:i].rstrip()
    return line


def _verb(where: str, word: str) -> str:
    """The full verb for a word or its abbreviation, as OpenDSS allows them."""
    if word in _REFUSE:
        raise FeederError(
            where, f"`{word}` {_REFUSE[word]}: refused", "remove the line; a network file may only describe the circuit"
        )
    known = (*_DESCRIBE, *_FOLLOW, *_LEAVE_OUT, "clear", "clearall")
    if word == "m":
        return "more"
    if word in known:
        return word
    for verb in known:
        if len(word) >= 3 and verb.startswith(word):
            return verb
    raise FeederError(
        where,
        f"the statement `{word}` is not accepted",
        "remove the line, or write a statement that describes the circuit (New, Edit, Set, Redirect, ...)",
    )


def parameters_of(text: str) -> Iterator[tuple[str, str]]:
    """(name, value) of each parameter; the name is empty for positional ones."""
    for match in _TOKEN.finditer(text):
        yield (match["name"] or "").lower(), match["value"]


@cache
def _abbreviates(word: str, names: tuple[str, ...]) -> bool:
    return bool(word) and any(name.startswith(word) for name in names)


def _refuse_native_code(where: str, class_name: str, parameters: list[tuple[str, str]]) -> None:
    if class_name not in _CODE_CLASSES:
        return
    for name, value in parameters:
        if not name:
            raise FeederError(where, f"value `{value}` of a {class_name} without the name of its property", "write property=value")
        if _abbreviates(name.lower(), _CODE_PROPERTIES):
            raise FeederError(where, f"`{name}` loads a shared library: refused", "use a model built into OpenDSS")


def _find(where: str, script_path: str, reference: str) -> str:
    """The file a script refers to, relative to the script itself; Windows separators and case differences are bridged."""
    wanted = reference.strip().strip("\"'()[]{}").strip().replace("\\", "/")
    wanted = re.sub(r"^file\s*=\s*", "", wanted, flags=re.IGNORECASE)
    path = os.path.normpath(os.path.join(os.path.dirname(script_path), wanted))
    if os.path.isfile(path):
        return path
    folder, base = os.path.split(path)
    if os.path.isdir(folder):
        for entry in sorted(os.listdir(folder)):
            if entry.lower() == base.lower() and os.path.isfile(os.path.join(folder, entry)):
                return os.path.join(folder, entry)
    raise FeederError(where, f"refers to `{wanted}`, and there is no file {path}", "add the file or correct its name")
