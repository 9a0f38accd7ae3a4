"""An argument `"@<ecs_id>.field.path"` stands for what is stored there; whatever else it is, the model is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

import pytest
from pydantic import BaseModel, Field, JsonValue, PrivateAttr

from minference.clients.scripted import ScriptedClient
from minference.ecs.callables import CallableRegistry
from minference.ecs.entity import Entity
from minference.ecs.plan import BackRef
from minference.ecs.registry import use_storage
from minference.errors import InvalidToolArguments, ToolError, UnresolvedReference
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.tool_results import ToolFailed, ToolSucceeded
from minference.inference.tool_runs import run_tool_call
from minference.inference.workshop import Workshop
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.messages import ChatMessage, MessageRole, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import REFERENCES, CallableTool
from tests.inference.helpers import completed, thread
from tests.inference.tool_calls import a_call


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.ecs.callables._FUNCTIONS", {})


class Author(BaseModel):
    """Not an entity: a plain value."""

    name: str
    born: datetime | None = None


class Order(BaseModel):
    """What a tool takes."""

    title: str
    price: float = Field(lt=5)


class Page(Entity, kind="reference_page"):
    text: str
    book: Annotated[Book | None, BackRef("pages")] = None

    @property
    def shout(self) -> str:
        """Not stored."""
        return self.text.upper()


class Book(Entity, kind="reference_book"):
    title: str
    price: float = 9.5
    author: Author = Author(name="Ada")
    data: dict[str, JsonValue] = Field(default_factory=dict)
    pages: list[Page] = Field(default_factory=list)
    notes: dict[str, Page] = Field(default_factory=dict)
    cover: Page | None = None
    sequel: Book | None = None

    _secret: str = PrivateAttr(default="hidden")


def a_book() -> Book:
    page = Page(text="It was a dark night.")
    return Book(
        title="Nights",
        author=Author(name="Ada", born=datetime(1815, 12, 10, tzinfo=UTC)),
        data={"tags": ["dark", {"deep": 1}], "": 0},
        pages=[page, Page(text="The end.")],
        notes={"first": page},
    )


def tool(resolve: bool = True) -> CallableTool:
    def show(value: Any) -> Any:
        return value

    return CallableTool.from_callable(show, resolve_references=resolve, replace=True)


async def shown(value: Any, storage: EntityStorage | None = None) -> Any:
    outcome = await run_tool_call(tool(), a_call("show", value=value), Workshop(storage=storage))
    assert isinstance(outcome, ToolSucceeded), outcome
    return outcome.value


async def refusal(value: Any, storage: EntityStorage | None = None) -> ToolError:
    outcome = await run_tool_call(tool(), a_call("show", value=value), Workshop(storage=storage))
    assert isinstance(outcome, ToolFailed), outcome
    return outcome.error


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("title", "Nights"),
        ("price", 9.5),
        ("author", {"name": "Ada", "born": "1815-12-10T00:00:00Z"}),
        ("author.name", "Ada"),
        ("data.tags.1.deep", 1),
        ("data.tags.-1", {"deep": 1}),
        ("pages.0.text", "It was a dark night."),
        ("pages.-1", {"text": "The end."}),
        ("pages", [{"text": "It was a dark night."}, {"text": "The end."}]),
        ("notes", {"first": {"text": "It was a dark night."}}),
        ("notes.first.text", "It was a dark night."),
        ("cover", None),
    ],
)
async def test_a_path_goes_through_stored_fields_indexes_and_keys(storage: EntityStorage, path: str, value: Any) -> None:
    book = await storage.register(a_book())
    assert await shown(f"@{book.ecs_id}.{path}", storage) == value


async def test_identity_is_stored_too(memory: EntityStorage) -> None:
    book = await memory.register(a_book())
    assert await shown([f"@{book.ecs_id}.lineage_id", f"@{book.ecs_id}.pages.0.ecs_id"]) == [
        str(book.lineage_id),
        str(book.pages[0].ecs_id),
    ]


async def test_references_stand_anywhere_in_the_arguments_and_other_text_stays(memory: EntityStorage) -> None:
    book = await memory.register(a_book())
    at = f"@{book.ecs_id}"
    given = {"a": [f"{at}.title", f"{at.upper()}.title"], f"{at}.title": "@ada", "text": f"see {at}.title", "odd": f"{at}, title"}
    assert await shown(given) == {**given, "a": ["Nights", "Nights"]}


async def test_a_reference_names_a_version_and_not_what_came_after(memory: EntityStorage) -> None:
    book = await memory.register(a_book())
    before = book.ecs_id
    book.title = "Days"
    await memory.register(book)
    book.title = "not saved"
    assert await shown([f"@{before}.title", f"@{book.ecs_id}.title"]) == ["Nights", "Days"]


async def test_what_was_found_is_text_even_if_it_looks_like_a_reference(memory: EntityStorage) -> None:
    secret = await memory.register(a_book())
    trap = await memory.register(Page(text=f"@{secret.ecs_id}.title"))
    assert await shown(f"@{trap.ecs_id}.text") == f"@{secret.ecs_id}.title"


async def test_only_tools_that_ask_for_it_resolve_references(memory: EntityStorage) -> None:
    book = await memory.register(a_book())
    written = f"@{book.ecs_id}.title"
    assert await run_tool_call(tool(resolve=False), a_call("show", value=written)) == ToolSucceeded(written, written)
    assert (tool().description, tool(resolve=False).description) == (REFERENCES, "")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "it names no field: the fields are title, price, author, data, pages, notes, cover, sequel"),
        (".", "a step of the path is empty"),
        (".title.", "a step of the path is empty"),
        (".pages..text", "a step of the path is empty"),
        (".colour", "a Book stores no field 'colour': the fields are title, price, author, data, pages, notes, cover, sequel"),
        (".pages.0.shout", "a Page stores no field 'shout': the fields are text"),
        (".pages.0.book", "a Page stores no field 'book': the fields are text"),
        (".pages.0.book.title", "a Page stores no field 'book': the fields are text"),
        (".live_id", "a Book stores no field 'live_id': "),
        (".title.upper", "there is nothing below a str, so no 'upper'"),
        (".cover.text", "there is nothing below a NoneType, so no 'text'"),
        (".author.model_fields", "there is no key 'model_fields': it has 'name', 'born'"),
        (".pages.2", "there is no item '2' in a list of 2"),
        (".pages.-3", "there is no item '-3' in a list of 2"),
        (".pages.first", "there is no item 'first' in a list of 2"),
        (".pages.\u0660", "there is no item '\u0660' in a list of 2"),
        (".pages.9999999999999999999999", "there is no item "),
        (".data.keys", "there is no key 'keys': it has 'tags', ''"),
        *(
            (f".{name}", f"a Book stores no field {name!r}: ")
            for name in ("_secret", "__dict__", "__class__", "model_dump", "erase", "has_modifications")
        ),
    ],
)
async def test_a_path_that_leads_nowhere_is_told_to_the_model(memory: EntityStorage, path: str, reason: str) -> None:
    book = await memory.register(a_book())
    error = await refusal(f"@{book.ecs_id}{path}")
    assert isinstance(error, UnresolvedReference)
    assert error.reason.startswith(reason)


async def test_what_is_not_stored_is_told_to_the_model(storage: EntityStorage) -> None:
    gone = uuid4()
    assert str(await refusal(f"@{gone}.title", storage)) == (
        f"tool 'show' was not run, because its argument '@{gone}.title' leads nowhere: no version {gone} is stored here"
    )
    async with open_storage("memory:") as other:
        book = await other.register(a_book())
    assert isinstance(await refusal(f"@{book.ecs_id}.title", storage), UnresolvedReference)


async def test_what_was_erased_is_told_to_the_model(storage: EntityStorage) -> None:
    book = await storage.register(a_book())
    await storage.erase(book, reason="asked to")
    error = await refusal(f"@{book.ecs_id}.title", storage)
    assert isinstance(error, UnresolvedReference)
    assert error.reason == "the content of this Book was erased"


async def test_without_any_storage_the_model_is_told() -> None:
    before = use_storage(None)
    try:
        assert "no storage is current here" in str(await refusal(f"@{uuid4()}.title"))
    finally:
        use_storage(before)


async def test_what_contains_itself_is_told_to_the_model(storage: EntityStorage) -> None:
    one, other = Book(title="one"), Book(title="other")
    one.sequel, other.sequel = other, one
    await storage.register(one)
    assert await shown(f"@{one.ecs_id}.sequel.sequel.sequel.title", storage) == "other"
    error = await refusal(f"@{one.ecs_id}.sequel", storage)
    assert isinstance(error, UnresolvedReference)
    assert error.reason == "what it names contains itself, through a Book: name a field of it"


async def test_what_is_shared_is_written_out_as_often_but_not_without_end(memory: EntityStorage) -> None:
    class Pair(Entity, kind="reference_pair"):
        left: Pair | None = None
        right: Pair | None = None

    pair = Pair()
    for _ in range(40):
        pair = Pair(left=pair, right=pair)
    top = await memory.register(Pair(left=pair))
    assert "holds more than 100000 values" in str(await refusal(f"@{top.ecs_id}.left"))
    assert await shown(f"@{top.ecs_id}{'.left' * 40}") == {"left": {"left": None, "right": None}, "right": {"left": None, "right": None}}


async def test_what_is_nested_too_deeply_is_told_to_the_model(memory: EntityStorage) -> None:
    book = Book(title="last")
    for _ in range(600):
        book = Book(title="one", sequel=book)
    await memory.register(book)
    assert await shown(f"@{book.ecs_id}{'.sequel' * 600}.title") == "last"
    assert "nested too deeply" in str(await refusal(f"@{book.ecs_id}.sequel"))


async def test_values_are_validated_after_they_were_resolved(memory: EntityStorage) -> None:
    def buy(book: Order) -> str:
        return book.title

    buying = CallableTool.from_callable(buy, resolve_references=True)
    book = await memory.register(a_book())
    written = {"title": f"@{book.ecs_id}.title", "price": f"@{book.ecs_id}.price"}
    outcome = await run_tool_call(buying, a_call("buy", book=written))
    assert isinstance(outcome, ToolFailed)
    assert isinstance(outcome.error, InvalidToolArguments)
    assert outcome.error.reason == "book.price: Input should be less than 5 (got 9.5)"
    assert await run_tool_call(buying, a_call("buy", book={**written, "price": 1})) == ToolSucceeded("Nights", "Nights")


async def test_messages_and_cold_json_can_be_named(memory: EntityStorage) -> None:
    call = ToolCall.from_arguments("1", "show", {"a": [1]})
    chat = ChatThread(
        llm_config=thread().llm_config,
        history=[ChatMessage(role=MessageRole.assistant, content="half a pair: \ud83d", tool_calls=(call,))],
        tools=[tool()],
    )
    await memory.register(chat)
    at = f"@{chat.ecs_id}"
    assert await shown(f"{at}.history.0.tool_calls.0.name") == "show"
    assert await shown(f"{at}.tools.0.input_schema.properties") == {"value": {}}
    assert isinstance(await refusal(f"{at}.history.0.content"), InvalidToolArguments)


async def test_in_a_run_the_model_names_what_is_stored_where_the_thread_is(memory: EntityStorage) -> None:
    book = await memory.register(a_book())
    written = f"@{book.ecs_id}.pages.0.text"
    client = ScriptedClient(
        [ToolCall.from_arguments("1", "show", {"value": written}), ToolCall.from_arguments("2", "show", {"value": written + "x"}), "Done."]
    )
    chat = thread(tools=[tool()])
    async with open_storage("memory:"), InferenceOrchestrator(storage=memory, clients={"scripted": client}) as orchestrator:
        [outcome] = await orchestrator.run([chat])
    assert completed(outcome).content == "Done."
    found, wrong = (message for message in chat.history if message.role is MessageRole.tool)
    assert (found.content, found.tool_error) == ("It was a dark night.", False)
    assert wrong.content.endswith("leads nowhere: a Page stores no field 'textx': the fields are text")
    assert (wrong.tool_error, chat.history[1].tool_calls[0].arguments) == (True, {"value": written})


def test_from_registry_keeps_the_option() -> None:
    CallableRegistry.register("look", lambda: None)
    assert CallableTool.from_registry("look", resolve_references=True).resolve_references
