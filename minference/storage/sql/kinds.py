"""Which number stands for which entity class in the rows, one for each shape that the class has had."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic_core import to_json

from minference.ecs.entity import Entity, kind_to_class, plan_of
from minference.errors import UnknownKind
from minference.storage.sql.driver import Driver
from minference.storage.sql.keys import KeyBlock


class Kinds:
    """The rows of `entity_kind` that this process knows."""

    def __init__(self, driver: Driver, keys: KeyBlock) -> None:
        self._driver = driver
        self._keys = keys
        self.ids: dict[type[Entity], int] = {}
        """The number under which new versions of a class are written."""
        self._names: dict[int, str] = {}

    async def ensure(self, classes: Iterable[type[Entity]]) -> None:
        """Make sure that each class has a number, in its present shape."""
        for cls in classes:
            if cls not in self.ids:
                self.ids[cls] = await self._find_or_add(cls)

    async def class_of(self, kind_id: int) -> type[Entity]:
        """The class of a stored version.

        Raises:
            UnknownKind: The program has not defined it.
        """
        name = await self.name_of(kind_id)
        cls = kind_to_class(name)
        if cls is None:
            raise UnknownKind(name)
        return cls

    async def name_of(self, kind_id: int) -> str:
        """The name under which a class is stored."""
        if kind_id not in self._names:
            await self._load()
        return self._names[kind_id]

    async def _load(self) -> None:
        async with self._driver.reading() as fetch:
            rows = await fetch("SELECT id, name FROM entity_kind")
        self._names = {int(key): str(name) for key, name in rows}

    async def _find_or_add(self, cls: type[Entity]) -> int:
        shape = _shape(cls)
        await self._keys.ensure(1)
        sqlite = self._driver.dialect == "sqlite"
        columns, name = ("fields", "?") if sqlite else ("fields::text", "$1")
        find = f"SELECT id, {columns}, revision FROM entity_kind WHERE name = {name} ORDER BY revision DESC LIMIT 1"
        async with self._driver.reading() as fetch:
            rows = await fetch(find, cls.__kind__)
        if rows and rows[0][1] == shape:
            self._names[rows[0][0]] = cls.__kind__
            return int(rows[0][0])
        key, revision = self._keys.take(), (rows[0][2] + 1 if rows else 1)
        values = "(?, ?, ?, ?)" if sqlite else "($1, $2, $3, $4)"
        insert = f"INSERT INTO entity_kind (id, name, revision, fields) VALUES {values} ON CONFLICT DO NOTHING RETURNING id"
        added = await self._driver.write_returning(insert, key, cls.__kind__, revision, shape)
        if not added:  # another process has added this revision meanwhile
            return await self._find_or_add(cls)
        self._names[key] = cls.__kind__
        return key


def _shape(cls: type[Entity]) -> str:
    """The stored fields and their annotations, as JSON."""
    plan = plan_of(cls)
    fields = (*plan.values, *plan.mutable, *plan.references, *(field.name for field in plan.collections))
    return to_json({name: str(cls.model_fields[name].annotation) for name in sorted(fields)}).decode()
