"""`storage.search()` finds messages by their words, and says who holds them."""

from __future__ import annotations

import asyncio
import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minference.ecs.entity import Entity
from minference.errors import ConfigurationError
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.storage.search import snippet, words_of
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, SystemPrompt
from minference.threads.thread import ChatThread


class Note(Entity, kind="search_note"):
    content: str = ""
    number: int = 0


def a_thread(*texts: str) -> ChatThread:
    messages = [ChatMessage(role=MessageRole.user, content=text) for text in texts]
    return ChatThread(llm_config=LLMConfig(client="scripted", model="m"), history=messages)


async def found(storage: EntityStorage, text: str, limit: int = 20) -> list[UUID]:
    return [hit.version.ecs_id for hit in await storage.search(ChatMessage, text, limit=limit)]


async def test_messages_with_every_word_are_found_the_newest_first(storage: EntityStorage) -> None:
    old, new = a_thread("The sky is blue", "grey"), a_thread("A BLUE, blue sky!")
    await storage.register(old)
    await storage.register(new)
    assert await found(storage, "sky blue") == [new.history[0].ecs_id, old.history[0].ecs_id]
    assert await found(storage, "blue the") == [old.history[0].ecs_id]
    assert await found(storage, "blue", limit=1) == [new.history[0].ecs_id]
    assert await found(storage, "blu") == []
    assert await found(storage, "sky grey") == []


async def test_a_hit_tells_the_text_around_and_the_threads_that_hold_it(storage: EntityStorage) -> None:
    thread = a_thread("first", f"{'so ' * 100}much\n depends upon {'and ' * 100}")
    await storage.register(thread)
    other = a_thread()
    other.history = [thread.history[1]]
    await storage.register(other)
    [hit] = await storage.search(ChatMessage, "DEPENDS")
    assert hit.version == await storage.info(thread.history[1].ecs_id)
    assert hit.holders == tuple(sorted([thread.lineage_id, other.lineage_id]))
    assert "so much depends upon and" in hit.snippet
    assert (hit.snippet[0], hit.snippet[-1]) == ("…", "…")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("über den Wolken", "Über"),
        ("NUL \0 and lone \ud83d half", "half lone"),
        ("see https://example.org/some_path.html?x=1", "path"),
        ("it's O'Brien's \"quoted\" AND (NOT) near* ^x : -y", 'o\'brien "quoted" AND NOT near* (:-'),
        ("日本語 text", "日本語"),
        ("\ufdd0 begins oddly", "oddly"),
    ],
)
async def test_words_are_letters_and_digits_whatever_is_around_them(storage: EntityStorage, content: str, text: str) -> None:
    thread = a_thread(content, "something else")
    await storage.register(thread)
    assert await found(storage, text) == [thread.history[0].ecs_id]


@pytest.mark.parametrize("text", ["", "  ", "?!", "\0", "\ud83d"])
async def test_nothing_is_found_without_words(storage: EntityStorage, text: str) -> None:
    await storage.register(a_thread("a ? \0"))
    assert await found(storage, text) == []


async def test_what_is_saved_after_a_search_is_found_by_the_next(storage: EntityStorage) -> None:
    thread = a_thread("one word")
    await storage.register(thread)
    assert len(await found(storage, "word")) == 1
    thread.history.append(ChatMessage(role=MessageRole.assistant, content="another word"))
    storage.submit(thread)
    assert await found(storage, "word") == [thread.history[1].ecs_id, thread.history[0].ecs_id]


async def test_an_edited_message_is_found_once_in_the_newest_version_that_has_the_words(storage: EntityStorage) -> None:
    thread = a_thread("good word")
    await storage.register(thread)
    first = thread.history[0].ecs_id
    thread.history[0].content = "better word"
    await storage.register(thread)
    assert await found(storage, "word") == [thread.history[0].ecs_id]
    assert await found(storage, "good") == [first]


async def test_a_text_of_any_length_is_indexed(storage: EntityStorage) -> None:
    thread = a_thread(" ".join(str(number) for number in range(200_000)), "x" * 3_000_000)
    await storage.register(thread)
    assert await found(storage, "777") == [thread.history[0].ecs_id]


async def test_other_fields_and_classes_can_be_searched(storage: EntityStorage) -> None:
    thread = a_thread()
    thread.name, thread.system_prompt = "a name", SystemPrompt(content="Be brief")
    await storage.register(thread)
    assert [hit.version.ecs_id for hit in await storage.search(ChatThread, "name", field="name")] == [thread.ecs_id]
    assert [hit.version.kind for hit in await storage.search(SystemPrompt, "brief")] == ["system_prompt"]


async def test_what_cannot_be_searched_is_refused(storage: EntityStorage) -> None:
    for cls, field in ((Note, "number"), (ChatMessage, "tool_calls"), (ChatMessage, "unheard")):
        with pytest.raises(ConfigurationError, match=field):
            await storage.search(cls, "x", field=field)


async def test_a_text_without_a_column_of_its_own_is_searched_on_no_storage(storage: EntityStorage) -> None:
    await storage.register(Note(content="a word"))
    with pytest.raises(ConfigurationError, match="Note has no table with a column for a text 'content' to search in: declare one"):
        await storage.search(Note, "word")


async def test_several_processes_can_search_a_new_database_at_once(sql_url: str) -> None:
    async with open_storage(sql_url) as one, open_storage(sql_url) as two:
        await two.register(a_thread(*(f"word {number}" for number in range(3_000))))
        both = await asyncio.gather(*(each.search(ChatMessage, "word 77") for each in (one, two, one, two)))
        assert [[hit.snippet for hit in hits] for hits in both] == [["word 77"]] * 4
        assert await one.check() == []


def test_a_snippet_is_the_whole_text_if_that_is_short() -> None:
    assert snippet("a\nshort  text", words_of("short")) == "a short text"


@given(st.text(st.characters(max_codepoint=0x250), max_size=40) | st.text(st.sampled_from("aB1_- \n\x1c\x00\x7fİßé"), max_size=40))
def test_plain_and_other_texts_are_cut_into_the_same_words(text: str) -> None:
    assert words_of(text) == list(dict.fromkeys(word.lower() for word in re.findall(r"[^\W_]+", text)))
