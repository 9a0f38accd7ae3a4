"""Differences inside plain values: texts by words, JSON by path."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum
from typing import Any, Literal

from minference.ecs.sets import Elements

_LARGEST_COMPARISON = 1_000_000
"""Pairs of words (or lines) above which a comparison is made of larger pieces."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of text that both versions have, or only the old one, or only the new one."""

    change: Literal["same", "removed", "added"]
    text: str


class Absent(Enum):
    """Stands for a value that one side does not have."""

    absent = "absent"

    def __repr__(self) -> str:
        return "absent"


ABSENT = Absent.absent


@dataclass(frozen=True, slots=True)
class PathChange:
    """One place inside a JSON value where two versions differ."""

    path: str
    """E.g. `limits.tokens` or `stop[1]`; `tags{}` for an element of a set, which has no place; empty for the whole value."""
    old: Any
    """`ABSENT` if only the new version has this place."""
    new: Any
    """`ABSENT` if only the old version has this place."""


def word_segments(old: str, new: str) -> tuple[Segment, ...]:
    """Both texts in pieces, by words; joined without the added (removed) pieces they are the old (new) text again."""
    return tuple(_merge(_segments(old, new, re.compile(r"\s+|\w+|[^\w\s]"))))


def _segments(old: str, new: str, piece: re.Pattern[str]) -> Iterator[Segment]:
    before, after = piece.findall(old), piece.findall(new)
    head, tail = common_ends(before, after, lambda one, other: bool(one == other))
    yield Segment("same", "".join(before[:head]))
    left, right = before[head : len(before) - tail], after[head : len(after) - tail]
    if len(left) * len(right) <= _LARGEST_COMPARISON:
        yield from _matched(left, right)
    elif piece.pattern != r"[^\n]*\n|[^\n]+":
        yield from _segments("".join(left), "".join(right), re.compile(r"[^\n]*\n|[^\n]+"))
    else:
        yield from (Segment("removed", "".join(left)), Segment("added", "".join(right)))
    yield Segment("same", "".join(before[len(before) - tail :]))


def _matched(left: list[str], right: list[str]) -> Iterator[Segment]:
    for kind, i, j, k, m in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if kind == "equal":
            yield Segment("same", "".join(left[i:j]))
        else:
            yield Segment("removed", "".join(left[i:j]))
            yield Segment("added", "".join(right[k:m]))


def _merge(segments: Iterator[Segment]) -> Iterator[Segment]:
    """The same without empty pieces, and with a lone blank between two changes counted to both of them."""
    kept = [segment for segment in segments if segment.text]
    removed = added = same = ""
    for number, segment in enumerate(kept):
        blank_inside = segment.change == "same" and segment.text.isspace() and (removed or added) and number + 1 < len(kept)
        if segment.change == "same" and not blank_inside:
            yield from _flush(removed, added)
            removed = added = ""
            same += segment.text
            continue
        if same:
            yield Segment("same", same)
            same = ""
        removed += segment.text if segment.change != "added" else ""
        added += segment.text if segment.change != "removed" else ""
    yield from _flush(removed, added)
    if same:
        yield Segment("same", same)


def _flush(removed: str, added: str) -> Iterator[Segment]:
    if removed:
        yield Segment("removed", removed)
    if added:
        yield Segment("added", added)


def path_changes(old: Any, new: Any) -> tuple[PathChange, ...]:
    """Where two JSON values differ."""
    return tuple(_paths("", old, new))


def _paths(path: str, old: Any, new: Any) -> Iterator[PathChange]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _in_objects(path, old, new)
    elif isinstance(old, Elements) and isinstance(new, Elements):
        yield from _in_sets(path, old, new)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _in_arrays(path, old, new)
    elif not _same_json(old, new):
        yield PathChange(path, old, new)


def _in_objects(path: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[PathChange]:
    for key in [*old, *(key for key in new if key not in old)]:
        here = _member(path, key)
        if key in old and key in new:
            yield from _paths(here, old[key], new[key])
        else:
            yield PathChange(here, old.get(key, ABSENT), new.get(key, ABSENT))
    if list(old) != list(new) and set(old) == set(new):
        yield PathChange(_member(path, "(order of keys)"), list(old), list(new))


def _in_arrays(path: str, old: list[Any], new: list[Any]) -> Iterator[PathChange]:
    head, tail = common_ends(old, new, _same_json)
    left, right = old[head : len(old) - tail], new[head : len(new) - tail]
    common = min(len(left), len(right))
    for number in range(common):
        yield from _paths(f"{path}[{head + number}]", left[number], right[number])
    for number in range(common, len(left)):
        yield PathChange(f"{path}[{head + number}]", left[number], ABSENT)
    for number in range(common, len(right)):
        yield PathChange(f"{path}[{head + number}]", ABSENT, right[number])


def _in_sets(path: str, old: Elements, new: Elements) -> Iterator[PathChange]:
    before, after = ({json.dumps(each): each for each in elements} for elements in (old, new))
    for key, element in before.items():
        if key not in after:
            yield PathChange(f"{path}{{}}", element, ABSENT)
    for key, element in after.items():
        if key not in before:
            yield PathChange(f"{path}{{}}", ABSENT, element)


def _member(path: str, key: str) -> str:
    if not re.fullmatch(r"[\w$-]+", key):
        return f"{path}[{json.dumps(key, ensure_ascii=False)}]"
    return f"{path}.{key}" if path else key


def _same_json(one: Any, other: Any) -> bool:
    return json.dumps(one) == json.dumps(other)


def common_ends(one: Sequence[Any], other: Sequence[Any], same: Callable[[Any, Any], bool]) -> tuple[int, int]:
    """How many items two sequences share at their beginning, and how many of the rest at their end."""
    shorter = min(len(one), len(other))
    head = 0
    while head < shorter and same(one[head], other[head]):
        head += 1
    tail = 0
    while tail < shorter - head and same(one[-1 - tail], other[-1 - tail]):
        tail += 1
    return head, tail
