"""Three-way merge of two orders that came from one: the part of merging that knows nothing of entities."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

T = TypeVar("T", bound=Hashable)

Strategy = Literal["ours", "theirs", "append"]
"""How to settle what both sides changed differently: one side's way, or (in ordered collections) one addition after the other."""


@dataclass(frozen=True, slots=True)
class Clash(Generic[T]):
    """A stretch that both sides changed differently."""

    place: int | None
    """Where it begins in the base; `None` if the order as a whole is disputed."""
    base: tuple[T, ...]
    ours: tuple[T, ...]
    theirs: tuple[T, ...]


@dataclass(slots=True)
class MergedList(Generic[T]):
    """The merged order. Where a clash is left, it is as ours has it."""

    items: list[T]
    clashes: list[Clash[T]] = field(default_factory=list)


def merge_lists(
    base: Sequence[T], ours: Sequence[T], theirs: Sequence[T], strategy: Strategy | None = None, *, theirs_first: bool = False
) -> MergedList[T]:
    """Merge two lists of distinct items that came from `base`.

    What all three have keeps its place, or moves as the one side says that moved it. The stretches between are taken from
    the side that changed them. `append` puts both additions one after the other, ours first unless `theirs_first`.
    """
    if ours == theirs or theirs == base:
        return MergedList(list(ours))
    if ours == base:
        return MergedList(list(theirs))
    return _Lists(base, ours, theirs, strategy, theirs_first).merge()


class _Lists(Generic[T]):
    def __init__(self, base: Sequence[T], ours: Sequence[T], theirs: Sequence[T], strategy: Strategy | None, theirs_first: bool) -> None:
        self.base, self.ours, self.theirs = base, ours, theirs
        self.strategy = strategy
        self.theirs_first = theirs_first
        self.known = set(base)
        self.held = self.known & set(ours) & set(theirs)

    def merge(self) -> MergedList[T]:
        order = self._order()
        merged = self._by_stretches(order) if order is not None else None
        return merged if merged is not None else self._whole()

    def _order(self) -> list[T] | None:
        """What all three have, in the merged order; `None` if both sides moved it differently."""
        before, one, other = ([item for item in items if item in self.held] for items in (self.base, self.ours, self.theirs))
        if other in (before, one):
            return one
        return other if one == before else None

    def _by_stretches(self, order: list[T]) -> MergedList[T] | None:
        """`None` if something would come to stand in two places, or was moved by one side and removed by the other.

        So it is if both added after the same item, and one side has moved what follows: nobody says whose comes first.
        """
        before, one, other = self._stretches(self.base), self._stretches(self.ours), self._stretches(self.theirs)
        homes: dict[T, T | None] = {}
        for stretches in (before, one, other):
            for end, items in stretches.items():
                if any(homes.setdefault(item, end) != end for item in items):
                    return None
        mine_after, yours_after = self._added_after(self.ours), self._added_after(self.theirs)
        if any(yours_after[item] != end for item, end in mine_after.items() if item in yours_after):
            return None
        ends: dict[T | None, int] = {None: len(self.base), **{item: place for place, item in enumerate(self.base)}}
        merged: MergedList[T] = MergedList([])
        for end in [*order, None]:
            old, mine, yours = before[end], one[end], other[end]
            if mine == yours or old in (mine, yours):
                chosen = yours if mine == old else mine
            else:
                chosen = self._settle(mine, yours)
                if self.strategy is None:
                    merged.clashes.append(Clash(ends[end] - len(old), tuple(old), tuple(mine), tuple(yours)))
            merged.items += chosen if end is None else [*chosen, end]
        return merged

    def _stretches(self, items: Sequence[T]) -> dict[T | None, list[T]]:
        """What stands before each item that all three have, and (under `None`) after the last."""
        found: dict[T | None, list[T]] = {}
        current: list[T] = []
        for item in items:
            if item in self.held:
                found[item], current = current, []
            else:
                current.append(item)
        found[None] = current
        return found

    def _added_after(self, items: Sequence[T]) -> dict[T | None, T | None]:
        """What stands before and after each stretch that holds something new, of what all three have."""
        found: dict[T | None, T | None] = {}
        before: T | None = None
        added = False
        for item in [*items, None]:
            if item is not None and item not in self.held:
                added = added or item not in self.known
                continue
            if added:
                found[before] = item
            before, added = item, False
        return found

    def _settle(self, ours: Sequence[T], theirs: Sequence[T]) -> list[T]:
        if self.strategy == "append":
            first, last = (theirs, ours) if self.theirs_first else (ours, theirs)
            return list(dict.fromkeys(item for item in [*first, *last] if item not in self.known))
        return list(theirs if self.strategy == "theirs" else ours)

    def _whole(self) -> MergedList[T]:
        """One side's order throughout."""
        if self.strategy == "append":
            first, last = (self.theirs, self.ours) if self.theirs_first else (self.ours, self.theirs)
            there = set(last)
            kept = [item for item in first if item in there or item not in self.known]
            return MergedList(list(dict.fromkeys([*kept, *(item for item in last if item not in self.known)])))
        if self.strategy is not None:
            return MergedList(list(self.theirs if self.strategy == "theirs" else self.ours))
        return MergedList(list(self.ours), [Clash(None, tuple(self.base), tuple(self.ours), tuple(self.theirs))])
