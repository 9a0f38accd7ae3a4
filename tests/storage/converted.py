"""Entity classes whose tables convert values themselves: some fields, or whole rows."""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime
from typing import Any, ClassVar, Self
from uuid import UUID

from pydantic import Field, JsonValue, PrivateAttr
from sqlalchemy import BigInteger, Integer, LargeBinary, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from minference.ecs.entity import Entity
from minference.storage.sql import EntityTable, ExactText, Id, Json, reference


class Paper(Entity, kind="test_converted_paper"):
    """Something long, with a table that packs it."""

    title: str
    body: str
    notes: dict[str, JsonValue] = Field(default_factory=dict)
    printed: datetime | None = None
    seal: bytes = b""


class PaperSQL(EntityTable[Paper]):
    """Bodies are compressed, notes are text, times are seconds, where nothing stands for None."""

    __tablename__ = "test_converted_paper"
    __encoded__ = ("body", "notes", "printed")
    __rename__: ClassVar = {"notes": "remarks"}

    title: Mapped[str] = mapped_column(ExactText)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    remarks: Mapped[str] = mapped_column(ExactText)
    printed: Mapped[int] = mapped_column(BigInteger)
    seal: Mapped[bytes] = mapped_column(LargeBinary)
    extra: Mapped[Any | None] = mapped_column(Json)

    @classmethod
    def encode(cls, field: str, value: Any) -> Any:
        match field:
            case "body":
                return zlib.compress(value.encode(errors="surrogatepass"))
            case "printed":
                return 0 if value is None else round(value.timestamp())
        return json.dumps(super().encode(field, value))

    @classmethod
    def decode(cls, field: str, value: Any) -> Any:
        match field:
            case "body":
                return zlib.decompress(value).decode(errors="surrogatepass")
            case "printed":
                return datetime.fromtimestamp(value, UTC) if value else None
        return super().decode(field, json.loads(value))


class Thesis(Paper, kind="test_converted_thesis"):
    """A paper with a field that its table knows nothing of."""

    grade: float


class Person(Entity, kind="test_converted_person"):
    """Somebody whose table has other columns than fields."""

    name: str
    tags: list[str] = Field(default_factory=list)
    age: int = 0
    friend: Person | None = None
    papers: list[Paper] = Field(default_factory=list)
    _greeting: str = PrivateAttr(default="hello")


class PersonSQL(EntityTable[Person]):
    """Names in two columns, tags in one, and the lineage for queries; the age is as it is."""

    __tablename__ = "test_converted_person"

    first_name: Mapped[str] = mapped_column(ExactText)
    last_name: Mapped[str | None] = mapped_column(ExactText)
    tag_line: Mapped[str] = mapped_column(ExactText)
    lineage: Mapped[UUID] = mapped_column(Uuid)
    age: Mapped[int] = mapped_column(Integer)
    friend_id: Mapped[int | None] = mapped_column(Id, reference("test_converted_person.id"))
    papers_seq: Mapped[int | None] = mapped_column(Id)
    papers_len: Mapped[int]
    extra: Mapped[Any | None] = mapped_column(Json)

    @classmethod
    def from_entity(cls, entity: Person) -> Self:
        row = super().from_entity(entity)
        row.first_name, _, last_name = entity.name.partition(" ")
        row.last_name = last_name or None
        row.tag_line = ",".join(entity.tags)
        row.lineage = entity.lineage_id
        return row

    def to_entity(self, **fields: Any) -> Person:
        name = self.first_name if self.last_name is None else f"{self.first_name} {self.last_name}"
        tags = self.tag_line.split(",") if self.tag_line else []
        return super().to_entity(**{"name": name, "tags": tags, **fields})


class Author(Person, kind="test_converted_author"):
    """A person with fields that the table knows nothing of."""

    books: list[str]
    editor: Person | None = None


class Visit(Entity, kind="test_converted_visit"):
    """Something that needs another entity, with a table that makes it by hand."""

    guest: Person
    stars: int


class VisitSQL(EntityTable[Visit]):
    """Stars are drawn."""

    __tablename__ = "test_converted_visit"

    guest_id: Mapped[int] = mapped_column(Id, reference("test_converted_person.id"))
    drawn: Mapped[str] = mapped_column(ExactText)

    @classmethod
    def from_entity(cls, entity: Visit) -> Self:
        return cls(drawn="*" * entity.stars)

    def to_entity(self, **fields: Any) -> Visit:
        return Visit(stars=len(self.drawn), **fields)
