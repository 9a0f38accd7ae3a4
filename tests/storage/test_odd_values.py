"""Memory, SQLite and PostgreSQL take the same values and refuse the same, whatever is put where."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as cases
from hypothesis import strategies as st
from sqlalchemy import select

from minference.ecs.entity import Entity
from minference.errors import MinferenceError, UnstorableValue, UnusableText, WrongArgument
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, Usage
from minference.threads.tables import ChatMessageSQL
from minference.threads.thread import ChatThread
from tests.cli.threads import a_thread
from tests.support.sqlite import with_tables

Use = Callable[[EntityStorage, Any], Awaitable[object]]

ODD: list[object] = [
    *("", "\0", "a\0b", "\ud800", "x\udfff", "\ud83d\ude00", "\ufeff", "\x01", "\\u0000", "x" * 300, "x" * 70_000),
    *(2**31, 2**62, 2**63 - 1, 2**63, -(2**63) - 1, 2**70, -1, True, 1.5, float("nan"), float("inf"), -0.0, None, b"x", b"\0"),
]


def _message() -> ChatMessage:
    return ChatMessage(role=MessageRole.user, content="x")


def _usage() -> Usage:
    return Usage(model="m", prompt_tokens=1, completion_tokens=1, total_tokens=2)


def _config() -> LLMConfig:
    return LLMConfig(client="scripted", model="m")


def _assigned(make: Callable[[], Entity], field: str) -> Use:
    async def use(storage: EntityStorage, value: object) -> None:
        entity = make()
        setattr(entity, field, value)
        await storage.register(entity)

    return use


def _slipped_in(make: Callable[[], Entity], field: str) -> Use:
    async def use(storage: EntityStorage, value: object) -> None:
        entity = make()
        entity.__dict__[field] = value
        await storage.register(entity)

    return use


async def _tag(storage: EntityStorage, value: Any) -> None:
    thread = await storage.register(a_thread())
    await storage.tag(value, thread)
    assert list(await storage.tags(thread.lineage_id)) == [value]
    await storage.untag(value, thread.lineage_id)


async def _untag(storage: EntityStorage, value: Any) -> None:
    await storage.untag(value, (await storage.register(a_thread())).lineage_id)


async def _erase(storage: EntityStorage, reason: Any = "asked to", author: Any = None) -> None:
    thread = await storage.register(a_thread())
    await storage.erase(thread, reason=reason, author=author, scrub=False)
    [erasure] = await storage.erasures(thread.lineage_id)
    assert (erasure.reason, erasure.author) == (reason, author)


async def _save(storage: EntityStorage, **said: Any) -> None:
    thread = await storage.register(a_thread(), **said)
    commit = (await storage.info(thread.ecs_id)).commit
    assert {name: getattr(commit, name) for name in said} == said


USES: dict[str, Use] = {
    "author": lambda storage, value: _save(storage, author=value),
    "note": lambda storage, value: _save(storage, note=value),
    "tag": _tag,
    "untag": _untag,
    "reason": lambda storage, value: _erase(storage, reason=value),
    "author of an erasure": lambda storage, value: _erase(storage, author=value),
    "search": lambda storage, value: storage.search(ChatMessage, value),
    "limit of a search": lambda storage, value: storage.search(ChatMessage, "x", limit=value),
    "newest": lambda storage, value: storage.newest(ChatThread, value),
    "called": lambda storage, value: storage.called(ChatThread, value),
    "name": _assigned(a_thread, "name"),
    "content": _assigned(_message, "content"),
    "workflow_step": _assigned(a_thread, "workflow_step"),
    "prompt_tokens": _assigned(_usage, "prompt_tokens"),
    "max_tokens": _assigned(_config, "max_tokens"),
    "name, unasked": _slipped_in(a_thread, "name"),
    "content, unasked": _slipped_in(_message, "content"),
    "role, unasked": _slipped_in(_message, "role"),
    "prompt_tokens, unasked": _slipped_in(_usage, "prompt_tokens"),
    "temperature, unasked": _slipped_in(_config, "temperature"),
    "ecs_id, unasked": _slipped_in(_message, "ecs_id"),
    "lineage_id, unasked": _slipped_in(_message, "lineage_id"),
    "created_at, unasked": _slipped_in(_message, "created_at"),
}


async def _outcome(storage: EntityStorage, use: str, value: object) -> str:
    """What comes of it: the kind of an error, with those of pydantic and ours as they are."""
    try:
        await USES[use](storage, value)
    except (MinferenceError, ValueError) as error:
        return type(error).__name__
    return "taken"


async def test_a_database_takes_what_memory_takes(sql_url: str) -> None:
    async with open_storage("memory:") as memory, open_storage(sql_url) as database:
        for use in USES:
            for value in ODD:
                assert await _outcome(database, use, value) == await _outcome(memory, use, value), (use, ascii(value))


_VALUES = st.one_of(
    st.text(st.sampled_from("ab \0\x1f\x7f\ud800\udc00\ufeff\uffff\U0001f600\\'\""), max_size=5),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.binary(max_size=3),
    st.sampled_from(ODD),
)


@cases(max_examples=20)
@given(tried=st.lists(st.tuples(st.sampled_from(sorted(USES)), _VALUES), min_size=10, max_size=20))
async def test_whatever_is_put_anywhere_memory_and_database_agree(tried: list[tuple[str, object]]) -> None:
    with TemporaryDirectory() as folder:
        async with open_storage("memory:") as memory, open_storage(with_tables(Path(folder, "chats.db"))) as database:
            for use, value in tried:
                assert await _outcome(database, use, value) == await _outcome(memory, use, value), (use, ascii(value))


async def test_a_note_that_not_every_database_keeps_is_refused_before_anything_is_saved(storage: EntityStorage) -> None:
    thread = a_thread()
    with pytest.raises(UnusableText, match=r"note cannot be .*: it holds a NUL character, which not every database keeps; take it out"):
        await storage.register(thread, note="a\0b")
    with pytest.raises(UnusableText, match=r"author cannot be .*: it holds half of a surrogate pair"):
        await storage.register(thread, author="\ud800")
    with pytest.raises(WrongArgument, match="reason must be a str, and is 5"):
        await storage.erase(thread, reason=5)  # type: ignore[arg-type]
    assert not await storage.has_entity(thread.ecs_id)


async def test_what_was_put_past_the_checks_of_a_class_is_refused_and_changes_nothing(storage: EntityStorage) -> None:
    message = ChatMessage.model_construct(**{**_message().__dict__, "content": 5})
    with pytest.raises(UnstorableValue, match="field 'content' of chat_message cannot be stored: 5 is none for it"):
        await storage.register(message)
    assert not await storage.has_entity(message.ecs_id)
    message.content = "five"
    await storage.register(message)
    assert (await storage.get(ChatMessage, message.ecs_id)).content == "five"


async def test_numbers_that_no_column_holds_are_refused_where_they_are_assigned() -> None:
    with pytest.raises(ValueError, match="less than 9223372036854775808"):
        _usage().prompt_tokens = 2**63


@pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)], ids=["min", "max"])
async def test_the_first_and_the_last_moment_come_back_as_they_were(storage: EntityStorage, moment: datetime) -> None:
    message = await storage.register(ChatMessage(role=MessageRole.user, content="x", timestamp=moment))
    loaded = await storage.get(ChatMessage, message.ecs_id)
    assert (loaded.timestamp, loaded.timestamp.utcoffset()) == (moment, timedelta(0))
    assert (await storage.submit(loaded)).info is None
    loaded.content = "edited"
    await storage.register(loaded)
    assert [each.ecs_id for each in await storage.find_by(ChatMessage, timestamp=moment)] == [loaded.ecs_id]
    lines = [line async for line in storage.export_lines()]
    async with open_storage("memory:") as other:
        await other.import_lines(lines)
        assert (await other.get(ChatMessage, loaded.ecs_id)).timestamp == moment
    if storage.url != "memory:":
        assert await storage.check() == []
        async with storage.sql() as session:
            assert set(await session.scalars(select(ChatMessageSQL.timestamp))) == {moment}
