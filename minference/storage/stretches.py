"""Where two versions of one list may differ, as far as their spans tell: the ends that they surely share need not be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minference.ecs.diff_values import common_ends
from minference.storage.sequences import Place, Span, part_of, same_beginning, same_end


@dataclass(frozen=True, slots=True)
class Stretch:
    """The middles of two lists that share their ends."""

    head: int
    """How many members both surely share at their beginning."""
    tail: int
    """And at their end."""
    old_spans: tuple[Span, ...]
    """Where the members between are, in the old list and in the new one."""
    new_spans: tuple[Span, ...]


def stretch(old: Place, new: Place, most: tuple[int, int] | None = None) -> Stretch:
    """Compare two lists by their spans; `most`: so many members at either end can be shared at most."""
    head, tail = same_beginning(old.spans, new.spans), same_end(old.spans, new.spans)
    if most is not None:
        head, tail = min(head, most[0]), min(tail, most[1])
    tail = min(tail, min(old.length, new.length) - head)
    return Stretch(head, tail, part_of(old.spans, head, old.length - tail), part_of(new.spans, head, new.length - tail))


def whole(old: Place, new: Place) -> Stretch:
    """Two lists, of which nothing is taken to be shared."""
    return Stretch(0, 0, old.spans, new.spans)


def kept_ends(found: Stretch, old: Sequence[int], new: Sequence[int]) -> tuple[int, int] | None:
    """How many members the new list keeps at its beginning and then at its end, from the keys of the middles.

    `None` if only the whole lists can tell: one middle is part of the other, and what follows it might go on like it.
    """
    head, tail = common_ends(old, new, lambda one, other: one == other)
    if found.tail and head == min(len(old), len(new)) and len(old) != len(new):
        return None
    return found.head + head, found.tail + tail
