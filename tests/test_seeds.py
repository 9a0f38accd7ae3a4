"""The example code of the concept papers, section by section, with `await` where there is I/O.

What is meant to differ: saving is a word (`register`, `fork`, a traced call or a recording) and never a side effect of
constructing; `old_ids` is `storage.ancestors`; a thread names its model when it is made; a message does not carry the
id of its thread; no SQL model is written by hand. The papers on SQLAlchemy are in `test_seeds_sqlalchemy.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import text

from minference import (
    ChatMessage,
    ChatThread,
    EntityRegistry,
    GeneratedJsonObject,
    LLMConfig,
    MessageRole,
    ResponseFormat,
    StructuredTool,
    TraceSeverity,
    Usage,
    entity_tracer,
    open_storage,
)
from minference.ecs.graph import EntityDependencyGraph
from minference.errors import FrozenSnapshot
from minference.storage.base import EntityStorage
from minference.storage.sql.dialects import open_engine
from tests.seed_entities import Leaf, Room, Tree, User, UserThreadAssoc, discussion, versions_of


@pytest.fixture
def normal_again() -> Iterator[None]:
    yield
    EntityRegistry.set_trace_severity(TraceSeverity.NORMAL)


# Versioned Entity System: A Conceptual Guide


async def test_guide_concept_1_entity_identity_and_version_identity(storage: EntityStorage) -> None:
    thread = await storage.register(discussion())
    versions = [thread.ecs_id]
    for name in ("second", "third"):
        thread.name = name
        await storage.register(thread)
        versions.append(thread.ecs_id)
    found = await storage.lineage(thread.lineage_id)
    assert [version.ecs_id for version in found] == versions
    assert [version.parent_id for version in found] == [None, *versions[:2]]
    assert {version.lineage_id for version in found} == {thread.lineage_id}


async def test_guide_concept_2_dual_identity(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        thread = await storage.register(discussion())
        thread.name = "v2"
        await storage.register(thread)
    engine = open_engine(sql_url)
    async with engine.connect() as connection:
        rows = (
            await connection.execute(
                text(
                    "SELECT v.id, v.ecs_id, v.lineage_id, v.parent_id, t.name FROM entity_version v JOIN chat_thread t ON t.id = v.id"
                    " ORDER BY v.id"
                )
            )
        ).all()
    await engine.dispose()
    [(first, first_ecs, lineage, no_parent, name), (second, second_ecs, same_lineage, parent, new_name)] = rows
    assert (type(first), no_parent, parent, first < second) == (int, None, first, True)
    assert [UUID(str(each)) for each in (first_ecs, second_ecs)] == [thread.parent_id, thread.ecs_id]
    assert UUID(str(lineage)) == UUID(str(same_lineage)) == thread.lineage_id
    assert (name, new_name) == ("Discussion", "v2")


async def test_guide_concept_3_cold_snapshots_and_warm_copies(storage: EntityStorage) -> None:
    thread = await storage.register(discussion("Hello"))
    cold = await EntityRegistry.get_cold_snapshot(thread.ecs_id, ChatThread)
    with pytest.raises(FrozenSnapshot):
        cold.name = "photographs do not change"
    warm = await ChatThread.get(thread.ecs_id)
    warm.name = "the scene does"
    warm.fork()
    await storage.flush()
    assert (await EntityRegistry.get_cold_snapshot(cold.ecs_id, ChatThread)).name == "Discussion"
    assert warm.parent_id == cold.ecs_id


async def test_guide_concept_4_hierarchical_structures(storage: EntityStorage) -> None:
    thread = await storage.register(discussion("Hello", "World"))
    assert thread.get_sub_entities() == [thread.llm_config, *thread.history]
    old_thread, old_message = thread.ecs_id, thread.history[0].ecs_id
    thread.history[0].content = "edited"
    await storage.register(thread)
    assert (thread.parent_id, thread.history[0].parent_id) == (old_thread, old_message)
    assert await versions_of(storage, thread, *thread.history, thread.llm_config) == [2, 2, 1, 1]


async def test_guide_section_1_entity_creation(storage: EntityStorage) -> None:
    async with storage.recording():
        thread = discussion(name="Discussion")
        message = ChatMessage(role=MessageRole.user, content="Hello")
        thread.history.append(message)
    assert await EntityRegistry.has_entity(thread.ecs_id)
    assert await EntityRegistry.has_entity(message.ecs_id)
    assert message.lineage_id != thread.lineage_id


async def test_guide_section_2_entity_modification(storage: EntityStorage) -> None:
    thread_id = (await storage.register(discussion())).ecs_id
    thread = await ChatThread.get(thread_id)
    thread.name = "Updated Discussion"
    new_thread = thread.fork()
    assert new_thread is thread
    assert (new_thread.parent_id, new_thread.ecs_id != thread_id) == (thread_id, True)
    await storage.flush()
    assert (await ChatThread.get(thread_id)).name == "Discussion"
    assert (await ChatThread.get(new_thread.ecs_id)).name == "Updated Discussion"


async def test_guide_section_3_hierarchical_changes(storage: EntityStorage) -> None:
    thread = await ChatThread.get((await storage.register(discussion("Hello"))).ecs_id)
    thread.history[0].content = "Updated message"
    new_thread = thread.fork()
    await storage.flush()
    assert await versions_of(storage, new_thread, new_thread.history[0]) == [2, 2]
    assert (await ChatThread.get(new_thread.ecs_id)).history[0].content == "Updated message"


async def test_guide_automatic_entity_tracing(storage: EntityStorage) -> None:
    @entity_tracer
    async def update_message(thread_id: UUID, message_index: int, new_content: str) -> ChatThread:
        thread = await ChatThread.get(thread_id)
        thread.history[message_index].content = new_content
        return thread

    first = await storage.register(discussion("Hello"))
    thread = await update_message(first.ecs_id, 0, "Hello again")
    assert thread.parent_id == first.ecs_id
    assert (await ChatThread.get(thread.ecs_id)).history[0].content == "Hello again"


async def test_guide_version_history_and_audit_trails(storage: EntityStorage) -> None:
    thread = await storage.register(discussion(), author="ann", note="started")
    thread.name = "Renamed"
    await storage.register(thread, author="bob", note="renamed")
    thread_lineage = [each for each in await EntityRegistry.get_lineage_entities(thread.lineage_id) if isinstance(each, ChatThread)]
    versions = sorted(thread_lineage, key=lambda t: t.created_at)
    assert [(version.name, version.parent_id) for version in versions] == [("Discussion", None), ("Renamed", versions[0].ecs_id)]
    assert [(info.commit.author, info.commit.note) for info in await storage.lineage(thread.lineage_id)] == [
        ("ann", "started"),
        ("bob", "renamed"),
    ]


async def test_guide_comparison_between_versions(storage: EntityStorage) -> None:
    thread = await storage.register(discussion())
    version1_id = thread.ecs_id
    thread.name = "Renamed"
    await storage.register(thread)
    v1, v2 = await ChatThread.get(version1_id), await ChatThread.get(thread.ecs_id)
    is_different, diffs = v1.compare_entity_fields(v2)
    assert is_different
    lines = [f"Field '{field}' changed: {diff['old']} → {diff['new']}" for field, diff in diffs.items()]
    assert lines == ["Field 'name' changed: Discussion → Renamed"]


async def test_guide_branching_and_merging(storage: EntityStorage) -> None:
    version1_id = (await storage.register(discussion())).ecs_id
    v1 = await ChatThread.get(version1_id)
    v1.name = "Branch A"
    branch_a = v1.fork()
    v1 = await ChatThread.get(version1_id)
    v1.name = "Branch B"
    branch_b = v1.fork()
    await storage.flush()
    assert branch_a.parent_id == branch_b.parent_id == version1_id
    assert [head.ecs_id for head in await storage.heads(branch_a.lineage_id)] == [branch_a.ecs_id, branch_b.ecs_id]
    branch_b.name = "Discussion"
    branch_b.history.append(ChatMessage(role=MessageRole.user, content="said on branch B"))
    await storage.register(branch_b)
    result = await storage.merge(branch_a, branch_b)
    assert (list(result.conflicts), branch_a.name) == ([], "Branch A")
    assert [message.content for message in (await ChatThread.get(branch_a.ecs_id)).history] == ["said on branch B"]


async def test_guide_one_to_many_relationships(storage: EntityStorage) -> None:
    thread = await storage.register(discussion("A1", "B1"))
    thread.history[1].content = "B2"
    thread.history.append(ChatMessage(role=MessageRole.user, content="C1"))
    await storage.register(thread)
    thread.history[0].content = "A2"
    await storage.register(thread)
    shown = [
        [message.content for message in (await ChatThread.get(version.ecs_id)).history]
        for version in await storage.lineage(thread.lineage_id)
    ]
    assert shown == [["A1", "B1"], ["A1", "B2", "C1"], ["A2", "B2", "C1"]]
    assert await versions_of(storage, *thread.history) == [2, 2, 1]


async def test_guide_many_to_many_relationships(storage: EntityStorage) -> None:
    x, y, z = Room(name="X1"), Room(name="Y1"), Room(name="Z1")
    user, other = User(username="u", threads=[x, y]), User(username="o", threads=[y])
    await storage.register(user, other)
    y.name = "Y2"
    user.threads.append(z)
    await storage.register(user, other)
    shown = [[room.name for room in (await User.get(version.ecs_id)).threads] for version in await storage.lineage(user.lineage_id)]
    assert shown == [["X1", "Y1"], ["X1", "Y2", "Z1"]]
    assert await versions_of(storage, x, y, z, user, other) == [1, 2, 1, 2, 2]
    assert other.threads[0] is y


async def test_guide_association_objects(storage: EntityStorage) -> None:
    user, thread = User(username="u"), Room(name="X")
    assoc = await storage.register(UserThreadAssoc(user=user, thread=thread, role="admin"))
    thread.name = "X2"
    await storage.register(assoc)
    assoc.role = "viewer"
    await storage.register(assoc)
    shown = [await UserThreadAssoc.get(version.ecs_id) for version in await storage.lineage(assoc.lineage_id)]
    assert [(each.role, each.thread.name) for each in shown] == [("admin", "X"), ("admin", "X2"), ("viewer", "X2")]
    assert await versions_of(storage, user, thread) == [1, 2]


# MarketInference Project: the notes of the project


async def test_notes_identity_and_state(storage: EntityStorage) -> None:
    entity = await storage.register(Leaf(value="a"))
    other = await Leaf.get(entity.ecs_id)
    assert (entity.ecs_id == other.ecs_id, entity.live_id == other.live_id, entity == other) == (True, False, False)
    known = {entity}
    entity.value = "b"
    entity.fork()
    assert entity in known
    await storage.flush()
    assert [version.ecs_id for version in await storage.ancestors(entity.ecs_id)] == [other.ecs_id]


async def test_notes_hierarchical_structure(storage: EntityStorage) -> None:
    field, member, keyed, deep = Leaf(value="field"), Leaf(value="list"), Leaf(value="dict"), Leaf(value="deep")
    tree = Tree(nested=field, leaves=[member], named={"k": keyed}, trees=(Tree(nested=deep),))
    assert set(tree.get_sub_entities()) == {field, member, keyed, deep, tree.trees[0]}
    await storage.register(tree)
    for number, leaf in enumerate((field, member, keyed, deep)):
        leaf.value = f"new {number}"
        commit = await storage.submit(tree)
        assert {leaf.ecs_id, tree.ecs_id} <= set(commit.versions)
    assert await versions_of(storage, tree, field, member, keyed, deep, tree.trees[0]) == [5, 2, 2, 2, 2, 2]


def test_notes_dependency_graph() -> None:
    leaf = Leaf()
    tree = Tree(nested=leaf, trees=(Tree(leaves=[leaf]),))
    graph = EntityDependencyGraph()
    graph.build_graph(tree)
    assert graph.get_topological_sort() == [leaf, tree.trees[0], tree]
    assert not graph.has_cycles()


async def test_notes_modification_detection(storage: EntityStorage) -> None:
    tree = await storage.register(Tree(nested=Leaf(value="old"), leaves=[Leaf()]))
    stored = await EntityRegistry.get_cold_snapshot(tree.ecs_id, Tree)
    assert not tree.has_modifications(stored)
    assert tree.nested is not None
    tree.nested.value = "new"
    assert tree.has_modifications(stored)
    assert tree.modified_entities(stored) == [tree, tree.nested]


async def test_notes_usage_example(storage: EntityStorage) -> None:
    entity = await storage.register(Tree(nested=Leaf(value="old")))
    stored_version = await EntityRegistry.get_cold_snapshot(entity.ecs_id, Tree)
    assert entity.nested is not None
    entity.nested.value = "new"
    new_version = entity
    if entity.has_modifications(stored_version):
        new_version = entity.fork()
    await EntityRegistry.register(new_version)
    assert await versions_of(storage, new_version, entity.nested) == [2, 2]
    assert new_version.parent_id == stored_version.ecs_id


async def test_notes_field_synchronization_loses_no_field(storage: EntityStorage) -> None:
    config = LLMConfig(client="c", model="m", use_cache=False, reasoner=True, reasoning_effort="high", response_format=ResponseFormat.tool)
    usage = Usage(
        model="m", prompt_tokens=1, completion_tokens=2, total_tokens=3, cache_creation_input_tokens=4, cache_read_input_tokens=5,
        accepted_prediction_tokens=6, rejected_prediction_tokens=7, audio_tokens=8, reasoning_tokens=9, cached_tokens=10,
    )  # fmt: skip
    generated = GeneratedJsonObject(name="n", object={"a": [1, None]}, tool_call_id="call")
    tool = StructuredTool.from_json_schema("t", {"type": "object"}, description="of a structured tool")
    thread = ChatThread(
        name="title", llm_config=config, new_message="next", prefill="pre", postfill="post", use_schema_instruction=True,
        use_history=False, forced_output=tool, tools=[tool],
    )  # fmt: skip
    await storage.register(thread, usage, generated)
    for entity in (thread, usage, generated):
        assert not (await type(entity).get(entity.ecs_id)).has_modifications(entity)
    loaded = await ChatThread.get(thread.ecs_id)
    assert (loaded.llm_config.use_cache, loaded.llm_config.reasoner, loaded.llm_config.reasoning_effort) == (False, True, "high")
    assert loaded.forced_output is loaded.tools[0]


async def test_notes_typed_get(storage: EntityStorage) -> None:
    thread = await storage.register(discussion("typed"))
    assert (await ChatThread.get(thread.ecs_id)).history[0].content.upper() == "TYPED"
    assert (await EntityRegistry.get(thread.ecs_id, ChatThread)).history[0].role is MessageRole.user


async def test_notes_enhanced_entity_tracer_finds_new_entities(storage: EntityStorage) -> None:
    @entity_tracer
    async def answer(thread: ChatThread) -> ChatMessage:
        message = ChatMessage(role=MessageRole.assistant, content="answer")
        thread.history.append(message)
        return message

    @entity_tracer
    def make() -> Tree:
        return Tree(nested=Leaf(value="new"))

    thread = await storage.register(discussion("question"))
    message = await answer(thread)
    tree = make()
    await storage.flush()
    assert thread.history[-1] is message
    assert tree.nested is not None
    assert await versions_of(storage, thread, message, tree, tree.nested) == [2, 1, 1, 1]


@pytest.mark.usefixtures("normal_again")
async def test_notes_trace_severity_levels(storage: EntityStorage) -> None:
    @entity_tracer
    async def edit(tree: Tree) -> None:
        tree.leaves[0].value += "!"

    @entity_tracer(severity=TraceSeverity.VERBOSE)
    async def edit_always(tree: Tree) -> None:
        tree.leaves[0].value += "?"

    tree = await storage.register(Tree(leaves=[Leaf()]))
    EntityRegistry.set_trace_severity(TraceSeverity.CRITICAL)
    await edit(tree)
    assert await versions_of(storage, tree) == [1]
    await edit_always(tree)
    assert [(await Tree.get(each.ecs_id)).leaves[0].value for each in await storage.lineage(tree.lineage_id)] == ["", "!", "!?"]


async def test_notes_no_excessive_forking(storage: EntityStorage) -> None:
    @entity_tracer
    async def turn(thread: ChatThread) -> None:
        await ask(thread)
        thread.history.append(ChatMessage(role=MessageRole.assistant, content="answer"))

    @entity_tracer
    async def ask(thread: ChatThread) -> None:
        thread.add_user_message("question")

    thread = await storage.register(discussion())
    for _ in range(3):
        loaded = await ChatThread.get(thread.ecs_id)
        assert not loaded.has_modifications(await EntityRegistry.get_cold_snapshot(loaded.ecs_id, ChatThread))
        await turn(loaded)
        thread = loaded
    assert await versions_of(storage, thread, *thread.history) == [4, 1, 1, 1, 1, 1, 1]
    mermaid = await EntityRegistry.get_lineage_mermaid(thread.lineage_id)
    assert mermaid.count('-->|"history #43;2"|') == 3
