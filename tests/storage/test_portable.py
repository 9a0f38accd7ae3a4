"""Export and import: what comes out of one storage goes into another, exactly and only once."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, JsonValue

from minference.ecs.entity import Entity
from minference.ecs.lineage import LineageTree
from minference.errors import InvalidExport, ReadFailed, VersionNotFound, WriteFailed, WrongArgument
from minference.storage.base import EntityStorage
from minference.storage.line_reader import LineReader
from minference.storage.lines import HEADER
from minference.storage.open import open_storage
from minference.storage.portable import Imported
from minference.storage.sql.dialects import open_engine
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, SystemPrompt, ToolCall, Usage
from minference.threads.outputs import ProcessedOutput, RawOutput
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from tests.storage.edits import THING_EDITS, Thing, edit_thing, numbers, pick
from tests.storage.graphs import contents_of
from tests.storage.tables import damage
from tests.support.examples import examples
from tests.support.exports import HEADER_WITHOUT_END, export_of
from tests.support.sqlite import with_tables


class Piece(Entity, kind="portable_piece"):
    name: str = ""
    ratio: float = 0.0
    data: dict[str, JsonValue] = Field(default_factory=dict)
    next: Piece | None = None
    items: list[Piece] = Field(default_factory=list)
    named: dict[str, Piece] = Field(default_factory=dict)


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[EntityStorage]:
    """A second, empty storage."""
    async with open_storage(with_tables(tmp_path / "other.db")) as opened:
        yield opened


async def exported(storage: EntityStorage, *lineages: UUID) -> list[str]:
    return [line async for line in storage.export_lines(lineages or None)]


async def a_history(storage: EntityStorage) -> ChatThread:
    """A thread with edits, a branch, outputs that refer to its reply, and every kind of awkward text."""
    tool = CallableTool(name="add", input_schema={"type": "object", "b": [1, 2.5, None, True], "a": {"ü": "\0"}})
    config = LLMConfig(client="scripted", model="m")
    thread = ChatThread(name="sky", llm_config=config, tools=[tool], system_prompt=SystemPrompt(content="Be \0 brief 🙂"))
    await storage.register(thread, author="ada", note="begin\nwith \u2028 two lines")
    for number in range(6):
        usage = Usage(model="m", prompt_tokens=number, completion_tokens=1, total_tokens=number + 1)
        call = ToolCall.from_arguments("c1", "add", {"a": 1, "text": "\ud83d\x00"})
        thread.history.append(ChatMessage(role=MessageRole.assistant, content=f"{number} \ud83d", usage=usage, tool_calls=(call,)))
        await storage.register(thread, author=f"author {number}")
    middle = thread.ecs_id
    thread.history[2].content = "edited"
    del thread.history[4]
    thread.history.reverse()
    await storage.register(thread, note="edited")
    side = await storage.get(ChatThread, middle)
    side.history.append(ChatMessage(role=MessageRole.user, content="else"))
    await storage.register(side, author="bob")
    return thread


async def assert_same_versions(one: EntityStorage, two: EntityStorage, lineage_id: UUID, cls: type[Entity]) -> None:
    infos = await one.lineage(lineage_id)
    others = await two.lineage(lineage_id)
    assert [_without_commit_id(info) for info in others] == [_without_commit_id(info) for info in infos]
    for info in infos:
        assert contents_of(await two.get(cls, info.ecs_id)) == contents_of(await one.get(cls, info.ecs_id))


def _without_commit_id(info: Any) -> tuple[Any, ...]:
    commit = info.commit
    return (info.ecs_id, info.lineage_id, info.parent_id, info.kind, info.created_at, commit.created_at, commit.author, commit.note)


async def test_an_export_imported_elsewhere_gives_the_same_versions_and_the_same_export(
    storage: EntityStorage, other: EntityStorage
) -> None:
    thread = await a_history(storage)
    lines = await exported(storage)
    done = await other.import_lines(lines)
    assert (done.commits, done.present) == (len(lines) - 2, 0)
    assert done.versions == (await storage.status()).versions == (await other.status()).versions
    assert await exported(other) == lines
    assert await other.check() == []
    await assert_same_versions(storage, other, thread.lineage_id, ChatThread)


async def test_an_import_into_each_backend_restores_every_version(storage: EntityStorage, other: EntityStorage) -> None:
    thread = await a_history(other)
    lines = await exported(other)
    await storage.import_lines(lines)
    assert await exported(storage) == lines
    await assert_same_versions(other, storage, thread.lineage_id, ChatThread)


async def test_importing_again_changes_nothing(storage: EntityStorage, other: EntityStorage) -> None:
    await a_history(other)
    lines = await exported(other)
    first = await storage.import_lines(lines)
    assert await storage.import_lines(lines) == Imported(commits=0, versions=0, present=first.versions)
    assert await exported(storage) == lines


async def test_an_import_adds_what_is_missing(storage: EntityStorage, other: EntityStorage) -> None:
    thread = await a_history(other)
    early = await exported(other)
    await storage.import_lines(export_of(early[1:4]))
    assert (await storage.import_lines(early)).commits == len(early) - 5
    latest = await other.get(ChatThread, thread.ecs_id)
    latest.history.append(ChatMessage(role=MessageRole.user, content="more"))
    await other.register(latest)
    lines = await exported(other)
    assert await storage.import_lines(lines) == Imported(commits=1, versions=2, present=(await storage.status()).versions - 2)
    assert await exported(storage) == lines


async def test_parts_of_one_commit_come_together_again(storage: EntityStorage, other: EntityStorage) -> None:
    one, two = Piece(name="one"), Piece(name="two")
    await other.register(one, two, author="both")
    await storage.import_lines(await exported(other, two.lineage_id))
    await storage.import_lines(await exported(other, one.lineage_id))
    commits = {(await storage.info(each.ecs_id)).commit for each in (one, two)}
    assert len(commits) == 1
    assert len(await exported(storage)) == 3


async def test_the_same_content_gives_the_same_lines_whatever_came_first(storage: EntityStorage, other: EntityStorage) -> None:
    shared, config = Piece(name="shared"), LLMConfig(client="scripted", model="m")
    pieces = [Piece(name=str(number), next=shared, items=[Piece(name=f"of {number}"), shared]) for number in range(4)]
    threads = [ChatThread(name=str(number), llm_config=config) for number in range(3)]
    await other.register(*pieces, *threads, author="me")
    branches = [await other.get(Piece, pieces[2].ecs_id) for _ in range(3)]
    for number, piece in enumerate(branches):
        piece.name = f"branch {number}"
    await other.register(*reversed(branches), author="me")
    lines = await exported(other)
    for part in (pieces[3], threads[1], pieces[2]):
        await storage.import_lines(await exported(other, part.lineage_id))
    await storage.import_lines(lines)
    assert await exported(storage) == lines


async def test_versions_that_were_made_from_each_other_are_refused(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        piece = Piece()
        await storage.register(piece)
    await damage(sql_url, "UPDATE entity_version SET parent_id = id")
    async with open_storage(sql_url) as storage:
        with pytest.raises(ReadFailed, match="versions build on each other in a circle"):
            await exported(storage)


async def test_an_export_of_one_thread_holds_what_it_reaches_and_no_other_thread(storage: EntityStorage) -> None:
    thread = await a_history(storage)
    stranger = ChatThread(name="another", llm_config=thread.llm_config)
    await storage.register(stranger)
    lines = await exported(storage, thread.lineage_id)
    kinds = {version["kind"] for line in lines[1:-1] for version in json.loads(line)["versions"]}
    assert kinds == {"chat_thread", "chat_message", "usage", "system_prompt", "llm_config", "callable_tool"}
    ids = {version["lineage"] for line in lines[1:-1] for version in json.loads(line)["versions"]}
    assert str(thread.lineage_id) in ids
    assert str(stranger.lineage_id) not in ids


async def test_an_export_of_nothing_known_says_so(storage: EntityStorage) -> None:
    missing = uuid4()
    with pytest.raises(VersionNotFound, match=str(missing)):
        await exported(storage, missing)


async def test_an_empty_storage_exports_a_header_and_an_end(storage: EntityStorage) -> None:
    lines = await exported(storage)
    assert lines == [HEADER, '{"end":{"erased":0,"blobs":0,"commits":0,"tags":0}}']
    assert await storage.import_lines(lines) == Imported(0, 0, 0)


async def test_cycles_shared_members_and_keys_survive(storage: EntityStorage, other: EntityStorage) -> None:
    a, b = Piece(name="a", ratio=float("nan")), Piece(name="b", ratio=float("-inf"), data={"x": float("inf"), "\ud83d": "\ude00"})
    a.next, b.next = b, a
    a.items = [b, b, a]
    a.named = {"\ud83d\ude00": b, "": a, "z": b}
    await storage.register(a)
    a.named = {"z": a, "\ud83d\ude00": b}
    b.ratio = -0.0
    await storage.register(a)
    lines = await exported(storage)
    for line in lines:
        json.loads(line, parse_constant=pytest.fail)
    await other.import_lines(lines)
    assert await exported(other) == lines
    await assert_same_versions(storage, other, a.lineage_id, Piece)


async def test_appending_to_a_long_list_adds_a_short_line(storage: EntityStorage) -> None:
    root = Piece(items=[Piece(name=str(i)) for i in range(300)])
    await storage.register(root)
    root.items.append(Piece(name="last"))
    await storage.register(root)
    lines = await exported(storage)
    version = next(each for each in json.loads(lines[-2])["versions"] if each["id"] == str(root.ecs_id))
    assert version["lists"] == {"items": {"keep": 300, "add": [str(root.items[-1].ecs_id)], "tail": 0}}


async def test_imported_versions_can_be_continued_and_branched(storage: EntityStorage, other: EntityStorage) -> None:
    thread = await a_history(other)
    await storage.import_lines(await exported(other))
    copy = await storage.get(ChatThread, thread.ecs_id)
    copy.history.append(ChatMessage(role=MessageRole.user, content="go on"))
    commit = await storage.submit(copy)
    assert (commit.branched, len(commit.versions)) == (False, 2)
    old = await storage.get(ChatThread, thread.ecs_id)
    old.name = "branch"
    assert (await storage.submit(old)).branched


async def test_many_edits_of_one_list_come_through(storage: EntityStorage, other: EntityStorage) -> None:
    root = Piece(items=[Piece(name=str(i)) for i in range(10)])
    await storage.register(root)
    for number in range(150):
        root.items.insert(number % len(root.items), root.items[-1 - number % 7])
        if number % 5 == 0:
            del root.items[number % 3]
        await storage.register(root)
    lines = await exported(storage)
    await other.import_lines(lines)
    assert await exported(other) == lines
    await assert_same_versions(storage, other, root.lineage_id, Piece)


async def test_outputs_are_exported_by_their_own_lineage(storage: EntityStorage, other: EntityStorage) -> None:
    thread = await a_history(storage)
    raw = RawOutput.model_validate(
        {
            "client": "scripted",
            "thread_version": thread.ecs_id,
            "request_parameters": {},
            "request_sha256": "0",
            "raw_result": {"text": "\0"},
            "start_time": thread.created_at,
            "end_time": thread.created_at,
            "attempts": [],
        }
    )
    output = ProcessedOutput(
        content="x", time_taken=1.5, llm_client="scripted", chat_thread_id=thread.lineage_id, message_uuid=uuid4(), raw_output=raw
    )
    await storage.register(output)
    lines = await exported(storage, output.lineage_id)
    await other.import_lines(lines)
    await assert_same_versions(storage, other, output.lineage_id, ProcessedOutput)


@settings(max_examples=examples(12, 100), deadline=None)
@given(edits=st.lists(st.tuples(st.sampled_from(THING_EDITS), numbers, numbers, numbers, numbers), max_size=25))
def test_any_history_of_any_graph_goes_from_memory_to_a_file_and_back(edits: list[tuple[str, int, int, int, int]]) -> None:
    asyncio.run(_there_and_back(edits))


async def _there_and_back(edits: list[tuple[str, int, int, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with (
            open_storage("memory:") as first,
            open_storage(with_tables(f"{folder}/x.db")) as second,
            open_storage("memory:") as third,
        ):
            things = [Thing(name=str(number)) for number in range(4)]
            lineages = [thing.lineage_id for thing in things]
            await first.register(*things)
            for kind, which, source, one, two in edits:
                at = which % len(things)
                versions = await first.lineage(things[at].lineage_id)
                if two % 5 == 0:  # go on from an old version
                    things[at] = await first.get(Thing, pick(versions, one).ecs_id)
                edit_thing(things[at], kind, pick(things, source), one, two)
                await first.register(things[at], author=str(which % 2), note=kind)
            lines = await exported(first)
            await second.import_lines(lines)
            assert await exported(second) == lines
            assert await second.check() == []
            await third.import_lines(await exported(second, lineages[0]))
            await third.import_lines(lines)
            for lineage_id in lineages:
                await assert_same_versions(first, second, lineage_id, Thing)
                await assert_same_versions(first, third, lineage_id, Thing)
            assert [len(each.heads) for each in await _trees(second)] == [len(each.heads) for each in await _trees(first)]


async def _trees(storage: EntityStorage) -> list[LineageTree]:
    return [LineageTree(await storage.lineage(each.lineage_id)) for each in await storage.list_by_type(Thing)]


# Bad lines


BREAKS: dict[str, Any] = {
    "no JSON": lambda line: line[:-3],
    "no object": lambda _: "[]",
    "no versions": lambda line: json.dumps({**json.loads(line), "versions": []}),
    "an unknown part": lambda line: json.dumps({**json.loads(line), "more": 1}),
    "an author that is no text": lambda line: json.dumps({**json.loads(line), "author": 1}),
    "an unknown field": lambda line: _changed(line, lambda each: each["values"].update(unheard=1)),
    "a field too few": lambda line: _changed(line, lambda each: each["values"].pop("role", None)),
    "a value of a wrong type": lambda line: _changed(line, lambda each: each["values"].update(content=1)),
    "a value that is no JSON": lambda line: _changed(line, lambda each: each.update(exact={"content": "{"})),
    "a parent that is not there": lambda line: _changed(line, lambda each: each.update(parent=str(uuid4()))),
    "a member that is not there": lambda line: _changed(line, lambda each: each.update(references={"usage": str(uuid4())})),
    "a list that it has not": lambda line: _changed(line, lambda each: each.update(lists={"history": {}})),
    "a time without a zone": lambda line: _changed(line, lambda each: each.update(at="2020-01-01T00:00:00")),
    "the last time that there is": lambda line: _changed(line, lambda each: each.update(at="9999-12-31T23:59:59.999999Z")),
    "a time before all times": lambda line: json.dumps({**json.loads(line), "at": "0001-01-01T00:00:00+05:00"}),
    "a note that not every database keeps": lambda line: json.dumps({**json.loads(line), "note": "a\0b"}),
    "a time before that of its parent": lambda line: _changed(line, lambda each: each.update(at="2020-01-01T00:00:00Z"), "chat_thread"),
    "a number that no column holds": lambda line: _changed(line, lambda each: each["values"].update(workflow_step=2**70), "chat_thread"),
    "a version that was there": lambda line: _changed(line, lambda each: each.update(id=json.loads(line)["versions"][-1]["id"])),
}


def _changed(line: str, change: Any, kind: str = "chat_message") -> str:
    """The line with its first message changed, or what else it is to be."""
    data = json.loads(line)
    change(next(each for each in data["versions"] if each["kind"] == kind))
    return json.dumps(data)


@pytest.mark.parametrize("fault", BREAKS)
async def test_a_bad_line_is_named_and_nothing_of_its_file_is_imported(other: EntityStorage, tmp_path: Path, fault: str) -> None:
    await a_history(other)
    lines = await exported(other)
    lines[3] = BREAKS[fault](lines[3])
    file = tmp_path / "bad.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    async with open_storage(with_tables(tmp_path / "target.db")) as target:
        with pytest.raises(InvalidExport, match=r"^line 4 ") as raised:
            await target.import_from(file)
        assert raised.value.line == 4
        assert (await target.status()).versions == 0
        with pytest.raises(InvalidExport, match=r"^line 4 "):
            await target.import_lines(lines)
        assert (await target.status()).versions == sum(len(json.loads(line)["versions"]) for line in lines[1:3])


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", "an export begins with .*, and this is empty"),
        ("{}", "an export begins with .*, and this begins otherwise"),
        ("chat", "an export begins with .*, and this begins otherwise"),
        ('{"format": "minference export", "version": 3}', "newer"),
    ],
)
async def test_what_is_no_export_is_refused(storage: EntityStorage, header: str, reason: str) -> None:
    with pytest.raises(InvalidExport, match=reason):
        await storage.import_lines([header])


CUTS: dict[str, Callable[[list[str]], list[str]]] = {
    "the end": lambda lines: lines[:-1],
    "half of it": lambda lines: lines[: len(lines) // 2],
    "all but the header": lambda lines: lines[:1],
    "a line in the middle": lambda lines: [*lines[:-3], *lines[-2:]],
    "the tag": lambda lines: [*lines[:-2], lines[-1]],
}


@pytest.mark.parametrize("cut", CUTS)
async def test_an_export_that_lost_lines_is_no_export(storage: EntityStorage, other: EntityStorage, tmp_path: Path, cut: str) -> None:
    await other.tag("main", await a_history(other))
    left = CUTS[cut](await exported(other))
    file = tmp_path / "cut.jsonl"
    file.write_text("\n".join(left), encoding="utf-8")
    with pytest.raises(InvalidExport, match=r"Get a whole copy") as raised:
        await storage.import_from(file)
    assert raised.value.line == len(left)
    assert (await storage.status()).versions == 0
    with pytest.raises(InvalidExport, match=r"Get a whole copy"):
        await storage.import_lines(left)
    kept = [line for line in left[1:] if line.startswith('{"at"')]
    assert await exported(storage) == export_of(kept)


async def test_nothing_follows_the_end_of_an_export(storage: EntityStorage, other: EntityStorage, tmp_path: Path) -> None:
    await a_history(other)
    lines = await exported(other)
    file = tmp_path / "two.jsonl"
    file.write_text("\n".join([*lines, "", *lines]), encoding="utf-8")
    with pytest.raises(InvalidExport, match="it comes after the line that ends the export") as raised:
        await storage.import_from(file)
    assert raised.value.line == len(lines) + 2
    assert (await storage.status()).versions == 0


async def test_an_export_from_before_there_was_an_end_is_read_as_far_as_it_goes(storage: EntityStorage, other: EntityStorage) -> None:
    await other.tag("main", await a_history(other))
    lines = await exported(other)
    assert (await storage.import_lines([HEADER_WITHOUT_END, *lines[1:3]])).commits == 2
    assert (await storage.import_lines([HEADER_WITHOUT_END, *lines[1:-1]])).tags == 1
    assert await exported(storage) == lines


@pytest.mark.parametrize(("line", "reason"), [("[1]", r"it is no JSON object, but '\[1\]'"), ("{}", "at: Field required")])
async def test_a_line_that_is_none_says_what_it_is(storage: EntityStorage, line: str, reason: str) -> None:
    with pytest.raises(InvalidExport, match=f"^line 2 cannot be imported: {reason}$"):
        await storage.import_lines([HEADER, line])


async def test_a_file_with_a_byte_order_mark_is_read(storage: EntityStorage, other: EntityStorage, tmp_path: Path) -> None:
    await a_history(other)
    file = tmp_path / "from_windows.jsonl"
    file.write_text("\n".join(await exported(other)), encoding="utf-8-sig")
    assert (await storage.import_from(file)).versions == (await other.status()).versions


@pytest.mark.parametrize(
    "lineages",
    [UUID(int=1), str(UUID(int=1)), ChatThread(llm_config=LLMConfig(client="scripted", model="m"))],
    ids=["id", "text", "thread"],
)
async def test_lineages_are_passed_in_a_list(storage: EntityStorage, lineages: Any) -> None:
    with pytest.raises(WrongArgument, match=r"lineages must be UUIDs in a list, also if it is one: \[thread.lineage_id\]"):
        [line async for line in storage.export_lines(lineages)]


async def test_a_kind_that_the_program_does_not_know_is_kept_as_it_is(storage: EntityStorage, other: EntityStorage) -> None:
    root = Piece(name="r", ratio=float("nan"), items=[Piece(name="i")])
    await storage.register(root)
    root.named = {"\ud83d": root, "b": root.items[0]}
    await storage.register(root)
    lines = [line.replace("portable_piece", "portable_nobody") for line in await exported(storage)]
    await other.import_lines(lines)
    assert await exported(other) == lines
    assert {finding.rule for finding in await other.check()} == {"known kinds"}


async def test_a_reference_that_no_table_of_its_class_can_hold_names_its_line(sql_url: str, other: EntityStorage) -> None:
    prompt = SystemPrompt(content="brief")
    await other.register(prompt, note="first")
    await other.register(ChatThread(llm_config=LLMConfig(client="scripted", model="m"), system_prompt=prompt))
    lines = await exported(other)
    config = next(each["id"] for each in json.loads(lines[2])["versions"] if each["kind"] == "llm_config")
    lines[2] = _changed(lines[2], lambda each: each["references"].update(system_prompt=config), "chat_thread")
    async with open_storage(sql_url) as storage:
        with pytest.raises(
            InvalidExport, match=r"^line 3 .* holds a llm_config in 'system_prompt', where none belongs, and the database ref"
        ):
            await storage.import_lines(lines)
        assert (await storage.status()).versions == 1


def test_a_list_cannot_keep_more_than_there_was() -> None:
    version: dict[str, Any] = {
        "lineage": str(uuid4()),
        "parent": None,
        "at": "2020-01-01T00:00:00Z",
        "kind": "portable_piece",
        "values": {},
    }
    line = {"at": "2020-01-01T00:00:00Z", "author": None, "note": None}
    first = {**version, "id": str(uuid4()), "lists": {"items": {"keep": 1}}}
    with pytest.raises(InvalidExport, match="keeps more of 'items'"):
        LineReader().read(json.dumps({**line, "versions": [first]}), 2)


# Files


async def test_a_file_is_written_whole_or_not_at_all(storage: EntityStorage, tmp_path: Path) -> None:
    await a_history(storage)
    file = tmp_path / "threads.jsonl"
    commits = await storage.export_to(file)
    assert file.read_text(encoding="utf-8") == "\n".join([*await exported(storage), ""])
    assert commits == len(await exported(storage)) - 2
    with pytest.raises(VersionNotFound):
        await storage.export_to(file, [uuid4()])
    assert [path.name for path in tmp_path.glob("*.jsonl*")] == ["threads.jsonl"]
    assert len(file.read_text(encoding="utf-8").split("\n")) == commits + 3


async def test_a_file_is_read_back(storage: EntityStorage, other: EntityStorage, tmp_path: Path) -> None:
    await a_history(storage)
    await storage.export_to(tmp_path / "threads.jsonl")
    done = await other.import_from(tmp_path / "threads.jsonl")
    assert done.versions == (await storage.status()).versions


async def test_threads_in_turn_are_carried_while_little_of_them_is_remembered(
    storage: EntityStorage, other: EntityStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, kept in {"VERSIONS_KEPT": 12, "LISTS_KEPT": 4, "PENDING": 3}.items():
        monkeypatch.setattr(f"minference.storage.importing.{name}", kept)
    monkeypatch.setattr("minference.storage.transfer.COMMITS_AT_ONCE", 5)
    config = LLMConfig(client="scripted", model="m")
    threads = [ChatThread(name=f"thread {number}", llm_config=config) for number in range(9)]
    for turn in range(4):
        for thread in threads:
            thread.history.insert(turn // 2, ChatMessage(role=MessageRole.user, content=f"{thread.name}, {turn}"))
            await other.register(thread)
    lines = await exported(other)
    part = len(lines) // 2
    assert (await storage.import_lines(export_of(lines[1:part]))).commits == part - 1
    assert (await storage.import_lines(lines)).commits == len(lines) - 1 - part
    assert await exported(storage) == lines


async def test_two_imports_at_once_bring_everything_once(sqlite_url: str, other: EntityStorage) -> None:
    await a_history(other)
    lines = await exported(other)
    async with open_storage(sqlite_url) as one, open_storage(sqlite_url) as two:
        both = await asyncio.gather(one.import_lines(lines), two.import_lines(lines))
        assert sum(each.versions for each in both) == (await other.status()).versions
        assert await exported(one) == lines


async def test_an_import_that_is_cancelled_leaves_whole_commits_and_can_be_done_again(sqlite_url: str, other: EntityStorage) -> None:
    for _ in range(20):
        await a_history(other)
    lines = await exported(other)
    async with open_storage(sqlite_url) as storage:

        def until_cancelled() -> Iterator[str]:
            yield from lines[:100]
            importing.cancel()
            yield from lines[100:]

        importing = asyncio.create_task(storage.import_lines(until_cancelled()))
        with pytest.raises(asyncio.CancelledError):
            await importing
        await storage.flush()
        part = await exported(storage)
        assert 2 < len(part) < len(lines)
        assert part == export_of(lines[1 : len(part) - 1])
        assert await storage.check() == []
        await storage.import_lines(lines)
        assert await exported(storage) == lines


async def test_what_is_saved_while_it_is_exported_makes_no_half_commit(storage: EntityStorage, other: EntityStorage) -> None:
    thread = await a_history(storage)
    lines: list[str] = []
    async for line in storage.export_lines():
        lines.append(line)
        thread.history.append(ChatMessage(role=MessageRole.user, content="meanwhile"))
        await storage.register(thread)
    await other.import_lines(lines)
    assert lines == export_of((await exported(storage))[1 : len(lines) - 1])
    assert await other.check() == []


async def test_a_write_that_fails_ends_the_import_and_leaves_what_was_written(storage: EntityStorage, tmp_path: Path) -> None:
    await a_history(storage)
    lines = await exported(storage)
    url = f"sqlite:///{tmp_path / 'full.db'}"
    async with open_storage(url) as target:
        engine = open_engine(url)
        async with engine.connect() as connection:
            await connection.exec_driver_sql(
                "CREATE TRIGGER full BEFORE INSERT ON chat_thread WHEN NEW.history_len = 3 BEGIN SELECT RAISE(ABORT, 'no more'); END"
            )
            await connection.commit()
        await engine.dispose()
        with pytest.raises(WriteFailed, match="no more"):
            await target.import_lines(lines)
        assert lines[:4] == (await exported(target))[:4]
        assert await target.check() == []
        await target.flush()
