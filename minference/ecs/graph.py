"""Which entity holds which: the object graph below some roots, with its cycles and an order that has children first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

from minference.ecs.entity import Entity, plan_of


class EntityDependencyGraph:
    """Every entity reachable from some roots, and who holds whom.

    Nodes are objects in memory: two copies of one version are two nodes. Fields are read as they are, properties never.
    Building is linear in the number of references, and deep chains are as good as flat ones.
    """

    def __init__(self, *roots: Entity) -> None:
        self._given: list[Entity] = []
        self._nodes: dict[int, Entity] = {}
        self._held: dict[int, list[Entity]] = {}
        self._holders: dict[int, list[Entity]] = {}
        self._components: list[list[Entity]] | None = None
        self.build_graph(*roots)

    def build_graph(self, *roots: Entity) -> Self:
        """Add these roots and everything below them, and return this graph."""
        self._components = None
        self._given.extend(roots)
        waiting = list(reversed(roots))
        while waiting:
            entity = waiting.pop()
            if id(entity) in self._nodes:
                continue
            self._nodes[id(entity)] = entity
            self._holders.setdefault(id(entity), [])
            held = list({id(child): child for child in plan_of(type(entity)).children(entity)}.values())
            self._held[id(entity)] = held
            for child in held:
                self._holders.setdefault(id(child), []).append(entity)
            waiting.extend(reversed(held))
        return self

    def __contains__(self, entity: object) -> bool:
        return id(entity) in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def nodes(self) -> list[Entity]:
        """Every entity, each once, as a walk from the roots meets them."""
        return list(self._nodes.values())

    @property
    def edges(self) -> list[tuple[Entity, Entity]]:
        """(holder, held), each pair once however many fields hold it."""
        return [(entity, child) for entity in self._nodes.values() for child in self._held[id(entity)]]

    def dependencies(self, entity: Entity) -> list[Entity]:
        """Everything that `entity` holds, directly or not, nearest first; itself only if it is part of a cycle.

        Raises:
            KeyError: The entity is not in this graph.
        """
        return self._reach(entity, self._held)

    def dependents(self, entity: Entity) -> list[Entity]:
        """Everything that holds `entity`, directly or not, nearest first; itself only if it is part of a cycle.

        Raises:
            KeyError: The entity is not in this graph.
        """
        return self._reach(entity, self._holders)

    def topological_order(self) -> list[Entity]:
        """Every entity, each once, children before whoever holds them; inside a cycle the order is arbitrary."""
        return [entity for component in self._strong_components() for entity in component]

    get_topological_sort = topological_order

    def cycles(self) -> list[list[Entity]]:
        """The groups of entities that all reach each other, and each entity that holds itself; innermost first."""
        return [component for component in self._strong_components() if len(component) > 1 or self._holds_itself(component[0])]

    def has_cycles(self) -> bool:
        """Whether any entity reaches itself."""
        return bool(self.cycles())

    def roots(self) -> list[Entity]:
        """The entities that nothing else holds. A cycle that nothing else holds counts once, by the entity that was met first."""
        place = {key: number for number, key in enumerate(self._nodes)}
        given = {id(entity) for entity in self._given}
        found: list[Entity] = []
        for component in self._strong_components():
            inside = {id(entity) for entity in component}
            if all(id(holder) in inside for entity in component for holder in self._holders[id(entity)]):
                found.append(min(component, key=lambda entity: (id(entity) not in given, place[id(entity)])))
        return sorted(found, key=lambda entity: place[id(entity)])

    def _holds_itself(self, entity: Entity) -> bool:
        return any(child is entity for child in self._held[id(entity)])

    def _reach(self, entity: Entity, links: dict[int, list[Entity]]) -> list[Entity]:
        if entity not in self:
            raise KeyError(f"{type(entity).__name__} {entity.ecs_id} is not in this graph: add it with build_graph()")
        found: dict[int, Entity] = {}
        level = [entity]
        while level:
            following: list[Entity] = []
            for each in level:
                for linked in links[id(each)]:
                    if id(linked) not in found:
                        found[id(linked)] = linked
                        following.append(linked)
            level = following
        return list(found.values())

    def _strong_components(self) -> list[list[Entity]]:
        if self._components is None:
            self._components = strong_components(self.nodes, lambda entity: self._held[id(entity)])
        return self._components


FEW = 8
"""As many roots are looked at one by one faster than sorted by who holds whom."""


def top_most(entities: Sequence[Entity]) -> Sequence[Entity]:
    """Those of many entities that no other one reaches, and one of each cycle: together they reach all. A few stay as they are."""
    return entities if len(entities) <= FEW else EntityDependencyGraph(*entities).roots()


def strong_components(nodes: list[Entity], held: Callable[[Entity], list[Entity]]) -> list[list[Entity]]:
    """Groups of entities that all reach each other, held ones before their holders (Tarjan, without recursion)."""
    number: dict[int, int] = {}
    lowest: dict[int, int] = {}
    open_nodes: list[Entity] = []
    closed: set[int] = set()
    components: list[list[Entity]] = []
    for start in nodes:
        if id(start) in number:
            continue
        path = [(start, iter(held(start)))]
        number[id(start)] = lowest[id(start)] = len(number)
        open_nodes.append(start)
        while path:
            entity, children = path[-1]
            for child in children:
                if id(child) not in number:
                    number[id(child)] = lowest[id(child)] = len(number)
                    open_nodes.append(child)
                    path.append((child, iter(held(child))))
                    break
                if id(child) not in closed:
                    lowest[id(entity)] = min(lowest[id(entity)], number[id(child)])
            else:
                path.pop()
                if path:
                    holder = id(path[-1][0])
                    lowest[holder] = min(lowest[holder], lowest[id(entity)])
                if lowest[id(entity)] == number[id(entity)]:
                    components.append(_close(entity, open_nodes, closed))
    return components


def _close(entity: Entity, open_nodes: list[Entity], closed: set[int]) -> list[Entity]:
    component: list[Entity] = []
    while True:
        member = open_nodes.pop()
        closed.add(id(member))
        component.append(member)
        if member is entity:
            return component
