"""Three-way merge: what one side changed is taken, and what both changed differently is a conflict."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import pytest
from pydantic import model_validator

from minference.ecs.diff_values import ABSENT
from minference.ecs.entity import Entity
from minference.ecs.merge import Conflict, merge_entities
from minference.ecs.merge_lists import Strategy
from minference.errors import DifferentClasses, UnrelatedVersions
from tests.ecs.merge_samples import Doc, Part, copy, texts

E = TypeVar("E", bound=Entity)


class Bounds(Entity, kind="merge_bounds"):
    low: int = 0
    high: int = 10

    @model_validator(mode="after")
    def in_order(self) -> Bounds:
        if self.low > self.high:
            raise ValueError("low must not be above high")
        return self


def three(entity: E) -> tuple[E, E, E]:
    return entity, copy(entity), copy(entity)


def seen(conflicts: Iterable[Conflict]) -> list[tuple[str, Any, Any, Any]]:
    """Conflicts with texts instead of entities."""

    def show(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(show, value))
        return value.text if isinstance(value, Part) else value

    return [(conflict.path, show(conflict.base), show(conflict.ours), show(conflict.theirs)) for conflict in conflicts]


def test_each_sides_fields_are_taken_and_ours_is_the_object() -> None:
    base, ours, theirs = three(Doc(title="t", one=Part(text="one"), parts=[Part(text="a"), Part(text="b")]))
    kept = ours.parts[0]
    ours.title = "ours"
    ours.parts[1].text = "B"
    theirs.score = 2
    assert theirs.one is not None
    theirs.one.text = "ONE"
    result = merge_entities(base, ours, theirs)
    assert result.conflicts == ()
    assert result.entity is ours
    assert (ours.title, ours.score, ours.one is theirs.one, texts(ours.parts)) == ("ours", 2, True, "a B")
    assert ours.parts[0] is kept


def test_two_fields_of_one_member_are_both_taken() -> None:
    base, ours, theirs = three(Doc(parts=[Part(text="a", data={"k": "v"})]))
    mine = ours.parts[0]
    ours.parts[0].text = "A"
    theirs.parts[0].data["k"] = "w"
    assert merge_entities(base, ours, theirs).conflicts == ()
    assert ours.parts == [mine]
    assert (mine.text, mine.data) == ("A", {"k": "w"})


def test_what_both_changed_differently_is_a_conflict_and_stays_as_ours_has_it() -> None:
    base, ours, theirs = three(Doc(title="t", parts=[Part(text="a"), Part(text="b")]))
    ours.title, theirs.title = "mine", "yours"
    ours.parts[1].text, theirs.parts[1].text = "B1", "B2"
    ours.score = theirs.score = 3
    result = merge_entities(base, ours, theirs)
    assert seen(result.conflicts) == [("title", "t", "mine", "yours"), ("parts[1].text", "b", "B1", "B2")]
    assert (ours.title, texts(ours.parts), ours.score) == ("mine", "a B1", 3)
    assert str(result.conflicts[0]) == "title: 't' became 'mine' in ours and 'yours' in theirs"


@pytest.mark.parametrize(("strategy", "title", "parts"), [("ours", "mine", "a x"), ("theirs", "yours", "a y"), ("append", "mine", "a x y")])
def test_a_strategy_settles_conflicts(strategy: Strategy, title: str, parts: str) -> None:
    base, ours, theirs = three(Doc(title="t", parts=[Part(text="a")]))
    ours.title, theirs.title = "mine", "yours"
    ours.parts.append(Part(text="x"))
    theirs.parts.append(Part(text="y"))
    theirs.score = 1
    result = merge_entities(base, ours, theirs, strategy)
    assert (ours.title, texts(ours.parts), ours.score) == (title, parts, 1)
    assert seen(result.conflicts) == ([("title", "t", "mine", "yours")] if strategy == "append" else [])


def test_two_continuations_meet_in_a_conflict_that_names_both() -> None:
    base, ours, theirs = three(Doc(parts=[Part(text="a")]))
    ours.parts += [Part(text="x"), Part(text="z")]
    theirs.parts.append(Part(text="y"))
    result = merge_entities(base, ours, theirs)
    assert seen(result.conflicts) == [("parts[1]", (), ("x", "z"), ("y",))]
    assert texts(ours.parts) == "a x z"


def test_what_one_side_removed_and_the_other_edited_is_a_conflict() -> None:
    base, ours, theirs = three(
        Doc(one=Part(text="1"), parts=[Part(text="a"), Part(text="b")], named={"n": Part(text="n", inner=Part(text="deep"))})
    )
    ours.parts.pop(0)
    theirs.parts[0].text = "A"
    theirs.parts.append(Part(text="c"))
    ours.one = None
    assert theirs.one is not None
    theirs.one.text = "11"
    del theirs.named["n"]
    assert ours.named["n"].inner is not None
    ours.named["n"].inner.text = "DEEP"
    result = merge_entities(base, ours, theirs)
    expected = [("one", "1", None, "11"), ("parts[0]", "a", ABSENT, "A"), ('named["n"]', "n", "n", ABSENT)]
    assert seen(result.conflicts) == expected
    assert (ours.one, texts(ours.parts), list(ours.named)) == (None, "b c", ["n"])


@pytest.mark.parametrize(("strategy", "expected"), [("ours", "b c"), ("theirs", "A b c")])
def test_a_strategy_settles_whether_an_edited_member_stays(strategy: Strategy, expected: str) -> None:
    base, ours, theirs = three(Doc(parts=[Part(text="a"), Part(text="b")]))
    ours.parts.pop(0)
    theirs.parts[0].text = "A"
    theirs.parts.append(Part(text="c"))
    assert merge_entities(base, ours, theirs, strategy).conflicts == ()
    assert texts(ours.parts) == expected


def test_a_member_that_was_moved_elsewhere_keeps_the_edit_of_the_other_side() -> None:
    base, ours, theirs = three(Doc(parts=[Part(text="a"), Part(text="b")]))
    ours.one = ours.parts.pop(0)
    theirs.parts[0].text = "A"
    assert merge_entities(base, ours, theirs).conflicts == ()
    assert ours.one is not None
    assert (ours.one.text, texts(ours.parts)) == ("A", "b")


def test_an_edit_is_not_lost_when_each_side_removes_another_way_to_it() -> None:
    inner = Part(text="a")
    base, ours, theirs = three(Doc(parts=[inner, Part(text="holder", inner=inner)]))
    ours.parts.pop(1)
    ours.parts[0].text = "A"
    theirs.parts.pop(0)
    result = merge_entities(base, ours, theirs)
    assert seen(result.conflicts) == [("parts[0]", "a", "A", ABSENT)]
    assert texts(ours.parts) == "A"


@pytest.mark.parametrize(
    ("strategy", "keys"), [(None, "final other"), ("ours", "final other"), ("theirs", "old other"), ("append", "final other")]
)
def test_a_member_that_both_moved_to_different_keys_is_a_conflict_and_held_once(strategy: Strategy | None, keys: str) -> None:
    base, ours, theirs = three(Doc(named={"draft": Part(text="x"), "other": Part(text="y")}))
    ours.named = {"final": ours.named["draft"], "other": ours.named["other"]}
    theirs.named = {"old": theirs.named["draft"], "other": theirs.named["other"]}
    theirs.named["old"].text = "X"
    result = merge_entities(base, ours, theirs, strategy)
    assert (" ".join(ours.named), texts(ours.named.values())) == (keys, "X y")
    settled = strategy in ("ours", "theirs")
    assert seen(result.conflicts) == ([] if settled else [('named["draft"]', ("draft",), ("final",), ("old",))])


@pytest.mark.parametrize(("strategy", "expected"), [(None, "b a c"), ("ours", "b a c"), ("theirs", "c b a")])
def test_members_that_both_moved_to_keys_of_others_are_as_one_side_has_them(strategy: Strategy | None, expected: str) -> None:
    base, ours, theirs = three(Doc(named={name: Part(text=name) for name in "abc"}))
    ours.named = {"a": ours.named["b"], "b": ours.named["a"], "c": ours.named["c"]}
    theirs.named = {"a": theirs.named["c"], "b": theirs.named["b"], "c": theirs.named["a"]}
    assert bool(merge_entities(base, ours, theirs, strategy).conflicts) is (strategy is None)
    assert (list(ours.named), texts(ours.named.values())) == (["a", "b", "c"], expected)


def test_a_member_that_one_moved_or_both_put_at_further_keys_is_no_conflict() -> None:
    base, ours, theirs = three(Doc(named={"a": Part(text="a"), "b": Part(text="b")}))
    ours.named["c"] = ours.named.pop("a")
    ours.named["d"], theirs.named["e"] = ours.named["b"], theirs.named["b"]
    theirs.named["a"].text = "A"
    assert merge_entities(base, ours, theirs).conflicts == ()
    assert {name: part.text for name, part in ours.named.items()} == {"b": "b", "c": "A", "d": "b", "e": "b"}
    both, mine, yours = three(Doc(named={"a": Part(text="a")}))
    for side in (mine, yours):
        side.named["b"] = side.named.pop("a")
    assert merge_entities(both, mine, yours).conflicts == ()
    assert list(mine.named) == ["b"]


def test_what_is_shared_stays_shared_and_cycles_end_at_the_merged_object() -> None:
    shared, loop = Part(text="s"), Part(text="loop")
    loop.inner = loop
    base, ours, theirs = three(Doc(one=shared, parts=[shared, loop], named={"s": shared}))
    theirs.parts[0].text = "S"
    theirs.parts[1].text = "LOOP"
    ours.named["t"] = ours.parts[0]
    assert merge_entities(base, ours, theirs).conflicts == ()
    assert ours.one is ours.parts[0] is ours.named["s"] is ours.named["t"]
    assert ours.parts[1].inner is ours.parts[1]
    assert texts(ours.parts) == "S LOOP"


def test_back_references_show_the_merged_object() -> None:
    base, ours, theirs = three(Doc(title="t"))
    theirs.parts.append(Part(text="new", owner=theirs))
    merge_entities(base, ours, theirs)
    assert ours.parts[0].owner is ours


def test_changes_that_are_invalid_together_are_one_conflict() -> None:
    base, ours, theirs = three(Bounds(low=0, high=10))
    ours.low, theirs.high = 8, 5
    [conflict] = merge_entities(base, ours, theirs).conflicts
    assert (conflict.path, conflict.base, conflict.ours, conflict.theirs) == ("", base, ours, theirs)
    assert (ours.low, ours.high) == (8, 10)
    settled = copy(base)
    merge_entities(base, ours, settled, "theirs")
    assert (ours.low, ours.high) == (8, 10)


def test_only_versions_of_one_object_are_merged() -> None:
    doc = Doc()
    with pytest.raises(UnrelatedVersions, match="one lineage"):
        merge_entities(doc, copy(doc), Doc())
    with pytest.raises(DifferentClasses):
        merge_entities(Part(), doc, copy(doc))
