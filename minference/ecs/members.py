"""Which member of one collection is which of another: matched by lineage, with what moved."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from minference.ecs.diff_values import common_ends
from minference.ecs.entity import Entity
from minference.ecs.plan import CollectionField

Place = int | str
"""Index in an ordered collection, key in a keyed one."""

_Item = tuple[Place, Entity]


@dataclass(slots=True)
class Matched:
    """Two collections side by side."""

    both: list[tuple[Place, Entity, Entity]] = field(default_factory=list)
    """(place in the new one, old member, new member) of the same lineage and class, in the new order."""
    removed: list[_Item] = field(default_factory=list)
    added: list[_Item] = field(default_factory=list)
    moved: list[tuple[Place, Place, Entity]] = field(default_factory=list)
    """(old place, new place, new member). The fewest members whose move explains the new order."""


def match_members(collection: CollectionField, old: Any, new: Any) -> Matched:
    """Match the values of one field; a lineage that occurs several times is matched in order of occurrence."""
    before, after = _items(collection, old), _items(collection, new)
    keyed = collection.shape is dict
    head, tail = common_ends(before, after, _same_keyed if keyed else _same)
    matched = Matched()
    matched.both = [(place, one, other) for (_, one), (place, other) in zip(before[:head], after[:head], strict=True)]
    _match_middle(before[head : len(before) - tail], after[head : len(after) - tail], matched, keyed=keyed)
    ends = zip(before[len(before) - tail :], after[len(after) - tail :], strict=True)
    matched.both += [(place, one, other) for (_, one), (place, other) in ends]
    return matched


def _match_middle(before: list[_Item], after: list[_Item], matched: Matched, *, keyed: bool) -> None:
    position = {key: number for number, key in enumerate(_keys(before))}
    common: list[tuple[int, int]] = []
    for number, key in enumerate(_keys(after)):
        if key in position:
            common.append((position.pop(key), number))
        else:
            matched.added.append(after[number])
    matched.removed += [before[number] for number in sorted(position.values())]
    still = _longest_rise([old for old, _ in common])
    for old, new in common:
        (old_place, one), (new_place, other) = before[old], after[new]
        matched.both.append((new_place, one, other))
        if keyed and old_place != new_place:
            matched.moved.append((old_place, new_place, other))
        elif old not in still:
            matched.moved.append((old, new, other) if keyed else (old_place, new_place, other))


def _items(collection: CollectionField, value: Any) -> list[_Item]:
    if collection.shape is dict:
        return list(value.items())
    return list(enumerate(value))


def _same(one: _Item, other: _Item) -> bool:
    first, second = one[1], other[1]
    return first is second or (first.lineage_id == second.lineage_id and type(first) is type(second))


def _same_keyed(one: _Item, other: _Item) -> bool:
    return one[0] == other[0] and _same(one, other)


def _keys(items: Iterable[_Item]) -> list[tuple[UUID, type[Entity], int]]:
    count: dict[tuple[UUID, type[Entity]], int] = {}
    keys: list[tuple[UUID, type[Entity], int]] = []
    for _, entity in items:
        name = (entity.lineage_id, type(entity))
        count[name] = count.get(name, 0) + 1
        keys.append((*name, count[name]))
    return keys


def _longest_rise(numbers: list[int]) -> set[int]:
    """The members of a longest increasing subsequence of distinct numbers."""
    tops: list[int] = []
    before: dict[int, int | None] = {}
    for number in numbers:
        place = bisect_left(tops, number)
        before[number] = tops[place - 1] if place else None
        tops[place : place + 1] = [number]
    rise: set[int] = set()
    last = tops[-1] if tops else None
    while last is not None:
        rise.add(last)
        last = before[last]
    return rise
