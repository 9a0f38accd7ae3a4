"""Running tools: whatever a tool does, there is one clear result for the model, and nothing else stops."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from minference.ecs.callables import CallableRegistry
from minference.errors import (
    InvalidToolArguments,
    InvalidToolResult,
    ToolError,
    ToolRaised,
    ToolTimedOut,
    UnregisteredTool,
)
from minference.inference.tool_results import ToolFailed, ToolOutcome, ToolSucceeded, error_text, succeeded
from minference.inference.tool_runs import run_tool_call, run_tool_calls
from minference.inference.tool_threads import ToolThreads
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool

PATIENCE = 30.0


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.ecs.callables._FUNCTIONS", {})


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


class Order(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    item: str
    how_many: int = Field(default=1, alias="howMany")


class Answer(BaseModel):
    text: str


def a_call(_name: str = "tool", _id: str = "call_1", **arguments: Any) -> ToolCall:
    return ToolCall.from_arguments(_id, _name, arguments)


async def run(function: Callable[..., Any], call: ToolCall | None = None, **options: Any) -> ToolOutcome:
    return await run_tool_call(CallableTool.from_callable(function, name="tool", **options), call or a_call())


async def failure(function: Callable[..., Any], call: ToolCall | None = None, **options: Any) -> ToolError:
    outcome = await run(function, call, **options)
    assert isinstance(outcome, ToolFailed)
    return outcome.error


def returning(value: Any) -> Callable[[], Any]:
    def give() -> Any:
        return value

    return give


# Arguments


async def test_arguments_are_coerced_and_nested_models_stay_models() -> None:
    received: list[Any] = []

    def order(what: Order, when: date, times: int = 2) -> None:
        received.append((what, when, times))

    call = a_call(what={"item": "tea", "howMany": "3"}, when="2026-11-21", times="4")
    assert await run(order, call) == ToolSucceeded("null", None)
    assert received == [(Order(item="tea", how_many=3), date(2026, 11, 21), 4)]


async def test_defaults_are_the_functions_own() -> None:
    shared = [1]

    def peek(items: list[int] = shared) -> bool:
        return items is shared

    assert await run(peek) == ToolSucceeded("true", True)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("{}", "what: Field required"),
        ('{"what": {"item": 1, "howMany": "many"}}', "what.item: Input should be a valid string (got 1); what.howMany: Input should be a "),
        ('{"what": {"item": "tea"}, "colour": "red"}', "colour: Extra inputs are not permitted (got 'red')"),
        ('{"what": ', "'{\"what\": ' is not JSON ("),
        ('["tea"]', "'[\"tea\"]' is not a JSON object"),
        ('{"what": {"item": NaN}}', '\'{"what": {"item": NaN}}\' is not JSON ('),
        ('{"what": {"item": "\\ud800"}}', "Error serializing to JSON: UnicodeEncodeError"),
        ('{"what": {"item": "tea", "howMany": 1e999}}', "a number is too large"),
        ('{"what": ' + "[" * 100_000 + "]" * 100_000 + "}", '\'{"what": [[['),
    ],
    ids=range(9),
)
async def test_arguments_that_do_not_fit_never_reach_the_function(arguments: str, reason: str) -> None:
    reached: list[Order] = []

    def order(what: Order) -> None:
        reached.append(what)

    error = await failure(order, ToolCall(id="1", name="tool", arguments_json=arguments))
    assert isinstance(error, InvalidToolArguments)
    assert error.reason.startswith(reason)
    assert reached == []


async def test_a_narrowed_schema_is_obeyed_although_the_function_takes_more() -> None:
    def paint(colour: str) -> str:
        return colour

    tool = CallableTool.from_callable(paint, name="tool")
    tool.input_schema = {**tool.input_schema, "properties": {"colour": {"enum": ["red"]}}}
    assert await run_tool_call(tool, a_call(colour="red")) == ToolSucceeded("red", "red")
    match await run_tool_call(tool, a_call(colour="blue")):
        case ToolFailed(InvalidToolArguments(reason=reason)):
            assert reason == 'colour: "blue" is not one of "red"'
        case other:
            pytest.fail(f"{other} is not a refusal")


async def test_a_function_without_annotations_runs_under_a_schema_given_by_hand() -> None:
    CallableRegistry.register("tool", lambda **arguments: arguments)
    tool = CallableTool(name="tool", input_schema={"type": "object", "additionalProperties": {"type": "integer"}})
    assert await run_tool_call(tool, a_call(a=1)) == ToolSucceeded('{"a":1}', {"a": 1})
    assert isinstance(await run_tool_call(tool, a_call(a="x")), ToolFailed)


async def test_a_tool_whose_function_is_not_registered_is_a_failure() -> None:
    outcome = await run_tool_call(CallableTool(name="tool", input_schema={"type": "object"}), a_call())
    assert isinstance(outcome, ToolFailed)
    assert isinstance(outcome.error, UnregisteredTool)
    assert error_text(outcome.error) == "tool 'tool' is not available at the moment"


# Results


class Colour(Enum):
    red = "r"


@pytest.mark.parametrize(
    ("result", "text", "value"),
    [
        ("as it is\n", "as it is\n", "as it is\n"),
        (None, "null", None),
        ({"a": [1, 2.5, "ü"]}, '{"a":[1,2.5,"ü"]}', {"a": [1, 2.5, "ü"]}),
        (Order(item="tea", how_many=2), '{"item":"tea","howMany":2}', {"item": "tea", "howMany": 2}),
        ([date(2026, 1, 2)], '["2026-01-02"]', ["2026-01-02"]),
        (Colour.red, "r", "r"),
        (b"bytes", "bytes", "bytes"),
        ((1, 2), "[1,2]", [1, 2]),
        (10**30, str(10**30), 10**30),
    ],
)
async def test_a_result_is_json_and_a_string_stays_as_it_is(result: Any, text: str, value: Any) -> None:
    assert await run(returning(result)) == ToolSucceeded(text, value)


def cycle() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


def too_deep() -> list[Any]:
    items: list[Any] = []
    for _ in range(5_000):
        items = [items]
    return items


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        pytest.param(object(), "a object that cannot be written as JSON", id="object"),
        pytest.param([math.nan], "it holds NaN or an infinite number", id="NaN"),
        pytest.param({"a": {"b": (1, math.inf)}}, "it holds NaN or an infinite number", id="infinity"),
        pytest.param(cycle(), "a list that cannot be written as JSON", id="cycle"),
        pytest.param(too_deep(), "a list that cannot be written as JSON", id="too deep"),
        pytest.param(b"\xff", "a bytes that cannot be written as JSON", id="bytes that are no text"),
        pytest.param("\ud800", "a str that cannot be written as JSON", id="lone surrogate"),
        pytest.param((n for n in "ab"), "it is a generator: return a list", id="generator"),
    ],
)
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_result_that_json_cannot_hold_is_a_failure(result: Any, reason: str, kind: str) -> None:
    async def give() -> Any:
        return result

    error = await failure(give if kind == "async" else returning(result))
    assert isinstance(error, InvalidToolResult)
    assert error.reason.startswith(reason)


class Measured(BaseModel):
    value: float


@dataclass
class Point:
    x: float


async def test_nan_never_becomes_null_wherever_it_hides() -> None:
    def measure() -> Measured:
        return Measured(value=math.nan)

    hiding = [Measured(value=math.nan), [{"m": Measured(value=math.inf)}], Point(math.nan), (Point(math.inf),), {math.nan: 1}]
    errors = [await failure(measure), *[await failure(returning(each), replace=True) for each in hiding]]
    assert [type(error) for error in errors] == [InvalidToolResult] * 6


async def test_a_result_is_what_the_function_promises() -> None:
    def promise() -> list[Order]:
        return [{"item": "tea", "howMany": 2}]  # type: ignore[list-item]  # a dict that fits is welcome

    def lie() -> int:
        return "many"  # type: ignore[return-value]  # that is the point

    assert await run(promise) == ToolSucceeded('[{"item":"tea","howMany":2}]', [{"item": "tea", "howMany": 2}])
    assert str(await failure(lie, replace=True)) == (
        "tool 'tool' returned an unusable result: Input should be a valid integer, unable to parse string as an integer (got 'many')"
    )


async def test_a_narrowed_output_schema_is_obeyed() -> None:
    tool = CallableTool.from_callable(returning(7), name="tool")
    tool.output_schema = {"type": "integer", "maximum": 5}
    outcome = await run_tool_call(tool, a_call())
    assert isinstance(outcome, ToolFailed)
    assert str(outcome.error) == "tool 'tool' returned an unusable result: 7 is greater than the maximum of 5"


json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


@given(json_data)
@settings(deadline=None)
def test_json_data_comes_back_unchanged(data: Any) -> None:
    assert succeeded("tool", data, None, None).value == data


# Sync, async, and what they raise


async def test_an_async_tool_is_awaited_never_returned_as_a_coroutine() -> None:
    async def wait(n: int) -> int:
        await asyncio.sleep(0)
        return n + 1

    assert await run(wait, a_call(n=1)) == ToolSucceeded("2", 2)


async def test_what_a_sync_function_returns_to_be_awaited_is_awaited() -> None:
    async def later(n: int) -> int:
        return n + 1

    def start(n: int) -> Awaitable[int]:
        return later(n)

    assert await run(start, a_call(n=1)) == ToolSucceeded("2", 2)


async def test_a_blocking_tool_leaves_the_loop_free(release: threading.Event) -> None:
    loop, started = asyncio.get_running_loop(), asyncio.Event()

    def block() -> str:
        loop.call_soon_threadsafe(started.set)
        return "free" if release.wait(PATIENCE) else "stuck"

    task = asyncio.create_task(run(block))
    await started.wait()
    release.set()
    assert await task == ToolSucceeded("free", "free")


ERRORS = [ValueError("no tea left"), SystemExit(1), asyncio.CancelledError("odd"), StopIteration(3), ExceptionGroup("two", [OSError()])]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_what_a_sync_tool_raises_is_a_failure_with_its_cause(error: BaseException) -> None:
    def fail() -> None:
        raise error

    raised = await failure(fail)
    assert isinstance(raised, ToolRaised)
    assert raised.__cause__ is raised.error is error


@pytest.mark.parametrize(
    "error", [error for error in ERRORS if not isinstance(error, StopIteration)], ids=lambda error: type(error).__name__
)
async def test_what_an_async_tool_raises_is_a_failure_with_its_cause(error: BaseException) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    raised = await failure(fail)
    assert isinstance(raised, ToolRaised)
    assert raised.__cause__ is raised.error is error


async def test_a_tool_that_raises_keyboard_interrupt_in_its_thread_does_not_end_the_program() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    assert isinstance(await failure(interrupt), ToolRaised)


async def test_a_timeout_error_of_the_tools_own_is_not_our_timeout() -> None:
    async def give_up() -> None:
        raise TimeoutError("the kettle")

    assert str(await failure(give_up)) == "tool 'tool' raised TimeoutError: the kettle"


async def test_an_exception_that_cannot_be_shown_is_still_a_failure() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def fail() -> None:
        raise Mute

    assert str(await failure(fail)) == "tool 'tool' raised Mute"


# Time


async def test_a_sync_tool_that_hangs_is_left_behind_and_the_error_says_so(release: threading.Event) -> None:
    error = await failure(lambda: release.wait(PATIENCE), timeout=0.01)
    assert isinstance(error, ToolTimedOut)
    assert error_text(error) == "tool 'tool' did not finish within 0.01 s; it could not be stopped and may still have an effect"


async def test_an_async_tool_that_takes_too_long_is_cancelled_and_cleans_up() -> None:
    cleaned: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("yes")

    error = await failure(hang, timeout=0.01)
    assert (str(error), cleaned) == ("tool 'tool' did not finish within 0.01 s", ["yes"])


async def test_an_async_tool_that_ignores_its_cancellation_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.inference.tool_runs.GRACE", 0.01)
    let_go, ended = asyncio.Event(), asyncio.Event()

    async def insist() -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        ended.set()

    error = await failure(insist, timeout=0.01)
    assert isinstance(error, ToolTimedOut)
    assert error.still_running
    let_go.set()
    await ended.wait()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_cancelled_caller_is_cancelled(kind: str, release: threading.Event) -> None:
    loop, started, ended = asyncio.get_running_loop(), asyncio.Event(), list[str]()

    def block() -> None:
        loop.call_soon_threadsafe(started.set)
        release.wait(PATIENCE)

    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    task = asyncio.create_task(run(block if kind == "sync" else wait))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ([] if kind == "sync" else ["cleaned up"])


# What the model reads of an error


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("[Errno 2] No such file or directory: '/home/ada/secret/notes.txt'", "[Errno 2] No such file or directory: 'notes.txt'"),
        ("open:/srv/app/x.py failed", "open:x.py failed"),
        ("file:///home/ada/x.py", "x.py"),
        ("~/private/key.pem is missing", "key.pem is missing"),
        (r"C:\Users\Ada Byron\notes.txt is locked", "notes.txt is locked"),
        ("GET https://example.org/v1/users/7 gave 404", "GET https://example.org/v1/users/7 gave 404"),
        ("data/notes.txt and ./a/b stay, 1/2 too", "data/notes.txt and ./a/b stay, 1/2 too"),
        ("half a pair: \ud800", "half a pair: ?"),
        ("", ""),
    ],
)
def test_an_error_text_shows_no_path_of_this_machine(message: str, shown: str) -> None:
    expected = f"tool 'x' raised ValueError{': ' if shown else ''}{shown}"
    assert error_text(ToolRaised("x", ValueError(message))) == expected


def test_an_error_text_is_not_endless() -> None:
    text = error_text(ToolRaised("x", ValueError("word " * 10_000)))
    assert (len(text), text[-3:]) == (1_000, "...")


# The calls of one turn


def a_thread(*tools: CallableTool | StructuredTool) -> ChatThread:
    return ChatThread(llm_config=LLMConfig(client="scripted", model="m"), tools=list(tools))


def shown(message: ChatMessage) -> tuple[str | None, str, bool]:
    return message.tool_call_id, message.content, message.tool_error


async def messages(thread: ChatThread, *calls: ToolCall, **options: Any) -> list[ChatMessage]:
    return [message async for _, message in run_tool_calls(thread, calls, **options)]


async def test_each_call_gets_one_tool_message_that_names_call_tool_and_parent() -> None:
    def double(n: int) -> int:
        return 2 * n

    tool, parent = CallableTool.from_callable(double), uuid4()
    [message] = await messages(a_thread(tool), a_call("double", "c7", n=4), parent_message_uuid=parent)
    assert message.model_dump(exclude={"ecs_id", "lineage_id", "parent_id", "created_at", "live_id", "timestamp"}) == {
        **ChatMessage(role=MessageRole.tool).model_dump(
            exclude={"ecs_id", "lineage_id", "parent_id", "created_at", "live_id", "timestamp"}
        ),
        "content": "8",
        "tool_call_id": "c7",
        "tool_name": "double",
        "tool_uuid": tool.lineage_id,
        "parent_message_uuid": parent,
    }


async def test_results_come_as_they_complete() -> None:
    gates = {"a": asyncio.Event(), "b": asyncio.Event()}

    async def wait(name: str) -> str:
        await gates[name].wait()
        return name

    thread = a_thread(CallableTool.from_callable(wait))
    gates["b"].set()
    order: list[str] = []
    async for call, _ in run_tool_calls(thread, [a_call("wait", "1", name="a"), a_call("wait", "2", name="b")]):
        order.append(call.id)
        gates["a"].set()
    assert order == ["2", "1"]


async def test_at_most_limit_calls_run_at_once() -> None:
    inside = most = 0

    async def enter() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        for _ in range(5):
            await asyncio.sleep(0)
        inside -= 1

    thread = a_thread(CallableTool.from_callable(enter))
    answered = await messages(thread, *(a_call("enter", str(n)) for n in range(20)), limit=3)
    assert (len(answered), most, inside) == (20, 3, 0)
    with pytest.raises(ValueError, match="limit must be at least 1, not 0"):
        await messages(thread, limit=0)


async def test_unknown_tools_and_repeated_ids_are_answered_and_not_run() -> None:
    ran: list[int] = []

    def note(n: int) -> int:
        ran.append(n)
        return n

    thread = a_thread(CallableTool.from_callable(note))
    answered = await messages(thread, a_call("nope", "1"), a_call("note", "2", n=1), a_call("note", "2", n=2))
    assert sorted(map(shown, answered)) == [
        ("1", "there is no tool 'nope'; the tools are: note", True),
        ("2", "1", False),
        ("2", "this call of tool 'note' was not run: another call has its id '2' already. Call it again if it is needed", True),
    ]
    assert (ran, shown(answered[-1])[2]) == ([1], True)


async def test_a_structured_tool_accepts_what_fits_its_schema() -> None:
    thread = a_thread(StructuredTool.from_pydantic(Answer))
    answered = await messages(thread, a_call("Answer", "1", text="yes"), a_call("Answer", "2", text=3))
    assert sorted(map(shown, answered)) == [
        ("1", "accepted", False),
        ("2", "the arguments for tool 'Answer' are not valid: text: 3 is not of type \"string\"", True),
    ]


async def test_a_failing_tool_does_not_disturb_the_others() -> None:
    def work(n: int) -> float:
        return 6 / n

    answered = await messages(a_thread(CallableTool.from_callable(work)), *(a_call("work", str(n), n=n) for n in range(4)))
    assert sorted(map(shown, answered)) == [
        ("0", "tool 'work' raised ZeroDivisionError: division by zero", True),
        ("1", "6.0", False),
        ("2", "3.0", False),
        ("3", "2.0", False),
    ]


async def test_closing_early_ends_every_running_call() -> None:
    ended: list[str] = []

    async def wait(name: str) -> str:
        if name == "quick":
            return name
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)
        return name

    thread = a_thread(CallableTool.from_callable(wait))
    before = asyncio.all_tasks()
    async with aclosing(run_tool_calls(thread, [a_call("wait", str(n), name=n) for n in ("slow", "quick", "slower")])) as results:
        async for call, _ in results:
            assert call.arguments == {"name": "quick"}
            break
    assert (sorted(ended), asyncio.all_tasks()) == (["slow", "slower"], before)


async def test_cancelling_ends_every_running_call() -> None:
    started, ended = asyncio.Event(), list[str]()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    before = asyncio.all_tasks()
    task = asyncio.create_task(messages(a_thread(CallableTool.from_callable(wait)), a_call("wait")))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (ended, asyncio.all_tasks()) == (["cleaned up"], before)


async def test_the_thread_is_not_changed_by_running_its_tools() -> None:
    thread = a_thread(CallableTool.from_callable(returning(1), name="tool"))
    before = thread.model_dump()
    await messages(thread, a_call(), threads=ToolThreads(1))
    assert thread.model_dump() == before
