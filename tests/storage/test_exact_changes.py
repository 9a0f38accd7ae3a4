"""Changes that are easy to miss, and things that look like changes and are none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from minference.ecs import drafts, sameness
from minference.ecs.entity import Entity
from minference.errors import UnstorableValue, UnsupportedConfig, VersionExists, WrongMember
from minference.storage.base import EntityStorage
from tests.storage.edits import Thing


class Point(BaseModel):
    """A value that cannot change."""

    model_config = ConfigDict(frozen=True)
    x: float = 0.0
    inner: tuple[Point, ...] = ()


class Plain(Entity, kind="exact_plain"):
    """Values that Python calls equal more often than they are."""

    model_config = ConfigDict(validate_assignment=False)
    price: Decimal = Decimal(0)
    point: Point = Point()
    labels: frozenset[str | int | bool] = frozenset()
    number: int | float | bool = 0


class Either(Entity, kind="exact_either"):
    """Values of several types, some of which look alike when they are stored."""

    text: str | bytes = ""
    id: UUID | str | None = None
    parts: tuple[Decimal | str, ...] = ()
    number: int | float | bool = 0


class Twofold(Entity, kind="exact_twofold"):
    """Values that can change in place, of types that are written alike."""

    numbers: list[int] | tuple[int, ...] = Field(default_factory=list)
    place: Path | str = Path("a")
    anything: Any = None
    inner: Twofold | None = None


class Watched(Entity, kind="exact_watched"):
    """An entity with something of its own that is not stored."""

    one: Thing | None = None
    _seen: str = PrivateAttr(default="")

    def model_post_init(self, context: Any, /) -> None:
        """Runs when the object is whole, also when it was loaded."""
        self._seen = self.one.name if self.one else "nothing"


async def test_values_that_are_equal_and_not_the_same_are_told_apart(storage: EntityStorage) -> None:
    plain = Plain()
    await storage.register(plain)
    edits: list[tuple[str, object]] = [
        ("price", Decimal("1.0")),
        ("price", Decimal("1.00")),
        ("point", Point(x=-0.0)),
        ("point", Point(inner=(Point(x=0.0),))),
        ("point", Point(inner=(Point(x=-0.0),))),
        ("number", 1),
        ("number", True),
        ("number", 1.0),
        ("labels", frozenset({"a"})),
        ("labels", frozenset({1})),
        ("labels", frozenset({True})),
    ]
    for field, value in edits:
        setattr(plain, field, value)
        assert len((await storage.submit(plain)).versions) == 1, (field, value)
        assert repr(getattr(await storage.get(Plain, plain.ecs_id), field)) == repr(value)
        setattr(plain, field, value)
        assert (await storage.submit(plain)).versions == (), (field, value)


async def test_not_a_number_is_itself(storage: EntityStorage) -> None:
    plain = Plain(number=float("nan"))
    await storage.register(plain)
    plain.number = float("nan")
    assert (await storage.submit(plain)).versions == ()
    plain.number = 0.0
    assert (await storage.submit(plain)).versions == (plain.ecs_id,)


async def test_an_entity_that_does_not_validate_assignments_is_versioned_all_the_same(storage: EntityStorage) -> None:
    plain = Plain(number=1)
    await storage.register(plain)
    first = plain.ecs_id
    plain.number = 2
    await storage.register(plain)
    assert [(await storage.get(Plain, each)).number for each in (first, plain.ecs_id)] == [1, 2]


@pytest.mark.parametrize("value", [{"text": b"a"}, {"id": str(uuid4())}, {"parts": ("a", "1.5")}])
async def test_a_value_that_would_come_back_as_one_of_another_type_is_refused(storage: EntityStorage, value: dict[str, Any]) -> None:
    with pytest.raises(UnstorableValue, match="it would be read back as"):
        await storage.register(Either(**value))
    either = await storage.register(Either(text="a"))
    [(name, part)] = value.items()
    setattr(either, name, part)
    with pytest.raises(UnstorableValue, match=f"field '{name}' of exact_either cannot be stored"):
        await storage.register(either)
    assert (await storage.lineage(either.lineage_id))[-1].ecs_id == either.ecs_id


async def test_a_value_of_any_of_several_types_comes_back_as_it_was(storage: EntityStorage) -> None:
    for value in ({"text": "a"}, {"id": "a"}, {"id": uuid4()}, {"parts": ("a", Decimal("1.5"))}, {"number": True}, {"number": 1.0}):
        either = await storage.register(Either(**value))
        [(name, part)] = value.items()
        stored = getattr(await storage.get(Either, either.ecs_id), name)
        assert (stored, type(stored)) == (part, type(part))


@pytest.mark.parametrize(
    ("field", "value"), [("numbers", (1,)), ("place", "a"), ("anything", {"deep": [(2,)]})], ids=["numbers", "place", "anything"]
)
async def test_an_edit_that_is_written_like_what_it_replaces_is_refused_as_it_is_anew(
    storage: EntityStorage, field: str, value: Any
) -> None:
    entity = Twofold(numbers=[1], anything={"deep": [[2]]})
    holder = await storage.register(Twofold(inner=entity))
    before, edited, stored = await storage.status(), entity.ecs_id, getattr(entity, field)
    setattr(entity, field, value)
    for _ in range(2):
        with pytest.raises(UnstorableValue, match=f"field '{field}' of exact_twofold .* read back as"):
            await storage.register(holder)
        assert (entity.ecs_id, getattr(entity, field), await storage.status()) == (edited, value, before)
    with pytest.raises(UnstorableValue, match=f"field '{field}'"):
        await storage.register(Twofold(**{field: value}))
    setattr(entity, field, stored)
    assert (await storage.submit(holder)).versions == ()


async def test_an_equal_value_in_the_place_of_another_is_no_change(storage: EntityStorage) -> None:
    entity = await storage.register(Twofold(numbers=[1, 2], place=Path("a/b"), anything={"deep": [2.5, None]}))
    entity.numbers, entity.place, entity.anything = [1, 2], Path("a/b"), {"deep": [2.5, None]}
    assert (await storage.submit(entity)).versions == ()


async def test_a_member_exchanged_for_an_object_with_its_ids_is_noticed(storage: EntityStorage) -> None:
    thing = Thing(items=[Thing(name="a")], one=Thing(name="b"))
    await storage.register(thing)
    thing.items[0] = Thing.model_validate(dict(thing.items[0]) | {"name": "forged"})
    with pytest.raises(VersionExists):
        await storage.register(thing)


async def test_a_member_exchanged_for_one_that_its_class_calls_equal_is_noticed(storage: EntityStorage) -> None:
    class Named(Thing, kind="exact_named"):
        """One name, one thing."""

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Named) and self.name == other.name

        __hash__ = Thing.__hash__

    try:
        shelf = Thing(items=[Named(name="a", data={"text": "one"}), Named(name="b")])
        await storage.register(shelf)
        shelf.items[0] = Named(name="a", data={"text": "two"})
        await storage.register(shelf)
        assert (await storage.get(Thing, shelf.ecs_id)).items[0].data == {"text": "two"}
    finally:
        sameness.own_equality.clear()  # or the other tests of this process would never see the fast way


async def test_a_wrong_member_is_named_also_when_nothing_else_was_changed(storage: EntityStorage) -> None:
    thing = Thing(items=[Thing()])
    await storage.register(thing)
    thing.items.append("no thing")  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(WrongMember, match="items of machine_thing holds 'no thing'"):
        await storage.register(thing)
    thing.items.pop()
    assert (await storage.submit(thing)).versions == ()


async def test_a_shared_member_changed_in_place_and_saved_elsewhere_is_noticed_by_every_holder(storage: EntityStorage) -> None:
    shared = Thing(data={"a": 1})
    one, two = Thing(items=[shared]), Thing(items=[Thing(one=shared)])
    await storage.register(one, two)
    shared.data["a"] = 2
    assert (await storage.submit(one)).versions == (shared.ecs_id, one.ecs_id)
    assert (await storage.submit(two)).versions == (two.items[0].ecs_id, two.ecs_id)


@pytest.mark.parametrize("before", [0, 1], ids=["the first", "the second"])
async def test_what_hangs_on_an_appended_member_is_saved_with_it(storage: EntityStorage, before: int) -> None:
    root = Thing(items=[Thing() for _ in range(before)])
    await storage.register(root)
    root.items.append(Thing(one=Thing(named={"k": Thing(name="deep")})))
    assert len((await storage.submit(root)).versions) == 4
    *_, member = (await storage.get(Thing, root.ecs_id)).items
    assert member.one is not None
    assert member.one.named["k"].name == "deep"


@pytest.mark.parametrize("number", [4, 12], ids=["a few", "many"])
async def test_each_of_the_holders_learns_of_an_edit_far_below(storage: EntityStorage, number: int) -> None:
    shared = Thing()
    holders = [Thing(items=[Thing(one=shared)]) for _ in range(number)]
    await storage.register(*holders)
    shared.name = "changed"
    assert (await storage.submit(holders[0])).versions == (shared.ecs_id, holders[0].items[0].ecs_id, holders[0].ecs_id)
    for holder in holders[1:]:
        assert (await storage.submit(holder)).versions == (holder.items[0].ecs_id, holder.ecs_id)


async def test_what_a_member_gained_before_it_was_saved_with_its_holder_is_watched_when_it_is_saved_alone(storage: EntityStorage) -> None:
    inner = Thing(items=[Thing()])
    outer = Thing(items=[inner])
    await storage.register(inner)
    await storage.register(outer)
    gained = Thing()
    inner.items.append(gained)
    await storage.register(outer)
    gained.name = "changed"
    assert (await storage.submit(inner)).versions == (gained.ecs_id, inner.ecs_id)


async def test_a_root_that_is_held_by_what_it_holds_takes_that_along(storage: EntityStorage) -> None:
    root, other, loner = Thing(), Thing(), Thing()
    await storage.register(root)
    root.one, other.items, loner.one = other, [root], loner
    await storage.register(root, loner)
    for name in "ab":
        root.name = loner.name = name
        assert sorted((await storage.submit(root)).versions) == sorted([root.ecs_id, other.ecs_id])
        assert (await storage.submit(loner)).versions == (loner.ecs_id,)
    copy = await storage.get(Thing, other.ecs_id)
    assert copy.items[0].one is copy


async def test_what_an_entity_makes_of_itself_after_loading_sees_the_whole_object(storage: EntityStorage) -> None:
    watched = Watched(one=Thing(name="here"))
    await storage.register(watched)
    copy = await storage.get(Watched, watched.ecs_id)
    assert copy._seen == watched._seen == "here"
    assert (await storage.submit(copy)).versions == ()


async def test_a_version_is_never_older_than_its_parent(storage: EntityStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    thing = Thing()
    await storage.register(thing)
    monkeypatch.setattr(drafts, "utc_now", lambda: datetime.now(UTC) - timedelta(hours=1))  # a clock that was put back
    ids = [thing.ecs_id]
    for name in "abc":
        thing.name = name
        await storage.register(thing)
        ids.append(thing.ecs_id)
    assert [info.ecs_id for info in await storage.lineage(thing.lineage_id)] == ids


def test_a_class_whose_objects_could_hold_more_than_fields_is_refused() -> None:
    with pytest.raises(UnsupportedConfig, match="extra='allow'"):

        class Loose(Entity, kind="exact_loose"):
            model_config = ConfigDict(extra="allow")
