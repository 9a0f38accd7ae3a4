"""Entities for the tests of traced calls and recordings."""

from __future__ import annotations

from pydantic import Field

from minference.ecs.entity import Entity
from minference.ecs.lineage import VersionInfo
from minference.storage.base import EntityStorage


class Page(Entity, kind="traced_page"):
    text: str = ""


class Book(Entity, kind="traced_book"):
    title: str = ""
    cover: Page | None = None
    pages: list[Page] = Field(default_factory=list)

    @property
    def summary(self) -> Page:
        """Nobody may ask for it: it would make an entity."""
        raise AssertionError("a property was evaluated")


def a_book(*texts: str, title: str = "old") -> Book:
    return Book(title=title, pages=[Page(text=text) for text in texts])


async def commits(storage: EntityStorage, *entities: Entity) -> list[tuple[str | None, str | None]]:
    """Author and note of each commit that made a version of one of these, oldest first."""
    found: dict[int, VersionInfo] = {}
    for entity in entities:
        for version in await storage.lineage(entity.lineage_id):
            found[version.commit.id] = version
    return [(found[key].commit.author, found[key].commit.note) for key in sorted(found)]


async def version_count(storage: EntityStorage, *entities: Entity) -> list[int]:
    return [len(await storage.lineage(entity.lineage_id)) for entity in entities]
