"""Upgrade hooks bring the values of one schema version to the next; what cannot be read stays within reach."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any
from uuid import UUID, uuid4

import pytest
from pydantic import AfterValidator, BaseModel, Field, JsonValue

from minference.ecs.entity import Entity
from minference.errors import InvalidEvolution, UnknownStoredField, UnreadableVersion, VersionNotFound
from minference.storage.base import EntityStorage

KIND = "upgraded_note"


async def _stored(storage: EntityStorage, entity: Entity) -> UUID:
    return (await storage.register(entity)).ecs_id


async def test_hooks_are_chained_from_the_version_in_which_each_was_written(storage: EntityStorage) -> None:
    class First(Entity, kind=KIND):
        stars: int

    first = await _stored(storage, First(stars=3))

    class Second(Entity, kind=KIND, version=2):
        rating: str

    second = await _stored(storage, Second(rating="4/5"))

    class Now(Entity, kind=KIND, version=4):
        rating: float
        best: float

    @Now.upgrade(from_version=1)
    def as_text(data: dict[str, Any]) -> dict[str, Any]:
        return {"rating": f"{data['stars']}/5"}

    @Now.upgrade(from_version=2)
    def as_a_number(data: dict[str, Any]) -> dict[str, Any]:
        rating, best = data.pop("rating").split("/")
        return data | {"rating": int(rating), "best": int(best)}

    @Now.upgrade(from_version=3)
    def out_of_one(data: dict[str, Any]) -> dict[str, Any]:
        return data | {"rating": data["rating"] / data["best"]}

    notes = [await storage.get(Now, ecs_id) for ecs_id in (first, second)]
    assert [(note.rating, note.best) for note in notes] == [(0.6, 5.0), (0.8, 5.0)]
    for note in notes:
        assert (await storage.submit(note)).info is None
    fresh = Now(rating=0.5, best=1)
    assert (await storage.get(Now, await _stored(storage, fresh))).rating == 0.5


async def test_a_schema_version_without_a_hook_is_fine_where_the_fields_fit(storage: EntityStorage) -> None:
    class Then(Entity, kind=KIND):
        title: str

    old = await _stored(storage, Then(title="a"))

    class Now(Entity, kind=KIND, version=5):
        title: str
        stars: int = 0

    note = await storage.get(Now, old)
    assert (note.title, note.stars) == ("a", 0)


class Corner(BaseModel):
    x: int


class Color(Enum):
    red = "r"


async def test_a_hook_is_given_what_is_stored_as_json_data(storage: EntityStorage) -> None:
    class Then(Entity, kind=KIND):
        text: str = "\ud83d\0 é"
        amount: Decimal = Decimal("1.50")
        day: datetime = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
        pause: timedelta = timedelta(hours=1)
        data: bytes = b"\xff"
        color: Color = Color.red
        corner: Corner = Corner(x=1)
        tags: set[int] = Field(default_factory=lambda: {1})
        key: UUID = UUID(int=7)
        anything: JsonValue = None
        ratio: float = float("inf")
        next: Entity | None = None

    then = Then()
    then.next = then
    old = await _stored(storage, then)
    seen: list[dict[str, Any]] = []

    class Now(Then, kind=KIND, version=2):
        pass

    @Now.upgrade(from_version=1)
    def look(data: dict[str, Any]) -> dict[str, Any]:
        seen.append(dict(data))
        return data

    now = await storage.get(Now, old)
    assert seen == [
        {
            "text": "\ud83d\0 é",
            "amount": "1.50",
            "day": "2026-01-02T03:04:05.000006Z",
            "pause": "PT1H",
            "data": "_w==",
            "color": "r",
            "corner": {"x": 1},
            "tags": [1],
            "key": str(UUID(int=7)),
            "anything": None,
            "ratio": float("inf"),
        }
    ]
    fields = Then.model_fields.keys() - {"next", *Entity.model_fields}
    assert {name: getattr(now, name) for name in fields} == {name: getattr(then, name) for name in fields}
    assert now.next is now


async def test_a_hook_reshapes_and_renames_declare_what_hooks_leave(storage: EntityStorage) -> None:
    class Then(Entity, kind=KIND):
        first: str = "Ada"
        last: str = "Lovelace"
        colour: str = "red"

    old = await _stored(storage, Then())

    class Now(Entity, kind=KIND, version=2, renamed={"colour": "color"}):
        name: str
        color: str

    @Now.upgrade(from_version=1)
    def one_name(data: dict[str, Any]) -> dict[str, Any]:
        data["name"] = f"{data.pop('first')} {data.pop('last')}"
        return data

    note = await storage.get(Now, old)
    assert (note.name, note.color) == ("Ada Lovelace", "red")


async def test_what_a_hook_leaves_over_is_an_error(storage: EntityStorage) -> None:
    class Then(Entity, kind=KIND):
        legacy: int = 1

    old = await _stored(storage, Then())

    class Now(Entity, kind=KIND, version=2):
        title: str = ""

    @Now.upgrade(from_version=1)
    def forgets(data: dict[str, Any]) -> dict[str, Any]:
        return data | {"title": "t"}

    with pytest.raises(UnknownStoredField, match="'legacy'"):
        await storage.get(Now, old)


async def test_subclasses_share_the_hooks_of_their_base_class_unless_they_count_for_themselves(storage: EntityStorage) -> None:
    class ThenBase(Entity, kind="upgraded_base"):
        stars: int = 1

    class ThenSharing(ThenBase, kind="upgraded_sharing"):
        own: int = 1

    class ThenCounting(ThenBase, kind="upgraded_counting"):
        own: int = 1

    olds = [await _stored(storage, cls()) for cls in (ThenBase, ThenSharing, ThenCounting)]

    class NowBase(Entity, kind="upgraded_base", version=2):
        stars: int

    @NowBase.upgrade(from_version=1)
    def tenfold(data: dict[str, Any]) -> dict[str, Any]:
        return data | {"stars": data["stars"] * 10}

    class NowSharing(NowBase, kind="upgraded_sharing"):
        own: int

    @NowSharing.upgrade(from_version=1)
    def own_from_stars(data: dict[str, Any]) -> dict[str, Any]:
        return data | {"own": data["stars"] + 1}

    class NowCounting(NowBase, kind="upgraded_counting", version=1):
        own: int

    notes = [await storage.get(NowBase, ecs_id) for ecs_id in olds]
    assert [note.stars for note in notes] == [10, 10, 1]
    assert [note.own for note in notes if isinstance(note, NowSharing | NowCounting)] == [11, 1]


def _raises(_data: dict[str, Any]) -> dict[str, Any]:
    raise KeyError("gone")


def _returns_nothing(_data: dict[str, Any]) -> Any:
    return None


@pytest.mark.parametrize(
    ("hook", "reason"),
    [(_raises, "schema version 1, '_raises', raised KeyError: 'gone'"), (_returns_nothing, "'_returns_nothing', returned None instead")],
)
async def test_a_hook_that_fails_is_named_with_the_version(storage: EntityStorage, hook: Any, reason: str) -> None:
    class Then(Entity, kind=KIND):
        title: str = ""

    old = await _stored(storage, Then())

    class Now(Entity, kind=KIND, version=2):
        title: str = ""

    Now.upgrade(from_version=1)(hook)
    with pytest.raises(UnreadableVersion, match=reason) as caught:
        await storage.get(Now, old)
    assert (caught.value.ecs_id, caught.value.field) == (old, None)


def test_a_hook_that_leads_nowhere_or_is_there_twice_is_refused() -> None:
    class Now(Entity, kind="upgraded_refused", version=2):
        title: str = ""

    for version in (0, 2):
        with pytest.raises(InvalidEvolution, match="leads nowhere: the class is in 2"):
            Now.upgrade(from_version=version)
    Now.upgrade(from_version=1)(_raises)
    with pytest.raises(InvalidEvolution, match="schema version 1 has an upgrade hook"):
        Now.upgrade(from_version=1)


# Versions that cannot be read


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("must be even")
    return value


async def test_a_validator_that_refuses_an_old_value_is_named_with_version_and_field(storage: EntityStorage) -> None:
    class Inner(Entity, kind="upgraded_inner"):
        number: int = 1
        deep: dict[str, list[int]] = Field(default_factory=lambda: {"a": [1]})

    class Holder(Entity, kind="upgraded_holder"):
        inner: Entity

    inner = Inner()
    holder = await _stored(storage, Holder(inner=inner))

    class Strict(Entity, kind="upgraded_inner"):
        number: Annotated[int, AfterValidator(_even)]
        deep: dict[str, list[int]]

    with pytest.raises(UnreadableVersion, match="field 'number': Value error, must be even") as caught:
        await storage.get(Holder, holder)
    assert (caught.value.kind, caught.value.ecs_id, caught.value.field) == ("upgraded_inner", inner.ecs_id, "number")

    class Deep(Entity, kind="upgraded_inner"):
        number: int
        deep: dict[str, list[Annotated[int, AfterValidator(_even)]]]

    with pytest.raises(UnreadableVersion) as caught:
        await storage.get(Holder, holder)
    assert caught.value.field == "deep.a.0"


async def test_what_cannot_be_read_is_shown_as_it_is_stored(storage: EntityStorage) -> None:
    class Then(Entity, kind=KIND):
        title: str | None = "a"
        data: dict[str, JsonValue]
        next: Entity | None = None
        nobody: Entity | None = None
        items: list[Entity] = Field(default_factory=list)
        named: dict[str, Entity] = Field(default_factory=dict)

    then, other = Then(data={"x": [1, None, "\ud83d"]}), Then(title=None, data={})
    then.next, then.items, then.named = other, [other, then, other], {"b": then, "a": other}
    old = await _stored(storage, then)

    class Now(Entity, kind=KIND):
        title: int

    with pytest.raises((UnreadableVersion, UnknownStoredField)):
        await storage.get(Now, old)
    stored = await storage.get_stored(old)
    assert stored.info == await storage.info(old)
    assert stored.schema_version == 1
    assert stored.values == {"title": "a", "data": {"x": [1, None, "\ud83d"]}}
    assert stored.references == {"next": other.ecs_id}
    assert stored.members == {"items": (other.ecs_id, old, other.ecs_id), "named": (old, other.ecs_id)}
    assert stored.keys == {"named": ("b", "a")}
    with pytest.raises(VersionNotFound):
        await storage.get_stored(uuid4())
