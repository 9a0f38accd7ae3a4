"""Three-way merge over a common ancestor: field by field, collections by lineage. What both changed differently is a conflict."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from minference.ecs.choices import a_choice
from minference.ecs.diff_values import ABSENT, Absent
from minference.ecs.entity import Entity, frozen, plan_of, state_of
from minference.ecs.merge_apply import Merged, apply_merged
from minference.ecs.merge_graph import Graph, Key, Node, agree, below, changed_fields, is_same, member, reach
from minference.ecs.merge_lists import Strategy, merge_lists
from minference.ecs.recording import NothingRecorded
from minference.errors import DifferentClasses, UnrelatedVersions

E = TypeVar("E", bound=Entity)

_Choice = Key | None | Absent


@dataclass(frozen=True, slots=True)
class Conflict:
    """One place that both sides changed differently."""

    path: str
    """E.g. `name` or `history[2].content`, with places of the base; empty if the root as a whole would not be valid."""
    base: Any
    """What stood there: a value, an entity, or a tuple of them for a stretch of a collection. `ABSENT` if there was nothing.

    Where a member of a keyed collection was moved to different keys, or the keys put in different orders: a tuple of keys.
    """
    ours: Any
    theirs: Any

    def __str__(self) -> str:
        return f"{self.path or 'the whole'}: {self.base!r:.200} became {self.ours!r:.200} in ours and {self.theirs!r:.200} in theirs"


@dataclass(frozen=True, slots=True)
class MergeResult(Generic[E]):
    """What came of a merge."""

    entity: E
    """The object that was merged into; at each conflict it is as ours has it."""
    conflicts: tuple[Conflict, ...] = ()


def check_strategy(strategy: Strategy | None) -> None:
    """Return if conflicts can be settled so.

    Raises:
        UnknownChoice: There is no such strategy.
    """
    if strategy is not None:
        a_choice("strategy", strategy, Strategy)


def merge_entities(
    base: Entity,
    ours: E,
    theirs: E,
    strategy: Strategy | None = None,
    *,
    onto_theirs: bool = False,
    theirs_first: bool = False,
    settled: Container[int] = (),
) -> MergeResult[E]:
    """Bring what `theirs` changed since `base` into `ours`, and all that hangs on them; saves nothing.

    `ours` keeps its identity, and so does everything on it that only it changed or nobody did. What only they changed is
    there as an object of theirs afterwards, so `theirs` is not to be used any more. What both changed is an object of ours
    with both changes: the next version of ours, or with `onto_theirs` of theirs, as is the root itself.

    Args:
        strategy: `ours` or `theirs` settles every conflict by that side. `append` keeps both sides' additions to an ordered
            collection where they meet: theirs after ours, as two continuations of one thread, or `theirs_first`.
        settled: `id()` of objects of ours that stay on their versions, whatever is merged into them.

    Raises:
        DifferentClasses: They are of different classes.
        UnrelatedVersions: They are no versions of one lineage.
        FrozenSnapshot: `ours` or `theirs` is a cold snapshot.
        UnknownChoice: There is no such strategy.
    """
    check_strategy(strategy)
    for other in (base, theirs):
        if type(other) is not type(ours):
            raise DifferentClasses(type(ours).__name__, type(other).__name__)
        if other.lineage_id != ours.lineage_id:
            raise UnrelatedVersions(ours.ecs_id, other.ecs_id)
    for warm in (ours, theirs):
        if (state := state_of(warm)) is not None and state.cold:
            raise frozen(warm, next(iter(type(warm).model_fields)))
    mine = Graph(ours)
    yours = Graph(theirs)
    merge = _Merge(mine if base is ours else Graph(base), mine, yours, strategy, theirs_first=theirs_first)
    merged = merge.run()
    apply_merged(merged, mine, yours, onto_theirs=onto_theirs, settled=settled)
    return MergeResult(ours, tuple(merge.conflicts))


class _Merge:
    """Decides what each entity holds; changes nothing."""

    def __init__(self, base: Graph, ours: Graph, theirs: Graph, strategy: Strategy | None, *, theirs_first: bool) -> None:
        self.base, self.ours, self.theirs = base, ours, theirs
        self.strategy = strategy
        self.theirs_first = theirs_first
        self.conflicts: list[Conflict] = []
        self._sure: dict[Key, list[Key]] = {}
        """What each entity refers to however the conflicts are settled."""
        self._elsewhere: set[Key] = set()
        """Edited entities that the other side took away from a place, and has in another."""
        self._contested: set[Key] = set()
        """Those of them that might not be reached by that other place in the end."""
        self._ours_changed, self._theirs_changed = _changes(base, ours), _changes(base, theirs)
        self._ours_edited = ours.above(key for key, names in self._ours_changed.items() if names)
        self._theirs_edited = theirs.above(key for key, names in self._theirs_changed.items() if names)

    def run(self) -> dict[Key, Merged]:
        """Everything that the merged root reaches. Conflicts do not depend on which side is ours."""
        while True:
            self.conflicts, self._sure, self._elsewhere = [], {}, set()
            merged = self._reach()
            for key in self.ours.nodes:
                if key in self.theirs.nodes and key not in merged:
                    self._decide(key)
            missed = self._elsewhere - reach(self._sure, self.ours.root)
            if not missed:
                return merged
            self._contested |= missed

    def _reach(self) -> dict[Key, Merged]:
        root = self.ours.root
        merged: dict[Key, Merged] = {}
        waiting, seen = deque([root]), {root}
        while waiting:
            key = waiting.popleft()
            merged[key] = self._decide(key)
            for child in merged[key].node.children():
                if child not in seen:
                    seen.add(child)
                    waiting.append(child)
        return merged

    def _decide(self, key: Key) -> Merged:
        base, ours, theirs = (graph.nodes.get(key) for graph in (self.base, self.ours, self.theirs))
        if ours is None or theirs is None:
            either = ours or theirs
            assert either is not None, "only what one side holds is ever referred to"
            self._sure[key] = list(either.children())
            return Merged(either, is_ours=theirs is None, is_theirs=ours is None)
        changed = changed_fields(theirs, ours) if base is None else self._ours_changed[key] | self._theirs_changed[key]
        self._sure[key] = list(ours.children(without=changed))
        if not changed:
            return Merged(ours, is_ours=True, is_theirs=True)
        node = self._mix(base, ours, theirs, changed)
        merged = Merged(node, all(agree(name, node, ours) for name in changed), all(agree(name, node, theirs) for name in changed))
        if merged.is_ours or merged.is_theirs or self._is_valid(node) or not (self._is_valid(ours) and self._is_valid(theirs)):
            return merged
        self._sure[key] = []
        whole = Conflict(node.path, ABSENT if base is None else base.entity, ours.entity, theirs.entity)
        return Merged(theirs, is_ours=False, is_theirs=True) if self._takes_theirs(whole) else Merged(ours, is_ours=True, is_theirs=False)

    def _mix(self, base: Node | None, ours: Node, theirs: Node, changed: frozenset[str]) -> Node:
        path = base.path if base is not None else min(ours.path, theirs.path)
        data = dict(ours.data)
        node = Node(ours.key, path, ours.entity, data, dict(ours.references), dict(ours.collections), dict(ours.names))
        for name in type(ours.entity).model_fields:
            if name not in changed:
                continue
            here, conflicts = below(path, name), len(self.conflicts)
            if name in ours.references:
                old = ABSENT if base is None else base.references[name]
                chosen = self._choose(here, old, ours.references[name], theirs.references[name])
                assert not isinstance(chosen, Absent), "both sides have the field"
                node.references[name] = chosen
            elif name in ours.names:
                node.names[name], node.collections[name] = self._keyed(here, *(_named(each, name) for each in (base, ours, theirs)))
            elif name in ours.collections:
                node.collections[name] = self._ordered(here, *(_numbered(each, name) for each in (base, ours, theirs)))
            else:
                data[name] = self._value(here, name, base, ours, theirs)
            agreed = len(self.conflicts) == conflicts
            self._sure[ours.key] += node.children_in(name) if agreed else _held_by_all(name, base, ours, theirs)
        return node

    def _value(self, path: str, name: str, base: Node | None, ours: Node, theirs: Node) -> Any:
        mine, yours, cls = ours.data[name], theirs.data[name], type(ours.entity)
        if is_same(cls, name, mine, yours) or (base is not None and name not in self._theirs_changed[ours.key]):
            return mine
        if base is not None and name not in self._ours_changed[ours.key]:
            return yours
        conflict = Conflict(path, ABSENT if base is None else base.data[name], mine, yours)
        return yours if self._takes_theirs(conflict) else mine

    def _choose(self, path: str, old: _Choice, mine: _Choice, yours: _Choice) -> _Choice:
        """Which entity one place holds."""
        if mine == yours or (yours == old and not self._loses(old, self.ours, self._theirs_edited)):
            return mine
        if mine == old and not self._loses(old, self.theirs, self._ours_edited):
            return yours
        return yours if self._takes_theirs(self._conflict(path, old, mine, yours)) else mine

    def _loses(self, key: _Choice, remover: Graph, edited: set[Key]) -> bool:
        """Whether one side has removed what the other edited, so that the edit would be nowhere."""
        if not isinstance(key, tuple) or key not in edited:
            return False
        if key in remover.nodes and key not in self._contested:
            self._elsewhere.add(key)
            return False
        return True

    def _ordered(self, path: str, old: list[_Item], mine: list[_Item], yours: list[_Item]) -> list[Key]:
        dropped: set[_Item] = set()
        in_mine, in_yours = set(mine), set(yours)
        for place, item in enumerate(old):
            if (item in in_mine) == (item in in_yours):
                continue
            remover, edited, items = (self.ours, self._theirs_edited, mine) if item in in_yours else (self.theirs, self._ours_edited, yours)
            if self._loses(item[0], remover, edited):
                sides = (item[0] if item in present else ABSENT for present in (in_mine, in_yours))
                takes_theirs = self._takes_theirs(self._conflict(member(path, place), item[0], *sides))
                if item not in (in_yours if takes_theirs else in_mine):
                    dropped.add(item)
                _restore(items, item, old[:place])
        merged = merge_lists(old, mine, yours, self.strategy, theirs_first=self.theirs_first)
        for clash in merged.clashes:
            here = path if clash.place is None else member(path, clash.place)
            stretches = zip((self.base, self.ours, self.theirs), (clash.base, clash.ours, clash.theirs), strict=True)
            self.conflicts.append(Conflict(here, *(tuple(self._shown(graph, key) for key, _ in items) for graph, items in stretches)))
        return [item[0] for item in merged.items if item not in dropped]

    def _keyed(self, path: str, old: dict[str, Key], mine: dict[str, Key], yours: dict[str, Key]) -> tuple[tuple[str, ...], list[Key]]:
        self._settle_moves(path, old, mine, yours)
        chosen: dict[str, Key] = {}
        for name in dict.fromkeys([*old, *mine, *yours]):
            found = self._choose(member(path, name), *(each.get(name, ABSENT) for each in (old, mine, yours)))
            if isinstance(found, tuple):
                chosen[name] = found
        names = list(old), list(mine), list(yours)
        if self.strategy is None and any(clash.place is None for clash in merge_lists(*names).clashes):
            self.conflicts.append(Conflict(path, *map(tuple, names)))
        order = merge_lists(*names, self.strategy or "append", theirs_first=self.theirs_first).items
        order = [name for name in dict.fromkeys([*order, *chosen]) if name in chosen]
        return tuple(order), [chosen[name] for name in order]

    def _settle_moves(self, path: str, old: dict[str, Key], mine: dict[str, Key], yours: dict[str, Key]) -> None:
        """Take back from one side the moves of members that both sides moved, to different keys: both would hold, at once."""
        by_me, by_you = _gained(mine, old, yours), _gained(yours, old, mine)
        for name, key in old.items():
            if key in by_me and key in by_you and key not in (mine.get(name), yours.get(name)):
                here, there = by_me.pop(key), by_you.pop(key)
                takes_theirs = self._takes_theirs(Conflict(member(path, name), (name,), tuple(here), tuple(there)))
                side, taken = (mine, here) if takes_theirs else (yours, there)
                for each in taken:
                    if each in old:
                        side[each] = old[each]
                    else:
                        del side[each]

    def _takes_theirs(self, conflict: Conflict) -> bool:
        """Settle a conflict by the strategy; if that says nothing, it is left, and stays as ours has it."""
        if self.strategy not in ("ours", "theirs"):
            self.conflicts.append(conflict)
        return self.strategy == "theirs"

    def _conflict(self, path: str, old: _Choice, mine: _Choice, yours: _Choice) -> Conflict:
        return Conflict(path, self._shown(self.base, old), self._shown(self.ours, mine), self._shown(self.theirs, yours))

    def _shown(self, graph: Graph, key: _Choice) -> Any:
        """The entity that a conflict names."""
        if not isinstance(key, tuple):
            return key
        found = next(each for each in (graph, self.base, self.ours, self.theirs) if key in each.nodes)
        return found.entity(key)

    def _is_valid(self, node: Node) -> bool:
        """Whether the class accepts these fields together."""
        cls, plan = type(node.entity), plan_of(type(node.entity))
        fields = {name: node.data[name] for name in (*plan.values, *plan.mutable)}
        fields |= {name: None if key is None else self._either(key) for name, key in node.references.items()}
        for collection in plan.collections:
            members = [self._either(key) for key in node.collections[collection.name]]
            fields[collection.name] = collection.build(members, list(node.names.get(collection.name, ())))
        try:
            with NothingRecorded():
                cls.__pydantic_validator__.validate_python(fields, by_alias=False, by_name=True)
        except ValidationError:
            return False
        return True

    def _either(self, key: Key) -> Entity:
        return (self.ours if key in self.ours.nodes else self.theirs).entity(key)


_Item = tuple[Key, int]
"""A member of an ordered collection: which, and for the how manieth time."""


def _changes(base: Graph, side: Graph) -> dict[Key, frozenset[str]]:
    """For each node that both have, the fields in which it differs from the base."""
    if base is side:
        return dict.fromkeys(side.nodes, frozenset())
    return {key: changed_fields(node, old) for key, node in side.nodes.items() if (old := base.nodes.get(key)) is not None}


def _held_by_all(name: str, base: Node | None, ours: Node, theirs: Node) -> list[Key]:
    """What a collection holds however its conflicts are settled."""
    if base is None or name not in ours.collections:
        return []
    if name in ours.names:
        named = [_named(node, name).items() for node in (base, ours, theirs)]
        return [key for _, key in set(named[0]).intersection(*named[1:])]
    return [key for key, _ in set(_numbered(base, name)).intersection(_numbered(ours, name), _numbered(theirs, name))]


def _numbered(node: Node | None, name: str) -> list[_Item]:
    count: dict[Key, int] = {}
    items: list[_Item] = []
    for key in node.collections[name] if node is not None else ():
        count[key] = count.get(key, 0) + 1
        items.append((key, count[key]))
    return items


def _named(node: Node | None, name: str) -> dict[str, Key]:
    return dict(zip(node.names[name], node.collections[name], strict=True)) if node is not None else {}


def _gained(side: dict[str, Key], old: dict[str, Key], other: dict[str, Key]) -> dict[Key, list[str]]:
    """By member, the keys at which only this side has it."""
    found: dict[Key, list[str]] = {}
    for name, key in side.items():
        if key not in (old.get(name), other.get(name)):
            found.setdefault(key, []).append(name)
    return found


def _restore(items: list[_Item], item: _Item, before: Sequence[_Item]) -> None:
    """Put back an item behind the nearest of those that stood before it."""
    places: dict[_Item, int] = {each: place for place, each in enumerate(items)}
    items.insert(next((places[each] + 1 for each in reversed(before) if each in places), 0), item)
