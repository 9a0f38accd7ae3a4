"""Every field of every entity class comes back from both databases as it was; what does not fit is refused when it is defined."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field
from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

import minference.threads.tables  # noqa: F401 - declares the tables
from minference.ecs.entity import Entity, plan_of
from minference.ecs.values import dump_json
from minference.errors import TableMismatch, UnknownStoredField, UnreadableVersion, UnstorableValue
from minference.storage.sql.mapping import Mapping, insert_order
from minference.storage.sql.registered import mapping_for
from minference.storage.sql.schema import Base, reference
from minference.storage.sql.tables import EntityTable
from minference.storage.sql.types import ExactText, Id, Json
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, SystemPrompt, Usage
from minference.threads.outputs import ProcessedOutput, RawOutput
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool
from tests.storage.rows import RawDatabase, Rows, documents_of, raw_database, same
from tests.storage.specimens import CLASSES, Color, Corner, Everything, Level, MoreThanEverything, Tableless, entities_of
from tests.support.examples import examples


@pytest.fixture
def database(sql_url: str) -> Iterator[RawDatabase]:
    """Every SQL database in turn."""
    with raw_database(sql_url) as opened:
        yield opened


def hollow_places(mapping: Mapping) -> tuple[dict[str, int | None], dict[str, tuple[int | None, int]], dict[str, tuple[str, ...]]]:
    """References to nothing and ordered fields that are empty."""
    plan = plan_of(mapping.cls)
    keyed = {field.name: () for field in plan.collections if field.shape is dict}
    return dict.fromkeys(plan.references), {field.name: (None, 0) for field in plan.collections}, dict(keyed)


def required_places(mapping: Mapping) -> tuple[dict[str, int | None], dict[str, tuple[int | None, int]], dict[str, tuple[str, ...]]]:
    """References to version 7 and ordered fields in sequence 8; foreign keys are checked at the end, which never comes."""
    plan = plan_of(mapping.cls)
    keyed = {field.name: ("b", "a\ud800") for field in plan.collections if field.shape is dict}
    return dict.fromkeys(plan.references, 7), {field.name: (8, 2) for field in plan.collections}, dict(keyed)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_field_comes_back_as_it_was(database: RawDatabase, cls: type[Entity]) -> None:
    mapping = mapping_for(cls)
    references, sequences, keys = required_places(mapping)

    @settings(max_examples=examples(15, 100), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(st.lists(entities_of(cls), min_size=1, max_size=4))
    def check(entities: list[Entity]) -> None:
        ids = range(100, 100 + len(entities))
        rows = [
            row
            for key, entity in zip(ids, entities, strict=True)
            for row in mapping.encode(database.dialect, key, entity.__dict__, documents_of(entity), references, sequences, keys)
        ]
        loaded = database.insert_and_select(mapping, rows, ids)
        found = dict(zip(loaded.ids, loaded.values, strict=True))
        for key, entity in zip(ids, entities, strict=True):
            wanted = {name: entity.__dict__[name] for name in (*plan_of(cls).values, *plan_of(cls).mutable)}
            assert found[key].keys() == wanted.keys() == set(mapping.value_fields)
            assert [name for name in wanted if not same(found[key][name], wanted[name])] == []
        assert loaded.references == [references] * len(entities)
        assert loaded.sequences == [sequences] * len(entities)
        assert loaded.keys == [keys] * len(entities)

    check()


SAMPLE: dict[str, Any] = {
    "text": "hi",
    "color": Color.green,
    "level": Level.high,
    "choice": None,
    "count": 1,
    "ratio": 0.5,
    "flag": True,
    "moment": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    "key": UUID(int=5),
    "numbers": [1],
    "corners": (Corner(x=1),),
    "anything": None,
}
TABLELESS: dict[str, Any] = {
    "text": "hi",
    "amount": Decimal("1.50"),
    "day": None,
    "data": b"\xff",
    "ratio": 1.0,
    "level": Level.low,
    "tags": frozenset({"x"}),
    "settings": {},
    "corner": Corner(x=2),
}


def rows_of(mapping: Mapping, entity: Entity, database: RawDatabase, id: int = 1) -> Rows:
    """Rows of an entity that refers to nothing."""
    return list(mapping.encode(database.dialect, id, entity.__dict__, documents_of(entity), *hollow_places(mapping)))


@pytest.mark.parametrize("entity", [Everything(**SAMPLE), Tableless(**TABLELESS)], ids=lambda entity: type(entity).__name__)
def test_references_to_nothing_and_empty_collections_come_back(database: RawDatabase, entity: Entity) -> None:
    mapping = mapping_for(type(entity))
    references, sequences, keys = hollow_places(mapping)
    loaded = database.insert_and_select(mapping, rows_of(mapping, entity, database), [1])
    assert (loaded.references, loaded.sequences, loaded.keys) == ([references], [sequences], [keys])


@pytest.mark.parametrize("ratio", [float("nan"), float("inf"), -float("inf"), -0.0, 0.0, 1e308, 5e-324], ids=str)
@pytest.mark.parametrize("sample", [(Everything, SAMPLE), (Tableless, TABLELESS)], ids=["with a column", "in JSON"])
def test_any_float_comes_back_as_it_was(database: RawDatabase, sample: tuple[type[Entity], dict[str, Any]], ratio: float) -> None:
    cls, fields = sample
    mapping = mapping_for(cls)
    loaded = database.insert_and_select(mapping, rows_of(mapping, cls(**fields | {"ratio": ratio}), database), [1])
    assert same(loaded.values[0]["ratio"], ratio)


def test_a_class_without_a_table_takes_one_row_and_one_for_each_reference_and_collection(database: RawDatabase) -> None:
    mapping = mapping_for(Tableless)
    entity = Tableless(**TABLELESS)
    rows = list(mapping.encode(database.dialect, 1, entity.__dict__, documents_of(entity), *required_places(mapping)))
    assert [insert.table.name for insert, _ in rows] == ["entity_any", "entity_link", "entity_sequence", "entity_sequence"]
    assert [insert.table.name for insert, _ in rows_of(mapping, entity, database)] == ["entity_any"]


def test_fields_of_a_subclass_share_the_column_extra(database: RawDatabase) -> None:
    mapping = mapping_for(MoreThanEverything)
    assert mapping.table.name == "test_mapping_everything"
    assert set(mapping.packed) == {"amount", "day", "hour", "pause", "data", "tags"}
    assert (mapping.links, mapping.sequences) == (("friend",), ("crowd",))
    assert mapping.references == {"one": "one_id", "other": "other_id"}


def test_tools_of_both_types_share_a_table_and_are_told_apart_by_type(database: RawDatabase) -> None:
    rows = [mapping_for(cls).constants for cls in (CallableTool, StructuredTool)]
    assert rows == [{"tool_type": "callable"}, {"tool_type": "structured"}]
    assert mapping_for(CallableTool).table is mapping_for(StructuredTool).table


def test_ordinary_text_and_json_stand_in_the_database_as_they_are(database: RawDatabase) -> None:
    entity = Everything(**{**SAMPLE, "text": "naïve 🙂", "anything": {"b": "naïve", "a": "NaN"}})
    [(insert, row)] = rows_of(mapping_for(Everything), entity, database)
    cells = dict(zip(insert.columns, row, strict=True))
    assert (cells["text"], cells["anything"], cells["numbers"]) == ("naïve 🙂", '{"b":"naïve","a":"NaN"}', "[1]")


def _with_packed(mapping: Mapping, row: tuple[Any, ...], document: str | None) -> tuple[Any, ...]:
    column = mapping.insert.columns.index(mapping.packed_column or "")
    return (*row[:column], document, *row[column + 1 :])


class Older(Entity, kind="test_mapping_evolving"):
    """A class that gained fields since a version was stored."""

    kept: str
    added: int = 5
    derived: list[str] = Field(default_factory=lambda: ["new"])


def test_a_field_that_was_not_stored_takes_its_default(database: RawDatabase) -> None:
    mapping = mapping_for(Older)
    [(insert, row)] = rows_of(mapping, Older(kept="k"), database)
    old = _with_packed(mapping, row, '{"kept":"from then"}')
    loaded = database.insert_and_select(mapping, [(insert, old)], [1])
    assert loaded.values == [{"kept": "from then", "added": 5, "derived": ["new"]}]


@pytest.mark.parametrize("document", ['{"kept":"k","gone":1}', '"\ufdd0{\\"kept\\":\\"k\\",\\"gone\\":NaN}"'])
def test_a_stored_field_that_the_class_has_not_is_an_error(database: RawDatabase, document: str) -> None:
    mapping = mapping_for(Older)
    [(insert, row)] = rows_of(mapping, Older(kept="k"), database)
    with pytest.raises(UnknownStoredField) as caught:
        database.insert_and_select(mapping, [(insert, _with_packed(mapping, row, document))], [1])
    assert (caught.value.kind, caught.value.ecs_id, caught.value.fields) == ("test_mapping_evolving", UUID(int=1), ("gone",))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("{}", "field 'kept': it is required, and was not there"),
        ('{"kept":"k","added":"many"}', "'added': Input should be a valid integer"),
    ],
)
def test_a_stored_value_that_does_not_fit_the_class_is_named(database: RawDatabase, document: str, reason: str) -> None:
    mapping = mapping_for(Older)
    [(insert, row)] = rows_of(mapping, Older(kept="k"), database)
    with pytest.raises(UnreadableVersion, match=reason):
        database.insert_and_select(mapping, [(insert, _with_packed(mapping, row, document))], [1])


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("moment", datetime(2026, 1, 1), "has no time zone"),  # noqa: DTZ001 - that is the point
        ("moment", datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "outside of the years 1 to 9999"),
        ("count", 2**63, "does not fit into 64 bits"),
    ],
)
def test_a_value_that_no_database_holds_is_refused_before_anything_is_written(
    database: RawDatabase, field: str, value: object, reason: str
) -> None:
    entity = Everything(**{**SAMPLE, field: value})
    with pytest.raises(UnstorableValue, match=reason) as caught:
        rows_of(mapping_for(Everything), entity, database)
    assert (caught.value.kind, caught.value.field) == ("test_mapping_everything", field)


def test_rows_are_inserted_after_those_that_they_refer_to() -> None:
    inserts = [mapping_for(cls).insert for cls in (ChatThread, ProcessedOutput, ChatMessage, Usage, RawOutput, LLMConfig, CallableTool)]
    order = [insert.table.name for insert in insert_order(inserts)]
    assert order.index("usage") < order.index("chat_message")
    assert order.index("raw_output") < order.index("processed_output")
    assert max(order.index("llm_config"), order.index("tool")) < order.index("chat_thread")


class Person(Entity, kind="test_mapping_person"):
    """Something to be mapped wrongly."""

    name: str
    age: int | None = None
    size: float = 1.0
    friend: Person | None = None
    boss: Usage | None = None
    pets: list[Person] = Field(default_factory=list)
    extra: int = 0


def test_a_table_that_does_not_fit_its_entity_lists_everything_that_is_wrong() -> None:
    with pytest.raises(TableMismatch) as caught:

        class WrongPersonSQL(EntityTable, entity=Person):
            __tablename__ = "wrong_person"

            nam: Mapped[str] = mapped_column(ExactText)
            age: Mapped[int] = mapped_column(BigInteger)
            size: Mapped[str | None] = mapped_column(ExactText)
            friend_id: Mapped[int | None] = mapped_column(Id)
            boss_id: Mapped[int | None] = mapped_column(Id, reference("chat_message.id"))
            pets_seq: Mapped[int] = mapped_column(Id)
            extra: Mapped[Any] = mapped_column(Json)

    assert isinstance(caught.value, TypeError)
    assert caught.value.problems == (
        "field 'name' has no column 'name'",
        "field 'age' can be None, and column 'age' is NOT NULL",
        "field 'size' (<class 'float'>) needs a column of kind real, and 'size' is ExactText()",
        "field 'size' is never None, and column 'size' is nullable",
        "field 'extra' has the name of the column for fields of subclasses: give it another with __rename__",
        "reference 'friend' needs 'friend_id' as a foreign key to entity_version.id or wrong_person.id, and it refers to nothing",
        "reference 'boss' needs 'boss_id' as a foreign key to entity_version.id or usage.id, and it refers to chat_message.id",
        "field 'pets' has no column 'pets_len'",
        "column 'extra' is for fields of subclasses: make it Json and nullable",
        "column 'nam' holds no field of Person",
    )
    assert "wrong_person" not in Base.metadata.tables
    assert mapping_for(Person).table.name == "entity_any"


def test_a_table_without_room_for_subclasses_refuses_their_fields() -> None:
    class Narrow(Entity, kind="test_mapping_narrow"):
        name: str

    class NarrowSQL(EntityTable, entity=Narrow):
        __tablename__ = "test_mapping_narrow"

        name: Mapped[str] = mapped_column(ExactText)

    class Wide(Narrow, kind="test_mapping_wide"):
        width: int

    Base.metadata.remove(Base.metadata.tables["test_mapping_narrow"])
    assert mapping_for(Narrow).packed == ()
    with pytest.raises(TableMismatch, match="fields 'width' have no column, and there is no JSON column 'extra' for them"):
        mapping_for(Wide)


def test_a_subclass_that_changes_a_field_beyond_its_column_is_refused() -> None:
    class Shouting(SystemPrompt, kind="test_mapping_shouting"):
        content: list[str]  # type: ignore[assignment]  # that is the point

    with pytest.raises(TableMismatch, match=r"field 'content' \(list\[str\]\) needs a column of kind json, and 'content' is ExactText"):
        mapping_for(Shouting)


def test_a_subclass_whose_base_is_referred_to_by_its_table_stays_in_that_table() -> None:
    class LocalUsage(Usage, kind="test_mapping_local_usage"):
        watts: float = 0

    with pytest.raises(TableMismatch, match="refers to Usage by the key of table usage: leave it there, in column 'extra'"):

        class LocalUsageSQL(EntityTable, entity=LocalUsage):
            __tablename__ = "test_mapping_local_usage"

    assert mapping_for(LocalUsage).packed == ("watts",)


def test_json_that_pydantic_cannot_write_is_refused_with_the_field() -> None:
    with pytest.raises(UnstorableValue) as caught:
        dump_json(Tableless, "settings", {"now": object()})
    assert (caught.value.kind, caught.value.field) == ("test_mapping_tableless", "settings")
