"""What a docstring says of each parameter, in the styles of Google, NumPy and reST."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass

_STARS = r"`{0,2}(?:\\?\*){0,2}"
"""What may stand before a name: stars, escaped or not, and backticks."""
_GOOGLE_HEADING = re.compile(
    r"^\s*(?:args|arguments|params|parameters|keyword args|keyword arguments|other parameters)\s*:\s*$", re.IGNORECASE
)
_GOOGLE_ENTRY = re.compile(rf"^\s*{_STARS}(\w+)`{{0,2}}\s*(?:\(.*?\))?\s*:(?!:)\s*(.*)$")
_NUMPY_HEADING = re.compile(r"^\s*(?:other )?parameters\s*$", re.IGNORECASE)
_NUMPY_ENTRY = re.compile(rf"^({_STARS}\w+`{{0,2}}(?:\s*,\s*{_STARS}\w+`{{0,2}})*)\s*(?::.*)?$")
_UNDERLINE = re.compile(r"^\s*-{3,}\s*$")
_REST_ENTRY = re.compile(r"^\s*:(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*?\s)?(?:\\?\*){0,2}(\w+)\s*:\s*(.*)$")
_REST_TYPE = re.compile(r"^\s*:type\s+\w+\s*:.*$")


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring, taken apart."""

    text: str
    """Everything but what is said of single parameters."""
    parameters: dict[str, str]
    """What is said of each parameter, in one line."""


def parse_docstring(docstring: str | None) -> Docstring:
    """Take a docstring apart. What is in none of the three styles stays in the text."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    text: list[str] = []
    parameters: dict[str, str] = {}
    at = 0
    while at < len(lines):
        end = at + 1
        if _GOOGLE_HEADING.match(lines[at]) and _begins_with_an_entry(lines, at + 1):
            end = _end_of_block(lines, at)
            parameters.update(_google(lines[at + 1 : end]))
        elif _NUMPY_HEADING.match(lines[at]) and at + 1 < len(lines) and _UNDERLINE.match(lines[at + 1]):
            end = _end_of_numpy(lines, at + 2)
            parameters.update(_numpy(lines[at + 2 : end]))
        elif entry := _REST_ENTRY.match(lines[at]):
            end = _end_of_block(lines, at)
            parameters[entry[1]] = _joined([entry[2], *lines[at + 1 : end]])
        elif _REST_TYPE.match(lines[at]):
            end = _end_of_block(lines, at)
        else:
            text.append(lines[at])
        at = end
    return Docstring(re.sub(r"\n{3,}", "\n\n", "\n".join(text)).strip(), {name: said for name, said in parameters.items() if said})


def _google(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Entries `name (type): text`; what is indented deeper goes on with the entry above."""
    depth = min(_indent(line) for line in lines if line.strip())
    name, said = "", [""]
    for line in lines:
        entry = _GOOGLE_ENTRY.match(line) if _indent(line) == depth else None
        if entry is None:
            said.append(line)
            continue
        if name:
            yield name, _joined(said)
        name, said = entry[1], [entry[2]]
    if name:
        yield name, _joined(said)


def _numpy(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Entries `name : type` with indented text below; `x, y : float` speaks of both."""
    names: list[str] = []
    said: list[str] = []
    for line in lines:
        entry = _NUMPY_ENTRY.match(line)
        if entry is None:
            said.append(line)
            continue
        yield from ((name, _joined(said)) for name in names)
        names, said = [name.strip(" `*\\") for name in entry[1].split(",")], []
    yield from ((name, _joined(said)) for name in names)


def _end_of_block(lines: list[str], head: int) -> int:
    """The end of what is indented deeper than the line above it; blank lines at the end are not in the block."""
    end = head + 1
    for at in range(head + 1, len(lines)):
        if lines[at].strip():
            if _indent(lines[at]) <= _indent(lines[head]):
                break
            end = at + 1
    return end


def _begins_with_an_entry(lines: list[str], start: int) -> bool:
    """Whether a list of parameters begins here, indented deeper than its heading. What is written in another way stays in the text."""
    first = next((line for line in lines[start:] if line.strip()), "")
    return _GOOGLE_ENTRY.match(first) is not None and _indent(first) > _indent(lines[start - 1])


def _end_of_numpy(lines: list[str], start: int) -> int:
    """The next underlined heading, or the end."""
    return next((at for at in range(start, len(lines) - 1) if lines[at].strip() and _UNDERLINE.match(lines[at + 1])), len(lines))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _joined(lines: list[str]) -> str:
    return " ".join(part for line in lines if (part := line.strip()))
