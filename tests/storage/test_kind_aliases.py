"""A class that was renamed or moved reads what was stored under its former kinds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import Field

from minference.ecs.entity import Entity, kind_to_class
from minference.errors import DuplicateKind
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.messages import ChatMessage, MessageRole
from tests.support.sqlite import with_tables


class Page(Entity, kind="aliased_page"):
    text: str = ""


class Note(Entity, kind="aliased_note"):
    title: str
    pages: list[Page] = Field(default_factory=list)


class Holder(Entity, kind="aliased_holder"):
    held: Entity | None = None


def _rename() -> type[Note]:
    """The program a year later."""

    class Memo(Entity, kind="aliased_memo", aliases=("aliased_note",), renamed={"title": "subject"}):
        subject: str
        pages: list[Page]

    return Memo  # type: ignore[return-value]  # as far as these tests go


@pytest.fixture(autouse=True)
def note_again() -> None:
    """Each test begins a year earlier."""
    from minference.ecs import entity

    entity._KINDS["aliased_note"] = Note


async def test_versions_under_the_former_kind_are_of_the_class(storage: EntityStorage) -> None:
    old = await storage.register(Note(title="a", pages=[Page(text="p")]))
    holder = await storage.register(Holder(held=old))
    memo_class = _rename()
    assert kind_to_class("aliased_note") is kind_to_class("aliased_memo") is memo_class
    memo = (await storage.get(Holder, holder.ecs_id)).held
    assert isinstance(memo, memo_class)
    assert (memo.subject, memo.pages[0].text) == ("a", "p")  # type: ignore[attr-defined]
    assert (await storage.submit(memo)).info is None


async def test_what_is_saved_from_then_on_has_the_new_kind_in_the_same_lineage(storage: EntityStorage) -> None:
    old = await storage.register(Note(title="a"))
    memo_class = _rename()
    memo = await storage.get(memo_class, old.ecs_id)
    memo.pages.append(Page(text="new"))
    await storage.register(memo)
    fresh = await storage.register(memo_class.model_validate({"subject": "b", "pages": []}))
    assert [version.kind for version in await storage.lineage(old.lineage_id)] == ["aliased_note", "aliased_memo"]
    assert {version.ecs_id for version in await storage.list_by_type(memo_class)} == {memo.ecs_id, fresh.ecs_id}
    assert (await storage.diff(old.ecs_id, memo.ecs_id)).fields.keys() == {"pages"}


async def test_an_export_has_the_new_kind_and_an_old_export_is_read(storage: EntityStorage, tmp_path: Path) -> None:
    old = await storage.register(Note(title="a", pages=[Page(text="p")]))
    lines = [line async for line in storage.export_lines()]
    memo_class = _rename()
    now = [line async for line in storage.export_lines()]
    assert {version["kind"] for version in json.loads(now[1])["versions"]} == {"aliased_memo", "aliased_page"}
    async with open_storage(with_tables(tmp_path / "other.db")) as other:
        await other.import_lines(lines)
        assert [line async for line in other.export_lines()] == now
        memo = await other.get(memo_class, old.ecs_id)
        assert (memo.subject, memo.pages[0].text) == ("a", "p")  # type: ignore[attr-defined]


async def test_a_renamed_class_is_nothing_wrong_in_a_database(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        old = await storage.register(Note(title="a"))
        memo = await storage.get(_rename(), old.ecs_id)
        memo.pages.append(Page())
        await storage.register(memo)
        assert await storage.check() == []


async def test_messages_of_a_renamed_class_are_found_by_their_words(storage: EntityStorage) -> None:
    class LoudMessage(ChatMessage, kind="aliased_loud"):
        volume: int = 1

    said = await storage.register(LoudMessage(role=MessageRole.user, content="what a noise"))

    class NoisyMessage(ChatMessage, kind="aliased_noisy", aliases=("aliased_loud",)):
        volume: int = 1

    assert [hit.version.ecs_id for hit in await storage.search(NoisyMessage, "noise")] == [said.ecs_id]


def test_a_former_kind_that_is_the_kind_of_another_module_is_refused() -> None:
    with pytest.raises(DuplicateKind, match=r"entity kind 'chat_message' of .*Impostor is taken by .*ChatMessage"):

        class Impostor(Entity, kind="aliased_impostor", aliases=("chat_message",)):
            text: str

    assert kind_to_class("chat_message") is ChatMessage
    assert kind_to_class("aliased_impostor") is None
