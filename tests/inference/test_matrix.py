"""Every form of reply on every provider: through the vendors' SDKs, over a socket, to a server that keeps to their rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic_core import from_json

from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Completed
from minference.profiles import built_in_profiles
from minference.storage.base import EntityStorage
from minference.testing import ProviderServer
from minference.threads.config import ResponseFormat
from minference.threads.formats import Means, means_of
from minference.threads.messages import FinishReason
from minference.threads.outputs import RawOutput
from tests.clients.cells import ON_A_SOCKET, PROVIDERS, City, body, cell, find_through_environment, recorded
from tests.inference.helpers import completed
from tests.inference.wire import rebuilt

LONGEST_CITY = 160
"""Tokens: more than the longest object that the schema allows has characters, so that no choice of the model is cut off."""
EACH_FORM = pytest.mark.parametrize("wanted", ResponseFormat)


@pytest.fixture
def strict_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    """A strict provider for all clients; it calls the tools on offer."""
    with ProviderServer(call_tools=True, strict=True) as server:
        find_through_environment(server, monkeypatch)
        yield server


@EACH_FORM
@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_is_sent_is_what_was_recorded(provider: str, wanted: ResponseFormat) -> None:
    assert body(provider, wanted) == recorded(provider, wanted), "if this is meant: python -m tests.clients.cells"


@EACH_FORM
@pytest.mark.parametrize("provider", ON_A_SOCKET)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_each_form_comes_back_from_each_provider(
    memory: EntityStorage, strict_server: ProviderServer, provider: str, wanted: ResponseFormat, streamed: bool
) -> None:
    chat = cell(provider, wanted)
    async with InferenceOrchestrator(memory) as orchestrator:
        if streamed:
            async for _ in orchestrator.stream(chat):
                pass
        [outcome] = await orchestrator.run([chat])
    check(provider, wanted, completed(outcome))
    sent = [request.body for request in strict_server.requests]
    added = {name: sent[0][name] for name in ("stream", "stream_options") if name in sent[0]}
    assert ("stream" in added) is streamed
    assert sent[0] == recorded(provider, wanted) | added
    assert await rebuilt(memory) == [request.content for request in strict_server.requests]


def check(provider: str, wanted: ResponseFormat, done: Completed) -> None:
    """The outcome has the form that was asked for, whatever the provider had to be asked."""
    match wanted:
        case ResponseFormat.text:
            assert (done.content, done.object) == ("You said: Rome", None)
        case ResponseFormat.json_beg:
            begun = means_of(built_in_profiles()[provider], wanted) is Means.prefill
            assert done.content.startswith(done.thread.prefill) is begun
            assert begun or done.content.startswith("You said: Rome")
        case ResponseFormat.json_object:
            assert isinstance(from_json(done.content), dict)
            assert (done.reply.tool_calls, done.reply.finish_reason, done.object) == ((), FinishReason.stop, None)
        case ResponseFormat.auto_tools:
            assert done.content == "The tools said: ROME"
        case ResponseFormat.structured_output | ResponseFormat.tool | ResponseFormat.workflow:
            assert isinstance(done.parsed, City)
            assert done.parsed.name in ("Rome", "Received.")
            assert bool(done.reply.tool_calls) is (wanted is not ResponseFormat.structured_output)
    if wanted is ResponseFormat.workflow:
        assert done.thread.workflow_step == 2


@EACH_FORM
@pytest.mark.local_model
async def test_each_form_comes_from_the_model_on_this_machine(memory: EntityStorage, local_child: None, wanted: ResponseFormat) -> None:
    # What is forced into a form comes to an end by itself.
    max_tokens = 30 if wanted in (ResponseFormat.text, ResponseFormat.json_beg, ResponseFormat.json_object) else LONGEST_CITY
    chat = cell("local", wanted, max_tokens=max_tokens, temperature=0, seed=7)
    async with InferenceOrchestrator(memory, structured_attempts=3) as orchestrator:
        [outcome] = await orchestrator.run([chat])
        raws = [await memory.get(RawOutput, version.ecs_id) for version in await memory.list_by_type(RawOutput)]
        requests = [await raw.request() for raw in raws]
    done = completed(outcome)
    assert all(request["messages"] for request in requests)
    match wanted:
        case ResponseFormat.text | ResponseFormat.auto_tools:
            assert done.content
        case ResponseFormat.json_beg:
            assert done.content.startswith(chat.prefill)
        case ResponseFormat.json_object:
            assert done.finish_reason is FinishReason.length or isinstance(from_json(done.content), dict)
        case _:
            assert isinstance(done.parsed, City)
