"""Differences between stored versions for the price of what differs.

Two versions of one list mostly share their spans: what they share is never read. Of the rest, members are told apart by key
and matched by lineage; only those that are on one side, or moved, or of another version are loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from minference.ecs.diff import EntityDiff, diff_entities, match_fields
from minference.ecs.diff_values import common_ends
from minference.ecs.entity import Entity, plan_of
from minference.ecs.members import Matched, Place, match_items
from minference.ecs.plan import CollectionField
from minference.ecs.state import Ledger
from minference.errors import DifferentClasses, VersionNotFound
from minference.storage.base import Backend, Record
from minference.storage.building import build_all, no_garbage_collection
from minference.storage.partial import place_of, reachable, set_members
from minference.storage.shallow import Known, Shallow
from minference.storage.stretches import Stretch, stretch

_Pair = tuple[int, int]
"""The keys of an old and a new version of one thing."""


async def differences(backend: Backend, ledger: Ledger, pairs: Sequence[tuple[UUID, UUID]]) -> list[EntityDiff]:
    """What differs in each pair of an old and a new version, all read together.

    Raises:
        VersionNotFound: One of them is not stored.
        DifferentClasses: Two of them are of different classes.
    """
    shallow = backend.shallow()
    known = await known_versions(shallow, [each for pair in pairs for each in pair])
    wanted = [(known[old].key, known[new].key) for old, new in pairs]
    for old, new in pairs:
        if known[old].cls is not known[new].cls:
            raise DifferentClasses(known[old].cls_name, known[new].cls_name)
    comparison = _Comparison(shallow)
    await comparison.read(wanted)
    with no_garbage_collection():
        return [comparison.diff(pair, ledger) for pair in wanted]


async def known_versions(shallow: Shallow, versions: Iterable[UUID]) -> dict[UUID, Known]:
    """Stored versions by id.

    Raises:
        VersionNotFound: One of them is not stored.
    """
    ids = list(dict.fromkeys(versions))
    known = {each.version.ecs_id: each for each in await shallow.known(ids=ids)}
    for ecs_id in ids:
        if ecs_id not in known:
            raise VersionNotFound(ecs_id)
    return known


@dataclass(slots=True)
class _Field:
    """One ordered field of a pair: where it may differ, and what is there."""

    pair: _Pair
    collection: CollectionField
    stretch: Stretch
    start: int = 0
    """How many members come before those that are listed, the same on both sides."""
    old: list[tuple[Place, int]] = field(default_factory=list)
    """Place and key of each member."""
    new: list[tuple[Place, int]] = field(default_factory=list)

    def trim(self) -> None:
        """Leave out what is the same version in the same place at either end."""
        head, tail = common_ends(self.old, self.new, self._is_same)
        self.start = self.stretch.head + head
        self.old, self.new = self.old[head : len(self.old) - tail], self.new[head : len(self.new) - tail]

    def _is_same(self, one: tuple[Place, int], other: tuple[Place, int]) -> bool:
        return one[1] == other[1] and (self.collection.shape is not dict or one[0] == other[0])


class _Comparison:
    """Reads what is needed to tell the differences of some pairs."""

    def __init__(self, shallow: Shallow) -> None:
        self._shallow = shallow
        self._records: dict[int, Record] = {}
        self._whole: set[int] = set()
        """Versions that are to be there with all that they hold."""
        self._matches: dict[tuple[int, int, str], Matched[int]] = {}
        """For each pair and each of its ordered fields what belongs together, where something may differ."""
        self._loaded: dict[tuple[int, str], dict[int, int]] = {}
        """By version and field, index and key of the members that are told of."""

    async def read(self, pairs: Iterable[_Pair]) -> None:
        """Read everything that `diff` needs for these pairs."""
        seen: set[_Pair] = set()
        waiting = dict.fromkeys(pairs)
        while waiting:
            seen.update(waiting)
            await self._load({key for pair in waiting for key in pair})
            below = [each for pair in waiting for each in self._references(pair)]
            below += await self._members([each for pair in waiting for each in self._fields(pair)])
            waiting = dict.fromkeys(pair for pair in below if pair not in seen)
        for (key, name), members in self._loaded.items():
            set_members(self._records[key], name, dict(sorted(members.items())))
        for record in self._records.values():
            if record.opaque is not None:
                continue
            for name in {each.name for each in plan_of(record.cls).collections} - record.members.keys():
                set_members(record, name, {})
        if self._whole:
            self._records.update(await self._shallow.trees(sorted(self._whole)))

    def diff(self, pair: _Pair, ledger: Ledger) -> EntityDiff:
        """What differs between two versions that were read."""
        olds, news = (build_all(reachable(self._records, key), ledger, cold=True) for key in pair)
        return diff_entities(olds[pair[0]], news[pair[1]], self._match(olds, news))

    def _match(self, olds: dict[int, Entity], news: dict[int, Entity]) -> Callable[..., Matched[Entity] | None]:
        old_keys = {id(entity): key for key, entity in olds.items()}
        new_keys = {id(entity): key for key, entity in news.items()}

        def match(collection: CollectionField, old: Entity, new: Entity) -> Matched[Entity] | None:
            found = self._matches.get((old_keys[id(old)], new_keys[id(new)], collection.name))
            if found is None:
                return match_fields(collection, old, new)
            return Matched(
                [(place, olds[one], news[other]) for place, one, other in found.both if one != other],
                [(place, olds[key]) for place, key in found.removed],
                [(place, news[key]) for place, key in found.added],
                [(old_place, new_place, news[key]) for old_place, new_place, key in found.moved],
            )

        return match

    async def _load(self, keys: set[int]) -> None:
        """Versions and what they refer to, without members."""
        missing = keys - self._records.keys()
        while missing:
            found = await self._shallow.records(sorted(missing))
            self._records.update(found)
            self._whole.update(key for key, record in found.items() if record.opaque is not None)
            missing = {key for each in found.values() for key in each.references.values() if key is not None} - self._records.keys()

    def _references(self, pair: _Pair) -> Iterator[_Pair]:
        """The pairs that two versions refer to. What is on one side only is to be read as a whole."""
        old, new = (self._records[key] for key in pair)
        if old.opaque is not None:
            return
        for name, one in old.references.items():
            other = new.references[name]
            if one == other:
                continue
            if one is not None and other is not None and self._is_same_thing(one, other):
                yield one, other
            else:
                self._whole.update(key for key in (one, other) if key is not None)

    def _is_same_thing(self, one: int, other: int) -> bool:
        first, second = self._records[one], self._records[other]
        return first.version.lineage_id == second.version.lineage_id and first.cls is second.cls

    def _fields(self, pair: _Pair) -> Iterator[_Field]:
        """The ordered fields of two versions."""
        old, new = (self._records[key] for key in pair)
        for each in plan_of(old.cls).collections if old.opaque is None else ():
            most = None
            if each.shape is dict:
                before, after = old.keys.get(each.name, ()), new.keys.get(each.name, ())
                most = common_ends(before, after, lambda one, other: bool(one == other))
            yield _Field(pair, each, stretch(place_of(old, each.name), place_of(new, each.name), most))

    async def _members(self, fields: list[_Field]) -> list[_Pair]:
        """The pairs of members that are of different versions. What is only on one side, or moved, is to be read as a whole."""
        spans = [each.stretch for each in fields]
        cells = iter(await self._shallow.cells([span for each in spans for span in (*each.old_spans, *each.new_spans)]))
        for each in fields:
            for owner, its, items in zip(each.pair, (each.stretch.old_spans, each.stretch.new_spans), (each.old, each.new), strict=True):
                found = [child for _ in its for child in next(cells)]
                keys = self._records[owner].keys.get(each.collection.name, ())[each.stretch.head :]
                items.extend(zip(keys, found, strict=False) if each.collection.shape is dict else enumerate(found, each.stretch.head))
            each.trim()
        members = sorted({key for each in fields for _, key in (*each.old, *each.new)})
        names = {known.key: (known.version.lineage_id, known.cls) for known in await self._shallow.known(keys=members)}
        return [pair for each in fields for pair in self._pairs(each, names)]

    def _pairs(self, its: _Field, names: dict[int, tuple[UUID, type[Entity]]]) -> list[_Pair]:
        matched = match_items(its.old, its.new, names.__getitem__, keyed=its.collection.shape is dict, start=its.start)
        self._matches[*its.pair, its.collection.name] = matched
        changed = [(one, other) for _, one, other in matched.both if one != other]
        moved = {key for _, _, key in matched.moved}
        alone = {key for _, key in (*matched.removed, *matched.added)}
        self._whole |= alone | (moved - {key for _, key in changed})
        told = alone | moved | {key for pair in changed for key in pair}
        for owner, items in zip(its.pair, (its.old, its.new), strict=True):
            loaded = self._loaded.setdefault((owner, its.collection.name), {})
            loaded.update((index, key) for index, (_, key) in enumerate(items, its.start) if key in told)
        return changed
