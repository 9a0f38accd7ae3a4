"""Three-way merge: what one side changed is taken, what both changed differently is a conflict, and nothing is lost."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, model_validator

from minference.ecs.diff import diff_entities
from minference.ecs.diff_values import ABSENT
from minference.ecs.entity import Entity
from minference.ecs.merge import Conflict, merge_entities
from minference.ecs.merge_lists import Strategy
from minference.ecs.plan import BackRef
from minference.errors import DifferentClasses, UnrelatedVersions

E = TypeVar("E", bound=Entity)


class Part(Entity, kind="merge_part"):
    text: str = ""
    data: dict[str, str] = Field(default_factory=dict)
    inner: Part | None = None
    owner: Annotated[Doc | None, BackRef("parts")] = None


class Doc(Entity, kind="merge_doc"):
    title: str = ""
    score: float = 0
    one: Part | None = None
    parts: list[Part] = Field(default_factory=list)
    pair: tuple[Part, ...] = ()
    named: dict[str, Part] = Field(default_factory=dict)


class Bounds(Entity, kind="merge_bounds"):
    low: int = 0
    high: int = 10

    @model_validator(mode="after")
    def in_order(self) -> Bounds:
        if self.low > self.high:
            raise ValueError("low must not be above high")
        return self


def copy(entity: E) -> E:
    """A second warm copy: same identity, own objects."""
    copied: E = pickle.loads(pickle.dumps(entity))
    return copied


def three(entity: E) -> tuple[E, E, E]:
    return entity, copy(entity), copy(entity)


def seen(conflicts: Iterable[Conflict]) -> list[tuple[str, Any, Any, Any]]:
    """Conflicts with texts instead of entities."""

    def show(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(show, value))
        return value.text if isinstance(value, Part) else value

    return [(conflict.path, show(conflict.base), show(conflict.ours), show(conflict.theirs)) for conflict in conflicts]


def texts(parts: Iterable[Part]) -> str:
    return " ".join(part.text for part in parts)


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


# --- any edits of any document ------------------------------------------------------------------------------------------

Edit = Callable[[Doc, str], None]


def _all(doc: Doc) -> list[Part]:
    return [entity for entity in doc.get_sub_entities() if isinstance(entity, Part)]


def _pick(doc: Doc, number: int) -> Part | None:
    found = _all(doc)
    return found[number % len(found)] if found else None


def _on_part(number: int, work: Callable[[Part, str], None]) -> Edit:
    def edit(doc: Doc, token: str) -> None:
        if (part := _pick(doc, number)) is not None:
            work(part, token)

    return edit


def _set_text(part: Part, token: str) -> None:
    part.text = token


def _set_data(part: Part, token: str) -> None:
    part.data["k"] = token


def _set_inner(part: Part, token: str) -> None:
    part.inner = None if part.inner else Part(text=token)


def _move(i: int, j: int) -> Edit:
    def edit(doc: Doc, token: str) -> None:
        if doc.parts:
            doc.parts.insert(j % len(doc.parts), doc.parts.pop(i % len(doc.parts)))

    return edit


def _share(i: int) -> Edit:
    def edit(doc: Doc, token: str) -> None:
        if (part := _pick(doc, i)) is not None:
            doc.parts.append(part)

    return edit


def _loop(i: int, j: int) -> Edit:
    def edit(doc: Doc, token: str) -> None:
        one, other = _pick(doc, i), _pick(doc, j)
        if one is not None:
            one.inner = other

    return edit


def _remove(i: int) -> Edit:
    def edit(doc: Doc, token: str) -> None:
        if doc.parts:
            del doc.parts[i % len(doc.parts)]

    return edit


def _insert(i: int) -> Edit:
    return lambda doc, token: doc.parts.insert(i, Part(text=token))


NUMBERS = st.integers(0, 5)
ABOUT_PARTS: st.SearchStrategy[Edit] = st.one_of(
    NUMBERS.map(_insert),
    NUMBERS.map(_remove),
    NUMBERS.map(_share),
    st.builds(_move, NUMBERS, NUMBERS),
    st.builds(_loop, NUMBERS, NUMBERS),
    st.builds(_on_part, NUMBERS, st.sampled_from([_set_text, _set_data, _set_inner])),
)
ABOUT_THE_REST: st.SearchStrategy[Edit] = st.sampled_from(
    [
        lambda doc, token: setattr(doc, "title", token),
        lambda doc, token: setattr(doc, "one", Part(text=token)),
        lambda doc, token: setattr(doc, "one", None),
        lambda doc, token: setattr(doc, "pair", (*doc.pair, Part(text=token))),
        lambda doc, token: setattr(doc, "pair", doc.pair[1:]),
        lambda doc, token: doc.named.__setitem__("n", Part(text=token)),
        lambda doc, token: doc.named.__setitem__(token, Part(text=token)),
        lambda doc, token: doc.named.pop("n", None),
    ]
)
EDITS = st.lists(st.one_of(ABOUT_PARTS, ABOUT_THE_REST), max_size=6)


def edited(doc: Doc, edits: list[Edit], side: str) -> Doc:
    for number, edit in enumerate(edits):
        edit(doc, f"{side}{number}")
    return doc


def a_doc(edits: list[Edit]) -> Doc:
    return edited(Doc(title="t", parts=[Part(text="p0"), Part(text="p1"), Part(text="p2")], named={"n": Part(text="n0")}), edits, "b")


def is_equal(one: Doc, other: Doc) -> bool:
    return not diff_entities(one, other)


def tokens(*values: Any) -> set[str]:
    """Every text in the values and in all that hangs on them."""
    found: set[str] = set()
    for value in values:
        match value:
            case Part():
                for part in (value, *value.get_sub_entities()):
                    assert isinstance(part, Part)
                    found |= {part.text, *part.data.values()}
            case Doc():
                found |= {value.title, *value.named} | tokens(*_all(value))
            case tuple():
                found |= tokens(*value)
            case dict():
                found |= tokens(*value.values())
            case str():
                found.add(value)
    return found


@given(start=EDITS, edits=EDITS, strategy=st.sampled_from([None, "ours", "theirs", "append"]))
def test_an_unchanged_side_gives_the_other(start: list[Edit], edits: list[Edit], strategy: Strategy | None) -> None:
    base = a_doc(start)
    changed = edited(copy(base), edits, "x")
    for ours, theirs in ((copy(base), copy(changed)), (copy(changed), copy(base)), (copy(changed), copy(changed))):
        for onto_theirs in (False, True):
            result = merge_entities(base, mine := copy(ours), copy(theirs), strategy, onto_theirs=onto_theirs)
            assert result.conflicts == ()
            assert is_equal(mine, changed)


@given(ours_edits=st.lists(ABOUT_PARTS, max_size=6), theirs_edits=st.lists(ABOUT_THE_REST, max_size=6))
def test_different_fields_give_no_conflict(ours_edits: list[Edit], theirs_edits: list[Edit]) -> None:
    base = Doc(title="t", parts=[Part(text="p0"), Part(text="p1")], pair=(Part(text="q"),), named={"n": Part(text="n")})
    ours, theirs = copy(base), edited(copy(base), theirs_edits, "t")
    part_of_ours = edited(Doc(parts=ours.parts), ours_edits, "o")
    ours.parts = part_of_ours.parts
    expected = copy(theirs)
    expected.parts = copy(ours).parts
    assert merge_entities(base, ours, theirs).conflicts == ()
    assert is_equal(ours, expected)


@settings(max_examples=300)
@given(start=EDITS, ours_edits=EDITS, theirs_edits=EDITS, strategy=st.sampled_from([None, "append"]), onto_theirs=st.booleans())
def test_nothing_that_was_written_is_lost(
    start: list[Edit], ours_edits: list[Edit], theirs_edits: list[Edit], strategy: Strategy | None, onto_theirs: bool
) -> None:
    base = a_doc(start)
    ours, theirs = edited(copy(base), ours_edits, "o"), edited(copy(base), theirs_edits, "t")
    written = (tokens(ours) | tokens(theirs)) - tokens(base)
    conflicts = merge_entities(base, ours, theirs, strategy, onto_theirs=onto_theirs).conflicts
    named = tokens(*(side for conflict in conflicts for side in (conflict.ours, conflict.theirs)))
    assert written <= tokens(ours) | named
    if strategy == "append":
        assert not any(isinstance(conflict.ours, tuple) for conflict in conflicts)


@settings(max_examples=300)
@given(start=EDITS, ours_edits=EDITS, theirs_edits=EDITS)
def test_conflicts_are_the_same_from_both_sides(start: list[Edit], ours_edits: list[Edit], theirs_edits: list[Edit]) -> None:
    base = a_doc(start)
    ours, theirs = edited(copy(base), ours_edits, "o"), edited(copy(base), theirs_edits, "t")
    mine, yours = copy(ours), copy(theirs)
    here, there = merge_entities(base, mine, yours).conflicts, merge_entities(base, theirs, ours).conflicts
    assert sorted((each.path, named(each.base), named(each.ours), named(each.theirs)) for each in here) == sorted(
        (each.path, named(each.base), named(each.theirs), named(each.ours)) for each in there
    )
    if not here:
        assert tokens(mine) == tokens(theirs)
        assert texts(mine.parts) == texts(theirs.parts)


def named(value: Any) -> str:
    """A value of a conflict, whatever was made of the entities in it since."""
    match value:
        case Entity():
            return str(value.lineage_id)
        case tuple():
            return " ".join(map(named, value))
        case _:
            return repr(value)


@given(start=EDITS, ours_edits=EDITS, theirs_edits=EDITS, strategy=st.sampled_from(["ours", "theirs"]))
def test_a_side_as_strategy_leaves_no_conflict(
    start: list[Edit], ours_edits: list[Edit], theirs_edits: list[Edit], strategy: Strategy
) -> None:
    base = a_doc(start)
    ours, theirs = edited(copy(base), ours_edits, "o"), edited(copy(base), theirs_edits, "t")
    assert merge_entities(base, ours, theirs, strategy).conflicts == ()
