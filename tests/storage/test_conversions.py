"""A table may convert values itself, field by field or row by row; what would not come back the same is not written."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
from sqlalchemy import LargeBinary, Numeric, select, text
from sqlalchemy.orm import Mapped, mapped_column

from minference.ecs.entity import Entity
from minference.errors import ConfigurationError, ConversionFailed, LossyConversion, TableMismatch, UnreadableVersion
from minference.storage.open import open_storage
from minference.storage.sql import EntityTable, ExactText
from minference.storage.sql.registered import mapping_for
from minference.storage.sql.schema import Base
from minference.threads.messages import ChatMessage
from tests.storage.converted import Author, Paper, PaperSQL, Person, PersonSQL, Thesis, Visit, VisitSQL
from tests.storage.tables import broken_rules, damage, rows_of

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
PAPERS = [
    Paper(title="plain", body="long " * 1000, notes={"b": [1, 2.5, None], "a": "ä"}, printed=NOON, seal=b"\0\xff"),
    Paper(title="odd", body="half \ud83d, none \0, all 🙂", notes={"\ud83d": float("inf")}),
    Paper(title="empty", body=""),
    Thesis(title="more", body="proof", grade=1.3),
]


def values(entity: Entity) -> Any:
    """Everything but the names of objects in memory."""
    return _without_live_ids(entity.model_dump(serialize_as_any=True))


def _without_live_ids(dumped: Any) -> Any:
    match dumped:
        case dict():
            return {name: _without_live_ids(value) for name, value in dumped.items() if name != "live_id"}
        case list():
            return [_without_live_ids(each) for each in dumped]
        case _:
            return dumped


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.title)
async def test_encoded_fields_come_back_as_they_were(sql_url: str, paper: Paper) -> None:
    paper = paper.model_copy(deep=True)
    async with open_storage(sql_url) as storage:
        await storage.register(paper)
    async with open_storage(sql_url) as storage:
        loaded = await type(paper).get(paper.ecs_id)
        assert values(loaded) == values(paper)
        assert await storage.check() == []
        async with storage.sql() as session:
            row = (await session.scalars(select(PaperSQL))).one()
    assert values(row.to_entity()) == values(paper)
    assert (type(row.body), type(row.remarks), type(row.printed)) == (bytes, str, int)
    assert await broken_rules(sql_url) == []


async def test_the_encoded_form_is_what_stands_in_the_table(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        await storage.register(PAPERS[0].model_copy(deep=True))
        async with storage.sql() as session:
            statement = text("SELECT title, length(body), remarks, printed FROM test_converted_paper")
            [(title, size, remarks, printed)] = (await session.execute(statement)).all()
    assert (title, remarks, printed) == ("plain", '{"b": [1, 2.5, null], "a": "\\u00e4"}', 1767355200)
    assert size < 100


async def test_whole_rows_of_another_shape_come_back_as_they_were(sql_url: str) -> None:
    papers = [paper.model_copy(deep=True) for paper in PAPERS]
    bob = Author(name="Bob", books=["one"], editor=Person(name="Ed"), papers=papers)
    ann = Person(name="Ann van Dam", tags=["a", "b"], age=41, friend=bob)
    async with open_storage(sql_url) as storage:
        await storage.register(ann)
        ann.name, ann.tags = "Ann", []
        bob.papers[1:3] = []
        await storage.register(ann)
    async with open_storage(sql_url) as storage:
        loaded = await Person.get(ann.ecs_id)
        assert values(loaded) == values(ann)
        assert ann.parent_id is not None
        first = await Person.get(ann.parent_id)
        assert (first.name, first.tags, first._greeting) == ("Ann van Dam", ["a", "b"], "hello")
        assert await storage.check() == []
        async with storage.sql() as session:
            query = select(PersonSQL.first_name, PersonSQL.last_name, PersonSQL.tag_line).where(PersonSQL.lineage == ann.lineage_id)
            assert [tuple(row) for row in (await session.execute(query.order_by(PersonSQL.id))).all()] == [
                ("Ann", "van Dam", "a,b"),
                ("Ann", None, ""),
            ]
            row = (await session.scalars(select(PersonSQL).where(PersonSQL.age == 41).order_by(PersonSQL.id).limit(1))).one()
    assert row.to_entity(friend=None).name == "Ann van Dam"


async def test_an_entity_may_be_made_by_hand_from_a_row(sql_url: str) -> None:
    visit = Visit(guest=Person(name="Ann"), stars=4)
    async with open_storage(sql_url) as storage:
        await storage.register(visit)
        async with storage.recording():
            loaded = await Visit.get(visit.ecs_id)
        assert (loaded.stars, loaded.guest.name) == (4, "Ann")
        assert (await storage.status()).versions == 2
        async with storage.sql() as session:
            assert (await session.scalars(select(VisitSQL.drawn))).all() == ["****"]


async def test_what_a_table_makes_of_a_value_is_what_was_submitted_even_if_it_changes_meanwhile(sql_url: str) -> None:
    person = Person(name="Ann", tags=["first"])
    async with open_storage(sql_url) as storage:
        one = storage.submit(person)
        lineage = person.lineage_id
        person.tags.append("second")
        other = storage.submit(person)
        person.tags.append("third")
        await asyncio.gather(one, other)
        loaded = [await Person.get(version.ecs_id) for version in await storage.lineage(lineage)]
        async with storage.sql() as session:
            rows = (await session.scalars(select(PersonSQL))).all()
    assert [each.tags for each in loaded] == [["first"], ["first", "second"]]
    assert [row.version for row in rows] == [row.entity_version.ecs_id for row in rows]


async def test_the_conversions_of_a_table_hold_for_what_is_imported(sql_url: str, tmp_path: Path) -> None:
    person = Person(name="Ann van Dam", papers=[PAPERS[0].model_copy(deep=True)])
    async with open_storage("memory:") as memory:
        await memory.register(person)
        await memory.export_to(tmp_path / "export.jsonl")
    async with open_storage(sql_url) as storage:
        await storage.import_from(tmp_path / "export.jsonl")
        assert values(await Person.get(person.ecs_id)) == values(person)
        async with storage.sql() as session:
            assert (await session.scalars(select(PersonSQL.lineage))).all() == [person.lineage_id]


class Rounded(Entity, kind="test_conversions_rounded"):
    """A number whose table keeps only a part of it, and a text."""

    number: int = 0
    text: str = ""


class RoundedSQL(EntityTable[Rounded]):
    """Keeps tens; each of the numbers below has a fault of its own."""

    __tablename__ = "test_conversions_rounded"
    __encoded__ = ("number",)

    number: Mapped[str] = mapped_column(ExactText)
    text: Mapped[str] = mapped_column(ExactText)

    @classmethod
    def encode(cls, field: str, value: Any) -> Any:
        faults = {3: None, 4: 4, 5: "five"}
        return faults.get(value, str(value // 10))

    @classmethod
    def decode(cls, field: str, value: Any) -> Any:
        return int(value) * 10


@pytest.mark.parametrize(
    ("number", "error", "sentence"),
    [
        (11, LossyConversion, "RoundedSQL cannot store a test_conversions_rounded: field 'number' is 11 and would be read back as 10"),
        (3, ConversionFailed, "column 'number' is NOT NULL and would be empty"),
        (4, ConversionFailed, "column 'number' takes str, and 4 is int"),
        (5, ConversionFailed, r"ValueError: invalid literal for int\(\) with base 10: 'five'"),
    ],
)
async def test_what_would_not_come_back_the_same_is_refused_and_nothing_is_written(
    sql_url: str, number: int, error: type[ConversionFailed], sentence: str
) -> None:
    good, bad = Rounded(number=10), Rounded(number=20, text="first")
    async with open_storage(sql_url) as storage:
        await storage.register(bad)
        stood_on = bad.ecs_id
        before = await rows_of(sql_url)
        bad.number, bad.text = number, "second"
        with pytest.raises(error, match=sentence):
            await storage.register(bad, good)
        assert await rows_of(sql_url) == before
        assert (bad.ecs_id, bad.number, bad.text) == (stood_on, number, "second")
        outcomes = await asyncio.gather(storage.register(bad), storage.register(good), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [error, Rounded]
        bad.number = 30
        await storage.register(bad)
        assert ((await Rounded.get(bad.ecs_id)).text, (await Rounded.get(good.ecs_id)).number) == ("second", 10)


class Initials(Entity, kind="test_conversions_initials"):
    """A name of which the table keeps the first letter of each word."""

    name: str


class InitialsSQL(EntityTable[Initials]):
    """Loses most of it."""

    __tablename__ = "test_conversions_initials"

    letters: Mapped[str] = mapped_column(ExactText)

    @classmethod
    def from_entity(cls, entity: Initials) -> Self:
        return cls(letters="".join(word[0] for word in entity.name.split()))

    def to_entity(self, **fields: Any) -> Initials:
        return Initials(name=" ".join(self.letters))


async def test_rows_that_lose_something_are_refused_too(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        kept = await storage.register(Initials(name="A B"))
        before = await rows_of(sql_url)
        with pytest.raises(LossyConversion) as caught:
            await storage.register(Initials(name="Ann Bell"))
        assert (caught.value.table, caught.value.field, caught.value.value, caught.value.given_back) == (
            "InitialsSQL",
            "name",
            "Ann Bell",
            "A B",
        )
        assert await rows_of(sql_url) == before
        assert (await Initials.get(kept.ecs_id)).name == "A B"


class Nosy(Entity, kind="test_conversions_nosy"):
    """Somebody who holds others."""

    others: list[Initials]


class NosySQL(EntityTable[Nosy]):
    """Looks at what the storage does not show to tables."""

    __tablename__ = "test_conversions_nosy"

    others_seq: Mapped[int | None]
    others_len: Mapped[int]
    names: Mapped[str] = mapped_column(ExactText)

    @classmethod
    def from_entity(cls, entity: Nosy) -> Self:
        return cls(names=", ".join(each.name for each in entity.others))


async def test_a_row_cannot_be_made_of_what_an_entity_holds(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        with pytest.raises(ConversionFailed, match="'Nosy' object has no attribute 'others'"):
            await storage.register(Nosy(others=[Initials(name="A")]))


async def test_a_row_that_its_table_cannot_read_is_told_with_the_reason(sqlite_url: str) -> None:
    async with open_storage(sqlite_url) as storage:
        number = await storage.register(Rounded(number=10))
    await damage(sqlite_url, "UPDATE test_conversions_rounded SET number = 'x'")
    async with open_storage(sqlite_url) as storage:
        with pytest.raises(UnreadableVersion, match=r"RoundedSQL raised ValueError: invalid literal for int\(\)"):
            await Rounded.get(number.ecs_id)
        assert [finding.rule for finding in await storage.check()] == ["loading"]


async def test_words_are_not_looked_for_in_an_encoded_field(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        await storage.register(PAPERS[0].model_copy(deep=True))
        assert len(await storage.search(Paper, "plain", field="title")) == 1
        with pytest.raises(ConfigurationError, match="no table with a column for a text 'body'"):
            await storage.search(Paper, "long", field="body")


def test_a_table_that_overrides_nothing_takes_the_short_way() -> None:
    assert mapping_for(ChatMessage).conversion is None


def test_what_is_declared_wrongly_is_refused_when_it_is_defined() -> None:
    class Cheque(Entity, kind="test_conversions_cheque"):
        amount: int
        owner: Person | None = None

    with pytest.raises(TableMismatch) as caught:

        class NamelessSQL(EntityTable[Cheque]):
            __tablename__ = "test_conversions_cheque"

            amount: Mapped[bytes] = mapped_column(LargeBinary)

            @classmethod
            def encode(cls, field: str, value: Any) -> Any:
                return value

    assert caught.value.problems == (
        "field 'amount' (<class 'int'>) needs a column of kind integer, and 'amount' is LargeBinary()",
        "it overrides encode() or decode(), and __encoded__ does not say for which fields",
        "field 'owner' has no column 'owner_id'",
    )
    with pytest.raises(TableMismatch) as caught:

        class UselessSQL(EntityTable[Cheque]):
            __tablename__ = "test_conversions_cheque"
            __encoded__: ClassVar = ("amount", "owner")

            amount: Mapped[Any] = mapped_column(Numeric)

    assert caught.value.problems[:3] == (
        "__encoded__ names fields, and neither encode() nor decode() is overridden",
        "__encoded__ names 'owner', which is no field with a plain value",
        "column 'amount' is of type Numeric(), in which nothing can be stored",
    )
    with pytest.raises(TableMismatch) as caught:

        class KeylessSQL(EntityTable[Cheque]):
            __tablename__ = "test_conversions_cheque"

            worth: Mapped[Any] = mapped_column(Numeric)

            def to_entity(self, **fields: Any) -> Cheque:
                return Cheque(amount=int(self.worth), **fields)

    assert caught.value.problems == (
        "field 'owner' has no column 'owner_id'",
        "column 'worth' is of type Numeric(), in which nothing can be stored",
    )
    assert "test_conversions_cheque" not in Base.metadata.tables


async def test_memory_has_no_tables_and_converts_nothing() -> None:
    async with open_storage("memory:") as storage:
        lossy = await storage.register(Initials(name="Ann Bell"))
        assert (await Initials.get(lossy.ecs_id)).name == "Ann Bell"
