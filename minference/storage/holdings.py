"""What belongs to a lineage that is to be erased: follows from who holds whom, and from the marks on fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from minference.ecs.entity import Entity, plan_of
from minference.ecs.fitting import Fit
from minference.ecs.plan import OnErase
from minference.ecs.shapes import Shape
from minference.storage.base import Record
from minference.storage.erasing import Shared

Held = dict[OnErase | None, set[UUID]]
"""What some lineages hold, by the mark of the field."""


def digests_in(record: Record) -> list[str]:
    """The digests of requests in a version that, when it is erased, must not be answered from a cache any longer."""
    names = [name for name, mark in plan_of(record.cls).on_erase.items() if mark is OnErase.uncaches]
    return [digest for name in names if isinstance(digest := record.values[name], str) and digest]


def marks_of(cls: type[Entity] | None, shape: Shape, renamed: Mapping[str, str] | None = None) -> Callable[[str], OnErase | None]:
    """The mark that a field of versions in this shape has today, by its name in the shape; none where the class is not known."""
    if cls is None:
        return lambda _: None
    fit, marks = Fit(cls, shape, renamed), plan_of(cls).on_erase

    def mark_of(name: str) -> OnErase | None:
        target = fit.target(name)
        return None if target is None else marks.get(target)

    return mark_of


def following(cls: type[Entity]) -> list[str]:
    """The fields that are marked `follows`."""
    return [name for name, mark in plan_of(cls).on_erase.items() if mark is OnErase.follows]


class Holdings(Protocol):
    """Who holds whom, over all versions of each lineage."""

    async def held(self, lineages: Set[UUID]) -> Held:
        """What any of these holds."""
        ...

    async def holders(self, lineages: Set[UUID]) -> set[tuple[UUID, UUID]]:
        """(one of these, who holds it); without those who are erased themselves."""
        ...

    async def followers(self, lineages: Set[UUID]) -> set[UUID]:
        """Who names one of these, or a version of one, in a field marked `follows`."""
        ...


@dataclass(frozen=True, slots=True)
class Belongings:
    """What an erasure reaches."""

    erased: set[UUID]
    affected: set[UUID]
    """Others that hold some of it."""
    kept: set[UUID]
    """What it holds, and others as well."""


async def belongings(holdings: Holdings, root: UUID, shared: Shared) -> Belongings:
    """What belongs to `root`, itself included: what names it or is in fields marked `too`, and of the rest what nobody else holds.

    With `shared="keep"`, fields marked `too` are like those without a mark.
    """
    erased: set[UUID] = set()
    sure, candidates = {root}, set[UUID]()
    while sure:
        erased |= await _reached_by_marks(holdings, sure, erased, shared)
        candidates = await _hanging_on(holdings, erased)
        sure = await _held_by_nobody_else(holdings, candidates, erased)
    holders = {holder for _, holder in await holdings.holders(erased)}
    return Belongings(erased, holders - erased, candidates)


async def _reached_by_marks(holdings: Holdings, sure: set[UUID], erased: set[UUID], shared: Shared) -> set[UUID]:
    found, waiting = set(sure), set(sure)
    while waiting:
        reached = await holdings.followers(waiting)
        if shared == "erase":
            reached |= (await holdings.held(waiting)).get(OnErase.too, set())
        waiting = reached - found - erased
        found |= waiting
    return found


async def _hanging_on(holdings: Holdings, erased: set[UUID]) -> set[UUID]:
    """What the erased ones hold and may take with them, and what that holds, without the erased ones."""
    found: set[UUID] = set()
    waiting = set(erased)
    while waiting:
        reached = {child for mark, held in (await holdings.held(waiting)).items() if mark is not OnErase.stays for child in held}
        waiting = reached - found - erased
        found |= waiting
    return found


async def _held_by_nobody_else(holdings: Holdings, candidates: set[UUID], erased: set[UUID]) -> set[UUID]:
    """Those candidates that only the erased ones and each other hold."""
    holds: dict[UUID, list[UUID]] = {}
    falling: list[UUID] = []
    for one, holder in await holdings.holders(candidates) if candidates else ():
        holds.setdefault(holder, []).append(one)
        if holder not in candidates and holder not in erased:
            falling.append(one)
    alive = set(candidates)
    while falling:
        gone = falling.pop()
        if gone in alive:
            alive.remove(gone)
            falling.extend(holds.get(gone, ()))
    return alive


def in_order(root: UUID, lineages: Iterable[UUID]) -> tuple[UUID, ...]:
    """The lineages, the root first."""
    return tuple(sorted(lineages, key=lambda each: (each != root, each)))
