"""What a call of the orchestrator cannot be told: refused before anything is asked or saved."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from minference.clients.scripted import ScriptedClient
from minference.errors import UnknownOption, WrongArgument
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.open import open_storage
from minference.threads.config import LLMConfig, ResponseFormat
from tests.inference.helpers import add_tool, thread

Call = Callable[..., Any]


def workflow() -> Any:
    config = LLMConfig(client="scripted", model="model", response_format=ResponseFormat.workflow)
    return thread(llm_config=config, tools=[add_tool()])


CALLS: dict[str, Call] = {
    "run": lambda orchestrator, **options: orchestrator.run([thread()], **options),
    "as_completed": lambda orchestrator, **options: orchestrator.as_completed([thread()], **options),
    "resume": lambda orchestrator, **options: orchestrator.resume("night", **options),
    "stream": lambda orchestrator, **options: orchestrator.stream(thread(), **options),
    "run_workflow": lambda orchestrator, **options: orchestrator.run_workflow(workflow(), **options),
}


async def _done(given: Any) -> None:
    if isinstance(given, AsyncIterator):
        async for _ in given:
            pass
    else:
        await given


async def refuse(call: Call, error: type[Exception], match: str, **options: Any) -> None:
    """Make sure that options are refused, and nothing was asked or saved."""
    client = ScriptedClient(["yes"])
    async with open_storage("memory:") as storage:
        async with InferenceOrchestrator(storage, clients={"scripted": client}) as orchestrator:
            with pytest.raises(error, match=match):
                await _done(call(orchestrator, **options))
        assert (client.requests, (await storage.status()).versions) == ([], 0)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_misspelled_option_is_refused_with_the_one_that_was_meant(call: Call) -> None:
    await refuse(call, UnknownOption, r"there is no option 'buget': did you mean 'budget'\? There are .*max_turns, ", buget=None)
    await refuse(call, TypeError, "there is no option 'temperature': there are ", temperature=0)


@pytest.mark.parametrize("call", [CALLS["run"], CALLS["as_completed"]], ids=["run", "as_completed"])
async def test_other_arguments_of_a_method_are_meant_as_well(call: Call) -> None:
    await refuse(call, UnknownOption, "did you mean 'concurrency'", concurency=1)
    await refuse(call, WrongArgument, "concurrency must be an int, and is '4', of type str", concurrency="4")


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"max_turns": "3"}, WrongArgument, "max_turns must be an int, and is '3'"),
        ({"max_turns": 0}, ValueError, "max_turns is 0"),
        ({"budget": 5}, WrongArgument, "budget must be a Budget such as .*, or None, and is 5"),
        ({"deadline": "1 s"}, WrongArgument, "deadline must be a number of seconds or None"),
        ({"thread_deadline": -1}, ValueError, "thread_deadline is -1: it leaves no time"),
    ],
    ids=["turns as text", "no turns", "budget as a number", "deadline as text", "deadline in the past"],
)
async def test_options_of_other_types_are_refused(options: dict[str, Any], error: type[Exception], match: str) -> None:
    for call in (CALLS["run"], CALLS["stream"]):
        await refuse(call, error, match, **options)
