"""Sets as values: equal ones are one value, whatever order their elements happen to be in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter

from minference.ecs.diff import NestedChanged, diff_entities
from minference.ecs.diff_values import ABSENT, PathChange
from minference.ecs.entity import Entity
from minference.ecs.sets import may_hold, with_elements
from minference.ecs.values import dump_json, load_json
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage

ONE, OTHER = (-1, 0), (-2, 0)
"""Different, but of one hash: in a set, the first that is put there comes first."""


class Colour(Enum):
    red = "red"
    blue = 2


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    pairs: frozenset[tuple[int, int]] = frozenset()


class Rooted(RootModel[set[int]]):
    """A model that is nothing but a set."""


@dataclass
class Data:
    pairs: set[tuple[int, int]] = field(default_factory=set)


Pairs = frozenset[tuple[int, int]]


class Tagged(Entity, kind="sets_tagged"):
    numbers: set[int] = Field(default_factory=set)
    pairs: set[tuple[int, int]] = Field(default_factory=set)
    frozen: Pairs = frozenset()
    optional: Pairs | None = None
    mixed: set[int | float | str | None] = Field(default_factory=set)
    named: dict[str, set[int]] = Field(default_factory=dict)
    by_day: dict[date, set[int]] = Field(default_factory=dict)
    several: tuple[Pairs, ...] = ()
    lists: list[Pairs | str] = Field(default_factory=list)
    nested: frozenset[Pairs] = frozenset()
    deep: set[tuple[Pairs, str]] = Field(default_factory=set)
    model: Frozen = Field(default_factory=Frozen)
    models: frozenset[Frozen] = frozenset()
    rooted: Rooted = Field(default_factory=lambda: Rooted(set()))
    data: Data = Field(default_factory=Data)
    colours: set[Colour] = Field(default_factory=set)


def holding(one: tuple[int, int], other: tuple[int, int]) -> dict[str, Any]:
    """A value for each field, with these elements put there in this order."""
    pairs, numbers = frozenset([one, other]), {one[0], other[0]}
    return {
        "numbers": numbers,
        "pairs": set(pairs),
        "frozen": pairs,
        "optional": pairs,
        "mixed": {one[0], other[0], 0.5, "x", None},
        "named": {"a": numbers},
        "by_day": {date(2026, 1, 2): numbers, date(2025, 1, 2): {1}},
        "several": (pairs, frozenset()),
        "lists": [pairs, "x"],
        "nested": frozenset([pairs, frozenset([ONE])]),
        "deep": {(pairs, "x"), (frozenset(), "y")},
        "model": Frozen(pairs=pairs),
        "models": frozenset([Frozen(pairs=pairs), Frozen()]),
        "rooted": Rooted(numbers),
        "data": Data(set(pairs)),
    }


FIRST, SECOND = holding(ONE, OTHER), holding(OTHER, ONE)


@pytest.mark.parametrize("name", FIRST)
async def test_an_equal_set_is_no_change_whatever_its_order(storage: EntityStorage, name: str) -> None:
    thing = await storage.register(Tagged(**{name: FIRST[name]}))
    setattr(thing, name, SECOND[name])
    assert (await storage.submit(thing)).info is None
    loaded = await storage.get(Tagged, thing.ecs_id)
    assert getattr(loaded, name) == FIRST[name]
    for value in (FIRST[name], SECOND[name]):
        setattr(loaded, name, value)
        assert (await storage.submit(loaded)).info is None
        assert [each.ecs_id for each in await storage.find_by(Tagged, **{name: value})] == [thing.ecs_id]


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("mixed", {1, 2}, {1.0, 2}), ("mixed", {0.0}, {-0.0}), ("nested", {frozenset([ONE])}, {frozenset([OTHER])})],
)
async def test_a_set_of_others_is_a_change(storage: EntityStorage, name: str, before: Any, after: Any) -> None:
    thing = await storage.register(Tagged(**{name: before}))
    setattr(thing, name, after)
    assert len((await storage.submit(thing)).versions) == 1
    assert repr(getattr(await storage.get(Tagged, thing.ecs_id), name)) == repr(getattr(thing, name))


def test_equal_sets_show_no_difference() -> None:
    assert [repr(FIRST[name]) != repr(SECOND[name]) for name in ("numbers", "frozen", "model", "data")] == [True] * 4
    assert not diff_entities(Tagged(**FIRST), Tagged(**SECOND))


async def test_equal_sets_are_exported_alike() -> None:
    lines = []
    thing = Tagged(**FIRST)
    for values in (FIRST, SECOND):
        for name, value in values.items():
            setattr(thing, name, value)
        async with open_storage("memory:") as storage:
            await storage.register(thing, author="ada")
            lines.append([line.partition('"values"')[2] async for line in storage.export_lines()])
    assert lines[0] == lines[1]


CHANGES: dict[str, tuple[str, Callable[[Tagged], object], tuple[PathChange, ...], list[str]]] = {
    "added": ("numbers", lambda tagged: tagged.numbers.add(5), (PathChange("{}", ABSENT, 5),), ["  + numbers: 5"]),
    "removed": ("numbers", lambda tagged: tagged.numbers.remove(10), (PathChange("{}", 10, ABSENT),), ["  - numbers: 10"]),
    "in a dict": (
        "named",
        lambda tagged: tagged.named["a"].symmetric_difference_update({1, 2}),
        (PathChange("a{}", 1, ABSENT), PathChange("a{}", ABSENT, 2)),
        ["  - named.a: 1", "  + named.a: 2"],
    ),
    "in a tuple": (
        "several",
        lambda tagged: setattr(tagged, "several", (frozenset([ONE, OTHER]),)),
        (PathChange("[0]{}", ABSENT, [-2, 0]),),
        ["  + several[0]: [-2, 0]"],
    ),
    "an enum": ("colours", lambda tagged: tagged.colours.add(Colour.blue), (PathChange("{}", ABSENT, 2),), ["  + colours: 2"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_diff_says_which_elements_came_and_went(change: str) -> None:
    values: dict[str, Any] = {"numbers": {9, 10, 1}, "named": {"a": {1, 3}}, "several": (frozenset([ONE]),), "colours": {Colour.red}}
    old, new = Tagged(**values), Tagged.model_validate(values)
    name, edit, expected, lines = CHANGES[change]
    edit(new)
    diff = diff_entities(old, new)
    assert diff.fields == {name: NestedChanged(getattr(old, name), getattr(new, name), expected)}
    assert str(diff).splitlines()[1:] == lines
    assert [tuple(each) for each in diff.to_json()["changes"][0]["inside"]] == [
        ("path", "old" if each.new is ABSENT else "new") for each in expected
    ]


def test_what_is_added_to_a_set_is_marked_so() -> None:
    html = diff_entities(Tagged(numbers={1, 2}), Tagged(numbers={2, 3})).to_html()
    assert html.splitlines()[1:] == ["  - numbers: <del>1</del>", "  + numbers: <ins>3</ins></pre>"]


@given(st.lists(st.one_of(st.integers(), st.floats(allow_nan=False), st.text(), st.none())))
def test_a_sorted_set_is_stored_without_loss(elements: list[Any]) -> None:
    value = set(elements)
    stored = dump_json(Tagged, "mixed", value)
    assert load_json(Tagged, "mixed", stored) == value
    assert dump_json(Tagged, "mixed", set(reversed(list(value)))) == stored  # noqa: C414 - in the order in which they are put there


def test_only_fields_that_may_hold_sets_are_looked_into() -> None:
    held: list[Any] = [Pairs, Frozen, Data, Rooted, dict[str, list[set[int]]], int | None | tuple[Pairs, ...]]
    assert [may_hold(TypeAdapter(each).core_schema, "set", "frozenset") for each in held] == [True] * len(held)
    others: list[Any] = [str, list[int], dict[str, tuple[int, ...]], Colour, Any]
    assert [may_hold(TypeAdapter(each).core_schema, "set", "frozenset") for each in others] == [False] * len(others)
    assert with_elements({1, 2}, "written otherwise") == "written otherwise"
    assert with_elements({1, 2}, [2]) == [2]
