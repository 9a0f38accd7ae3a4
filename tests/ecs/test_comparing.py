"""Entities compared with others of their class, in the words of the concept papers."""

from __future__ import annotations

import pytest
from pydantic import Field

from minference.ecs.entity import Entity
from minference.errors import DifferentClasses


class Pip(Entity, kind="compared_pip"):
    size: int = 0


class Fruit(Entity, kind="compared_fruit"):
    name: str = ""
    pip: Pip | None = None
    pips: list[Pip] = Field(default_factory=list)
    next: Fruit | None = None


def twins() -> tuple[Fruit, Fruit]:
    """Two objects with the same ids and values, as two warm copies of one version are."""
    one = Fruit(name="apple", pip=Pip(size=1), pips=[Pip(size=2), Pip(size=3)])
    return one, Fruit.model_validate(one.model_dump())


def test_equal_entities_have_no_modifications() -> None:
    one, other = twins()
    assert not one.has_modifications(other)
    assert one.modified_entities(other) == []
    assert one.compare_entity_fields(other) == (False, {})


def test_a_change_below_is_a_modification_of_everything_that_reaches_it() -> None:
    stored, entity = twins()
    entity.pips[1].size = 30
    assert entity.has_modifications(stored)
    assert entity.modified_entities(stored) == [entity, entity.pips[1]]


def test_new_and_replaced_entities_are_modified_with_what_is_below() -> None:
    stored, entity = twins()
    entity.pips.append(Pip())
    entity.next = Fruit(pip=Pip())
    entity.pip = Pip()
    modified = entity.modified_entities(stored)
    assert modified[0] is entity
    assert set(modified) == {entity, entity.pip, entity.pips[2], entity.next, entity.next.pip}
    assert len(modified) == 5


def test_removing_modifies_the_holder_only() -> None:
    stored, entity = twins()
    del entity.pips[0]
    entity.pip = None
    assert entity.modified_entities(stored) == [entity]


def test_the_fields_are_named_with_the_value_here_as_old() -> None:
    first, second = twins()
    second.name = "pear"
    second.pips.pop()
    different, fields = first.compare_entity_fields(second)
    assert different
    assert fields == {"name": {"old": "apple", "new": "pear"}, "pips": {"old": first.pips, "new": second.pips}}


def test_loops_are_walked_once() -> None:
    stored, entity = twins()
    stored.next, entity.next = stored, entity
    entity.name = "changed"
    assert entity.modified_entities(stored) == [entity]


def test_entities_of_different_classes_are_not_compared() -> None:
    with pytest.raises(DifferentClasses):
        Entity.has_modifications(Fruit(), Pip())
