"""A call that is cancelled again while it ends, as by the cancel scopes of anyio: when it has ended, nothing of it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from minference.clients.scripted import FunctionClient
from minference.errors import OrchestratorClosed
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.messages import ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from tests.inference.helpers import completed, failed, said, thread
from tests.support.virtual_time import run_virtually, virtual_now

WHOLE = [("user", "Hello."), ("assistant", "an answer")]


class Slow:
    """Answers after ten seconds, and cleans up for five if it is cancelled."""

    def __init__(self) -> None:
        self.client = FunctionClient(self._answer)
        self.cleaned = 0

    async def _answer(self, _: ChatThread) -> str:
        try:
            await asyncio.sleep(10.0)
        except asyncio.CancelledError:
            try:
                await asyncio.sleep(5.0)
            except asyncio.CancelledError:
                self.cleaned += 1
            raise
        return "an answer"


Call = Callable[[InferenceOrchestrator, ChatThread], Awaitable[object]]


async def run(orchestrator: InferenceOrchestrator, asked: ChatThread) -> object:
    return await orchestrator.run([asked])


async def run_with_a_name(orchestrator: InferenceOrchestrator, asked: ChatThread) -> object:
    return await orchestrator.run([asked], run_id="named")


async def loop_with_a_name(orchestrator: InferenceOrchestrator, asked: ChatThread) -> object:
    async with aclosing(orchestrator.as_completed([asked], run_id="named")) as outcomes:
        return [outcome async for outcome in outcomes]


every_call = pytest.mark.parametrize("call", [run, run_with_a_name, loop_with_a_name])


def opened(test: Callable[[EntityStorage, InferenceOrchestrator, Slow], Coroutine[Any, Any, None]]) -> None:
    """Run a test in virtual time, with an orchestrator of a slow provider."""

    async def main() -> None:
        slow = Slow()
        async with open_storage("memory:") as storage, InferenceOrchestrator(storage, clients={"scripted": slow.client}) as orchestrator:
            await test(storage, orchestrator, slow)

    run_virtually(main())


@every_call
def test_a_scope_of_anyio_is_one_cancellation_and_the_reply_on_its_way_is_saved(call: Call) -> None:
    async def test(storage: EntityStorage, orchestrator: InferenceOrchestrator, slow: Slow) -> None:
        asked = thread()
        with anyio.move_on_after(1.0) as scope:
            await call(orchestrator, asked)
        assert (scope.cancelled_caught, virtual_now()) == (True, 10.0)
        assert said(await storage.get(ChatThread, asked.ecs_id)) == said(asked) == WHOLE
        assert await call(orchestrator, asked) is not None
        assert (said(asked), len(slow.client.requests)) == (WHOLE, 1)

    opened(test)


@every_call
@pytest.mark.parametrize("times", [2, 3, 4])
def test_a_call_that_is_cancelled_again_ends_soon_and_nothing_of_it_goes_on(call: Call, times: int) -> None:
    async def test(storage: EntityStorage, orchestrator: InferenceOrchestrator, slow: Slow) -> None:
        asked = thread()
        calling = asyncio.ensure_future(call(orchestrator, asked))
        for _ in range(times):
            await asyncio.sleep(1.0)
            calling.cancel()
        await asyncio.wait([calling])
        assert calling.cancelled()
        assert virtual_now() == (7.0 if times == 2 else 3.0 if times == 3 else 4.0)
        assert (slow.cleaned, said(asked)) == (times > 2, [("user", "Hello.")])
        assert said(await storage.get(ChatThread, asked.ecs_id)) == said(asked)
        await call(orchestrator, asked)
        await asyncio.sleep(100.0)
        assert said(asked) == WHOLE

    opened(test)


def test_tools_have_ended_however_often_the_call_is_cancelled() -> None:
    ended: list[float] = []

    async def slow_to_end() -> None:
        try:
            await asyncio.sleep(10.0)
        finally:
            try:
                await asyncio.sleep(1.5)
            finally:
                ended.append(virtual_now())

    async def main() -> None:
        client = FunctionClient(lambda _: ToolCall(id="call", name="slow_to_end"))
        tool = CallableTool.from_callable(slow_to_end, replace=True)
        async with open_storage("memory:") as storage, InferenceOrchestrator(storage, clients={"scripted": client}) as orchestrator:
            with anyio.move_on_after(1.0):
                async for _ in orchestrator.stream(thread(tools=[tool])):
                    continue
            assert (ended, virtual_now()) == ([2.5], 2.5)
            calling = asyncio.ensure_future(orchestrator.run([thread(tools=[tool])]))
            for _ in range(2):
                await asyncio.sleep(1.0)
                calling.cancel()
            await asyncio.wait([calling])
            assert (ended, virtual_now()) == ([2.5, 4.5], 4.5)

    run_virtually(main())


def test_an_orchestrator_that_is_left_waits_however_often_that_is_cancelled() -> None:
    async def main() -> None:
        slow, asked = Slow(), thread()
        async with open_storage("memory:") as storage:
            orchestrator = InferenceOrchestrator(storage, clients={"scripted": slow.client})
            with anyio.move_on_after(1.0):
                async with orchestrator:
                    calling = asyncio.ensure_future(orchestrator.run([asked]))
                    await asyncio.sleep(100.0)
            assert (calling.done(), said(asked), virtual_now()) == (True, WHOLE, 10.0)
            async with orchestrator:
                [outcome] = await orchestrator.run([asked])
            assert completed(outcome).content == "an answer"

    run_virtually(main())


def test_an_orchestrator_whose_leaving_is_cancelled_gives_up_what_drains() -> None:
    async def main() -> None:
        slow, asked = Slow(), thread()
        async with open_storage("memory:") as storage:
            orchestrator = InferenceOrchestrator(storage, clients={"scripted": slow.client})
            await orchestrator.__aenter__()
            calling = asyncio.ensure_future(orchestrator.run([asked]))
            await asyncio.sleep(1.0)
            leaving = asyncio.ensure_future(orchestrator.__aexit__(None, None, None))
            await asyncio.sleep(1.0)
            leaving.cancel()
            await asyncio.wait([leaving])
            assert (leaving.cancelled(), virtual_now()) == (True, 7.0)
            [outcome] = await calling
            assert isinstance(failed(outcome).error, OrchestratorClosed)
            assert said(asked) == WHOLE[:1]

    run_virtually(main())


async def test_what_was_handed_to_the_writer_is_written_however_often_closing_is_cancelled(sql_url: str) -> None:
    asked = thread()
    with anyio.CancelScope() as scope:  # which cancels at each turn of the event loop until it is left
        async with open_storage(sql_url) as storage:
            storage.submit(asked)
            scope.cancel()
            await asyncio.Event().wait()
    assert scope.cancelled_caught
    async with open_storage(sql_url) as storage:
        assert (await storage.get(ChatThread, asked.ecs_id)).new_message == "Hello."
