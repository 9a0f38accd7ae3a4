"""Ordered fields as runs and spans: a piece table, the way text editors keep a buffer.

A *run* is an append-only array of child versions; a cell is written once and never changed. A *sequence* is a list of
*spans*, each a slice of a run; its last span is open, and the length that the owner stores cuts it. So appending
writes one cell and nothing else at any length, a truncation writes nothing, a branch shares everything before it, and
an edit writes a few spans.

Two rules keep it right. A cell belongs to whoever writes it first: who finds it taken starts a run of its own. And a
sequence is extended in place only if the list ends in its open span.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from minference.ecs.sequence_edit import SequenceEdit
from minference.ecs.state import Version

OPEN = 2**31 - 1
"""The stored length of an open span."""
MAX_SPANS = 64
"""A sequence that would have more spans is written out as one run."""


class Run:
    """A run as this process knows it: `end` is a hint, the key of the cell decides."""

    __slots__ = ("__weakref__", "end", "id")

    def __init__(self, id: int, end: int) -> None:
        self.id, self.end = id, end

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.id == other.id

    def __hash__(self) -> int:
        return self.id


class Span(NamedTuple):
    """`length` cells of a run, beginning at `start`."""

    run: Run
    start: int
    length: int


class Place(NamedTuple):
    """Where the value of an ordered field is: a sequence, cut at `length`."""

    sequence: int | None
    """`None` for a list that was never anything but empty."""
    length: int
    spans: tuple[Span, ...]
    """The spans cut at `length`: together exactly the list."""
    ends_open: bool
    """Whether the list ends in the sequence's open span, so that it may be extended in place."""


EMPTY = Place(None, 0, (), ends_open=False)


@dataclass(slots=True)
class Placed:
    """What placing a value writes."""

    place: Place
    items: list[tuple[Run, int, Version]]
    """New cells: run, position, child."""
    new_sequence: bool = False
    """Whether all spans of `place` are to be stored as a new sequence."""


def place_edit(old: Place, edit: SequenceEdit, new_id: Callable[[], int], ends: dict[Run, int]) -> Placed:
    """Where the edited list goes, and which rows that takes. `ends` overlays the runs' ends with those not yet stored."""
    if edit.is_unchanged:
        return Placed(old, [])
    if not edit.length:
        return Placed(Place(old.sequence, 0, (), ends_open=False), [])
    if not edit.tail and not edit.middle:
        return Placed(_truncated(old, edit.head), [])
    if not edit.tail and edit.head == old.length and old.ends_open and old.spans:
        extended = _extend(old, edit.middle, ends)
        if extended is not None:
            return extended
    return _rebuilt(old, edit, new_id, ends)


def _truncated(old: Place, length: int) -> Place:
    spans = part_of(old.spans, 0, length)
    return Place(old.sequence, length, spans, ends_open=old.ends_open and len(spans) == len(old.spans))


def _extend(old: Place, added: Sequence[Version], ends: dict[Run, int]) -> Placed | None:
    last = old.spans[-1]
    at = last.start + last.length
    if ends.get(last.run, last.run.end) != at:
        return None
    ends[last.run] = at + len(added)
    spans = (*old.spans[:-1], Span(last.run, last.start, last.length + len(added)))
    place = Place(old.sequence, old.length + len(added), spans, ends_open=True)
    return Placed(place, [(last.run, at + i, child) for i, child in enumerate(added)])


def _rebuilt(old: Place, edit: SequenceEdit, new_id: Callable[[], int], ends: dict[Run, int]) -> Placed:
    parts = list(_parts(old, edit))
    if sum(len(part) if isinstance(part, tuple) else 1 for part in parts) > MAX_SPANS:
        parts = [edit.versions[: edit.length]]
    run: Run | None = None
    spans: list[Span] = []
    items: list[tuple[Run, int, Version]] = []
    for part in parts:
        if isinstance(part, tuple):
            spans += part
            continue
        run = run or Run(new_id(), 0)
        spans.append(Span(run, len(items), len(part)))
        items += [(run, len(items) + number, child) for number, child in enumerate(part)]
    if run is not None:
        ends[run] = len(items)
    return Placed(Place(new_id(), edit.length, tuple(spans), ends_open=True), items, new_sequence=True)


def _parts(old: Place, edit: SequenceEdit) -> Iterator[tuple[Span, ...] | list[Version]]:
    """What the new list consists of: spans of the old one, and members that are to be written."""
    yield part_of(old.spans, 0, edit.head)
    at = 0
    for kept in edit.kept:
        if edit.middle[at : kept.at]:
            yield edit.middle[at : kept.at]
        yield part_of(old.spans, kept.old, kept.old + kept.length)
        at = kept.at + kept.length
    if edit.middle[at:]:
        yield edit.middle[at:]
    yield part_of(old.spans, edit.old_length - edit.tail, edit.old_length)


def same_beginning(one: Sequence[Span], other: Sequence[Span]) -> int:
    """How many members two lists surely share at their beginning: those that are the same cells."""
    shared, first, second = 0, deque(one), deque(other)
    while first and second:
        left, right = first.popleft(), second.popleft()
        if (left.run, left.start) != (right.run, right.start):
            break
        length = min(left.length, right.length)
        shared += length
        for rest, span in ((first, left), (second, right)):
            if span.length > length:
                rest.appendleft(Span(span.run, span.start + length, span.length - length))
    return shared


def same_end(one: Sequence[Span], other: Sequence[Span]) -> int:
    """How many members two lists surely share at their end."""
    shared, first, second = 0, list(one), list(other)
    while first and second:
        left, right = first.pop(), second.pop()
        if (left.run, left.start + left.length) != (right.run, right.start + right.length):
            break
        length = min(left.length, right.length)
        shared += length
        for rest, span in ((first, left), (second, right)):
            if span.length > length:
                rest.append(Span(span.run, span.start, span.length - length))
    return shared


def part_of(spans: Sequence[Span], begin: int, end: int) -> tuple[Span, ...]:
    """The spans of list positions `begin` to `end`."""
    found: list[Span] = []
    position = 0
    for span in spans:
        first, last = max(begin, position), min(end, position + span.length)
        if first < last:
            found.append(Span(span.run, span.start + first - position, last - first))
        position += span.length
    return tuple(found)


def cut(spans: Sequence[tuple[int, Run, int, int]], length: int) -> tuple[tuple[Span, ...], bool]:
    """The stored spans (position, run, start, length) of a sequence cut at `length`, and whether that ends in the open one."""
    inside = [Span(run, start, min(size, length - position)) for position, run, start, size in spans if position < length]
    return tuple(inside), bool(spans) and len(inside) == len(spans)
