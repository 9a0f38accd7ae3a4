"""Whatever happens to a class over the years, every value that was ever stored stays reachable.

A class gains, renames and removes fields and raises its schema version, in any order, while versions of it are saved and
edited. A model that knows nothing of shapes says what each version must read as.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from types import new_class
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, JsonValue

from minference.ecs.entity import Entity
from minference.ecs.opaque import OpaqueEntity
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from tests.storage.programs import undefined
from tests.support.examples import examples
from tests.support.sqlite import with_tables

KIND = "evolving_through_the_years"


class Leaf(Entity, kind="evolving_leaf"):
    text: str = ""


SORTS: dict[str, tuple[Any, Callable[[], Any], Callable[[int], Any]]] = {
    "number": (int, lambda: 1, lambda seed: seed),
    "text": (str | None, lambda: "default", lambda seed: None if seed % 3 == 0 else f"{seed}\ud83d"),
    "json": (dict[str, JsonValue], lambda: {"default": [1]}, lambda seed: {"seed": [seed, None]}),
    "reference": (Leaf | None, lambda: None, lambda seed: None if seed % 3 == 0 else Leaf(text=str(seed))),
    "list": (list[Leaf], list, lambda seed: [Leaf(text=str(number)) for number in range(seed % 4)]),
    "keyed": (dict[str, Leaf], dict, lambda seed: {str(number): Leaf(text=str(seed)) for number in range(seed % 3)}),
}
"""Annotation, default and other values of each sort of field."""
PLAIN = ("number", "text", "json")


@dataclass
class Logical:
    """One field under all the names that it had."""

    sort: str
    names: list[str]
    removed: bool = False


@dataclass
class Written:
    """What the model knows of one version."""

    version: int
    values: dict[str, Any]
    """Plain values under the names of then."""
    held: dict[int, Any]
    """By logical field; entities as texts."""


@dataclass
class Years:
    """The class as it is now, and everything that was stored."""

    storage: EntityStorage
    fields: list[Logical] = field(default_factory=list)
    hooks: dict[int, int] = field(default_factory=dict)
    """Schema version to the number whose hook adds 100 to it."""
    version: int = 1
    written: dict[UUID, Written] = field(default_factory=dict)
    cls: type[Entity] = Entity

    def present(self) -> dict[int, Logical]:
        return {number: each for number, each in enumerate(self.fields) if not each.removed}

    def define(self) -> None:
        """The class of this year."""
        present = [(each.names[-1], *SORTS[each.sort]) for each in self.present().values()]
        body: dict[str, Any] = {"__module__": __name__, "__annotations__": {name: annotation for name, annotation, *_ in present}}
        body |= {name: Field(default_factory=default) for name, _, default, _ in present}
        arguments = {
            "kind": KIND,
            "version": self.version,
            "renamed": {old: new for each in self.fields for old, new in zip(each.names, each.names[1:], strict=False)},
            "removed": tuple(each.names[-1] for each in self.fields if each.removed),
        }
        self.cls = new_class("Grown", (Entity,), arguments, lambda namespace: namespace.update(body))
        for version, number in self.hooks.items():
            self.cls.upgrade(from_version=version)(_adding(100, self.fields[number].names))

    async def happens(self, event: str, which: int, seed: int) -> None:
        """One thing in the life of the class or of its versions."""
        present = self.present()
        chosen = list(present.values())[which % len(present)] if present else None
        numbers = [number for number, each in present.items() if each.sort == "number"]
        match event:
            case "add":
                self.fields.append(Logical(list(SORTS)[which % len(SORTS)], [f"field_{len(self.fields)}"]))
            case "rename" if chosen is not None:
                chosen.names.append(f"{chosen.names[0]}_{len(chosen.names)}")
            case "remove" if chosen is not None:
                chosen.removed = True
            case "raise":
                if numbers:
                    self.hooks[self.version] = numbers[which % len(numbers)]
                self.version += 1
            case "save":
                await self.save(self.cls.model_validate({each.names[-1]: SORTS[each.sort][2](seed) for each in present.values()}))
            case "edit" if self.written and chosen is not None:
                entity = await self.storage.get(self.cls, list(self.written)[which % len(self.written)])
                setattr(entity, chosen.names[-1], SORTS[chosen.sort][2](seed))
                await self.save(entity)
        if event in ("add", "rename", "remove", "raise"):
            self.define()

    async def save(self, entity: Entity) -> None:
        if (await self.storage.submit(entity)).info is not None:
            present = self.present()
            values = {each.names[-1]: entity.__dict__[each.names[-1]] for each in present.values() if each.sort in PLAIN}
            held = {number: _text(entity.__dict__[each.names[-1]]) for number, each in present.items()}
            self.written[entity.ecs_id] = Written(self.version, values, held)

    def expected(self, then: Written) -> dict[str, Any]:
        """What a version reads as today."""
        found: dict[str, Any] = {}
        for number, each in self.present().items():
            raised = 100 * sum(target == number for version, target in self.hooks.items() if version >= then.version)
            value = then.held[number] if number in then.held else SORTS[each.sort][1]()
            found[each.names[-1]] = value + raised if number in then.held and each.sort == "number" else value
        return found

    async def check(self, storage: EntityStorage) -> None:
        """Every version reads as it must, and saving it is no change."""
        for ecs_id, then in self.written.items():
            entity = await storage.get(self.cls, ecs_id)
            fields = {name: _text(value) for name, value in entity.__dict__.items() if name not in Entity.model_fields}
            assert fields == self.expected(then)
            assert (await storage.submit(entity)).info is None


def _adding(amount: int, names: list[str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def hook(data: dict[str, Any]) -> dict[str, Any]:
        return {name: value + amount if name in names else value for name, value in data.items()}

    return hook


def _text(value: Any) -> Any:
    """A value with texts for leaves."""
    match value:
        case Leaf():
            return value.text
        case list():
            return [_text(each) for each in value]
        case dict():
            return {key: _text(each) for key, each in value.items()}
        case _:
            return value


events = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "rename", "remove", "raise", "save", "save", "edit", "edit"]), st.integers(0, 20), st.integers(0, 9)
    ),
    min_size=5,
    max_size=40,
)


@pytest.mark.parametrize("kind_of_storage", ["memory", "sqlite"])
def test_no_value_is_ever_out_of_reach(kind_of_storage: str) -> None:
    @settings(max_examples=examples(12, 200))
    @given(events)
    def check(happenings: list[tuple[str, int, int]]) -> None:
        asyncio.run(_live(kind_of_storage, happenings))

    check()


async def _live(kind_of_storage: str, happenings: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = "memory:" if kind_of_storage == "memory" else with_tables(f"{folder}/x.db")
        async with open_storage(url) as storage:
            years = Years(storage)
            years.define()
            for event, which, seed in happenings:
                await years.happens(event, which, seed)
            await years.check(storage)
            for ecs_id, then in years.written.items():
                stored = await storage.get_stored(ecs_id)
                assert (stored.schema_version, stored.values) == (then.version, then.values)
            await _travel(years, folder)


async def _travel(years: Years, folder: str) -> None:
    """The same elsewhere: exported by a program that knows the class, and by one that does not."""
    async with open_storage("memory:") as known, open_storage(with_tables(f"{folder}/y.db")) as unknown, open_storage("memory:") as third:
        await known.import_lines([line async for line in years.storage.export_lines()])
        await years.check(known)
        with undefined(KIND):
            lines = [line async for line in years.storage.export_lines()]
            await unknown.import_lines(lines)
            assert [line async for line in unknown.export_lines()] == lines
            for info in await unknown.list_by_type(OpaqueEntity):
                opaque = await unknown.get(OpaqueEntity, info.ecs_id)
                assert opaque.data == years.written[info.ecs_id].values
        await years.check(unknown)
        assert await unknown.check() == []
        await third.import_lines(lines)
        await years.check(third)
