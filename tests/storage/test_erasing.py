"""`storage.erase()` takes the content out of every version, for ever, and leaves everything else as it was."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated
from uuid import UUID, uuid4

import pytest
from pydantic import Field, JsonValue

from minference.ecs.diff import diff_entities
from minference.ecs.entity import Entity
from minference.ecs.lineage import LineageTree, VersionInfo
from minference.ecs.plan import OnErase
from minference.errors import ConfigurationError, ErasedLineage, LineageNotFound, NoEmptyValue
from minference.storage.base import EntityStorage
from minference.storage.erasing import Erasure
from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, SystemPrompt
from minference.threads.outputs import ProcessedOutput, RawOutput
from minference.threads.thread import ChatThread
from tests.storage.erasures import a_full_thread, a_thread, everything, reply, said

SECRET = "Wintermute"


class Diary(Entity, kind="erasing_diary"):
    """An application's own entity, in no table of its own."""

    title: str
    owner: str | None = None
    pages: int
    day: datetime
    marks: dict[str, JsonValue] = Field(default_factory=dict)
    cover: Diary | None = None
    parts: list[Diary] = Field(default_factory=list)
    named: dict[str, Diary] = Field(default_factory=dict)
    about: Annotated[UUID | None, OnErase.follows] = None
    links: Annotated[list[Diary], OnErase.stays] = Field(default_factory=list)


class Locked(Entity, kind="erasing_locked"):
    """A class for which there is no empty value."""

    pair: Annotated[list[int], Field(min_length=2)]


DAY = datetime.fromisoformat("2026-01-02T03:04:05+00:00")


def a_diary(title: str, **values: object) -> Diary:
    return Diary.model_validate({"title": title, "pages": 7, "day": DAY, **values})


async def test_a_message_loses_its_content_in_every_version_and_its_outputs_with_it(storage: EntityStorage) -> None:
    thread = a_thread("hello")
    await storage.register(thread)
    output = await reply(storage, thread, SECRET)
    message, first = thread.history[1], thread.history[1].ecs_id
    message.content = f"edited {SECRET}"
    await storage.register(thread)
    done = await storage.erase(message, reason="asked to", author="ann")
    assert SECRET not in await everything(storage)
    assert {kind: (each.versions, each.lineages) for kind, each in done.scope.kinds.items()} == {
        "chat_message": (2, 1),
        "generated_json_object": (1, 1),
        "processed_output": (1, 1),
        "raw_output": (1, 1),
    }
    assert (done.remains, done.already, done.scope.affected) == ((), False, (thread.lineage_id,))
    for version in (first, message.ecs_id):
        shell = await storage.get(ChatMessage, version)
        assert (shell.content, shell.reasoning, shell.reasoning_json, shell.refusal, shell.erased) == ("", None, None, None, True)
    assert (await storage.get(ProcessedOutput, output.ecs_id)).raw_output.raw_result == {}


async def test_what_is_no_content_stays_so_that_the_thread_is_still_a_conversation(storage: EntityStorage) -> None:
    thread = a_thread("hello")
    await storage.register(thread)
    output = await reply(storage, thread, SECRET)
    thread.history.append(ChatMessage(role=MessageRole.tool, content="blue", tool_call_id="call-1", tool_name="look"))
    await storage.register(thread)
    before = await storage.get(ChatThread, thread.ecs_id)

    async def versions() -> list[VersionInfo]:
        return [*await storage.lineage(thread.lineage_id), *await storage.lineage(thread.history[1].lineage_id)]

    known = await versions()
    await storage.erase(thread.history[1], reason="asked to")
    after = await storage.get(ChatThread, thread.ecs_id)
    call = after.history[1].tool_calls[0]
    assert (call.id, call.name, call.arguments) == ("call-1", "look", {})
    kept = ("role", "timestamp", "parent_message_uuid", "finish_reason", "created_at", "lineage_id", "parent_id", "ecs_id")
    for was, now in zip(before.history, after.history, strict=True):
        assert [getattr(now, name) for name in kept] == [getattr(was, name) for name in kept]
    assert after.history[1].usage is not None
    assert (after.history[1].usage.total_tokens, after.history[1].usage.erased) == (7, False)
    assert [message.content for message in after.history] == ["hello", "", "blue"]
    assert [message.erased for message in after.history] == [False, True, False]
    raw = (await storage.get(ProcessedOutput, output.ecs_id)).raw_output
    assert (raw.client, raw.thread_version, raw.start_time) == ("scripted", output.raw_output.thread_version, output.raw_output.start_time)
    left = await versions()
    assert [version._replace(erased_at=None) for version in left] == known
    assert [version.erased_at is not None for version in left] == [False, False, False, True]


async def test_an_entity_that_was_loaded_before_stays_as_it_is_and_cannot_bring_the_content_back(storage: EntityStorage) -> None:
    thread = a_thread("hello", f"my name is {SECRET}")
    await storage.register(thread)
    other = await storage.get(ChatThread, thread.ecs_id)
    await storage.erase(thread.history[1], reason="asked to")
    for live in (thread, other):
        assert (live.history[1].content, live.history[1].erased) == (f"my name is {SECRET}", False)
        version, message = live.ecs_id, live.history[1].ecs_id
        live.history[1].content = f"again {SECRET}"
        live.name = "more"
        with pytest.raises(ErasedLineage, match=str(thread.history[1].lineage_id)):
            await storage.register(live)
        assert (live.ecs_id, live.history[1].ecs_id, live.history[1].content) == (version, message, f"again {SECRET}")
    assert len(await storage.lineage(thread.lineage_id)) == 1
    assert SECRET not in await everything(storage)


async def test_a_thread_that_holds_an_erased_message_goes_on(storage: EntityStorage) -> None:
    thread = a_thread("hello", f"my name is {SECRET}")
    await storage.register(thread)
    loaded = await storage.get(ChatThread, thread.ecs_id)
    await storage.erase(thread.history[1], reason="asked to")
    shell = await storage.get(ChatThread, thread.ecs_id)
    for number, live in enumerate((thread, loaded, shell)):
        live.history.append(said(f"more {number}"))
        await storage.register(live)
        again = await storage.get(ChatThread, live.ecs_id)
        assert [message.content for message in again.history] == ["hello", "", f"more {number}"]
    thread.history[1] = said("somebody")
    await storage.register(thread)
    assert [each.content for each in (await storage.get(ChatThread, thread.ecs_id)).history] == ["hello", "somebody", "more 0"]


async def test_of_units_that_are_saved_together_only_the_one_that_brings_content_back_fails(storage: EntityStorage) -> None:
    thread, other = a_thread(SECRET), a_thread("else")
    await storage.register(thread, other)
    await storage.erase(thread.history[0], reason="asked to")
    thread.history[0].content = "back"
    other.name = "new"
    refused, saved = storage.submit(thread), storage.submit(other)
    with pytest.raises(ErasedLineage):
        await refused
    assert len((await saved).versions) == 1
    assert (await storage.latest(ChatThread, other.lineage_id)).name == "new"


async def test_a_thread_is_erased_with_every_message_it_ever_held(storage: EntityStorage) -> None:
    thread = a_full_thread(SECRET)
    await storage.register(thread)
    output = await reply(storage, thread, SECRET)
    branch = await storage.get(ChatThread, thread.ecs_id)
    dropped = said(f"dropped {SECRET}")
    thread.history.append(dropped)
    await storage.register(thread)
    del thread.history[-1]
    thread.history.reverse()
    await storage.register(thread)
    branch.history.append(said(f"on a branch {SECRET}"))
    await storage.register(branch)
    assert (await storage.erase(thread, reason="asked to")).remains == ()
    assert SECRET not in await everything(storage)
    for version in await storage.lineage(thread.lineage_id):
        shell = await storage.get(ChatThread, version.ecs_id)
        assert (shell.erased, shell.name, shell.new_message, shell.llm_config.model) == (True, None, None, "m")
        assert all(message.erased for message in shell.history)
    assert (await storage.get(ChatMessage, dropped.ecs_id)).erased
    assert (await storage.get(ProcessedOutput, output.ecs_id)).erased
    thread.name = "again"
    with pytest.raises(ErasedLineage):
        await storage.register(thread)


async def test_outputs_of_a_thread_are_found_by_the_thread_and_its_versions(storage: EntityStorage) -> None:
    thread = a_thread("hello")
    await storage.register(thread)
    output = await reply(storage, thread, SECRET)
    alone = output.raw_output.model_copy()
    loose = output.model_copy(update={"message_uuid": uuid4(), "raw_output": output.raw_output.model_copy()})
    await storage.register(alone, loose)
    await storage.erase(thread, reason="asked to")
    assert (await storage.get(RawOutput, alone.ecs_id)).erased
    assert (await storage.get(ProcessedOutput, loose.ecs_id)).erased
    assert SECRET not in await everything(storage)


async def test_the_raw_output_of_a_later_turn_is_left_alone(storage: EntityStorage) -> None:
    thread = a_thread(f"I am {SECRET}")
    await storage.register(thread)
    later = await reply(storage, thread, "Neuromancer")
    await storage.erase(thread.history[0], reason="asked to")
    kept = await storage.get(ProcessedOutput, later.ecs_id)
    assert (kept.erased, kept.raw_output.erased, kept.raw_output.raw_result["text"]) == (False, False, "Neuromancer")


async def test_settings_that_other_threads_hold_stay_and_others_go(storage: EntityStorage) -> None:
    shared, own = SystemPrompt(content="Be brief."), SystemPrompt(content=SECRET)
    one, two = a_thread("a", system_prompt=shared), a_thread("b", system_prompt=shared)
    two.llm_config = one.llm_config
    await storage.register(one, two)
    one.system_prompt = own
    await storage.register(one)
    done = await storage.erase(one, reason="asked to")
    assert set(done.scope.kept) == {shared.lineage_id, one.llm_config.lineage_id}
    assert (await storage.get(SystemPrompt, own.ecs_id)).erased
    assert (await storage.get(SystemPrompt, shared.ecs_id)).content == "Be brief."
    two.system_prompt = None
    await storage.register(two)
    assert not (await storage.get(SystemPrompt, shared.ecs_id)).erased


async def test_a_message_that_two_threads_hold_is_erased_in_both_and_the_result_says_so(storage: EntityStorage) -> None:
    one, two = a_thread(SECRET, "mine"), a_thread("b")
    two.history.insert(0, one.history[0])
    await storage.register(one, two)
    done = await storage.erase(one, reason="asked to")
    assert done.scope.affected == (two.lineage_id,)
    assert [message.content for message in (await storage.get(ChatThread, two.ecs_id)).history] == ["", "b"]


async def test_what_others_hold_can_be_spared(storage: EntityStorage) -> None:
    one, two = a_thread("shared", SECRET), a_thread("b")
    two.history.insert(0, one.history[0])
    await storage.register(one, two)
    output = await reply(storage, one, SECRET)
    done = await storage.erase(one, reason="asked to", shared="keep")
    assert (done.scope.affected, one.history[0].lineage_id in done.scope.kept) == ((), True)
    assert [message.content for message in (await storage.get(ChatThread, two.ecs_id)).history] == ["shared", "b"]
    assert [message.content for message in (await storage.get(ChatThread, one.ecs_id)).history] == ["shared", "", ""]
    assert (await storage.get(ProcessedOutput, output.ecs_id)).raw_output.erased
    assert SECRET not in await everything(storage)


async def test_what_only_erased_ones_hold_beside_is_not_spared(storage: EntityStorage) -> None:
    one, two = a_thread(SECRET), a_thread("b")
    two.history.insert(0, one.history[0])
    await storage.register(one, two)
    await storage.erase(one, reason="asked to", shared="keep")
    assert (await storage.get(ChatThread, two.ecs_id)).history[0].content == SECRET
    done = await storage.erase(two, reason="asked to", shared="keep")
    assert (one.history[0].lineage_id in done.scope.lineages, done.scope.affected) == (True, ())
    assert SECRET not in await everything(storage)


async def test_a_message_that_is_asked_for_is_erased_whoever_holds_it(storage: EntityStorage) -> None:
    one, two = a_thread("hello"), a_thread()
    await storage.register(one)
    output = await reply(storage, one, SECRET)
    two.history = [one.history[1]]
    await storage.register(two)
    done = await storage.erase(one.history[1], reason="asked to", shared="keep")
    assert set(done.scope.affected) == {one.lineage_id, two.lineage_id}
    assert (await storage.get(ProcessedOutput, output.ecs_id)).erased
    assert SECRET not in await everything(storage)


async def test_entities_of_an_application_are_erased_with_what_only_they_hold(storage: EntityStorage) -> None:
    shared, linked = a_diary("shared"), a_diary("linked")
    inner = a_diary(f"inner {SECRET}", marks={SECRET: [SECRET]})
    root = a_diary(f"root {SECRET}", owner=SECRET, cover=inner, parts=[shared, inner], named={SECRET: inner}, links=[linked])
    other = a_diary("other", parts=[shared])
    note = a_diary(f"note {SECRET}", about=root.lineage_id)
    of_version = a_diary(f"version {SECRET}")
    await storage.register(root, other, note)
    of_version.about = root.ecs_id
    await storage.register(of_version)
    done = await storage.erase(root, reason="asked to")
    assert set(done.scope.lineages) == {each.lineage_id for each in (root, inner, note, of_version)}
    assert (done.scope.lineages[0], done.scope.kept) == (root.lineage_id, (shared.lineage_id,))
    assert SECRET not in await everything(storage, Diary)
    shell = await storage.get(Diary, root.ecs_id)
    assert (shell.title, shell.owner, shell.pages, shell.day.year, shell.marks) == ("", None, 0, 1970, {})
    assert [each.title for each in shell.parts] == ["shared", ""]
    assert (list(shell.named), shell.links[0].title) == (["0"], "linked")
    assert (await storage.get(Diary, note.ecs_id)).about == root.lineage_id


async def test_cycles_are_erased_together_unless_somebody_outside_holds_one(storage: EntityStorage) -> None:
    def a_circle() -> list[Diary]:
        round_trip = [a_diary(f"{SECRET} {number}") for number in range(3)]
        for one, following in zip(round_trip, [*round_trip[1:], round_trip[0]], strict=True):
            one.cover = following
        return round_trip

    free, held = a_circle(), a_circle()
    outside = a_diary("outside", parts=[held[2]])
    root = a_diary("root", parts=[free[0], held[0]])
    await storage.register(root, outside)
    done = await storage.erase(root, reason="asked to")
    assert set(done.scope.lineages) == {root.lineage_id, *(each.lineage_id for each in free)}
    assert set(done.scope.kept) == {each.lineage_id for each in held}


async def test_what_is_left_of_a_class_may_be_nothing_that_fits_and_then_nothing_is_erased(storage: EntityStorage) -> None:
    locked = Locked(pair=[1, 2])
    note = a_diary(SECRET, about=locked.lineage_id)
    await storage.register(locked, note)
    with pytest.raises(NoEmptyValue, match=r"Locked cannot be erased: 'pair' has no empty value.*Locked.erased_values"):
        await storage.erase(locked, reason="asked to")
    assert (await storage.get(Diary, note.ecs_id)).title == SECRET
    assert await storage.erasures() == []
    locked.pair = [3, 4]
    await storage.register(locked)


async def test_a_tombstone_says_when_why_and_by_whom(storage: EntityStorage) -> None:
    thread = a_thread(SECRET, "other")
    await storage.register(thread)
    message = thread.history[0]
    first = await storage.erase(message, reason="article 17 \0 🙂", author="ann")
    assert await storage.erasures(message.lineage_id) == [first.erasure]
    assert first.erasure == Erasure(message.lineage_id, first.erasure.erased_at, "article 17 \0 🙂", "ann", because_of=message.lineage_id)
    assert (await storage.info(message.ecs_id)).erased_at == first.erasure.erased_at
    second = await storage.erase(thread, reason="all of it")
    assert [(each.because_of, each.author) for each in await storage.erasures(thread.history[1].lineage_id)] == [(thread.lineage_id, None)]
    assert await storage.erasures(message.lineage_id) == [first.erasure]
    assert len(await storage.erasures()) == 1 + len(second.scope.lineages)
    assert await storage.erasures(uuid4()) == []


async def test_erasing_again_does_nothing_and_says_when_it_was(storage: EntityStorage) -> None:
    thread = a_thread(SECRET)
    await storage.register(thread)
    first = await storage.erase(thread.history[0], reason="asked to", author="ann")
    again = await storage.erase(thread.history[0], reason="once more", author="bob")
    assert (again.already, again.erasure, again.scope.lineages, again.scope.versions) == (True, first.erasure, (), 0)
    assert await storage.erasures() == [first.erasure]


async def test_what_came_to_an_erased_lineage_since_is_erased_by_erasing_again(storage: EntityStorage) -> None:
    thread = a_thread("hello")
    await storage.register(thread)
    output = await reply(storage, thread, SECRET)
    await storage.erase(thread.history[1], reason="asked to")
    late = output.model_copy(update={"raw_output": output.raw_output.model_copy(), "json_object": None})
    await storage.register(late)
    again = await storage.erase(thread.history[1], reason="once more")
    assert set(again.scope.lineages) == {late.lineage_id, late.raw_output.lineage_id}
    assert SECRET not in await everything(storage)


async def test_the_scope_tells_beforehand_and_changes_nothing(storage: EntityStorage) -> None:
    thread = a_thread(SECRET)
    await storage.register(thread)
    scope = await storage.erasure_scope(thread)
    assert (scope.versions, scope.lineages[0]) == (3, thread.lineage_id)
    assert (await storage.get(ChatThread, thread.ecs_id)).history[0].content == SECRET
    assert (await storage.erase(thread, reason="asked to")).scope == scope


async def test_the_id_of_a_version_is_refused_and_the_message_names_its_lineage(storage: EntityStorage) -> None:
    thread = a_thread(SECRET)
    await storage.register(thread)
    with pytest.raises(LineageNotFound, match=f"it is the id of a version of lineage {thread.lineage_id}: pass that, or the object"):
        await storage.erase(thread.ecs_id, reason="asked to")
    for unknown in (uuid4(), a_thread()):
        with pytest.raises(LineageNotFound, match=r"no lineage .* is stored here"):
            await storage.erase(unknown, reason="asked to")
        with pytest.raises(LineageNotFound):
            await storage.erasure_scope(unknown)
    assert (await storage.get(ChatThread, thread.ecs_id)).history[0].content == SECRET


@pytest.mark.parametrize("reason", ["", " \n"])
async def test_a_reason_must_be_given(storage: EntityStorage, reason: str) -> None:
    thread = a_thread(SECRET)
    await storage.register(thread)
    with pytest.raises(ConfigurationError, match="needs a reason"):
        await storage.erase(thread, reason=reason)
    assert await storage.erasures() == []


async def test_what_is_still_being_saved_is_erased_as_well(storage: EntityStorage) -> None:
    thread = a_thread(SECRET)
    pending = storage.submit(thread)
    await storage.erase(thread.lineage_id, reason="asked to")
    await pending
    assert SECRET not in await everything(storage)


async def test_search_finds_nothing_of_it_and_everything_else(storage: EntityStorage) -> None:
    thread = a_thread(f"red {SECRET}", "red Neuromancer", "red green")
    await storage.register(thread)
    assert len(await storage.search(ChatMessage, "red")) == 3
    await storage.erase(thread.history[0], reason="asked to")
    later = a_thread(f"red blue {SECRET}")
    await storage.register(later)
    await storage.erase(later.history[0], reason="asked to")
    found = [hit.version.ecs_id for hit in await storage.search(ChatMessage, "red")]
    assert found == [thread.history[2].ecs_id, thread.history[1].ecs_id]
    assert await storage.search(ChatMessage, SECRET) == []
    assert [hit.version.ecs_id for hit in await storage.search(ChatMessage, "neuromancer")] == [thread.history[1].ecs_id]


async def test_an_erasure_whose_caller_is_cancelled_is_finished_all_the_same(storage: EntityStorage) -> None:
    thread = a_thread(SECRET)
    await storage.register(thread)
    erasing = asyncio.ensure_future(storage.erase(thread, reason="asked to"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    erasing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await erasing
    assert SECRET not in await everything(storage)
    assert len(await storage.erasures(thread.lineage_id)) == 1


async def test_saves_and_loads_go_on_while_much_is_erased(storage: EntityStorage) -> None:
    doomed, other = a_thread(*(f"{SECRET} {number}" for number in range(300))), a_thread()
    await storage.register(doomed, other)

    async def save() -> None:
        for number in range(20):
            other.history.append(said(str(number)))
            await storage.register(other)

    async def load() -> None:
        for _ in range(20):
            assert len((await storage.get(ChatThread, doomed.ecs_id)).history) == 300

    await asyncio.gather(storage.erase(doomed, reason="asked to"), save(), load())
    assert [message.content for message in (await storage.get(ChatThread, other.ecs_id)).history] == [str(n) for n in range(20)]
    assert SECRET not in await everything(storage)


async def test_a_diff_and_the_tree_of_a_lineage_say_what_is_erased(storage: EntityStorage) -> None:
    thread = a_thread("hello")
    await storage.register(thread)
    first = await storage.get(ChatThread, thread.ecs_id)
    thread.history.append(said(SECRET))
    await storage.register(thread)
    live = await storage.get(ChatThread, thread.ecs_id)
    await storage.erase(thread.history[1], reason="asked to")
    shell = await storage.get(ChatThread, thread.ecs_id)
    short, version = thread.history[1].ecs_id.hex[-8:], thread.ecs_id.hex[-8:]
    assert str(await storage.diff(first, thread.ecs_id)).splitlines()[1:] == [
        "  ~ history",
        f"      + [1] ChatMessage {short} (erased) role='user'",
    ]
    assert str(diff_entities(shell, live)).splitlines() == [
        f"ChatThread {version}",
        "  ~ history",
        f"      ~ [1] ChatMessage {short} (erased) -> {short}",
        f"          ~ content: '' -> {SECRET!r}",
    ]
    assert diff_entities(first, shell).to_json()["changes"][0]["entity"]["erased"] is True
    tree = LineageTree(await storage.lineage(thread.history[1].lineage_id))
    assert "(erased)" in tree.render()


async def test_a_storage_that_is_opened_again_still_refuses(sqlite_url: str) -> None:
    thread = a_thread(SECRET)
    async with open_storage(sqlite_url) as storage:
        await storage.register(thread)
        await storage.erase(thread.history[0], reason="asked to")
    async with open_storage(sqlite_url) as storage:
        thread.history[0].content = "back"
        with pytest.raises(ErasedLineage):
            await storage.register(thread)


async def test_a_config_keeps_the_model_and_loses_its_free_text(storage: EntityStorage) -> None:
    config = LLMConfig(client="scripted", model="m", temperature=0.5, stop=(SECRET,), extra={"user": SECRET})
    await storage.register(config)
    await storage.erase(config, reason="asked to")
    shell = await storage.get(LLMConfig, config.ecs_id)
    assert (shell.client, shell.model, shell.temperature, shell.stop, shell.extra) == ("scripted", "m", 0.5, (), {})
