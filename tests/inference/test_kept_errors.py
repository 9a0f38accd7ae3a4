"""An error that is kept says where it came from, and holds nothing of what was sent."""

from __future__ import annotations

import asyncio
import gc
import traceback
from collections.abc import Iterator
from types import FrameType, TracebackType
from weakref import ref

import pytest

from minference.clients.scripted import ScriptedClient
from minference.errors import ProviderRefused
from minference.inference.events import Finished
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Failed
from minference.inference.retries import RetryPolicy
from minference.storage.base import EntityStorage
from minference.testing import ProviderServer
from minference.testing.faults import Status
from minference.threads.config import LLMConfig
from minference.threads.thread import ChatThread
from tests.inference.helpers import AT_ONCE, completed, thread

BOTH = pytest.mark.parametrize("client", ["openai", "anthropic"])
SECRET = "the combination is 7-21-3"


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Nobody looks for cycles: what is part of one stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def frames_of(error: BaseException | None) -> Iterator[FrameType]:
    """The functions through which an error came, and those through which came what it has come from."""
    while error is not None:
        step: TracebackType | None = error.__traceback__
        while step is not None:
            yield step.tb_frame
            step = step.tb_next
        error = error.__cause__ or error.__context__


async def outcome_of_a_refusal(storage: EntityStorage, client: str, *, stream: bool) -> Failed:
    async with InferenceOrchestrator(storage, retry=AT_ONCE) as orchestrator:
        asked = thread(SECRET, llm_config=LLMConfig(client=client, model="m"))
        if not stream:
            [outcome] = await orchestrator.run([asked])
        else:
            [outcome] = [event.outcome async for event in orchestrator.stream(asked) if isinstance(event, Finished)]
    assert isinstance(outcome, Failed)
    return outcome


@BOTH
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_kept_error_shows_its_way_and_nothing_that_was_sent(
    memory: EntityStorage, provider_server: ProviderServer, client: str, *, stream: bool
) -> None:
    provider_server.faults = lambda _: Status(500)
    outcome = await outcome_of_a_refusal(memory, client, stream=stream)
    assert isinstance(outcome.error, ProviderRefused)
    way = "".join(traceback.format_exception(outcome.error))
    assert "transport.py" in way
    assert "thread_run.py" in way
    told = [repr(value) for frame in frames_of(outcome.error) for value in frame.f_locals.values()]
    assert not [each for each in told if SECRET in each]
    assert provider_server.requests[0].headers
    key = next(value for name, value in provider_server.requests[0].headers.items() if name in ("authorization", "x-api-key"))
    assert not [each for each in told if key.removeprefix("Bearer ") in each]


@BOTH
@pytest.mark.parametrize("refusals", [1, 100], ids=["retried", "given up"])
@pytest.mark.usefixtures("no_collector")
async def test_a_thread_whose_calls_were_refused_goes_when_nobody_holds_it(
    memory: EntityStorage, provider_server: ProviderServer, client: str, refusals: int
) -> None:
    provider_server.faults = dict.fromkeys(range(1, refusals + 1), Status(500))
    gone = []
    async with InferenceOrchestrator(memory, retry=AT_ONCE) as orchestrator:
        asked = (thread(SECRET, llm_config=LLMConfig(client=client, model="m")) for _ in range(3))
        async for outcome in orchestrator.as_completed(asked, concurrency=1):
            gone.append(ref(outcome.thread))
            if refusals == 1:
                completed(outcome)
        del outcome
    assert len(gone) == 3
    assert [each() for each in gone] == [None] * 3


async def test_what_the_caller_was_handling_keeps_what_it_holds(memory: EntityStorage, provider_server: ProviderServer) -> None:
    provider_server.faults = lambda _: Status(500)

    def fail() -> None:
        clue = "the caller's own"
        raise LookupError(clue)

    handled: list[LookupError] = []
    try:
        fail()
    except LookupError as caught:
        handled.append(caught)
        await outcome_of_a_refusal(memory, "openai", stream=True)
    assert [frame.f_locals.get("clue") for frame in frames_of(handled.pop())] == [None, "the caller's own"]


async def test_one_error_that_is_raised_to_many_threads_holds_up_none_of_them(memory: EntityStorage) -> None:
    busy = ProviderRefused("scripted", "busy", status=503, retryable=True)
    refused = 0

    def answer(_: ChatThread) -> str | BaseException:
        nonlocal refused
        refused += 1
        return busy if refused <= 60 else "Yes."

    clients = {"scripted": ScriptedClient(answer)}
    retry = RetryPolicy(max_attempts=20, first_pause=0.001)
    async with InferenceOrchestrator(memory, clients=clients, retry=retry) as orchestrator, asyncio.timeout(30):
        outcomes = await orchestrator.run([thread() for _ in range(20)])
    assert [completed(outcome).content for outcome in outcomes] == ["Yes."] * 20
