"""A version whose class the program does not know is loaded, held, exported and imported, and left exactly as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from copy import copy
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import Field, JsonValue

from minference.ecs.diff import CollectionChanged, Replaced
from minference.ecs.entity import Entity
from minference.ecs.opaque import OpaqueEntity
from minference.ecs.registry import EntityRegistry
from minference.errors import FrozenSnapshot, NoSuchCollection, OpaqueVersion, WrongEntityType
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread
from minference.threads.turns import next_step
from tests.storage.graphs import contents_of
from tests.storage.programs import defined, undefined
from tests.storage.tables import rows_of
from tests.support.sqlite import with_tables


class Leaf(Entity, kind="unknown_leaf"):
    text: str = ""


class Secret(Entity, kind="unknown_secret"):
    """What the program is going to forget."""

    text: str = "hidden"
    ratio: float = float("nan")
    data: dict[str, JsonValue]
    nothing: str | None = None
    next: Entity | None = None
    nobody: Entity | None = None
    leaves: list[Leaf] = Field(default_factory=list)
    none: tuple[Leaf, ...] = ()
    named: dict[str, Leaf] = Field(default_factory=dict)


class Shelf(Entity, kind="unknown_shelf"):
    """What it goes on to know."""

    name: str = ""
    best: Secret | None = None
    items: list[Secret] = Field(default_factory=list)
    shared: Leaf | None = None


def _shelf() -> Shelf:
    shared, alone = Leaf(text="shared"), Leaf(text="alone")
    secret = Secret(data={"b": [1, 2.5, None, True], "a": "\ud83d\0"}, leaves=[alone, shared, alone], named={"z": shared, "a": alone})
    secret.next = secret
    return Shelf(name="s", best=secret, items=[secret, Secret(text="other", data={})], shared=shared)


async def _exported(storage: EntityStorage, *lineages: UUID) -> list[str]:
    return [line async for line in storage.export_lines(lineages or None)]


@pytest.fixture
def written() -> Shelf:
    """What a program stored that knew every class."""
    return _shelf()


@pytest.fixture(params=[False, True], ids=["saved", "imported"])
async def storage(storage_url: str, tmp_path: Path, written: Shelf, request: pytest.FixtureRequest) -> AsyncIterator[EntityStorage]:
    """A storage that holds it, in a program that does not know one of the classes; saved here, or imported when that was so."""
    async with open_storage(storage_url) as opened:
        if request.param:
            async with open_storage(with_tables(tmp_path / "source.db")) as source:
                await source.register(written)
                lines = await _exported(source)
            with undefined("unknown_secret"):
                await opened.import_lines(lines)
        else:
            await opened.register(written)
        with undefined("unknown_secret"):
            yield opened


async def _loaded(storage: EntityStorage) -> Shelf:
    [info] = await storage.list_by_type(Shelf)
    return await storage.get(Shelf, info.ecs_id)


def _opaque(entity: object) -> OpaqueEntity:
    assert isinstance(entity, OpaqueEntity)
    return entity


async def test_it_hangs_in_its_place_with_all_that_is_stored(storage: EntityStorage) -> None:
    shelf = await _loaded(storage)
    secret = _opaque(shelf.best)
    assert shelf.items[0] is shelf.best
    assert secret.kind == "unknown_secret"
    assert {name: value for name, value in secret.data.items() if name != "ratio"} == {
        "text": "hidden",
        "data": {"b": [1, 2.5, None, True], "a": "\ud83d\0"},
        "nothing": None,
    }
    assert str(secret.data["ratio"]) == "nan"
    assert secret.references == {"next": secret}
    leaves, named = secret.members["leaves"], secret.members["named"]
    assert isinstance(named, dict)
    assert [leaf.text for leaf in leaves if isinstance(leaf, Leaf)] == ["alone", "shared", "alone"]
    assert list(named) == ["z", "a"]
    assert named["z"] is shelf.shared
    assert shelf in (*shelf.get_sub_entities(), shelf)


async def test_it_cannot_be_changed_and_says_what_to_do(storage: EntityStorage) -> None:
    shelf = await _loaded(storage)
    secret = _opaque(shelf.best)
    for name in ("data", "text"):
        with pytest.raises(OpaqueVersion, match=r"is of kind 'unknown_secret', .*: import the module that defines it") as caught:
            setattr(secret, name, {})
        assert (caught.value.ecs_id, caught.value.name_) == (secret.ecs_id, name)
    with pytest.raises(OpaqueVersion, match="so it has no 'text'"):
        secret.text  # type: ignore[attr-defined]  # noqa: B018 - what a program that expects a Secret does
    with pytest.raises(TypeError, match="an entity of an unknown kind"):
        secret.data["text"] = "x"
    with pytest.raises(TypeError, match="an entity of an unknown kind"):
        secret.held.clear()
    assert (await storage.submit(shelf)).info is None


async def test_its_holder_is_edited_and_saved_around_it(storage: EntityStorage) -> None:
    shelf = await _loaded(storage)
    before = _opaque(shelf.best).ecs_id
    shelf.name = "renamed"
    shelf.items.reverse()
    shelf.items = [*shelf.items, shelf.items[0]]
    assert len((await storage.submit(shelf)).versions) == 1
    again = await storage.get(Shelf, shelf.ecs_id)
    assert (again.name, _opaque(again.best).ecs_id) == ("renamed", before)
    assert [_opaque(each).data["text"] for each in again.items] == ["other", "hidden", "other"]
    shelf.best = None
    assert len((await storage.submit(shelf)).versions) == 1
    shelf.best = shelf.items[0]
    await storage.register(shelf)
    assert _opaque((await storage.get(Shelf, shelf.ecs_id)).best).data["text"] == "other"


async def test_what_hangs_on_it_alone_is_cold_and_what_others_hold_can_be_edited(storage: EntityStorage) -> None:
    shelf = await _loaded(storage)
    leaves = _opaque(shelf.best).members["leaves"]
    assert isinstance(leaves, list)
    alone = leaves[0]
    assert isinstance(alone, Leaf)
    with pytest.raises(FrozenSnapshot):
        alone.text = "edited"
    assert shelf.shared is leaves[1]
    shelf.shared.text = "edited"
    assert len((await storage.submit(shelf)).versions) == 2
    again = await storage.get(Shelf, shelf.ecs_id)
    still = _opaque(again.best).members["leaves"]
    assert isinstance(still, list)
    assert isinstance(still[1], Leaf)
    assert again.shared is not None
    assert (again.shared.text, still[1].text) == ("edited", "shared")


async def test_it_cannot_be_saved_as_something_of_its_own(storage: EntityStorage) -> None:
    shelf = await _loaded(storage)
    with pytest.raises(OpaqueVersion):
        await storage.register(OpaqueEntity(kind="made_up", data={}))
    async with open_storage("memory:") as other:
        with pytest.raises(OpaqueVersion):
            await other.register(shelf)
        assert (await other.status()).versions == 0


async def test_a_copy_of_its_holder_holds_the_same_version(storage: EntityStorage) -> None:
    shelf = await _loaded(storage)
    secret = _opaque(shelf.best)
    copied = shelf.model_copy(deep=True)
    assert _opaque(copied.best) is secret
    assert copy(secret) is secret.model_copy(deep=True) is secret
    with pytest.raises(OpaqueVersion):
        secret.model_copy(update={"data": {}})
    assert len((await storage.submit(copied)).versions) == 2  # the shelf, and the leaf that is copied with it
    again = await storage.get(Shelf, copied.ecs_id)
    assert (again.lineage_id == shelf.lineage_id, _opaque(again.best).ecs_id) == (False, secret.ecs_id)
    cold = await storage.get_cold_snapshot(Shelf, shelf.ecs_id)
    thawed = cold.model_copy(deep=True)
    thawed.items.clear()
    assert (thawed.items, len(cold.items)) == ([], 2)


async def test_it_is_got_by_its_id(storage: EntityStorage) -> None:
    shelf = await _loaded(storage)
    secret = _opaque(shelf.best)
    for loaded in (await storage.get(Entity, secret.ecs_id), await storage.get_cold_snapshot(Entity, secret.ecs_id)):
        assert (_opaque(loaded).kind, _opaque(loaded).lineage_id) == ("unknown_secret", secret.lineage_id)
    for asking in (storage.get(Shelf, secret.ecs_id), storage.peek(Shelf, [secret.ecs_id])):
        with pytest.raises(
            WrongEntityType, match="is no Shelf but of the kind 'unknown_secret', which this program does not define"
        ) as caught:
            await asking
        assert (caught.value.found, caught.value.defined, "unknown_secret.get" in str(caught.value)) == ("unknown_secret", False, False)
    assert [version.kind for version in await storage.lineage(secret.lineage_id)] == ["unknown_secret"]
    stored = await storage.get_stored(secret.ecs_id)
    assert (stored.values["text"], stored.references) == ("hidden", {"next": secret.ecs_id})


async def test_it_is_listed_with_everything_and_alone(storage: EntityStorage) -> None:
    shelf = await _loaded(storage)
    ids = {_opaque(each).ecs_id for each in shelf.items}
    assert {version.ecs_id for version in await storage.list_by_type(OpaqueEntity)} == ids
    assert {version.kind for version in await storage.list_by_type(Entity)} == {"unknown_secret", "unknown_shelf", "unknown_leaf"}
    assert {version.kind for version in await EntityRegistry.list_by_type(Shelf)} == {"unknown_shelf"}


async def test_it_is_blamed_and_its_holder_is_compared(storage: EntityStorage) -> None:
    shelf = await _loaded(storage)
    first = shelf.ecs_id
    shelf.items.pop()
    shelf.best = None
    await storage.register(shelf, author="ann")
    diff = await storage.diff(first, shelf)
    assert {name: type(field) for name, field in diff.fields.items()} == {"best": Replaced, "items": CollectionChanged}
    assert "items" in str(diff)
    assert len(await storage.blame(shelf, "items")) == 1
    secret = _opaque(shelf.items[0])
    assert len(await storage.blame(secret.ecs_id, "leaves")) == 3
    with pytest.raises(NoSuchCollection, match="unknown_secret has no collection of entities called 'pages': it has 'leaves', 'named'"):
        await storage.blame(secret.ecs_id, "pages")


async def test_versions_of_it_are_compared_and_merged_as_wholes(storage: EntityStorage) -> None:
    shelf = await _loaded(storage)
    secret_id = _opaque(shelf.best).ecs_id
    with defined(Secret):  # a program that knows the class
        side = await storage.get(Shelf, shelf.ecs_id)
        assert side.best is not None
        side.best.text = "changed"
        await storage.register(side)
        changed_id = side.best.ecs_id
    assert "hidden" in str(diff := await storage.diff(secret_id, changed_id))
    assert "changed" in str(diff)
    shelf.name = "ours"
    first = shelf.parent_id or shelf.ecs_id
    await storage.register(shelf)
    merged = await storage.merge(shelf, side.ecs_id)
    assert merged.conflicts == ()
    again = await storage.get(Shelf, merged.entity.ecs_id)
    assert (again.name, _opaque(again.best).ecs_id, _opaque(again.best).data["text"]) == ("ours", changed_id, "changed")
    await storage.revert(again, first)
    assert _opaque((await storage.get(Shelf, again.ecs_id)).best).ecs_id == secret_id


async def test_it_goes_out_and_in_and_is_whole_when_its_class_is_back(storage: EntityStorage, written: Shelf, tmp_path: Path) -> None:
    lines = await _exported(storage)
    async with open_storage(with_tables(tmp_path / "other.db")) as other, open_storage("memory:") as third:
        others: list[EntityStorage] = [other, third]
        for target in others:
            await target.import_lines(lines)
            assert await _exported(target) == lines
        with defined(Secret):
            for target in [storage, *others]:
                assert contents_of(await target.get(Shelf, written.ecs_id)) == contents_of(written)
                assert await _exported(target) == lines
            assert await other.check() == []


async def test_a_list_that_was_renamed_and_emptied_is_empty_after_a_journey_through_a_program_that_knows_nothing(
    storage_url: str,
) -> None:
    class Then(Entity, kind="unknown_renamed"):
        pages: list[Leaf] = Field(default_factory=list)

    async with open_storage(storage_url) as source, open_storage("memory:") as target:
        old = (await source.register(Then(pages=[Leaf(text="p")]))).ecs_id

        class Now(Entity, kind="unknown_renamed", renamed={"pages": "sheets"}):
            sheets: list[Leaf]

        now = await source.get(Now, old)
        now.sheets.clear()
        await source.register(now)
        with undefined("unknown_renamed"):
            lines = await _exported(source)
        await target.import_lines(lines)
        found = [await target.get(Now, ecs_id) for ecs_id in (old, now.ecs_id)]
        assert [[leaf.text for leaf in each.sheets] for each in found] == [["p"], []]


async def test_nothing_that_is_stored_changes(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        await storage.register(_shelf())
        before = await rows_of(sql_url)
        with undefined("unknown_secret"):
            shelf = await _loaded(storage)
            shelf.name = "renamed"
            await storage.register(shelf)
            [finding] = await storage.check()
            assert (finding.rule, finding.fault) == ("known kinds", False)
            assert finding.text.startswith("2 versions, ")
            assert finding.text.endswith(
                "are of kind unknown_secret, which this program does not define: import its module to check them whole"
            )
        after = await rows_of(sql_url)
        assert {key: after[key] for key in before} == before
        assert await storage.check() == []
        whole = await storage.get(Shelf, shelf.ecs_id)
        assert whole.best is not None
        assert (whole.name, whole.best.text, whole.best.leaves[0].text) == ("renamed", "hidden", "alone")


class Whisper(ChatMessage, kind="unknown_whisper"):
    volume: int = 1


async def test_a_thread_with_a_message_of_an_unknown_class_is_whole_and_says_so_where_it_is_used(storage: EntityStorage) -> None:
    spoken = ChatMessage(role=MessageRole.user, content="loud")
    thread = ChatThread(
        llm_config=LLMConfig(client="scripted", model="m"), history=[spoken, Whisper(role=MessageRole.user, content="quiet")]
    )
    await storage.register(thread)
    with undefined("unknown_whisper"):
        loaded = await storage.get(ChatThread, thread.ecs_id)
        assert [type(message) for message in loaded.history] == [ChatMessage, OpaqueEntity]
        with pytest.raises(OpaqueVersion, match=r"kind 'unknown_whisper', .* so it has no 'role': import the module that defines it"):
            next_step(loaded)
        loaded.history = [loaded.history[1], loaded.history[0]]
        loaded.add_user_message("more")
        assert len((await storage.submit(loaded)).versions) == 2
    again = await storage.get(ChatThread, loaded.ecs_id)
    assert [(type(message), message.content) for message in again.history] == [
        (Whisper, "quiet"),
        (ChatMessage, "loud"),
        (ChatMessage, "more"),
    ]
