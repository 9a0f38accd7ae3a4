"""What an entity is before any storage has seen it."""

from __future__ import annotations

import copy
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, repeat
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, ValidationError
from typing_extensions import TypeAliasType, TypedDict

from minference.ecs.entity import Entity, plan_of
from minference.ecs.identity import uuid7
from minference.errors import UnsupportedField


class Leaf(Entity, kind="entity_leaf"):
    text: str = ""


class Twig(Entity, kind="entity_twig"):
    name: str = ""
    leaves: list[Leaf] = Field(default_factory=list)


def test_ids_are_time_ordered_and_grow_whatever_the_clock_does(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    hour = 3_600_000_000_000
    clock = chain(repeat(now, 500), repeat(now - hour, 500), range(now, now + 500_000_000, 1_000_000))
    monkeypatch.setattr("minference.ecs.identity.time.time_ns", lambda: next(clock))
    ids = [uuid7() for _ in range(1_500)]
    assert ids == sorted(set(ids))
    assert {(each.version, each.variant) for each in ids} == {(7, uuid7.__globals__["UUID"](int=0x8000 << 48).variant)}
    assert ids[-1].int >> 80 == (now + 499_000_000) // 1_000_000


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_that_are_forked_make_ids_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    monkeypatch.setattr("minference.ecs.identity.time.time_ns", lambda: now)

    def forked() -> list[UUID]:
        uuid7()
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.write(writer, b"".join(uuid7().bytes for _ in range(50)))
            os._exit(0)
        os.wait()
        os.close(writer)
        with open(reader, "rb") as pipe:
            octets = pipe.read()
        return [UUID(bytes=octets[i : i + 16]) for i in range(0, len(octets), 16)]

    before = uuid7()
    ids = [each for _ in range(20) for each in (*forked(), uuid7())]
    assert len(ids) == 20 * 51
    assert len({before, *ids}) == len(ids) + 1
    assert min(ids) > before


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        Leaf(created_at=datetime(2026, 1, 1))  # noqa: DTZ001 - the mistake under test
    assert Leaf().created_at.tzinfo is UTC


def test_a_pickled_copy_is_equal_until_one_of_the_two_moves_on() -> None:
    leaf = Leaf(text="a")
    copied = pickle.loads(pickle.dumps(leaf))
    assert (copied == leaf, hash(copied) == hash(leaf), copied is leaf) == (True, True, False)
    copied.__dict__["ecs_id"] = uuid7()  # as a save does
    assert copied != leaf


COPIES: dict[str, Callable[[Twig], Twig]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda twig: twig.model_copy(),
    "deep model_copy": lambda twig: twig.model_copy(deep=True),
    "model_copy with another name": lambda twig: twig.model_copy(update={"name": "b"}),
}


@pytest.mark.parametrize("way", COPIES)
def test_every_way_to_copy_gives_a_new_logical_object(way: str) -> None:
    twig = Twig(name="a", leaves=[Leaf(text="one")])
    copied = COPIES[way](twig)
    assert copied.parent_id is None
    assert not {twig.ecs_id, twig.lineage_id, twig.live_id} & {copied.ecs_id, copied.lineage_id, copied.live_id}
    assert [leaf.text for leaf in copied.leaves] == ["one"]
    if "deep" in way:
        assert copied.leaves[0].lineage_id != twig.leaves[0].lineage_id


def test_assignments_are_validated() -> None:
    twig = Twig(name="a")
    for name, value in (("name", 3), ("leaves", ["no leaf"]), ("nothing", 1), ("ecs_id", uuid7())):
        with pytest.raises(ValidationError):
            setattr(twig, name, value)
    with pytest.raises(ValidationError):
        twig.nme = "b"  # type: ignore[attr-defined]  # and the type checker sees it
    assert (twig.name, twig.leaves) == ("a", [])


class Holder(BaseModel):
    """A plain model with an entity inside."""

    leaf: Leaf


@dataclass
class Pair:
    """A dataclass with an entity inside."""

    leaf: Leaf


class Row(NamedTuple):
    """A named tuple with one."""

    leaf: Leaf


class Keyed(TypedDict):
    """A dictionary with one."""

    leaf: Leaf


Leaves = TypeAliasType("Leaves", list[Leaf])
MaybeLeaf = TypeAliasType("MaybeLeaf", Leaf | None)


class Alias(Entity, kind="entity_alias"):
    leaves: Leaves = Field(default_factory=list)
    leaf: MaybeLeaf = None


def test_an_alias_of_entities_is_what_it_stands_for() -> None:
    assert [field.name for field in plan_of(Alias).collections] == ["leaves"]
    assert plan_of(Alias).references == ("leaf",)
    leaf = Leaf(text="one")
    assert plan_of(Alias).children(Alias(leaves=[leaf], leaf=leaf)) == [leaf, leaf]


@pytest.mark.parametrize(
    "annotation",
    [
        *(list[list[Leaf]], dict[str, list[Leaf]], dict[int, Leaf], set[Leaf], tuple[Leaf, Leaf], list[Leaf | str], Leaf | str),
        *(Holder, Pair, list[Pair], Row, Keyed, dict[str, Keyed], TypeAliasType("Nested", list[list[Leaf]])),
    ],
    ids=str,
)
def test_a_field_whose_entities_could_not_be_versioned_is_refused(annotation: Any) -> None:
    with pytest.raises(UnsupportedField, match="field"):
        type("Wrong", (Entity,), {"__annotations__": {"field": annotation}, "__module__": __name__})


def test_a_field_that_dumps_leave_out_is_refused() -> None:
    with pytest.raises(UnsupportedField, match="its value would be lost"):

        class Secretive(Entity, kind="entity_secretive"):
            secret: str = Field(default="", exclude=True)
