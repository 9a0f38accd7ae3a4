"""Which member of one collection is which of another: matched by lineage, with what moved."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

from minference.ecs.diff_values import common_ends
from minference.ecs.entity import Entity
from minference.ecs.plan import CollectionField

Place = int | str
"""Index in an ordered collection, key in a keyed one."""

T = TypeVar("T")


@dataclass(slots=True)
class Matched(Generic[T]):
    """Two collections side by side."""

    both: list[tuple[Place, T, T]] = field(default_factory=list)
    """(place in the new one, old member, new member) of the same lineage and class, in the new order."""
    removed: list[tuple[Place, T]] = field(default_factory=list)
    added: list[tuple[Place, T]] = field(default_factory=list)
    moved: list[tuple[Place, Place, T]] = field(default_factory=list)
    """(old place, new place, new member). The fewest members whose move explains the new order."""


def match_members(collection: CollectionField, old: Any, new: Any) -> Matched[Entity]:
    """Match the values of one field; a lineage that occurs several times is matched in order of occurrence."""
    return match_items(_items(collection, old), _items(collection, new), _name, keyed=collection.shape is dict)


def match_items(
    before: Sequence[tuple[Place, T]], after: Sequence[tuple[Place, T]], name: Callable[[T], Hashable], *, keyed: bool, start: int = 0
) -> Matched[T]:
    """Match members with their places; two are the same thing if they have one name. `start`: how many come before those given."""

    def same(one: tuple[Place, T], other: tuple[Place, T]) -> bool:
        return (not keyed or one[0] == other[0]) and (one[1] is other[1] or name(one[1]) == name(other[1]))

    head, tail = common_ends(before, after, same)
    matched: Matched[T] = Matched()
    matched.both = [(place, one, other) for (_, one), (place, other) in zip(before[:head], after[:head], strict=True)]
    middle = before[head : len(before) - tail], after[head : len(after) - tail]
    _match_middle(*middle, name, matched, keyed_from=start + head if keyed else None)
    ends = zip(before[len(before) - tail :], after[len(after) - tail :], strict=True)
    matched.both += [(place, one, other) for (_, one), (place, other) in ends]
    return matched


def _match_middle(
    before: Sequence[tuple[Place, T]],
    after: Sequence[tuple[Place, T]],
    name: Callable[[T], Hashable],
    matched: Matched[T],
    *,
    keyed_from: int | None,
) -> None:
    """`keyed_from`: of a keyed collection, the index at which the middle begins."""
    position = {key: number for number, key in enumerate(_numbered(map(name, (each for _, each in before))))}
    common: list[tuple[int, int]] = []
    for number, key in enumerate(_numbered(map(name, (each for _, each in after)))):
        if key in position:
            common.append((position.pop(key), number))
        else:
            matched.added.append(after[number])
    matched.removed += [before[number] for number in sorted(position.values())]
    still = _longest_rise([old for old, _ in common])
    for old, new in common:
        (old_place, one), (new_place, other) = before[old], after[new]
        matched.both.append((new_place, one, other))
        if keyed_from is not None and old_place == new_place and old not in still:
            matched.moved.append((old + keyed_from, new + keyed_from, other))
        elif old not in still or (keyed_from is not None and old_place != new_place):
            matched.moved.append((old_place, new_place, other))


def _items(collection: CollectionField, value: Any) -> list[tuple[Place, Entity]]:
    if collection.shape is dict:
        return list(value.items())
    return list(enumerate(value))


def _name(entity: Entity) -> tuple[UUID, type[Entity]]:
    return entity.lineage_id, type(entity)


def _numbered(names: Iterable[Hashable]) -> list[tuple[Hashable, int]]:
    """Each name with how many times it has occurred so far."""
    count: dict[Hashable, int] = {}
    found: list[tuple[Hashable, int]] = []
    for name in names:
        count[name] = count.get(name, 0) + 1
        found.append((name, count[name]))
    return found


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
