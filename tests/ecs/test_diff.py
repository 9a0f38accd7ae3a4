"""What differs between two versions, and how it reads."""

from __future__ import annotations

import html
import io
import random
import re
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console

from minference.ecs.diff import (
    Changed,
    CollectionChanged,
    EntityDiff,
    Moved,
    NestedChanged,
    Placed,
    Replaced,
    TextChanged,
    compare_entity_fields,
    diff_entities,
)
from minference.ecs.diff_render import walk
from minference.ecs.diff_values import ABSENT, PathChange, Segment, word_segments
from minference.ecs.entity import Entity
from minference.ecs.identity import uuid7
from minference.errors import DifferentClasses


class DiffSpot(BaseModel):
    model_config = ConfigDict(frozen=True)
    x: int
    y: float = 0.0


class DiffLeaf(Entity):
    text: str = ""
    size: float = 0.0
    spots: tuple[DiffSpot, ...] = ()


class DiffNode(Entity):
    name: str = ""
    count: int = 0
    options: dict[str, Any] = Field(default_factory=dict)
    leaf: DiffLeaf | None = None
    next: DiffNode | None = None
    leaves: list[DiffLeaf] = Field(default_factory=list)
    by_key: dict[str, DiffLeaf] = Field(default_factory=dict)


E = TypeVar("E", bound=Entity)


def later(entity: E, **changes: Any) -> E:
    """The next version of the entity, as a second object."""
    return type(entity)(**{**entity.__dict__, "ecs_id": uuid7(), "parent_id": entity.ecs_id, "live_id": uuid4(), **changes})


def test_versions_with_equal_content_do_not_differ() -> None:
    node = DiffNode(name="a", options={"b": [1, {"c": 2}]}, leaves=[DiffLeaf(text="x")])
    diff = diff_entities(node, later(node, leaves=[later(node.leaves[0])], options={"b": [1, {"c": 2}]}))
    assert not diff
    assert str(diff).endswith(": no differences")


def test_each_kind_of_field_tells_its_change() -> None:
    leaf, other = DiffLeaf(text="one two"), DiffLeaf(text="other")
    old = DiffNode(name="Why is the sky blue?", count=1, options={"a": {"b": 1}, "gone": 0}, leaf=leaf)
    new = later(
        old, name="Why is the sea blue?", count=2, options={"a": {"b": 2}, "c": [1]}, leaf=later(leaf, text="one three"), next=DiffNode()
    )
    diff = diff_entities(old, new)
    below = diff.fields["leaf"]
    assert isinstance(below, EntityDiff)
    assert below.fields == {"text": TextChanged("one two", "one three")}
    assert {name: change for name, change in diff.fields.items() if name != "leaf"} == {
        "name": TextChanged("Why is the sky blue?", "Why is the sea blue?"),
        "count": Changed(1, 2),
        "options": NestedChanged(
            old.options,
            new.options,
            (PathChange("a.b", 1, 2), PathChange("gone", 0, ABSENT), PathChange("c", ABSENT, [1])),
        ),
        "next": Replaced(None, new.next),
    }
    assert list(diff.fields) == ["name", "count", "options", "leaf", "next"]
    assert diff_entities(old, later(old, leaf=other)).fields == {"leaf": Replaced(leaf, other)}


def test_values_that_are_stored_differently_differ() -> None:
    old, leaf = DiffNode(options={"a": True}), DiffLeaf(size=0.0)
    assert diff_entities(old, later(old, options={"a": 1})).fields == {
        "options": NestedChanged({"a": True}, {"a": 1}, (PathChange("a", True, 1),))
    }
    assert diff_entities(leaf, later(leaf, size=-0.0)).fields == {"size": Changed(0.0, -0.0)}
    assert not diff_entities(later(leaf, size=float("nan")), later(leaf, size=-float("nan")))


def test_models_inside_a_value_are_told_by_path() -> None:
    old = DiffLeaf(spots=(DiffSpot(x=1), DiffSpot(x=2)))
    new = later(old, spots=(DiffSpot(x=1), DiffSpot(x=3)))
    assert diff_entities(old, new).fields == {"spots": NestedChanged(old.spots, new.spots, (PathChange("[1].x", 2, 3),))}


def test_members_are_matched_by_lineage() -> None:
    a, b, c, d = (DiffLeaf(text=text) for text in "abcd")
    b2 = later(b, text="B")
    old = DiffNode(leaves=[a, b, c])
    change = diff_entities(old, later(old, leaves=[c, b2, d])).fields["leaves"]
    assert isinstance(change, CollectionChanged)
    assert change.removed == (Placed(0, a),)
    assert change.added == (Placed(2, d),)
    assert change.moved in ((Moved(2, 0, c),), (Moved(1, 1, b2),))
    assert [(each.place, each.diff.fields) for each in change.changed] == [(1, {"text": TextChanged("b", "B")})]


def test_a_message_put_in_front_moves_nothing() -> None:
    leaves = [DiffLeaf(text=str(number)) for number in range(5)]
    old = DiffNode(leaves=leaves[1:])
    assert diff_entities(old, later(old, leaves=leaves)).fields == {"leaves": CollectionChanged(added=(Placed(0, leaves[0]),))}


def test_what_comes_and_goes_moves_nothing() -> None:
    leaves = [DiffLeaf(text=str(number)) for number in range(5)]
    old = DiffNode(leaves=leaves[:4])
    expected = CollectionChanged(removed=(Placed(0, leaves[0]),), added=(Placed(3, leaves[4]),))
    assert diff_entities(old, later(old, leaves=leaves[1:])).fields == {"leaves": expected}


def test_keyed_members_tell_their_keys_and_the_order() -> None:
    a, b, c = (DiffLeaf(text=text) for text in "abc")
    old = DiffNode(by_key={"x": a, "y": b})
    assert diff_entities(old, later(old, by_key={"x": a, "z": b, "y": c})).fields == {
        "by_key": CollectionChanged(added=(Placed("y", c),), moved=(Moved("y", "z", b),))
    }
    swapped = diff_entities(old, later(old, by_key={"y": b, "x": a})).fields["by_key"]
    assert isinstance(swapped, CollectionChanged)
    assert len(swapped.moved) == 1


def test_one_member_twice_is_matched_by_occurrence() -> None:
    a = DiffLeaf(text="a")
    old = DiffNode(leaves=[a, a])
    assert diff_entities(old, later(old, leaves=[a])).fields == {"leaves": CollectionChanged(removed=(Placed(1, a),))}


def test_unsaved_edits_of_a_second_copy_of_the_same_version_are_seen() -> None:
    leaf = DiffLeaf(text="a")
    old = DiffNode(leaves=[leaf])
    copy = DiffNode(**{**old.__dict__, "leaves": [DiffLeaf(**{**leaf.__dict__, "text": "b"})]})
    assert "[-a-]{+b+}" in str(diff_entities(old, copy))


def test_the_same_object_is_not_compared_with_itself() -> None:
    node = DiffNode()
    node.next = node
    assert not diff_entities(node, node)


def test_cycles_end_and_each_difference_is_told_once() -> None:
    def circle(name: str, like: DiffNode | None = None) -> DiffNode:
        first = DiffNode(name="first") if like is None else later(like)
        second = DiffNode(name=name) if like is None or like.next is None else later(like.next, name=name)
        first.next, second.next = second, first
        return first

    old = circle("one")
    assert [step.path for step in walk(diff_entities(old, circle("two", old)))] == ["next", "next.name"]


def test_what_is_shared_is_told_in_full_once() -> None:
    leaf = DiffLeaf(text="a")
    changed = later(leaf, text="b")
    old = DiffNode(leaf=leaf, leaves=[leaf])
    text = str(diff_entities(old, later(old, leaf=changed, leaves=[changed])))
    assert text.count("~ text") == 1
    assert "(as above)" in text


def test_a_chain_of_ten_thousand_needs_no_recursion() -> None:
    old = DiffNode(name="end")
    new = later(old, name="END")
    for _ in range(10_000):
        old = DiffNode(next=old)
        new = later(old, next=new)
    diff = diff_entities(old, new)
    assert len(list(walk(diff))) == 10_001
    assert diff.to_json()["changes"][0]["new"] == "END"


def test_a_line_is_not_longer_the_deeper_it_is_told() -> None:
    old = DiffNode(name="end", leaf=DiffLeaf(text="a\nb"))
    new = later(old, name="END", leaf=later(old.leaf, text="a\nc"))  # type: ignore[type-var]
    for _ in range(2_000):
        old = DiffNode(next=old)
        new = later(old, next=new)
    diff = diff_entities(old, new)
    for shown in (str(diff), diff.__rich__().plain, html.unescape(re.sub("<[^>]*>", "", diff.to_html()))):
        lines = shown.split("\n")
        assert len(lines) == 2_005
        assert max(map(len, lines)) < 150
        depths = [int(found[1]) for line in lines if (found := re.match(r" {64}  \(depth (\d+)\)  ~ (?:next|name|leaf|text)", line))]
        assert depths == [*range(17, 2_001), 2_000, 2_001]
        assert lines[17].startswith(" " * 64 + "  ~ next DiffNode ")
        assert lines[-1].startswith(" " * 64 + "    | ")


def test_different_classes_are_refused() -> None:
    with pytest.raises(DifferentClasses, match="a DiffNode cannot be compared with a DiffLeaf: pass two entities of one class"):
        diff_entities(DiffNode(), DiffLeaf())


def test_entities_of_different_lineages_are_compared_by_content() -> None:
    assert diff_entities(DiffLeaf(text="a"), DiffLeaf(text="b")).fields == {"text": TextChanged("a", "b")}
    assert not diff_entities(DiffLeaf(text="a"), DiffLeaf(text="a"))


def test_fields_can_be_compared_as_in_the_seeds() -> None:
    old = DiffLeaf(text="a", size=1.0)
    assert compare_entity_fields(old, later(old, text="b")) == (True, {"text": {"old": "a", "new": "b"}})
    assert compare_entity_fields(old, later(old)) == (False, {})


def test_the_text_shows_every_change_on_a_line() -> None:
    a, b = DiffLeaf(text="Why is the sky blue?"), DiffLeaf(text="b")
    old = DiffNode(count=1, options={"k": 1}, leaves=[a])
    new = later(old, count=2, options={"k": 2}, leaves=[later(a, text="Why is the sea blue?"), b])
    ids = r"\w{8}"
    assert re.fullmatch(
        rf"""DiffNode {ids} -> {ids}
  ~ count: 1 -> 2
  ~ options.k: 1 -> 2
  ~ leaves
      ~ \[0\] DiffLeaf {ids} -> {ids}
          ~ text: Why is the \[-sky-\]{{\+sea\+}} blue\?
      \+ \[1\] DiffLeaf {ids} text='b'""",
        str(diff_entities(old, new)),
    )


def test_content_cannot_break_out_of_html_or_steer_the_terminal() -> None:
    old = DiffLeaf(text="<script>one</script>")
    diff = diff_entities(old, later(old, text="<script>two</script>\x1b[2J"))
    assert "<script>" not in diff.to_html()
    assert "<del>one</del><ins>two</ins>" in diff.to_html()
    assert "\x1b" not in str(diff) + diff.to_html()
    console = Console(file=io.StringIO(), record=True, width=200)
    console.print(diff)
    assert "<script>onetwo</script>" in console.export_text()


def test_no_line_of_a_content_reads_as_a_line_of_the_diff() -> None:
    a = DiffLeaf(text="one\n  ~ count: 1 -> 2\ntwo\n")
    old = DiffNode(leaves=[a], options={"k": 1})
    forged = "one\n      + [7] DiffLeaf 12345678 text='x'\r\n| x\ntwo\n\u2028- z\n"
    new = later(old, leaves=[later(a, text=forged)], options={"k": 1, "k\n- a\u2028- b\x9b2J": 1})
    ids = r"\w{8}"
    diff = diff_entities(old, new)
    assert re.fullmatch(
        rf"""DiffNode {ids} -> {ids}
  ~ options\["k\\n- a\\u2028- b\\x9b2J"\]: absent -> 1
  ~ leaves
      ~ \[0\] DiffLeaf {ids} -> {ids}
          ~ text: one\[-
            \|   ~ count: 1 -> 2-\]{{\+
            \|       \+ \[7\] DiffLeaf 12345678 text='x'\\r
            \| \| x\+}}
            \| two{{\+
            \| \\u2028- z\+}}
            \| """,
        str(diff),
    )
    plain = diff.__rich__().plain
    assert plain == re.sub(r"\[-|-\]|{\+|\+}", "", str(diff))
    assert html.unescape(re.sub(r"</?(ins|del|pre)[^>]*>", "", diff.to_html())) == plain


@given(st.text(alphabet="a \n~|", min_size=1, max_size=20), st.text(alphabet="a \n~|", min_size=1, max_size=20))
def test_without_the_margin_a_changed_text_is_both_texts(before: str, after: str) -> None:
    assume(before != after)
    old = DiffLeaf(text=before)
    diff = diff_entities(old, later(old, text=after))
    _, first, *further = str(diff).split("\n")
    assert first.startswith("  ~ text: ")
    assert all(line.startswith("    | ") for line in further)
    shown = diff.to_html().partition("  ~ text: ")[2].removesuffix("</pre>")
    shown = re.sub(r"\n((?:</?\w+>)*)    \| ", r"\n\1", shown)
    for tag, other, text in (("del", "ins", after), ("ins", "del", before)):
        assert re.sub(rf"<{tag}>.*?</{tag}>|</?{other}>", "", shown, flags=re.DOTALL) == text


def test_the_json_form_is_a_flat_list_of_places() -> None:
    leaf, fresh = DiffLeaf(text="a"), DiffLeaf(text="b")
    old = DiffNode(count=1, options={"k": 1}, leaves=[leaf])
    new = later(old, count=2, options={}, leaves=[fresh])

    def entity(leaf: DiffLeaf) -> dict[str, Any]:
        values = {"text": leaf.text, "size": 0.0, "spots": []}
        return {"kind": "diff_leaf", "ecs_id": str(leaf.ecs_id), "lineage_id": str(leaf.lineage_id), "values": values}

    assert diff_entities(old, new).to_json() == {
        "kind": "diff_node",
        "old": str(old.ecs_id),
        "new": str(new.ecs_id),
        "changes": [
            {"path": "count", "change": "changed", "old": 1, "new": 2},
            {"path": "options", "change": "changed", "old": {"k": 1}, "new": {}, "inside": [{"path": "k", "old": 1}]},
            {"path": "leaves[0]", "change": "removed", "entity": entity(leaf)},
            {"path": "leaves[0]", "change": "added", "entity": entity(fresh)},
        ],
    }


def test_words_are_compared_not_letters() -> None:
    assert word_segments("a cat sat", "a bat sat") == (
        Segment("same", "a "),
        Segment("removed", "cat"),
        Segment("added", "bat"),
        Segment("same", " sat"),
    )


@given(st.text(alphabet="ab \n.", max_size=40), st.text(alphabet="ab \n.", max_size=40))
def test_the_segments_of_a_text_are_both_texts(old: str, new: str) -> None:
    segments = word_segments(old, new)
    assert "".join(part.text for part in segments if part.change != "added") == old
    assert "".join(part.text for part in segments if part.change != "removed") == new


def test_huge_texts_are_compared_by_larger_pieces_without_losing_anything() -> None:
    words = random.Random(1)
    old, new = (" ".join(words.choice("abc") for _ in range(20_000)) + "\n" for _ in range(2))
    segments = word_segments(old, new)
    assert "".join(part.text for part in segments if part.change != "added") == old
    assert "".join(part.text for part in segments if part.change != "removed") == new


@given(st.lists(st.integers(0, 9), max_size=8), st.lists(st.integers(0, 9), max_size=8))
def test_applying_what_a_collection_tells_gives_the_new_one(before: list[int], after: list[int]) -> None:
    pool = [DiffLeaf(text=str(number)) for number in range(10)]
    old, new = [pool[number] for number in before], [pool[number] for number in after]
    node = DiffNode(leaves=old)
    change = diff_entities(node, later(node, leaves=new)).fields.get("leaves", CollectionChanged())
    assert isinstance(change, CollectionChanged)
    gone = {each.place for each in change.removed} | {each.old_place for each in change.moved}
    staying = iter([leaf for place, leaf in enumerate(old) if place not in gone])
    placed: dict[Any, Entity] = {each.place: each.entity for each in change.added}
    placed |= {each.new_place: each.entity for each in change.moved}
    assert [placed[place] if place in placed else next(staying) for place in range(len(new))] == new
    assert next(staying, None) is None


def test_a_long_thread_is_compared_member_by_member_only_where_it_differs() -> None:
    leaves = [DiffLeaf(text=str(number)) for number in range(1_000)]
    old = DiffNode(leaves=leaves)
    new = later(old, leaves=[*leaves[:500], later(leaves[500], text="new"), *leaves[501:], DiffLeaf(text="end")])
    assert [step.path for step in walk(diff_entities(old, new))] == ["leaves", "leaves[500]", "leaves[500].text", "leaves[1000]"]
