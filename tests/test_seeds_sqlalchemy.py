"""The concept papers on SQLAlchemy, section by section: what they build by hand is there for every entity class."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from minference import CallableTool, ChatMessage, ChatThread, Entity, EntityRegistry, MessageRole, StructuredTool, Usage, open_storage
from minference.ecs.graph import EntityDependencyGraph
from minference.errors import TableMismatch, UnstorableValue, VersionNotFound, WrongEntityType
from minference.storage.base import EntityStorage
from minference.storage.sql.tables import EntityTable
from tests.seed_entities import (
    Category,
    ImageContent,
    Leaf,
    Line,
    MessageUsage,
    Page,
    Profile,
    Room,
    Talk,
    TextContent,
    Tree,
    User,
    discussion,
    versions_of,
)  # fmt: skip

# SQLAlchemy Implementation Guide: Entity Conversion and Relationships


async def test_implementation_1_and_2_every_field_is_converted_both_ways(storage: EntityStorage) -> None:
    leaf = Leaf(value="text", owner_id=uuid4(), config_json={"owner_id": str(uuid4()), "deep": [{"a": 1.5}, None, True]})
    await storage.register(leaf)
    loaded = await Leaf.get(leaf.ecs_id)
    assert loaded.model_dump(exclude={"live_id"}) == leaf.model_dump(exclude={"live_id"})
    assert (type(loaded.owner_id), type(loaded.ecs_id)) == (UUID, UUID)


async def test_implementation_3_1_one_to_many(storage: EntityStorage) -> None:
    parent = await storage.register(Tree(name="parent", leaves=[Leaf(value="one"), Leaf(value="two")]))
    children = (await Tree.get(parent.ecs_id)).leaves
    assert [child.value for child in children] == ["one", "two"]


async def test_implementation_3_2_many_to_one(storage: EntityStorage) -> None:
    parent = Leaf(value="parent")
    one, two = Tree(name="one", nested=parent), Tree(name="two", nested=parent)
    await storage.register(one, two)
    loaded = [await Tree.get(each.ecs_id) for each in (one, two)]
    assert [each.nested.ecs_id for each in loaded if each.nested] == [parent.ecs_id] * 2
    assert await versions_of(storage, parent) == [1]


async def test_implementation_3_3_many_to_many_keeps_the_order_of_each_list(storage: EntityStorage) -> None:
    first, second = discussion("a", "b"), discussion()
    second.history = [first.history[1], first.history[0]]
    await storage.register(first, second)
    assert [message.content for message in (await ChatThread.get(second.ecs_id)).history] == ["b", "a"]
    assert await versions_of(storage, *first.history) == [1, 1]


async def test_implementation_3_4_one_to_one(storage: EntityStorage) -> None:
    user = await storage.register(User(username="ann", profile=Profile(city="Oslo")))
    loaded = await User.get(user.ecs_id)
    assert loaded.profile is not None
    loaded.profile.city = "Rome"
    await storage.register(loaded)
    assert await versions_of(storage, loaded, loaded.profile) == [2, 2]


async def test_implementation_3_5_association_object(storage: EntityStorage) -> None:
    message = ChatMessage(role=MessageRole.assistant, content="answer")
    usage = Usage(model="m", prompt_tokens=1, completion_tokens=1, total_tokens=2)
    when = datetime(2025, 3, 11, 12, 30, 15, 123456, tzinfo=UTC)
    joined = await storage.register(MessageUsage(message=message, usage=usage, timestamp=when, context_size=4096))
    loaded = await MessageUsage.get(joined.ecs_id)
    assert (loaded.message.ecs_id, loaded.usage.ecs_id) == (message.ecs_id, usage.ecs_id)
    assert (loaded.timestamp, loaded.context_size) == (when, 4096)


async def test_implementation_3_6_self_referential(storage: EntityStorage) -> None:
    root = await storage.register(Category(name="root", subcategories=[Category(name="sub", subcategories=[Category(name="leaf")])]))
    loaded = await Category.get(root.ecs_id)
    [sub] = loaded.subcategories
    assert (sub.parent_category, sub.subcategories[0].parent_category, loaded.parent_category) == (loaded, sub, None)
    sub.subcategories[0].name = "renamed"
    commit = await storage.submit(loaded)
    assert commit.versions == (sub.subcategories[0].ecs_id, sub.ecs_id, loaded.ecs_id)


async def test_implementation_4_1_a_tree_is_stored_in_one_transaction_whatever_was_stored_before(storage: EntityStorage) -> None:
    shared = await storage.register(Leaf(value="stored before"))
    tree = Tree(nested=shared, trees=(Tree(leaves=[shared, Leaf(value="new")]),))
    commit = await storage.submit(tree)
    assert set(commit.versions) == {tree.ecs_id, tree.trees[0].ecs_id, tree.trees[0].leaves[1].ecs_id}
    assert len({info.commit.id for each in (tree, tree.trees[0]) for info in await storage.lineage(each.lineage_id)}) == 1


async def test_implementation_4_2_what_is_loaded_is_whole(storage_url: str) -> None:
    async with open_storage(storage_url) as storage:
        tree = await storage.register(Tree(trees=(Tree(name="deep", nested=Leaf(value="deeper")),), named={"k": Leaf(value="keyed")}))
        loaded = await storage.get_cold_snapshot(Tree, tree.ecs_id)
    assert loaded.trees[0].nested is not None
    assert (loaded.trees[0].nested.value, loaded.named["k"].value) == ("deeper", "keyed")


async def test_implementation_4_3_the_order_in_which_things_are_registered_does_not_matter(storage: EntityStorage) -> None:
    owner, item, tag = Leaf(value="owner"), Leaf(value="item"), Leaf(value="tag")
    tree = Tree(nested=owner, leaves=[item], named={"tag": tag})
    await storage.register(tag)
    await storage.register(tree, owner)
    await storage.register(item)
    assert await versions_of(storage, tree, owner, item, tag) == [1, 1, 1, 1]


async def test_implementation_4_4_polymorphic(storage: EntityStorage) -> None:
    page = await storage.register(Page(contents=[TextContent(title="t", text="words"), ImageContent(title="i", image_url="sea.png")]))
    loaded = await Page.get(page.ecs_id)
    assert [type(content).__name__ for content in loaded.contents] == ["TextContent", "ImageContent"]
    assert [content.model_dump(include={"title", "text", "image_url"}) for content in loaded.contents] == [
        {"title": "t", "text": "words"},
        {"title": "i", "image_url": "sea.png"},
    ]


async def test_implementation_5_registry_and_storage_interface(storage: EntityStorage) -> None:
    entity = Leaf(value="x")
    assert not await EntityRegistry.has_entity(entity.ecs_id)
    assert await EntityRegistry.register(entity) is entity
    assert await EntityRegistry.has_entity(entity.ecs_id)
    warm = await EntityRegistry.get(entity.ecs_id, Leaf)
    assert (warm.ecs_id, warm.live_id != entity.live_id) == (entity.ecs_id, True)
    with pytest.raises(WrongEntityType, match="is a Leaf, not a Tree"):
        await EntityRegistry.get(entity.ecs_id, Tree)
    with pytest.raises(VersionNotFound):
        await EntityRegistry.get(uuid4(), Leaf)
    assert [info.ecs_id for info in await EntityRegistry.list_by_type(Leaf)] == [entity.ecs_id]


async def test_implementation_6_4_circular_dependencies(storage: EntityStorage) -> None:
    talk = Talk(title="talk")
    talk.messages.append(Line(thread=talk, content="hello"))
    await storage.register(talk)
    loaded = await Talk.get(talk.ecs_id)
    assert loaded.messages[0].thread is loaded
    talk.messages[0].content = "changed"
    commit = await storage.submit(talk)
    assert sorted(commit.versions) == sorted([talk.ecs_id, talk.messages[0].ecs_id])


async def test_implementation_6_5_a_failed_save_changes_nothing_and_says_why(storage: EntityStorage) -> None:
    tree = await storage.register(Tree(name="kept", nested=Leaf()))
    before = tree.ecs_id
    assert tree.nested is not None
    tree.name = "new"
    tree.nested.config_json["bad"] = object()  # type: ignore[assignment]  # what a save must refuse
    with pytest.raises(UnstorableValue, match="config_json"):
        await storage.register(tree)
    assert tree.ecs_id == before
    del tree.nested.config_json["bad"]
    await storage.register(tree)
    assert (await Tree.get(tree.ecs_id)).name == "new"


async def test_implementation_7_and_8_the_complete_example(storage_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with open_storage(storage_url) as storage:
        thread = discussion(name="Test Thread")
        message1 = ChatMessage(role=MessageRole.user, content="Hello!")
        message2 = ChatMessage(role=MessageRole.assistant, content="Hi there!", parent_message_uuid=message1.lineage_id)
        thread.history.append(message1)
        thread.history.append(message2)
        await storage.register(thread)
        retrieved_thread = await ChatThread.get(thread.ecs_id)
        for message in retrieved_thread.history:
            print(f"{message.role}: {message.content}")
    assert capsys.readouterr().out == "user: Hello!\nassistant: Hi there!\n"
    assert retrieved_thread.history[1].parent_message_uuid == retrieved_thread.history[0].lineage_id


# Versioned Entity ORM with SQLAlchemy


async def test_orm_creating_storing_and_querying(storage: EntityStorage) -> None:
    async with storage.recording():
        thread = discussion(name="Test Thread")
        thread.history.append(ChatMessage(role=MessageRole.user, content="Hello, world!"))
        thread.history.append(ChatMessage(role=MessageRole.assistant, content="Hi there! How can I help?"))
    retrieved_thread = await ChatThread.get(thread.ecs_id)
    assert [f"{message.role}: {message.content}" for message in retrieved_thread.history] == [
        "user: Hello, world!",
        "assistant: Hi there! How can I help?",
    ]


async def test_orm_making_changes_and_versioning(storage: EntityStorage) -> None:
    thread = await storage.register(discussion("Hello", "Hi"))
    retrieved_thread = await ChatThread.get(thread.ecs_id)
    message = retrieved_thread.history[1]
    original_id = message.ecs_id
    message.content = "Updated response"
    new_message = message.fork()
    await storage.flush()
    assert (new_message.ecs_id != original_id, new_message.parent_id) == (True, original_id)
    lineage = await EntityRegistry.get_lineage_entities(message.lineage_id)
    assert [version.content for version in lineage if isinstance(version, ChatMessage)] == ["Hi", "Updated response"]
    assert await versions_of(storage, retrieved_thread) == [1]
    await storage.register(retrieved_thread)
    assert await versions_of(storage, retrieved_thread, message) == [2, 2]


def test_orm_best_practice_a_table_that_does_not_fit_is_refused_when_it_is_defined() -> None:
    with pytest.raises(TableMismatch, match=r"value.*config_json"):

        class ForgetfulLeafSQL(EntityTable, entity=Leaf):
            __tablename__ = "seed_forgetful_leaf"


async def test_orm_querying_entity_lineage(storage: EntityStorage) -> None:
    entity = await storage.register(Leaf(value="1"))
    for value in "23":
        entity.value = value
        await storage.register(entity)
    versions = await EntityRegistry.get_lineage_entities(entity.lineage_id)
    latest_version = max(versions, key=lambda e: e.created_at)
    assert latest_version.ecs_id == entity.ecs_id
    assert (await storage.latest(Leaf, entity.lineage_id)).value == "3"


def test_orm_handling_complex_hierarchies() -> None:
    def collect_entities(entity: Entity, collected: dict[str, Entity] | None = None) -> dict[str, Entity]:
        collected = {} if collected is None else collected
        if str(entity.ecs_id) not in collected:
            collected[str(entity.ecs_id)] = entity
            for sub_entity in entity.get_sub_entities():
                collect_entities(sub_entity, collected)
        return collected

    root = Tree(nested=Leaf(), trees=(Tree(leaves=[Leaf()]),))
    all_entities = collect_entities(root)
    assert set(all_entities.values()) == {root, *root.get_sub_entities()}
    assert len(all_entities) == 4


async def test_orm_polymorphic_entity_storage(storage: EntityStorage) -> None:
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    thread = discussion()
    thread.tools = [
        CallableTool.from_callable(add, name="seed_add", replace=True),
        StructuredTool.from_json_schema("answer", {"type": "object", "properties": {"x": {"type": "integer"}}}, description="An answer."),
    ]
    await storage.register(thread)
    callable_tool, structured_tool = (await ChatThread.get(thread.ecs_id)).tools
    assert isinstance(callable_tool, CallableTool)
    assert isinstance(structured_tool, StructuredTool)
    assert (callable_tool.docstring, structured_tool.description) == ("Adds.", "An answer.")
    assert structured_tool.json_schema == {"type": "object", "properties": {"x": {"type": "integer"}}}


async def test_orm_entity_history_and_children_across_versions(storage: EntityStorage) -> None:
    async def get_entity_children_across_versions(lineage_id: UUID) -> list[Leaf]:
        unique: dict[UUID, Leaf] = {}
        for info in await storage.lineage(lineage_id):
            for child in (await Tree.get(info.ecs_id)).leaves:
                unique.setdefault(child.lineage_id, child)
        return list(unique.values())

    tree = await storage.register(Tree(leaves=[Leaf(value="first")]))
    tree.leaves = [Leaf(value="second")]
    await storage.register(tree)
    tree.leaves[0].value = "second, edited"
    await storage.register(tree)
    assert [leaf.value for leaf in await get_entity_children_across_versions(tree.lineage_id)] == ["first", "second"]


# SQLAlchemy Implementation Plan for Entity Component System


async def test_plan_registering_a_modified_entity_forks_it(storage: EntityStorage) -> None:
    entity = await EntityRegistry.register(Leaf(value="old"))
    first = entity.ecs_id
    entity.value = "new"
    existing = await EntityRegistry.get_cold_snapshot(entity.ecs_id, Leaf)
    assert entity.has_modifications(existing)
    assert (await EntityRegistry.register(entity)).parent_id == first
    assert (await EntityRegistry.get_cold_snapshot(first, Leaf)).value == "old"


async def test_plan_all_relationship_patterns_work_together(storage: EntityStorage) -> None:
    room = Room(name="shared")
    users = [User(username=name, profile=Profile(city=name), threads=[room]) for name in ("ann", "bob")]
    await storage.register(*users)
    room.name = "renamed"
    commit = await storage.submit(*users)
    assert set(commit.versions) == {room.ecs_id, *(user.ecs_id for user in users)}


# SQLAlchemy Integration Approach


async def test_integration_entities_refer_to_each_other_directly(storage: EntityStorage) -> None:
    thread = Talk(title="Test")
    thread.messages += [Line(thread=thread, content="one"), Line(thread=thread, content="two")]
    graph = EntityDependencyGraph()
    graph.build_graph(thread)
    sorted_entities = graph.get_topological_sort()
    assert set(sorted_entities) == {thread, *thread.messages}
    assert graph.has_cycles()
    await EntityRegistry.register(thread)
    loaded = await Talk.get(thread.ecs_id)
    assert [line.thread is loaded for line in loaded.messages] == [True, True]
    alone = await Line.get(thread.messages[0].ecs_id)
    assert alone.thread.messages[0] is alone


async def test_integration_saves_at_once_lose_nothing(storage: EntityStorage) -> None:
    threads = [await storage.register(discussion(name=str(number))) for number in range(20)]
    for thread in threads:
        thread.history.append(ChatMessage(role=MessageRole.user, content="all at once"))
    await asyncio.gather(*(storage.register(thread) for thread in threads))
    assert [(await ChatThread.get(thread.ecs_id)).history[0].content for thread in threads] == ["all at once"] * 20
