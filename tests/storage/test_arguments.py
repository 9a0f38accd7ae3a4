"""What cannot be meant is refused with a sentence about it, and nothing happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from minference.ecs.blobs import Blob
from minference.ecs.entity import Entity
from minference.ecs.registry import EntityRegistry
from minference.errors import ConfigurationError, UnknownChoice, WriteFailed, WrongArgument
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.storage.versioned import VersionedStorage


class Memo(Entity, kind="arguments_memo"):
    text: str = ""


async def versions(storage: EntityStorage) -> int:
    return (await storage.status()).versions


@pytest.mark.parametrize("wish", ["rasie", "", None, "BRANCH", ["raise"]])
async def test_a_mistyped_wish_in_a_conflict_is_refused_before_anything_is_saved(storage: EntityStorage, wish: Any) -> None:
    memo = Memo(text="a")
    await storage.register(memo)
    before, memo.text = memo.ecs_id, "b"
    with pytest.raises(ConfigurationError, match=r"on_conflict cannot be .*: use 'branch' or 'raise'"):
        await storage.register(memo, on_conflict=wish)
    with pytest.raises(UnknownChoice):
        storage.submit(memo, on_conflict=wish)
    with pytest.raises(UnknownChoice):
        storage.recording(on_conflict=wish)
    assert (memo.ecs_id, await versions(storage)) == (before, 1)
    async with storage.recording():
        with pytest.raises(UnknownChoice):
            await storage.register(memo, on_conflict=wish)
    await storage.register(memo)
    assert await versions(storage) == 2


async def test_a_mistyped_strategy_is_refused_before_anything_is_merged(storage: EntityStorage) -> None:
    ours = await storage.register(Memo(text="a"))
    theirs = await storage.get(Memo, ours.ecs_id)
    theirs.text = "b"
    await storage.register(theirs)
    wish: Any = "thiers"
    for attempt in (storage.merge(ours, theirs, wish), storage.rebase(ours, strategy=wish)):
        with pytest.raises(UnknownChoice, match="strategy cannot be 'thiers': use 'ours' or 'theirs' or 'append'"):
            await attempt
    who: Any = 5
    with pytest.raises(WrongArgument):
        await storage.merge(ours, theirs, author=who)
    with pytest.raises(WrongArgument):
        await storage.revert(ours, ours.ecs_id, note=who)
    assert (ours.text, await versions(storage)) == ("a", 2)


async def test_a_mistyped_share_erases_nothing(storage: EntityStorage) -> None:
    memo = await storage.register(Memo(text="kept"))
    wish: Any = "kep"
    for attempt in (storage.erase(memo, reason="a test", shared=wish), storage.erasure_scope(memo, shared=wish)):
        with pytest.raises(UnknownChoice, match="shared cannot be 'kep': use 'erase' or 'keep'"):
            await attempt
    assert (await storage.get(Memo, memo.ecs_id)).text == "kept"


@pytest.mark.parametrize("wish", [{"durability": "ful"}, {"migrate": "yes"}, {"migrate": True}], ids=str)
def test_a_mistyped_wish_for_a_storage_is_refused(tmp_path: Path, wish: dict[str, Any]) -> None:
    with pytest.raises(UnknownChoice, match=f"{next(iter(wish))} cannot be .*: use '(full|auto)' or "):
        open_storage(f"sqlite:///{tmp_path}/x.db", **wish)


@pytest.mark.parametrize("thing", [None, {}, "memo", Memo], ids=["nothing", "dict", "text", "class"])
async def test_only_entities_are_saved(storage: EntityStorage, thing: Any) -> None:
    memo = Memo()
    with pytest.raises(TypeError, match=f"must be an entity, and is .*, of type {type(thing).__name__}"):
        await storage.register(memo, thing)
    with pytest.raises(WrongArgument):
        storage.submit(thing)
    async with storage.recording() as block:
        with pytest.raises(WrongArgument):
            block.add(thing)
    assert await versions(storage) == 0
    await storage.register(memo)
    assert await versions(storage) == 1


@pytest.mark.parametrize("wish", [{"author": 5}, {"note": b"why"}], ids=["author", "note"])
async def test_who_and_why_are_texts(storage: EntityStorage, wish: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(wish))} must be a str or None"):
        await storage.register(Memo(), **wish)
    with pytest.raises(WrongArgument):
        storage.recording(**wish)
    assert await versions(storage) == 0


Ask = Callable[[EntityStorage, Any], Awaitable[object]]

_BY_ID: dict[str, Ask] = {
    "get": lambda storage, text: storage.get(Memo, text),
    "get_cold_snapshot": lambda storage, text: storage.get_cold_snapshot(Memo, text),
    "get_stored": lambda storage, text: storage.get_stored(text),
    "has_entity": lambda storage, text: storage.has_entity(text),
    "info": lambda storage, text: storage.info(text),
    "ancestors": lambda storage, text: storage.ancestors(text),
    "lineage": lambda storage, text: storage.lineage(text),
    "latest": lambda storage, text: storage.latest(Memo, text),
    "heads": lambda storage, text: storage.heads(text),
    "length": lambda storage, text: storage.length(text),
    "recent": lambda storage, text: storage.recent(text, 1),
    "tag": lambda storage, text: storage.tag("good", text),
    "tags": lambda storage, text: storage.tags(text),
    "tagged": lambda storage, text: storage.tagged(Memo, text, "good"),
    "untag": lambda storage, text: storage.untag("good", text),
    "blame": lambda storage, text: storage.blame(text),
    "diff": lambda storage, text: storage.diff(text, uuid4()),
    "erase": lambda storage, text: storage.erase(text, reason="a test"),
    "erasure_scope": lambda storage, text: storage.erasure_scope(text),
    "erasures": lambda storage, text: storage.erasures(text),
}


@pytest.mark.parametrize("ask", _BY_ID.values(), ids=_BY_ID)
async def test_a_text_is_no_id(storage: EntityStorage, ask: Ask) -> None:
    memo = await storage.register(Memo())
    for text in (str(memo.ecs_id), str(memo.lineage_id)):
        with pytest.raises(TypeError, match=rf"must be .*a UUID \(of a text, pass UUID\(text\)\), and is '{text}'"):
            await ask(storage, text)


async def test_what_is_loaded_as_is_a_class_of_entities(storage: EntityStorage) -> None:
    memo: Any = await storage.register(Memo())
    wrongs: list[Any] = [memo, dict, "Memo"]
    for wrong in wrongs:
        with pytest.raises(WrongArgument, match="cls must be a class of entities"):
            await storage.get(wrong, memo.ecs_id)
        with pytest.raises(WrongArgument, match="cls must be a class of entities"):
            await storage.list_by_type(wrong)


async def test_a_text_is_no_time(storage: EntityStorage) -> None:
    memo = await storage.register(Memo())
    when: Any
    for when in ("2026-01-01", 0, None):
        with pytest.raises(WrongArgument, match=r"when must be a datetime .*datetime.fromisoformat\(text\)"):
            await storage.at(Memo, memo.lineage_id, when)


_WRONG: dict[str, tuple[Ask, str]] = {
    "rebase": (lambda storage, wrong: storage.rebase(wrong), "entity must be an entity"),
    "move_rows": (lambda storage, wrong: storage.move_rows(wrong), "cls must be a class of entities"),
    "load_blobs": (lambda storage, wrong: storage.load_blobs(wrong), "what holds blobs must be an entity or a Blob"),
    "read_blobs": (lambda storage, wrong: storage.read_blobs(wrong), "blobs must be (a Blob|Blobs in a list)"),
    "one blob": (lambda storage, wrong: storage.missing_blobs([wrong]), "each of the blobs must be a Blob"),
    "blame": (lambda storage, wrong: storage.blame(uuid4(), "history", window=wrong), "window must be a slice"),
}


@pytest.mark.parametrize(("ask", "match"), _WRONG.values(), ids=_WRONG)
async def test_what_is_no_entity_blob_or_slice_is_named(storage: EntityStorage, ask: Ask, match: str) -> None:
    for wrong in ("text", 5):
        with pytest.raises(WrongArgument, match=match):
            await ask(storage, wrong)


def test_what_is_made_the_current_storage_is_one(sqlite_url: str) -> None:
    wrong: Any
    for wrong in (sqlite_url, None, VersionedStorage):
        with pytest.raises(WrongArgument, match="storage must be a storage"):
            EntityRegistry.use_storage(wrong)


async def test_what_is_searched_is_a_class_of_entities(storage: EntityStorage) -> None:
    wrong: Any = "Memo"
    with pytest.raises(WrongArgument, match="cls must be a class of entities"):
        await storage.search(wrong, "word")


def test_bytes_are_made_of_bytes() -> None:
    wrong: Any
    for wrong in ("text", 5, None, [1]):
        with pytest.raises(WrongArgument, match="data must be bytes"):
            Blob.of(wrong)
    assert Blob.of(bytearray(b"a")) == Blob.of(memoryview(b"a")) == Blob.of(b"a")


@pytest.mark.parametrize("rest", ["localhost:port/x", "ann:se:cret@localhost:port/x", "localhost:65536/x"])
def test_a_url_whose_port_is_none_is_refused_and_its_password_not_told(rest: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is no database URL.*a port is") as refused:
        open_storage(f"postgresql://{rest}")
    assert ("cret" in str(refused.value), refused.value.__cause__) == (False, None)


@pytest.mark.parametrize("query", ["mode=ro", "mode=ro&uri=false", "uri=true", ".db"])
def test_settings_that_sqlite_would_not_get_are_refused_and_no_file_is_made(tmp_path: Path, query: str) -> None:
    with pytest.raises(ConfigurationError, match=r"leave it out, or .* sqlite:///file:.*/x\.db\?mode=ro&uri=true to read only"):
        open_storage(f"sqlite:///{tmp_path}/x.db?{query}")
    assert not list(tmp_path.iterdir())


async def test_the_url_that_the_refusal_recommends_reads_only(tmp_path: Path) -> None:
    async with open_storage(f"sqlite:///{tmp_path}/x.db") as storage:
        memo = await storage.register(Memo(text="kept"))
    with pytest.raises(ConfigurationError) as refused:
        open_storage(f"sqlite:///{tmp_path}/x.db?mode=ro")
    [recommended] = [word for word in str(refused.value).split() if word.startswith("sqlite:///file:")]
    async with open_storage(recommended) as storage:
        assert (await storage.get(Memo, memo.ecs_id)).text == "kept"
        with pytest.raises(WriteFailed, match="it cannot be written; check the permissions"):
            await storage.register(Memo())


@pytest.mark.parametrize("url", ["memory", "memory:foo", "memory://", "sqlite", "", None, b"memory:", 5, Path("x.db"), "sqlite:///a\0b.db"])
def test_what_names_no_storage_is_refused(url: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"names no storage|is a str such as|NUL character"):
        open_storage(url)


def test_no_refusal_quotes_a_password() -> None:
    with pytest.raises(ConfigurationError, match=r"'mysql://user:\*\*\*@host/chats' names no storage"):
        open_storage("mysql://user:secret@host/chats")
