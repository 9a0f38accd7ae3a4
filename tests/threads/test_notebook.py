"""What notebooks show of threads, differences and lineages."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

from minference.ecs.lineage import LineageTree
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread
from tests.ui.samples import HOSTILE, a_thread, answer, ask, hostile, long_thread

TAGS = {"div", "span", "b", "i", "br", "code", "details", "summary"}


def tags_of(shown: str) -> set[str]:
    return set(re.findall(r"<([^\s>/]+)", shown))


async def test_a_thread_shows_who_said_what() -> None:
    async with open_storage("memory:") as storage:
        thread = a_thread("trains", system="Be brief.")
        ask(thread, "Is there a train at 7?")
        await answer(storage, thread, "Yes.", reasoning="It is on the timetable.")
        thread.new_message = "And later?"
        shown = thread._repr_html_()
    for text in ("trains", "Be brief.", "Is there a train at 7?", "Yes.", "on the timetable", "120 + 48 tokens", "not sent yet"):
        assert text in shown
    assert tags_of(shown) <= TAGS


async def test_nothing_that_was_said_is_taken_for_html() -> None:
    async with open_storage("memory:") as storage:
        thread = await hostile(storage)
        before = await storage.get(ChatThread, thread.parent_id) if thread.parent_id else thread
        difference = await storage.diff(before, thread)
        shown = thread._repr_html_()
        assert tags_of(shown) <= TAGS
        assert shown.count("&lt;script&gt;") > 8
        assert tags_of(difference._repr_html_()) == {"pre", "ins", "del"}
        assert "\u202e" not in shown + difference._repr_html_()


async def test_a_long_thread_shows_its_ends(storage: EntityStorage) -> None:
    thread = await long_thread(storage, 100)
    shown = thread._repr_html_()
    assert "… 80 messages …" in shown
    assert [f"message number {index}<" in shown for index in (0, 1, 2, 81, 82, 99)] == [True, True, False, False, True, True]
    [peeked] = await storage.peek(ChatThread, [thread.ecs_id], history=slice(40, 60))
    assert "… 100 messages …" in peeked._repr_html_()


async def test_an_erased_thread_shows_that_it_is(storage: EntityStorage) -> None:
    thread = a_thread("secret")
    thread.history.append(ChatMessage(role=MessageRole.user, content="secret"))
    await storage.register(thread)
    await storage.erase(thread, reason="asked for")
    shown = (await storage.get(ChatThread, thread.ecs_id))._repr_html_()
    assert "(erased)" in shown
    assert "secret" not in shown


async def test_a_lineage_is_a_picture(storage: EntityStorage) -> None:
    thread = await hostile(storage)
    shown = LineageTree(await storage.lineage(thread.lineage_id))._repr_html_()
    [data] = re.findall(r'^<img alt="3 versions" src="data:image/svg\+xml;base64,([^"]+)">$', shown)
    picture = ElementTree.fromstring(base64.b64decode(data))
    assert {each.tag.rpartition("}")[2] for each in picture.iter()} == {"svg", "title", "style", "g", "path", "circle", "text"}
    assert any(HOSTILE[:30] in (each.text or "") for each in picture.iter())
