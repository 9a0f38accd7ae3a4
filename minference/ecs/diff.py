"""What differs between two versions: field by field, collections by lineage, texts by words, JSON values by path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from minference.ecs.blobs import Blob
from minference.ecs.diff_values import PathChange, Segment, path_changes, word_segments
from minference.ecs.entity import Entity, plan_of, state_of
from minference.ecs.exactness import same_time
from minference.ecs.members import Matched, Place, match_members
from minference.ecs.plan import CollectionField, EntityPlan
from minference.ecs.values import dump_json, stored_data
from minference.errors import DifferentClasses

if TYPE_CHECKING:
    from rich.text import Text


@dataclass(frozen=True, slots=True)
class Changed:
    """A plain value became another."""

    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class TextChanged:
    """A text became another."""

    old: str
    new: str

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The text in pieces, by words: kept, removed and added ones, in reading order."""
        return word_segments(self.old, self.new)


@dataclass(frozen=True, slots=True)
class NestedChanged:
    """A dict, list, set or model changed inside."""

    old: Any
    new: Any
    changes: tuple[PathChange, ...]
    """Where: e.g. `stop[1]` or `limits.tokens`, relative to the field; `{}` stands for an element of a set."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """A reference holds another entity than before, or none, or one where none was."""

    old: Entity | None
    new: Entity | None


@dataclass(frozen=True, slots=True)
class MemberChanged:
    """A member of a collection is in both, and differs."""

    place: Place
    """Its index or key in the new version."""
    diff: EntityDiff


@dataclass(frozen=True, slots=True)
class Placed:
    """A member that only one side has."""

    place: Place
    entity: Entity


@dataclass(frozen=True, slots=True)
class Moved:
    """A member that changed its index relative to the others, or its key."""

    old_place: Place
    new_place: Place
    entity: Entity


@dataclass(frozen=True, slots=True)
class CollectionChanged:
    """An ordered or keyed collection of entities differs; members are matched by lineage."""

    removed: tuple[Placed, ...] = ()
    """With places in the old version."""
    added: tuple[Placed, ...] = ()
    """With places in the new version."""
    moved: tuple[Moved, ...] = ()
    changed: tuple[MemberChanged, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class EntityDiff:
    """What differs between two entities of one class. False if nothing does."""

    old: Entity = field(repr=False)
    new: Entity = field(repr=False)
    fields: Mapping[str, FieldDiff] = field(repr=False)
    """Only fields that differ, in the order of the class. Identity fields are never among them."""

    def __bool__(self) -> bool:
        return bool(self.fields)

    def __str__(self) -> str:
        from minference.ecs.diff_render import diff_to_text

        return diff_to_text(self)

    def __rich__(self) -> Text:
        from minference.ecs.diff_render import diff_to_rich

        return diff_to_rich(self)

    def _repr_html_(self) -> str:
        from minference.ecs.diff_render import diff_to_notebook

        return diff_to_notebook(self)

    def to_html(self) -> str:
        """A fragment of HTML that needs nothing else; all content is escaped."""
        from minference.ecs.diff_render import diff_to_html

        return diff_to_html(self)

    def to_json(self) -> dict[str, Any]:
        """The diff as JSON data; an entity stands as its ids, kind and own plain values."""
        from minference.ecs.diff_render import diff_to_json

        return diff_to_json(self)


FieldDiff = Changed | TextChanged | NestedChanged | Replaced | CollectionChanged | EntityDiff

Match = Callable[[CollectionField, Entity, Entity], Matched[Entity] | None]
"""Which members of a field of two entities belong together; pairs that are surely equal may be left out. `None`: they are one."""


def match_fields(collection: CollectionField, old: Entity, new: Entity) -> Matched[Entity] | None:
    """Compare two collections that are there as a whole."""
    before, after = old.__dict__[collection.name], new.__dict__[collection.name]
    return None if before is after else match_members(collection, before, after)


def diff_entities(old: Entity, new: Entity, match: Match = match_fields) -> EntityDiff:
    """What differs between two entities and everything below them, versions of one lineage or not.

    Content is compared as it is now, unsaved edits included. Of a cycle, each difference is reported once.
    `match` pairs the members of collections.

    Raises:
        DifferentClasses: They are of different classes.
    """
    if type(old) is not type(new):
        raise DifferentClasses(type(old).__name__, type(new).__name__)
    return _assemble(_walk(_Pair(old, new), match))


def compare_entity_fields(old: Entity, new: Entity) -> tuple[bool, dict[str, dict[str, Any]]]:
    """Whether two entities differ, and for each field that does `{"old": ..., "new": ...}` with its values.

    Raises:
        DifferentClasses: They are of different classes.
    """
    diff = diff_entities(old, new)
    return bool(diff), {name: {"old": old.__dict__[name], "new": new.__dict__[name]} for name in diff.fields}


class _Pair(NamedTuple):
    old: Entity
    new: Entity

    @property
    def key(self) -> tuple[int, int]:
        return id(self.old), id(self.new)


@dataclass(slots=True)
class _Findings:
    """What one pair of entities shows by itself, and the pairs below it."""

    pair: _Pair
    own: dict[str, FieldDiff]
    references: dict[str, _Pair]
    collections: dict[str, Matched[Entity]]
    below: list[_Pair]


def _walk(start: _Pair, match: Match) -> list[_Findings]:
    """The findings of every pair that has to be looked at, those below before those above (without recursion)."""
    finished: list[_Findings] = []
    seen = {start.key}
    first = _look(start, match)
    path: list[tuple[_Findings, Iterator[_Pair]]] = [(first, iter(first.below))]
    while path:
        findings, below = path[-1]
        for pair in below:
            if pair.key not in seen:
                seen.add(pair.key)
                found = _look(pair, match)
                path.append((found, iter(found.below)))
                break
        else:
            finished.append(findings)
            path.pop()
    return finished


def _assemble(finished: list[_Findings]) -> EntityDiff:
    done: dict[tuple[int, int], EntityDiff] = {}
    for findings in finished:
        pair, fields = findings.pair, findings.own
        for name, reference in findings.references.items():
            if below := done.get(reference.key):
                fields[name] = below
        for name, matched in findings.collections.items():
            if (collection := _collection(matched, done)) is not None:
                fields[name] = collection
        order = [name for name in type(pair.new).model_fields if name in fields]
        done[pair.key] = EntityDiff(pair.old, pair.new, {name: fields[name] for name in order})
    return done[finished[-1].pair.key]


def _collection(matched: Matched[Entity], done: Mapping[tuple[int, int], EntityDiff]) -> CollectionChanged | None:
    changed = tuple(
        MemberChanged(place, below) for place, old, new in matched.both if old is not new and (below := done.get((id(old), id(new))))
    )
    if not (matched.removed or matched.added or matched.moved or changed):
        return None
    return CollectionChanged(
        removed=tuple(Placed(place, entity) for place, entity in matched.removed),
        added=tuple(Placed(place, entity) for place, entity in matched.added),
        moved=tuple(Moved(*each) for each in matched.moved),
        changed=changed,
    )


def _look(pair: _Pair, match: Match) -> _Findings:
    cls, plan = type(pair.new), plan_of(type(pair.new))
    before, after = pair.old.__dict__, pair.new.__dict__
    findings = _Findings(pair, _value_differences(cls, plan, before, after), {}, {}, [])
    for name in plan.references:
        one, other = before[name], after[name]
        if one is None or other is None or not _is_same_thing(one, other):
            if one is not other:
                findings.own[name] = Replaced(one, other)
        elif not _surely_equal(one, other):
            findings.references[name] = _Pair(one, other)
            findings.below.append(findings.references[name])
    for collection in plan.collections:
        if (matched := match(collection, pair.old, pair.new)) is not None:
            findings.collections[collection.name] = matched
            findings.below.extend(_Pair(one, other) for _, one, other in matched.both if not _surely_equal(one, other))
    return findings


def _is_same_thing(one: Entity, other: Entity) -> bool:
    return one is other or (one.lineage_id == other.lineage_id and type(one) is type(other))


def _surely_equal(one: Entity, other: Entity) -> bool:
    """Whether nothing below can differ: it is one object, two untouched copies of one version, or leaves with equal values."""
    if one is other or _is_one_version(one, other):
        return True
    plan = plan_of(type(one))
    before, after = one.__dict__, other.__dict__
    return (
        not plan.mutable
        and all(before[name] is None and after[name] is None for name in plan.references)
        and not any(before[collection.name] or after[collection.name] for collection in plan.collections)
        and all(before[name] is after[name] or same_value(type(one), name, before[name], after[name]) for name in plan.values)
    )


def _is_one_version(one: Entity, other: Entity, *, deeper: bool = True) -> bool:
    """Whether both are copies of one stored version with nothing edited; warm ones are looked into for one level."""
    if one.ecs_id != other.ecs_id or (state := state_of(one)) is None or (its := state_of(other)) is None:
        return False
    if state.erased or its.erased:  # one of them may still hold the content
        return False
    if state.cold and its.cold:
        return True
    before, after, plan = one.__dict__, other.__dict__, plan_of(type(one))
    if state.data is not before or its.data is not after or plan.mutable:
        return False
    if any(before[collection.name] or after[collection.name] for collection in plan.collections):
        return False
    for name in plan.references:
        first, second = before[name], after[name]
        if first is not second and (first is None or second is None or not deeper or not _is_one_version(first, second, deeper=False)):
            return False
    return True


_EXACT = frozenset({str, int, bool, UUID, type(None), bytes})


def same_value(cls: type[Entity], name: str, one: Any, other: Any) -> bool:
    """Whether both are stored equally."""
    if type(one) is type(other) and type(one) in _EXACT:
        return bool(one == other)
    if type(one) is datetime and type(other) is datetime:
        return same_time(one, other)
    return dump_json(cls, name, one) == dump_json(cls, name, other)


def _value_differences(cls: type[Entity], plan: EntityPlan, before: dict[str, Any], after: dict[str, Any]) -> dict[str, FieldDiff]:
    return {
        name: _value_difference(cls, name, before[name], after[name])
        for names in (plan.values, plan.mutable)
        for name in names
        if before[name] is not after[name] and not same_value(cls, name, before[name], after[name])
    }


def _value_difference(cls: type[Entity], name: str, one: Any, other: Any) -> FieldDiff:
    if type(one) is str and type(other) is str:
        return TextChanged(one, other)
    if isinstance(one, Blob) or isinstance(other, Blob):
        return Changed(one, other)
    changes = path_changes(stored_data(cls, name, one), stored_data(cls, name, other))
    return NestedChanged(one, other, changes) if any(change.path for change in changes) else Changed(one, other)
