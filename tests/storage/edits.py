"""Random edits of entity graphs, each a function of a few numbers."""

from __future__ import annotations

from typing import Any, TypeVar

from hypothesis import strategies as st
from pydantic import Field, JsonValue

from minference.ecs.entity import Entity
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, Usage
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool

T = TypeVar("T")

numbers = st.integers(0, 9_999)


class Thing(Entity, kind="machine_thing"):
    """Everything that an entity can hold, of its own kind, so that any graph can be built."""

    name: str = ""
    number: float = 0.0
    data: dict[str, JsonValue] = Field(default_factory=dict)
    one: Thing | None = None
    other: Thing | None = None
    items: list[Thing] = Field(default_factory=list)
    pair: tuple[Thing, ...] = ()
    named: dict[str, Thing] = Field(default_factory=dict)


class Part(Thing, kind="machine_part"):
    """A class that holds more than its base, among others of its base."""

    colour: str = "grey"


def pick(values: list[T], number: int) -> T:
    """One of the values."""
    return values[number % len(values)]


LIST_EDITS = ("append", "extend", "insert", "delete", "move", "duplicate", "replace", "truncate", "clear", "reverse", "same")


def edited(kind: str, members: list[T], source: T, one: int, two: int) -> None:
    """Edit a list in place."""
    at = one % (len(members) + 1)
    match kind:
        case "append":
            members.append(source)
        case "extend":
            members.extend([source] * (two % 3))
        case "insert":
            members.insert(at, source)
        case "delete":
            del members[at : at + 1 + two % 2]
        case "move" if at < len(members):
            members.insert(two % len(members), members.pop(at))
        case "duplicate" if at < len(members):
            members.insert(two % len(members), members[at])
        case "replace" if at < len(members):
            members[at] = source
        case "truncate":
            del members[at:]
        case "clear":
            members.clear()
        case "reverse":
            members.reverse()
        case _:
            members[:] = list(members)


VALUES: list[Any] = ["", "text", "NUL \0", "lone \ud83d", 0.0, -0.0, 1, True, None, 1.5, [], [1, {"a": []}], {"k": {"l": 1}}]


def edit_document(data: dict[str, Any], one: int, two: int) -> None:
    """Edit a JSON object in place, at the top or deeper."""
    key = pick(["a", "b", "c"], one)
    match two % 4:
        case 0:
            data.pop(key, None)
        case 1 if isinstance(data.get(key), list):
            data[key].append(one)
        case 2 if isinstance(data.get(key), dict):
            data[key]["deep"] = one
        case _:
            value = pick(VALUES, two // 4)
            data[key] = list(value) if isinstance(value, list) else dict(value) if isinstance(value, dict) else value


def edit_thing(thing: Thing, kind: str, source: Thing, one: int, two: int) -> None:
    """Change one thing about a thing; `source` is some other, or itself."""
    match kind:
        case "name":
            thing.name = pick(["", "x", "y", "NUL \0", "lone \ud83d"], one)
        case "number":
            thing.number = pick([0.0, -0.0, 1.5, float("inf"), float("nan")], one)
        case "and back":
            before = thing.name
            thing.name = "elsewhere"
            thing.name = before
        case "data":
            edit_document(thing.data, one, two)
        case "one":
            thing.one = source if two % 4 else None
        case "other":
            thing.other = source if two % 4 else None
        case "pair":
            members = list(thing.pair)
            edited(pick(list(LIST_EDITS), one), members, source, one, two)
            thing.pair = tuple(members)
        case "named":
            edit_named(thing.named, source, one, two)
        case "new list":
            thing.items = [*thing.items[one % 3 :], source]
        case _:
            edited(kind, thing.items, source, one, two)


THING_EDITS = ("name", "number", "data", "and back", "one", "other", "pair", "named", "new list", *LIST_EDITS)


def edit_named(named: dict[str, Thing], source: Thing, one: int, two: int) -> None:
    """Edit a keyed field in place."""
    key = pick(["p", "q", "r"], one)
    match two % 4:
        case 0 if key in named:
            del named[key]
        case 1 if key in named:
            named[key] = named.pop(key)  # now it is the last
        case 2 if named:
            named[key] = named.pop(next(iter(named)))
        case _:
            named[key] = source


def new_thread(number: int) -> ChatThread:
    """A thread that nobody has saved."""
    tool = CallableTool(name="add", input_schema={"type": "object", "properties": {}})
    return ChatThread(name=str(number), llm_config=LLMConfig(client="scripted", model="m"), tools=[tool] * (number % 2))


def some_trees() -> list[Entity]:
    """Things that hold things in every way, some of them twice, in trees that share a branch."""
    shared = Thing(name="shared", data={"a": [1]})
    middle = Part(items=[Thing(name=str(i)) for i in range(3)], one=shared)
    one = Thing(items=[middle, Thing(named={"p": shared})], other=Thing(pair=(Thing(), Thing())), data={"a": [1]})
    return [one, Thing(items=[middle], named={"q": shared})]


def some_talks() -> list[Entity]:
    """Threads with a tool and some messages that share their settings, the tool and a message."""
    one, two = new_thread(1), new_thread(3)
    one.history = [ChatMessage(role=MessageRole.user, content=str(i)) for i in range(4)]
    two.llm_config, two.tools, two.history = one.llm_config, list(one.tools), one.history[:1]
    return [one, two]


def edit_thread(thread: ChatThread, kind: str, messages: list[ChatMessage], one: int, two: int) -> None:
    """Change one thing about a thread; a new message, or one of `messages`, comes in."""
    usage = Usage(model="m", prompt_tokens=one, completion_tokens=1, total_tokens=one + 1) if two % 2 else None
    fresh = ChatMessage(role=MessageRole.assistant, content=f"{one}", usage=usage)
    match kind:
        case "text" if thread.history:
            pick(thread.history, one).content = pick(["", "edited", "NUL \0"], two)
        case "usage" if thread.history:
            pick(thread.history, one).usage = usage
        case "settings":
            thread.llm_config.temperature = pick([None, 0.0, 1.0], one)
        case "schema" if thread.tools:
            edit_document(thread.tools[0].input_schema, one, two)
        case "share":
            thread.history.append(pick(messages, one) if messages else fresh)
        case "tool" if thread.tools:
            thread.forced_output = None if thread.forced_output else thread.tools[0]
        case _:
            edited(kind, thread.history, fresh, one, two)


THREAD_EDITS = ("append", "append", "text", "usage", "settings", "schema", "share", "tool", *LIST_EDITS)
