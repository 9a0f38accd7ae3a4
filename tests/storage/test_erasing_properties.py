"""Whatever was said, shared, edited and branched: after an erasure its text is nowhere, and all else is as it was."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minference.ecs.entity import Entity
from minference.errors import ErasedLineage
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, SystemPrompt
from minference.threads.outputs import ProcessedOutput, RawOutput
from minference.threads.thread import ChatThread
from tests.storage.edits import THREAD_EDITS, edit_thread, numbers, pick
from tests.storage.erasures import everything, files_with, reply, tables_with
from tests.storage.tables import Rows, rows_of
from tests.support.examples import examples
from tests.support.postgres import Postgres
from tests.support.sqlite import with_tables

Step = tuple[str, int, int, int]

STEPS = ("edit", "edit", "edit", "reply", "share", "branch", "settings", "search", "erase message", "erase thread", "spare")
scripts = st.lists(st.tuples(st.sampled_from(STEPS), numbers, numbers, numbers), min_size=4, max_size=18)


class Talks:
    """Threads that share messages, prompts and configs, each text of which is a word of its own."""

    def __init__(self, storage: EntityStorage, url: str) -> None:
        self._storage = storage
        self._url = url
        self._words = 0
        self.threads: list[ChatThread] = []
        self.words: dict[Any, set[str]] = {}
        """By lineage: the words that its versions held."""
        self.holders: dict[Any, set[Any]] = {}
        """By lineage of a message: the threads that held it."""
        self.gone: set[Any] = set()
        """Lineages of messages and threads that were erased."""

    def word(self) -> str:
        """A word that nobody has used."""
        self._words += 1
        return f"word{self._words:04d}x"

    async def begin(self) -> None:
        """Two threads with the same config and prompt."""
        config, prompt = LLMConfig(client="scripted", model="m"), SystemPrompt(content=self.word())
        for _ in range(2):
            thread = ChatThread(name=self.word(), llm_config=config, system_prompt=prompt)
            thread.history = [ChatMessage(role=MessageRole.user, content=self.word()) for _ in range(2)]
            self.threads.append(thread)
            await self.save(thread)

    async def save(self, thread: ChatThread) -> None:
        """Save, and note who holds which words. Whoever touched what is erased is refused, and loads again."""
        try:
            await self._storage.register(thread)
        except ErasedLineage as error:
            if not await self._storage.erasures(error.lineage_id):
                raise
            await self.reload()
            return
        for message in thread.history:
            if message.lineage_id not in self.gone:
                self.words.setdefault(message.lineage_id, set()).add(message.content)
            self.holders.setdefault(message.lineage_id, set()).add(thread.lineage_id)
        self.words.setdefault(thread.lineage_id, set()).add(thread.name or "")

    async def reload(self) -> None:
        """Forget what is only in memory: it may hold what was erased."""
        living = [thread.ecs_id for thread in self.threads if thread.lineage_id not in self.gone]
        self.threads = [await self._storage.get(ChatThread, ecs_id) for ecs_id in living]
        if len(self.threads) < 2:
            await self.begin()

    async def step(self, kind: str, which: int, one: int, two: int) -> None:
        """Do something to one of the threads."""
        thread = pick(self.threads, which)
        living = [message for message in thread.history if not message.erased]
        match kind:
            case "reply":
                word = self.word()
                output = await reply(self._storage, thread, word)
                await self.save(thread)
                self.words[output.message_uuid].add(word)
            case "share" if living:
                pick(self.threads, one).history.append(pick(living, two))
                await self.save(pick(self.threads, one))
            case "branch":
                versions = await self._storage.lineage(thread.lineage_id)
                branch = await self._storage.get(ChatThread, pick(versions, one).ecs_id)
                branch.history.append(ChatMessage(role=MessageRole.user, content=self.word()))
                await self.save(branch)
            case "settings":
                thread.system_prompt = SystemPrompt(content=self.word())
                await self.save(thread)
            case "search":
                await self._storage.search(ChatMessage, "anything")
            case "erase message" if living:
                await self.erase(pick(living, one), {pick(living, one).lineage_id})
            case "erase thread":
                held = {message for message, holders in self.holders.items() if thread.lineage_id in holders}
                await self.erase(thread, {thread.lineage_id, *held})
            case "spare":
                own = {message for message, holders in self.holders.items() if holders - self.gone == {thread.lineage_id}}
                await self.erase(thread, {thread.lineage_id, *own}, shared="keep")
            case _:
                edit_thread(thread, pick(list(THREAD_EDITS), one), [], two, 1)
                for message in thread.history:
                    if not message.erased and len(message.content) < 8:
                        message.content = self.word()
                await self.save(thread)

    async def erase(self, what: Entity, lineages: set[Any], **options: Any) -> None:
        """Erase, and see that these lineages and no others of their kinds lost their content."""
        before, new = await self._rows(), lineages - self.gone
        done = await self._storage.erase(what, reason="asked to", **options)
        assert done.remains == ()
        self.gone |= new
        kinds = {each: (await self._storage.lineage(each))[0].kind for each in done.scope.lineages}
        assert {each for each, kind in kinds.items() if kind in ("chat_thread", "chat_message")} == new
        await self._only_these_changed(before)
        await self.reload()

    async def _rows(self) -> Rows:
        rows = {} if self._url == "memory:" else await rows_of(self._url)
        return {key: row for key, row in rows.items() if "_words" not in key[0]}

    async def _only_these_changed(self, before: Rows) -> None:
        after = await self._rows()
        changed = {key[1] for key, row in before.items() if after[key] != row}
        versions = [version for each in await self._storage.erasures() for version in await self._storage.lineage(each.lineage_id)]
        shells = {repr(version.ecs_id.hex) for version in versions} | {repr(version.ecs_id) for version in versions}
        keys = {key[1]: row for key, row in after.items() if key[0] == "entity_version"}
        assert all(any(cell in shells for cell in keys[key]) for key in changed)

    async def check(self) -> None:
        """No erased word is anywhere; every other one is where it was; everything loads."""
        found = await everything(self._storage, ChatThread, ChatMessage, SystemPrompt, ProcessedOutput, RawOutput)
        lost = {word for lineage in self.gone for word in self.words.get(lineage, ())} - {""}
        kept = {word for lineage, words in self.words.items() if lineage not in self.gone for word in words}
        assert [word for word in sorted(lost - kept) if word in found] == []
        assert [word for word in sorted(kept) if word not in found] == []
        for word in sorted(lost - kept):
            assert await self._storage.search(ChatMessage, word) == []
        if self._url == "memory:":
            return
        assert await self._storage.check() == []
        for word in sorted(lost - kept)[:5]:
            assert await tables_with(self._url, word) == []
            if self._url.startswith("sqlite"):
                assert files_with(self._url, word) == []


async def play(url: str, script: list[Step]) -> None:
    async with open_storage(url) as storage:
        talks = Talks(storage, url)
        await talks.begin()
        for step in script:
            await talks.step(*step)
        await talks.step("erase thread", 0, 0, 0)
        await talks.check()


@given(scripts)
@settings(max_examples=examples(15, 200))
def test_in_memory(script: list[Step]) -> None:
    asyncio.run(play("memory:", script))


@given(scripts)
@settings(max_examples=examples(5, 60))
def test_in_sqlite(script: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(with_tables(f"{folder}/talks.db"), script))


@pytest.fixture
def databases(postgres: Postgres, postgresql_template: str) -> Any:
    """Fresh PostgreSQL databases, one for each example."""

    @contextmanager
    def one() -> Iterator[str]:
        with postgres.database(postgresql_template) as url:
            yield url

    return one


@given(script=scripts)
@settings(max_examples=examples(2, 30), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_postgresql(databases: Any, script: list[Step]) -> None:
    with databases() as url:
        asyncio.run(play(url, script))
