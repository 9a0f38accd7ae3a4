"""`minference threads tag`, `untag` and `tags`: names for versions."""

from __future__ import annotations

import asyncio
from uuid import UUID

from minference.cli.database import existing
from minference.cli.find import find_version
from minference.cli.output import one_line, print_json, stderr, stdout, when
from minference.cli.tables import table
from minference.ecs.lineage import VersionInfo, short_id
from minference.errors import ConfigurationError, InvalidTagName, TagNotFound, TagTaken
from minference.storage.base import EntityStorage
from minference.storage.lineages import is_tag_name


def tag_thread(database: str, thread: str, name: str, move: bool, as_json: bool) -> None:
    """Give a version a name."""
    asyncio.run(_tag(database, thread, name, move, as_json))


def untag_thread(database: str, thread: str, name: str, as_json: bool) -> None:
    """Take a name away."""
    asyncio.run(_untag(database, thread, name, as_json))


def list_tags(database: str, thread: str, as_json: bool) -> None:
    """Print the names of the versions of a thread."""
    asyncio.run(_tags(database, thread, as_json))


async def check_tag(storage: EntityStorage, lineage_id: UUID, name: str, version: UUID | None, *, move: bool) -> None:
    """Make sure that a name can be given to a version, or (`None`) to one that is yet to be.

    Raises:
        InvalidTagName: It is no name.
        ConfigurationError: It means something else already, or names another version and is not to be moved.
    """
    if not is_tag_name(name):
        raise InvalidTagName(name)
    if name == "head" or name.startswith("{") or "@" in name:
        raise ConfigurationError(f"{name!r} cannot be a tag: '@head' and '@{{3}}' say which version by themselves; choose another name")
    holder = (await storage.tags(lineage_id)).get(name)
    if holder is not None and holder.ecs_id != version and not move:
        raise ConfigurationError(f"tag {name!r} names version {short_id(holder.ecs_id)}: pass --move to move it, or choose another name")


async def tag_version(storage: EntityStorage, version: VersionInfo, name: str, *, move: bool) -> None:
    """Give a version a name.

    Raises:
        InvalidTagName, ConfigurationError: As `check_tag`.
    """
    await check_tag(storage, version.lineage_id, name, version.ecs_id, move=move)
    try:
        await storage.tag(name, version.ecs_id, move=move)
    except TagTaken as taken:  # by somebody else, just now
        raise ConfigurationError(f"tag {name!r} names version {short_id(taken.holder)}: pass --move to move it") from taken


async def _tag(database: str, thread: str, name: str, move: bool, as_json: bool) -> None:
    async with existing(database) as storage:
        version = await find_version(storage, thread)
        await tag_version(storage, version, name, move=move)
    if as_json:
        print_json({"tag": name, "version": str(version.ecs_id), "thread": str(version.lineage_id)})
    else:
        stdout().print(f"version {short_id(version.ecs_id)} is called {name!r}", soft_wrap=True)


async def _untag(database: str, thread: str, name: str, as_json: bool) -> None:
    async with existing(database) as storage:
        version = await find_version(storage, thread)
        try:
            await storage.untag(name, version.lineage_id)
        except TagNotFound as missing:
            known = f"its tags are {', '.join(map(repr, missing.known))}" if missing.known else "it has none"
            raise ConfigurationError(f"the thread has no tag {name!r}: {known}") from missing
    if as_json:
        print_json({"untagged": name, "thread": str(version.lineage_id)})
    else:
        stdout().print(f"no version is called {name!r} any more", soft_wrap=True)


async def _tags(database: str, thread: str, as_json: bool) -> None:
    async with existing(database) as storage:
        tags = await storage.tags((await find_version(storage, thread)).lineage_id)
    if as_json:
        print_json([{"tag": name, "version": str(each.ecs_id), "created_at": each.created_at.isoformat()} for name, each in tags.items()])
    elif tags:
        rows = [
            (one_line(name, 60), short_id(version.ecs_id), when(version.created_at), one_line(version.commit.author or "", 24))
            for name, version in tags.items()
        ]
        stdout().print(table(["tag", "version", "time (UTC)", "author"], rows), soft_wrap=True)
    else:
        stderr().print("no version of this thread has a name (`minference threads tag THREAD NAME`)")
