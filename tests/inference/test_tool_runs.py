"""Running a tool: its arguments, its kinds, its errors and its time. Whatever it does, nothing else stops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Iterator
from datetime import date
from typing import Any

import pytest

from minference.ecs.callables import CallableRegistry
from minference.errors import (
    InvalidToolArguments,
    ToolRaised,
    ToolTimedOut,
    UnregisteredTool,
)
from minference.inference.tool_results import ToolFailed, ToolSucceeded, error_text
from minference.inference.tool_runs import run_tool_call
from minference.threads.messages import ToolCall
from minference.threads.tools import CallableTool
from tests.inference.tool_calls import Order, a_call, failure, run

PATIENCE = 30.0


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.ecs.callables._FUNCTIONS", {})


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def test_arguments_are_coerced_and_nested_models_stay_models() -> None:
    received: list[Any] = []

    def order(what: Order, when: date, times: int = 2) -> None:
        received.append((what, when, times))

    call = a_call(what={"item": "tea", "howMany": "3"}, when="2026-11-21", times="4")
    assert await run(order, call) == ToolSucceeded("null", None)
    assert received == [(Order(item="tea", howMany=3), date(2026, 11, 21), 4)]


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


class Odd(BaseException):
    pass


ERRORS = [
    ValueError("no tea"), SystemExit(1), Odd("x"), asyncio.CancelledError("y"), GeneratorExit("z"), StopIteration(3),
    ExceptionGroup("two", [OSError()]),
]  # fmt: skip


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


async def test_an_async_tool_that_cancels_itself_and_returns_is_a_failure() -> None:
    async def cancel_itself() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return "done"

    raised = await failure(cancel_itself)
    assert isinstance(raised, ToolRaised)
    assert isinstance(raised.error, asyncio.CancelledError)


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
    monkeypatch.setattr("minference.inference.tool_functions.GRACE", 0.01)
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
