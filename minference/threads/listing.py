"""Lists of stored threads: filtered, a page at a time, without loading them. Needs a storage that has tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import aliased

from minference.ecs.entity import kinds_of
from minference.storage.base import EntityStorage
from minference.storage.glancing import with_subclasses
from minference.storage.sql.schema import EntityCommit, EntityKind, EntityVersion
from minference.threads.reading import reading
from minference.threads.tables import ChatThreadSQL, LLMConfigSQL, ThreadMessageView
from minference.threads.thread import ChatThread


@dataclass(frozen=True, slots=True)
class ThreadFilter:
    """Which threads are wanted, by their newest versions; an empty value stands for all."""

    name: str = ""
    """What their names contain, in any case."""
    model: str = ""
    """The model that answers."""
    author: str = ""
    """What the name of whoever saved them last contains, in any case."""
    since: datetime | None = None
    """When they were saved at the earliest."""

    def __bool__(self) -> bool:
        return self != ThreadFilter()


@dataclass(frozen=True, slots=True)
class Listed:
    """The newest version of one thread."""

    lineage_id: UUID
    version: UUID
    saved_at: datetime
    author: str | None
    note: str | None
    versions: int
    """How many the thread has."""
    erased: bool


@dataclass(frozen=True, slots=True)
class ThreadPage:
    """A part of a list, and how long that is."""

    threads: list[Listed]
    count: int


async def list_threads(storage: EntityStorage, wanted: ThreadFilter, *, limit: int, skip: int = 0) -> ThreadPage:
    """The threads that are wanted, the one saved last first.

    Raises:
        ConfigurationError: The storage has no tables.
    """
    heads = _heads(wanted)
    page = heads.order_by(EntityVersion.created_at.desc(), EntityVersion.id.desc()).limit(limit).offset(skip)
    async with reading(storage) as session:
        rows = (await session.execute(page)).all()
        count = await session.scalar(select(func.count()).select_from(heads.subquery()))
        lengths = select(EntityVersion.lineage_id, func.count()).where(EntityVersion.lineage_id.in_([row[0] for row in rows]))
        versions: dict[UUID, int] = {row[0]: row[1] for row in await session.execute(lengths.group_by(EntityVersion.lineage_id))}
    threads = [
        Listed(lineage, version, saved_at, author, note, versions[lineage], erased_at is not None)
        for lineage, version, saved_at, author, note, erased_at in rows
    ]
    return ThreadPage(threads, count or 0)


async def newest_commit(storage: EntityStorage) -> tuple[int, int]:
    """The highest key of a commit, and that of the latest one: together they change with almost every save, and cost next to nothing."""
    latest = select(EntityCommit.id).order_by(EntityCommit.created_at.desc()).limit(1)
    async with reading(storage) as session:
        return await session.scalar(select(func.max(EntityCommit.id))) or 0, await session.scalar(latest) or 0


async def models_in_use(storage: EntityStorage) -> list[str]:
    """The names of the models in all configs, in alphabetical order."""
    async with reading(storage) as session:
        return sorted(await session.scalars(select(LLMConfigSQL.model).distinct()))


async def newest_versions(storage: EntityStorage, lineages: Sequence[UUID]) -> dict[UUID, UUID]:
    """The newest version of each of these lineages, if it is of a thread."""
    if not lineages:
        return {}
    async with reading(storage) as session:
        rows = await session.execute(_heads(ThreadFilter(), lineages))
        return {row[0]: row[1] for row in rows}


async def place_of_message(storage: EntityStorage, version: UUID, message: UUID) -> int | None:
    """The index in this version of a thread of a message, given by its lineage or a version; `None` if it is not there."""
    view = ThreadMessageView
    here = select(func.min(view.position)).where(view.thread_ecs_id == version)
    async with reading(storage) as session:
        return await session.scalar(here.where((view.message_lineage_id == message) | (view.message_ecs_id == message)))


_Heads = Select[UUID, UUID, datetime, str | None, str | None, datetime | None]


def _heads(wanted: ThreadFilter, among: Sequence[UUID] | None = None) -> _Heads:
    """The newest versions of the threads that are wanted. Each lineage is looked up by index; none of its versions is sorted."""
    first, latest = aliased(EntityVersion), aliased(EntityVersion)
    kinds = [kind for each in with_subclasses(ChatThread) for kind in kinds_of(each)]
    lineages = select(first.lineage_id).where(
        first.parent_id.is_(None), first.kind_id.in_(select(EntityKind.id).where(EntityKind.name.in_(kinds)))
    )
    if among is not None:
        lineages = lineages.where(first.lineage_id.in_(among))
    roots = lineages.distinct().subquery()
    order = (latest.created_at.desc(), latest.id.desc())
    newest = select(latest.id).where(latest.lineage_id == roots.c.lineage_id).order_by(*order).limit(1).scalar_subquery()
    version = EntityVersion
    columns = (version.lineage_id, version.ecs_id, version.created_at, EntityCommit.author, EntityCommit.note, version.erased_at)
    heads = select(*columns).select_from(roots).join(version, version.id == newest).join(EntityCommit, EntityCommit.id == version.commit_id)
    return _narrowed(heads, wanted)


def _narrowed(heads: _Heads, wanted: ThreadFilter) -> _Heads:
    if wanted.name or wanted.model:
        heads = heads.join(ChatThreadSQL, ChatThreadSQL.id == EntityVersion.id)
    if wanted.name:
        heads = heads.where(ChatThreadSQL.name.icontains(wanted.name, autoescape=True))
    if wanted.model:
        heads = heads.join(LLMConfigSQL, LLMConfigSQL.id == ChatThreadSQL.llm_config_id).where(LLMConfigSQL.model == wanted.model)
    if wanted.author:
        heads = heads.where(EntityCommit.author.icontains(wanted.author, autoescape=True))
    if wanted.since is not None:
        heads = heads.where(EntityVersion.created_at >= wanted.since)
    return heads
