"""What refers back to the object that it is assigned to is taken, and what is really wrong with it is told."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError, field_validator, model_validator

from minference.ecs.entity import Entity
from minference.ecs.opaque import OpaqueEntity


class Leaf(Entity, kind="assigning_leaf"):
    text: str = ""


class Stone(Entity, kind="assigning_stone"):
    """What no field of the others takes."""


class Ring(Entity, kind="assigning_ring"):
    """Each of its entity fields may hold objects of its own class, and of another."""

    name: str = ""
    one: Ring | Leaf | None = None
    alone: Ring | None = None
    items: list[Ring | Leaf] = Field(default_factory=list)
    pair: tuple[Ring | Leaf, ...] = ()
    named: dict[str, Ring | Leaf] = Field(default_factory=dict)


class Club(Entity, kind="assigning_club"):
    """Which says itself what may be in it."""

    name: str = ""
    founder: Club | Leaf | None = None
    members: Annotated[list[Club | Leaf], Field(max_length=2)] = Field(default_factory=list)
    seen: list[Club] = Field(default_factory=list)

    @field_validator("members")
    @classmethod
    def _once(cls, members: list[Club | Leaf]) -> list[Club | Leaf]:
        if len({id(member) for member in members}) < len(members):
            raise ValueError("somebody is a member twice")
        return members

    @model_validator(mode="after")
    def _founded(self) -> Club:
        if self.founder is self and self.name == "orphan":
            raise ValueError("an orphan is founded by others")
        return self


def _members(value: Any) -> list[Any]:
    if isinstance(value, Entity):
        return [value]
    return list(value.values()) if isinstance(value, dict) else list(value)


@pytest.mark.parametrize("field", ["one", "alone", "items", "pair", "named"])
def test_a_field_of_any_entity_shape_takes_the_object_itself(field: str) -> None:
    ring, leaf = Ring(), Leaf()
    shapes: dict[str, Any] = {"one": ring, "alone": ring, "items": [ring, leaf], "pair": (leaf, ring), "named": {"a": ring, "b": leaf}}
    value = shapes[field]
    setattr(ring, field, value)
    held = getattr(ring, field)
    assert type(held) is type(value)
    assert ring.get_sub_entities() == ([] if value is ring else [leaf])
    members, given = _members(held), _members(value)
    assert [id(each) for each in members] == [id(each) for each in given]
    assert ring.model_fields_set == {field}


def test_a_list_with_the_object_itself_is_a_copy_of_what_was_assigned() -> None:
    ring = Ring()
    given: list[Ring | Leaf] = [ring]
    ring.items = given
    given.append(Leaf())
    assert len(ring.items) == 1


@pytest.mark.parametrize(
    ("field", "wrong", "place"),
    [
        ("items", [Stone()], ("items", 1, "Ring")),
        ("items", [3], ("items", 1, "Ring")),
        ("items", [{"txt": "x"}], ("items", 1, "Ring", "txt")),
        ("named", {"b": Stone()}, ("named", "b", "Ring")),
        ("named", {3: Leaf()}, ("named", 3, "[key]")),
        ("one", [], ("one", "Ring")),
        ("alone", [], ("alone",)),
    ],
)
def test_what_is_wrong_beside_the_object_itself_is_told_and_nothing_else(field: str, wrong: Any, place: tuple[int | str, ...]) -> None:
    ring = Ring()
    value = [ring, *wrong] if isinstance(wrong, list) else {"a": ring, **wrong}
    with pytest.raises(ValidationError) as told:
        setattr(ring, field, value)
    errors = told.value.errors(include_url=False)
    assert errors[0]["loc"] == place
    assert "recursion_loop" not in {each["type"] for each in errors}
    assert not ring.get_sub_entities()
    assert (ring.one, ring.alone, ring.items, ring.named, ring.model_fields_set) == (None, None, [], {}, set())


def test_the_rules_of_the_class_hold_for_the_object_itself() -> None:
    club = Club(name="orphan")
    before = club.__dict__
    for field, value, said in (
        ("members", [club, Leaf(), Leaf()], "at most 2"),
        ("members", [club, club], "a member twice"),
        ("founder", club, "founded by others"),
    ):
        with pytest.raises(ValidationError, match=said):
            setattr(club, field, value)
        assert club.__dict__ is before
    club.members = [club, Leaf()]
    assert club.members[0] is club


def test_what_has_no_known_class_may_stand_beside_the_object_itself() -> None:
    ring, unknown = Ring(), OpaqueEntity(kind="forgotten", data={})
    ring.items = [ring, unknown]  # type: ignore[list-item]
    assert [id(each) for each in ring.items] == [id(ring), id(unknown)]
    with pytest.raises(ValidationError):
        ring.items = [ring, unknown, Stone()]  # type: ignore[list-item]
    assert len(ring.items) == 2


def test_a_list_that_holds_itself_is_no_member() -> None:
    ring = Ring()
    given: list[Any] = [ring]
    given.append(given)
    with pytest.raises(ValidationError):
        ring.items = given
    assert ring.items == []
