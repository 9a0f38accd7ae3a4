"""Which number stands for which entity class in the rows, one for each shape that the class has had."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic_core import to_json

from minference.ecs.entity import Entity, upgrade_hooks
from minference.ecs.fitting import entity_default
from minference.ecs.shapes import Shape, ShapeField, shape_of
from minference.errors import ReadFailed
from minference.storage.sql.driver import Driver
from minference.storage.sql.keys import KeyBlock
from minference.storage.sql.layout import Layout, layout_of, load_layout, mapping_of_shape
from minference.storage.sql.mapping import Mapping
from minference.storage.sql.registered import mapping_for

Form = type[Entity] | Shape
"""As what a version is written: in the present shape of its class, or in a stored one if its class is not known."""

_ORDERED = {"list", "tuple"}


@dataclass(eq=False, slots=True)
class Revision:
    """One row of `entity_kind`: a shape, and where it is stored."""

    id: int
    shape: Shape
    layout: Layout | None
    """`None` if it was written before that was noted."""
    _lacking: dict[Mapping, frozenset[str] | None] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The stored name of the class."""
        return self.shape.kind

    def lacks(self, mapping: Mapping) -> frozenset[str] | None:
        """The fields that these versions were written without, if otherwise the class is still as then.

        `None` if it is not: they are elsewhere, hold what has another name or place in the class, have to be upgraded, or are newer.
        """
        written, now = self.shape.version, mapping.cls.__evolution__.version
        if written > now or (written < now and upgrade_hooks(mapping.cls, written)):
            return None
        if mapping not in self._lacking:
            self._lacking[mapping] = self._compare(mapping)
        return self._lacking[mapping]

    def _compare(self, mapping: Mapping) -> frozenset[str] | None:
        now = {each.name: each.sort for each in shape_of(mapping.cls).fields}
        layout = layout_of(mapping)
        if self.layout is not None and self.layout.table != layout.table:
            return None
        for each in self.shape.fields:
            if each.name not in now or not (each.sort in (None, now[each.name]) or {each.sort, now[each.name]} <= _ORDERED):
                return None
            if self.layout is not None and self.layout.of(each.name) != layout.of(each.name):
                return None
        lacking = frozenset(now) - self.shape.names
        if any(now[name] != "value" and entity_default(mapping.cls, name) is not None for name in lacking):
            return None
        return lacking


class Kinds:
    """The rows of `entity_kind` that this process knows. They never change."""

    def __init__(self, driver: Driver, keys: KeyBlock) -> None:
        self._driver = driver
        self._keys = keys
        self.ids: dict[Form, int] = {}
        """The number under which new versions are written."""
        self._revisions: dict[int, Revision] = {}
        self._damaged: dict[int, str] = {}
        """Of rows that describe no shape, what is wrong."""

    async def ensure(self, forms: Iterable[Form]) -> None:
        """Make sure that each class has a number, in its present shape, and each shape of a class that is not known."""
        for form in forms:
            if form not in self.ids:
                self.ids[form] = await self._find_or_add(form)

    async def revision(self, kind_id: int) -> Revision:
        """The shape in which a version was written, and where.

        Raises:
            ReadFailed: There is no such row, or it describes none.
        """
        if kind_id not in self._revisions:
            await self._look()
        if kind_id in self._damaged:
            raise ReadFailed(self._damaged[kind_id], damaged=True)
        if kind_id not in self._revisions:
            raise ReadFailed(f"there are versions of kind {kind_id}, which is none", damaged=True)
        return self._revisions[kind_id]

    async def name_of(self, kind_id: int) -> str:
        """The name under which a class is stored."""
        return (await self.revision(kind_id)).kind

    async def load(self) -> list[Revision]:
        """Every shape of every kind in the database.

        Raises:
            ReadFailed: A row describes none.
        """
        keys = await self._look()
        for problem in self._damaged.values():
            raise ReadFailed(problem, damaged=True)
        return [self._revisions[key] for key in keys]

    async def damaged(self) -> dict[int, str]:
        """By key, what is wrong with the rows that describe no shape."""
        await self._look()
        return dict(self._damaged)

    async def _look(self) -> list[int]:
        """Read the rows, and return their keys."""
        cast = "::text" if self._driver.dialect == "postgresql" else ""
        async with self._driver.reading() as fetch:
            rows = await fetch(f"SELECT id, name, version, fields{cast}, layout{cast} FROM entity_kind ORDER BY id")
        for row in rows:
            if row[0] not in self._revisions:
                try:
                    self._revisions[row[0]] = _revision(*row)
                except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
                    reason = f"{type(error).__name__}: {error}"
                    self._damaged[row[0]] = f"row {row[0]} of entity_kind ({row[1]}) describes no shape of a class ({reason})"
        return [row[0] for row in rows]

    async def _find_or_add(self, form: Form) -> int:
        mapping = mapping_for(form) if isinstance(form, type) else mapping_of_shape(form)
        shape = shape_of(form) if isinstance(form, type) else form
        fields = to_json({each.name: each.annotation for each in shape.fields}).decode()
        layout = layout_of(mapping).dump(shape)
        sqlite = self._driver.dialect == "sqlite"
        cast, name = ("", "?") if sqlite else ("::text", "$1")
        await self._keys.ensure(1)
        while True:
            async with self._driver.reading() as fetch:
                rows = await fetch(
                    f"SELECT id, version, fields{cast}, layout{cast}, revision FROM entity_kind WHERE name = {name} ORDER BY revision",
                    shape.kind,
                )
            for key, *known, _ in rows:
                if known == [shape.version, fields, layout]:
                    return int(key)
            values = "(?, ?, ?, ?, ?, ?)" if sqlite else "($1, $2, $3, $4, $5, $6)"
            insert = f"""
                INSERT INTO entity_kind (id, name, revision, fields, version, layout) VALUES {values}
                ON CONFLICT DO NOTHING RETURNING id"""
            number = rows[-1][4] + 1 if rows else 1
            added = await self._driver.write_returning(insert, self._keys.take(), shape.kind, number, fields, shape.version, layout)
            if added:  # or else another process has added this revision meanwhile
                return int(added[0][0])
            await self._keys.ensure(1)


def _revision(id: int, name: str, version: int, fields: str, layout: str | None) -> Revision:
    stored = json.loads(layout) if layout is not None else None
    sorts = stored["sorts"] if stored is not None and "sorts" in stored else {}
    described = tuple(ShapeField(field, sorts.get(field), annotation) for field, annotation in sorted(json.loads(fields).items()))
    return Revision(id, Shape(name, version, described), load_layout(stored) if stored is not None else None)
