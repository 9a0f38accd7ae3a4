"""Entities as default values of fields: each object has its own, as pydantic gives each its own list."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from minference.ecs.entity import Entity
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage


class Knob(Entity, kind="defaults_knob"):
    turned: float = 0.5


class Board(Entity, kind="defaults_board"):
    knob: Knob = Knob()
    knobs: dict[str, Knob] = Field(default={"a": Knob()})


class Plain(BaseModel):
    value: float = 0.5


SHARED = Knob()


class Bot(Entity, kind="defaults_bot"):
    name: str = ""
    knob: Knob = SHARED
    again: Knob | None = SHARED
    described: Knob = Field(default=Knob(), description="with a field of its own")
    aliased: Annotated[Knob, Field(description="in its annotation")] = Knob()
    listed: list[Knob] = Field(default=[Knob()])
    pair: tuple[Knob, ...] = (Knob(), Knob())
    named: dict[str, Knob] = Field(default={"a": Knob()})
    board: Board = Board()
    boards: tuple[Board, ...] = (Board(),)
    later: Later | Knob = Knob()
    plain: Plain = Plain()


class Waiting(Entity, kind="defaults_waiting"):
    knob: Knob = Knob()
    later: Later | None = None


class Later(Entity, kind="defaults_later"):
    """Makes those before it classes that are completed after their definition."""


class Holder(Entity, kind="defaults_holder"):
    held: list[Waiting] = Field(default_factory=list)


class Loud(Bot, kind="defaults_loud"):
    volume: int = 11


MAKERS: dict[str, Any] = {
    "constructed": lambda cls: cls(),
    "validated": lambda cls: cls.model_validate({"name": "x"}),
    "not validated": lambda cls: cls.model_construct(),
    "read": lambda cls: cls.model_validate_json("{}"),
}


def ids_below(entity: Entity) -> set[UUID]:
    return {each.ecs_id for each in entity.get_sub_entities()}


@pytest.mark.parametrize("cls", [Bot, Loud])
@pytest.mark.parametrize("maker", MAKERS)
def test_each_object_has_entities_of_its_own_as_defaults(cls: type[Bot], maker: str) -> None:
    one, two = MAKERS[maker](cls), cls()
    objects = one.get_sub_entities()
    assert len(objects) == len(ids_below(one)) == 15
    assert not ids_below(one) & ids_below(two)
    assert not {each.lineage_id for each in objects} & {each.lineage_id for each in two.get_sub_entities()}
    for each in objects:
        if isinstance(each, Knob):
            each.turned = 1.0
    one.plain.value = 1.0
    assert all(each.turned == 0.5 for bot in (two, cls()) for each in bot.get_sub_entities() if isinstance(each, Knob))
    assert SHARED.turned == cls().plain.value == 0.5


def test_a_class_that_was_completed_inside_another_gives_copies_too() -> None:
    one, two = Holder.model_validate({"held": [{}, {}]}).held
    assert one.knob is not two.knob
    assert Waiting().knob.ecs_id not in {one.knob.ecs_id, two.knob.ecs_id}


async def test_editing_a_default_of_one_object_changes_no_other(storage: EntityStorage) -> None:
    one, two = await storage.register(Bot(name="one")), await storage.register(Bot(name="two"))
    one.knob.turned = one.boards[0].knob.turned = 1.0
    assert {type(await storage.get(Entity, each)).__name__ for each in (await storage.submit(one)).versions} == {"Bot", "Board", "Knob"}
    assert (await storage.submit(two)).info is None
    loaded = await storage.get(Bot, two.ecs_id)
    assert (loaded.knob.turned, loaded.boards[0].knob.turned) == (0.5, 0.5)


async def test_what_is_recorded_holds_the_copies() -> None:
    async with open_storage("memory:") as storage:
        async with storage.recording():
            board = Board()
        assert await storage.has_entity(board.knob.ecs_id)
        assert (await storage.status()).versions == 3
