"""A class that is defined again, as by a cell of a notebook that is run again, while objects of the one before are about."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field, create_model

from minference.ecs.entity import Entity
from minference.errors import RedefinedClass
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage


class Box(Entity, kind="redefined_box"):
    things: list[Entity] = Field(default_factory=list)


def make(**fields: Any) -> type[Any]:
    """The class `Memo` with these fields, in the place of the one that there was."""
    return create_model("Memo", __base__=Entity, __module__=__name__, __cls_kwargs__={"kind": "redefined_memo"}, **fields)


async def test_an_object_whose_class_was_defined_again_with_other_fields_is_refused(storage: EntityStorage) -> None:
    old = make(n=(int, 0), text=(str, ""))
    box = await storage.register(Box(things=[old(n=1)]))
    memo: Any = box.things[0]
    before = box.ecs_id
    new = make(n=(float, 0.0), more=(str, ""), text=(str, ""))
    memo.n = 2
    other = Box()
    with pytest.raises(RedefinedClass, match=r"Memo that was defined again since, and differs in 'more', 'n': make it anew") as caught:
        await storage.register(other, box)
    assert (caught.value.kind, caught.value.name, caught.value.fields) == ("redefined_memo", "Memo", ["more", "n"])
    assert (box.ecs_id, memo.n) == (before, 2)
    with pytest.raises(RedefinedClass):
        await storage.register(old(n=3))
    assert not await storage.has_entity(other.ecs_id)
    assert (await storage.status()).versions == 2
    box.things[0] = new(n=2.5)
    assert len((await storage.submit(other, box)).versions) == 3
    loaded: Any = (await storage.get(Box, box.ecs_id)).things[0]
    assert (type(loaded), loaded.n) == (new, 2.5)


async def test_an_object_whose_class_was_defined_again_as_it_was_is_read_as_the_new_one(storage: EntityStorage) -> None:
    old = make(n=(int, 0), text=(str, ""))
    memo = await storage.register(old(n=1))
    new = make(n=(int, 0), text=(str, "changed"))
    memo.n = 2
    await storage.register(memo)
    loaded = await storage.get(new, memo.ecs_id)
    assert (type(loaded), loaded.n, loaded.text) == (new, 2, "")
    loaded.n = 3
    await storage.register(loaded)
    assert [each.ecs_id for each in await storage.list_by_type(new)] == [loaded.ecs_id]
    assert len([line async for line in storage.export_lines()]) == 5
    if storage.url != "memory:":
        assert await storage.check() == []


async def test_a_higher_version_of_a_class_is_another_class() -> None:
    class Note(Entity, kind="redefined_note"):
        pass

    note = Note()

    class Later(Entity, kind="redefined_note", version=2):
        pass

    async with open_storage("memory:") as storage:
        with pytest.raises(RedefinedClass, match="differs in its version"):
            await storage.register(note)
        await storage.register(Later())
