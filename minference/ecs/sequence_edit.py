"""`SequenceEdit`: how an ordered field came from that of the previous version, so that what was kept need not be written again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from minference.ecs.state import Version

_WORTH_KEEPING = 8
"""Members in a row that are kept between others that are new: fewer are as cheap to write again."""


class Kept(NamedTuple):
    """Members in a row that were in a row before."""

    at: int
    """Where they begin in the new middle."""
    old: int
    """Where they began in the whole old list."""
    length: int


class SequenceEdit(NamedTuple):
    """Its head, new members, its tail; among the new ones perhaps some that were there before."""

    head: int
    middle: list[Version]
    tail: int
    old_length: int
    versions: list[Version]
    """All members, in a list that only grows; the first `length` count."""
    length: int
    kept: tuple[Kept, ...] = ()
    """What of the middle was there before, in the order of the middle."""

    @property
    def is_unchanged(self) -> bool:
        """Whether the members are the same as before."""
        return not self.middle and self.head + self.tail == self.old_length


def edit_between(old: Sequence[Version], length: int, now: list[Version]) -> SequenceEdit:
    """How these members came from the first `length` old ones."""
    head = 0
    while head < min(length, len(now)) and now[head] == old[head]:
        head += 1
    tail = 0
    while tail < min(length, len(now)) - head and now[-1 - tail] == old[length - 1 - tail]:
        tail += 1
    middle = now[head : len(now) - tail]
    return SequenceEdit(head, middle, tail, length, now, len(now), kept_between(old, head, length - tail, middle))


def kept_between(old: Sequence[Version], begin: int, end: int, middle: Sequence[Version]) -> tuple[Kept, ...]:
    """What of the middle was in a row between two places of the old list."""
    if len(middle) < _WORTH_KEEPING or end - begin < _WORTH_KEEPING:
        return ()
    return tuple(kept for kept in _in_a_row(old, begin, end, middle) if kept.length >= _WORTH_KEEPING)


def _in_a_row(old: Sequence[Version], begin: int, end: int, middle: Sequence[Version]) -> Iterator[Kept]:
    places = {old[place]: place for place in range(begin, end)}
    at = 0
    while at < len(middle):
        place = places.get(middle[at])
        length = 1
        if place is not None:
            while at + length < len(middle) and place + length < end and middle[at + length] == old[place + length]:
                length += 1
            yield Kept(at, place, length)
        at += length
