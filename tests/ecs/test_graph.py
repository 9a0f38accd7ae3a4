"""The dependency graph: who holds whom, in which order, and where it goes round in circles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from minference.ecs.entity import Entity
from minference.ecs.graph import EntityDependencyGraph


class GraphNode(Entity):
    label: str = ""
    left: GraphNode | None = None
    right: GraphNode | None = None
    items: list[GraphNode] = Field(default_factory=list)
    named: dict[str, GraphNode] = Field(default_factory=dict)

    @property
    def trap(self) -> GraphNode:
        raise AssertionError("a property was evaluated")


def labels(nodes: list[Entity]) -> list[str]:
    return [node.label for node in nodes if isinstance(node, GraphNode)]


def test_every_reachable_entity_is_a_node_once_and_every_holding_an_edge_once() -> None:
    shared = GraphNode(label="shared")
    a = GraphNode(label="a", left=shared, right=shared, items=[shared])
    root = GraphNode(label="root", items=[a], named={"x": shared})
    graph = EntityDependencyGraph(root)
    assert labels(graph.nodes) == ["root", "a", "shared"]
    assert [(held.label, child.label) for held, child in graph.edges] == [("root", "a"), ("root", "shared"), ("a", "shared")]  # type: ignore[attr-defined]


def test_two_copies_of_one_version_are_two_nodes() -> None:
    one = GraphNode(label="one")
    copy = GraphNode(**one.__dict__)
    assert one == copy
    assert len(EntityDependencyGraph(GraphNode(left=one, right=copy))) == 3


def test_children_come_before_their_holders() -> None:
    leaf = GraphNode(label="leaf")
    middle = GraphNode(label="middle", items=[leaf])
    root = GraphNode(label="root", left=leaf, right=middle)
    graph = EntityDependencyGraph(root)
    assert labels(graph.topological_order()) == ["leaf", "middle", "root"]
    assert graph.get_topological_sort() == graph.topological_order()
    assert not graph.has_cycles()


def test_a_cycle_is_found_whole_and_its_outside_is_not_part_of_it() -> None:
    a, b, c, outside = (GraphNode(label=label) for label in ("a", "b", "c", "outside"))
    a.left, b.left, c.left, c.right = b, c, a, outside
    outside.left = outside
    graph = EntityDependencyGraph(a)
    assert [sorted(labels(cycle)) for cycle in graph.cycles()] == [["outside"], ["a", "b", "c"]]
    assert labels(graph.roots()) == ["a"]


def test_the_root_of_a_cycle_is_the_one_that_was_given() -> None:
    a, b = GraphNode(label="a"), GraphNode(label="b")
    a.left, b.left = b, a
    assert labels(EntityDependencyGraph(b).roots()) == ["b"]


def test_roots_are_what_nothing_else_holds() -> None:
    inner = GraphNode(label="inner")
    one, two = GraphNode(label="one", left=inner), GraphNode(label="two", left=inner)
    assert labels(EntityDependencyGraph(inner, one, two).roots()) == ["one", "two"]


def test_dependents_are_all_ancestors_nearest_first() -> None:
    leaf = GraphNode(label="leaf")
    one, two = GraphNode(label="one", left=leaf), GraphNode(label="two", left=leaf)
    root = GraphNode(label="root", items=[one, two])
    graph = EntityDependencyGraph(root)
    assert labels(graph.dependents(leaf)) == ["one", "two", "root"]
    assert labels(graph.dependencies(root)) == ["one", "two", "leaf"]


def test_asking_about_a_stranger_says_so() -> None:
    with pytest.raises(KeyError, match="is not in this graph"):
        EntityDependencyGraph(GraphNode()).dependents(GraphNode())


def test_a_graph_grows_by_further_roots() -> None:
    graph = EntityDependencyGraph(GraphNode(label="one"))
    assert labels(graph.roots()) == ["one"]
    assert labels(graph.build_graph(GraphNode(label="two")).topological_order()) == ["one", "two"]


def test_a_chain_of_ten_thousand_needs_no_recursion() -> None:
    root = GraphNode(label="0")
    last = root
    for number in range(1, 10_000):
        last.left = GraphNode(label=str(number))
        last = last.left
    graph = EntityDependencyGraph(root)
    assert labels(graph.topological_order()) == [str(number) for number in reversed(range(10_000))]
    assert len(graph.dependents(last)) == 9_999
    last.left = root
    assert [len(cycle) for cycle in EntityDependencyGraph(root).cycles()] == [10_000]


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_cycles_order_and_dependents_agree_with_reachability(links: list[tuple[int, int]]) -> None:
    nodes = [GraphNode(label=str(number)) for number in range(8)]
    for holder, held in links:
        nodes[holder].items.append(nodes[held])
    reach = {(a, b) for a, b in links}
    for k in range(8):
        reach |= {(a, b) for a in range(8) for b in range(8) if (a, k) in reach and (k, b) in reach}
    graph = EntityDependencyGraph(*nodes)
    assert {frozenset(map(int, labels(cycle))) for cycle in graph.cycles()} == {
        frozenset(b for b in range(8) if (a, b) in reach and (b, a) in reach) for a in range(8) if (a, a) in reach
    }
    for number, node in enumerate(nodes):
        assert set(map(int, labels(graph.dependents(node)))) == {a for a in range(8) if (a, number) in reach}
    place = {label: index for index, label in enumerate(labels(graph.topological_order()))}
    assert len(place) == 8
    assert all(place[str(b)] < place[str(a)] for a, b in reach if (b, a) not in reach)
