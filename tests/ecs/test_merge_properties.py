"""Three-way merge of any edits of any document: nothing is lost, and no side is preferred."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from minference.ecs.diff import diff_entities
from minference.ecs.entity import Entity
from minference.ecs.merge import merge_entities
from minference.ecs.merge_lists import Strategy
from tests.ecs.merge_samples import Doc, Part, copy, texts
from tests.support.examples import examples

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
        lambda doc, token: doc.named.update({token: doc.named.pop(next(iter(doc.named)))} if doc.named else {}),
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


@settings(max_examples=examples(100, 1000))
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
        assert not any(isinstance(conflict.ours, tuple) for conflict in conflicts if not conflict.path.startswith("named["))


@settings(max_examples=examples(100, 1000))
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
