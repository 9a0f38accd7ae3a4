"""What OpenTelemetry is told of threads, calls and tools: recorded by its own SDK."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from minference.clients.base import Reply, TextDelta, TokenUsage
from minference.clients.scripted import ScriptedClient
from minference.errors import InvalidReply, ProviderRefused
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.telemetry import CONTENT_VARIABLE, Telemetry
from minference.storage.base import EntityStorage
from minference.testing import ProviderServer
from minference.testing.faults import Fault, Hang, Status, TruncatedStream
from minference.threads.config import LLMConfig
from minference.threads.messages import FinishReason, SystemPrompt, ToolCall
from minference.threads.tools import CallableTool
from tests.inference.helpers import AT_ONCE, add_tool, completed, failed, thread
from tests.support.source import ROOT

BUSY = ProviderRefused("scripted", "busy with SECRET", status=503, retryable=True, retry_after=0.0)
CALL = ToolCall(id="call 1", name="add", arguments_json='{"a": 1, "b": 2}')
IDS = ("minference.thread.id", "minference.thread.version", "gen_ai.conversation.id")


@dataclass
class Recorder:
    """An OpenTelemetry SDK whose spans and metrics stay in memory."""

    spans: InMemorySpanExporter
    metrics: InMemoryMetricReader
    tracer: Tracer
    telemetry: Telemetry
    tracer_provider: TracerProvider

    def tree(self) -> dict[str, list[str]]:
        """The names of the spans that have no parent, in order, with all that are below them."""
        ended = sorted(self.spans.get_finished_spans(), key=lambda span: span.start_time or 0)
        return {span.name: self._below(span, ended) for span in ended if span.parent is None}

    def _below(self, parent: ReadableSpan, ended: list[ReadableSpan], depth: int = 1) -> list[str]:
        found: list[str] = []
        for span in ended:
            if span.parent is not None and span.parent.span_id == parent.context.span_id:
                found += ["  " * (depth - 1) + span.name, *self._below(span, ended, depth + 1)]
        return found

    def named(self, beginning: str) -> list[ReadableSpan]:
        """The spans whose names begin so, in the order in which they ended."""
        return [span for span in self.spans.get_finished_spans() if span.name.startswith(beginning)]

    def points(self, name: str) -> list[HistogramDataPoint]:
        """What a histogram holds."""
        data = self.metrics.get_metrics_data()
        assert data is not None
        every = [metric for each in data.resource_metrics for scope in each.scope_metrics for metric in scope.metrics]
        points = [point for metric in every if metric.name == name for point in metric.data.data_points]
        return [point for point in points if isinstance(point, HistogramDataPoint)]

    def everything(self) -> str:
        """All that was recorded, as text."""
        return "".join(span.to_json() for span in self.spans.get_finished_spans())


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    spans, metrics = InMemorySpanExporter(), InMemoryMetricReader()
    tracer_provider = TracerProvider(shutdown_on_exit=False)
    tracer_provider.add_span_processor(SimpleSpanProcessor(spans))
    meter_provider = MeterProvider([metrics], shutdown_on_exit=False)
    telemetry = Telemetry(tracer_provider=tracer_provider, meter_provider=meter_provider)
    yield Recorder(spans, metrics, tracer_provider.get_tracer("application"), telemetry, tracer_provider)
    tracer_provider.shutdown()
    meter_provider.shutdown()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Without ids, which differ every time."""
    return {name: value for name, value in (span.attributes or {}).items() if name not in IDS}


def of_thread(span: ReadableSpan) -> str:
    """The lineage of the thread that a span belongs to."""
    return str((span.attributes or {})["minference.thread.id"])


def ended(span: ReadableSpan) -> tuple[StatusCode, object]:
    """How it ended, and with which kind of error."""
    return span.status.status_code, (span.attributes or {}).get("error.type")


async def test_a_thread_is_a_span_with_its_calls_and_tools(memory: EntityStorage, recorder: Recorder) -> None:
    usage = TokenUsage(9, 3, cached=4, reasoning=2)
    answer = Reply(content="3", model="model-2", finish_reason=FinishReason.stop, usage=usage)
    config = LLMConfig(client="scripted", model="model", max_tokens=50, temperature=0.5, seed=7)
    asked = thread("1 + 2?", llm_config=config, tools=[add_tool()])
    clients = {"scripted": ScriptedClient([CALL, answer])}
    async with InferenceOrchestrator(memory, clients=clients, telemetry=recorder.telemetry) as orchestrator:
        [outcome] = await orchestrator.run([asked], run_id="sums")
    assert recorder.tree() == {"invoke_agent": ["chat model", "execute_tool add", "chat model"]}
    [agent], [tool], [_, chat] = recorder.named("invoke_agent"), recorder.named("execute_tool"), recorder.named("chat")
    assert [span.kind for span in (agent, tool, chat)] == [SpanKind.INTERNAL, SpanKind.INTERNAL, SpanKind.CLIENT]
    run = {"minference.run.id": "sums"}
    assert attributes(chat) == run | {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "model",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.seed": 7,
        "gen_ai.response.model": "model-2",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "minference.attempts": 1,
    }
    assert attributes(tool) == run | {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "call 1",
    }
    assert attributes(agent) == run | {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.request.model": "model",
        "minference.failed_attempts": 0,
        "minference.replies": 2,
        "minference.tokens": completed(outcome).spent.tokens,
    }
    assert (agent.attributes or {})["minference.thread.version"] == str(asked.ecs_id)
    assert {of_thread(span) for span in (agent, tool, chat)} == {str(asked.lineage_id)}
    assert {ended(span)[0] for span in (agent, tool, chat)} == {StatusCode.UNSET}


@pytest.mark.parametrize(("client", "begins"), [("openai", "chatcmpl"), ("anthropic", "msg")])
async def test_calls_over_sockets_name_server_and_answer_and_their_failed_attempts(
    memory: EntityStorage, provider_server: ProviderServer, recorder: Recorder, client: str, begins: str
) -> None:
    provider_server.faults = {1: Status(429, headers={"retry-after": "0"})}
    asked = thread(llm_config=LLMConfig(client=client, model="m"))
    async with InferenceOrchestrator(memory, retry=AT_ONCE, telemetry=recorder.telemetry) as orchestrator:
        completed((await orchestrator.run([asked]))[0])
    [chat] = recorder.named("chat")
    found = attributes(chat)
    assert (found["gen_ai.provider.name"], found["server.address"]) == (client, "127.0.0.1")
    assert provider_server.url.endswith(f":{found['server.port']}")
    assert found["gen_ai.response.id"].startswith(begins)
    assert (found["minference.attempts"], ended(chat)) == (2, (StatusCode.UNSET, None))
    sent, refused, again = chat.events
    assert [event.name for event in (sent, again)] == ["minference.attempt", "minference.attempt"]
    assert (refused.name, dict(refused.attributes or {})) == (
        "minference.attempt_failed",
        {
            "error.type": "429",
            "http.response.status_code": 429,
            "minference.attempt": 1,
            "minference.error_code": "rate_limit_error",
            "minference.retry_after": 0.0,
        },
    )


async def test_a_failed_attempt_tells_the_tokens_that_were_counted_for_it(memory: EntityStorage, recorder: Recorder) -> None:
    error = InvalidReply("scripted", "said nothing", status=200, retryable=True, usage=TokenUsage(40, 2))
    clients = {"scripted": ScriptedClient([error, "Fine."])}
    async with InferenceOrchestrator(memory, clients=clients, retry=AT_ONCE, telemetry=recorder.telemetry) as orchestrator:
        completed((await orchestrator.run([thread()]))[0])
    [chat] = recorder.named("chat")
    [failure] = [event for event in chat.events if event.name == "minference.attempt_failed"]
    told = dict(failure.attributes or {})
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (40, 2)


async def test_what_nobody_answers_is_an_error_and_a_fallback_a_call_of_its_own(memory: EntityStorage, recorder: Recorder) -> None:
    second = LLMConfig(client="second", model="other")
    asked = thread(llm_config=LLMConfig(client="first", model="model", fallbacks=(second,)))
    clients = {"first": ScriptedClient(lambda _: BUSY), "second": ScriptedClient([ProviderRefused("second", "no", status=400)])}
    async with InferenceOrchestrator(memory, clients=clients, retry=AT_ONCE, telemetry=recorder.telemetry) as orchestrator:
        failed((await orchestrator.run([asked]))[0])
    assert recorder.tree() == {"invoke_agent": ["chat model", "chat other"]}
    [first, other], [agent] = recorder.named("chat"), recorder.named("invoke_agent")
    assert (ended(first), attributes(first)["minference.attempts"]) == ((StatusCode.ERROR, "503"), AT_ONCE.max_attempts)
    assert ended(other) == ended(agent) == (StatusCode.ERROR, "400")
    assert attributes(agent)["minference.failed_attempts"] == AT_ONCE.max_attempts + 1
    assert "SECRET" not in recorder.everything()


async def test_parallel_threads_are_children_of_the_caller_and_not_of_each_other(memory: EntityStorage, recorder: Recorder) -> None:
    async with InferenceOrchestrator(memory, telemetry=recorder.telemetry) as orchestrator:
        with recorder.tracer.start_as_current_span("request"):
            await orchestrator.run([thread(f"{number}") for number in range(8)], concurrency=3)
        async for _ in orchestrator.as_completed([thread("9")]):
            pass
    alone = ["invoke_agent", "  chat model"]
    assert recorder.tree() == {"request": alone * 8, "invoke_agent": ["chat model"]}
    agents = {span.context.span_id: of_thread(span) for span in recorder.named("invoke_agent")}
    assert len(set(agents.values())) == 9
    assert all(span.parent is not None and agents[span.parent.span_id] == of_thread(span) for span in recorder.named("chat"))


async def test_what_a_tool_does_is_part_of_its_call(memory: EntityStorage, recorder: Recorder) -> None:
    def in_a_thread() -> str:
        with recorder.tracer.start_as_current_span("read file"):
            return "read"

    async def in_the_loop() -> str:
        with recorder.tracer.start_as_current_span("fetch page"):
            raise KeyError("SECRET")

    tools = [CallableTool.from_callable(function, replace=True) for function in (in_a_thread, in_the_loop)]
    calls = tuple(ToolCall(id=tool.name, name=tool.name) for tool in tools)
    reply = Reply(content="", model="model", finish_reason=FinishReason.tool_calls, tool_calls=calls)
    clients = {"scripted": ScriptedClient([reply, "Done."])}
    async with InferenceOrchestrator(memory, clients=clients, telemetry=recorder.telemetry, tool_concurrency=1) as orchestrator:
        await orchestrator.run([thread(tools=list(tools))])
    below = ["execute_tool in_a_thread", "  read file", "execute_tool in_the_loop", "  fetch page"]
    assert recorder.tree() == {"invoke_agent": ["chat model", *below, "chat model"]}
    assert [ended(span) for span in recorder.named("execute_tool")] == [(StatusCode.UNSET, None), (StatusCode.ERROR, "KeyError")]


@pytest.mark.parametrize("client", ["openai", "anthropic"])
async def test_a_stream_is_measured_and_its_reader_is_outside_of_it(
    memory: EntityStorage, provider_server: ProviderServer, recorder: Recorder, client: str
) -> None:
    asked = thread(llm_config=LLMConfig(client=client, model="m"))
    async with InferenceOrchestrator(memory, telemetry=recorder.telemetry) as orchestrator:
        with recorder.tracer.start_as_current_span("page") as page:
            async with aclosing(orchestrator.stream(asked)) as events:
                current = [trace.get_current_span() async for _ in events]
    assert set(current) == {page}
    assert recorder.tree() == {"page": ["invoke_agent", "  chat m"]}
    [chat] = recorder.named("chat")
    assert attributes(chat)["gen_ai.request.stream"] is True
    assert attributes(chat)["gen_ai.response.time_to_first_chunk"] > 0
    assert attributes(chat)["gen_ai.usage.output_tokens"] > 0


async def test_a_stream_that_breaks_or_is_left_ends_its_spans(
    memory: EntityStorage, provider_server: ProviderServer, recorder: Recorder
) -> None:
    provider_server.faults = {1: TruncatedStream(events=3)}
    config = LLMConfig(client="openai", model="m")
    async with InferenceOrchestrator(memory, retry=AT_ONCE, telemetry=recorder.telemetry) as orchestrator:
        async with aclosing(orchestrator.stream(thread("one two three", llm_config=config))) as events:
            async for _ in events:
                pass
        broken, agent = recorder.spans.get_finished_spans()
        assert ended(broken) == ended(agent) == (StatusCode.ERROR, "ProviderUnreachable")
        assert [event.name for event in broken.events] == ["minference.attempt", "minference.attempt_failed"]
        recorder.spans.clear()
        async with aclosing(orchestrator.stream(thread("one two three", llm_config=config))) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break
    assert [ended(span) for span in recorder.spans.get_finished_spans()] == [(StatusCode.ERROR, "cancelled")] * 2


async def test_a_cancellation_ends_every_span(memory: EntityStorage, provider_server: ProviderServer, recorder: Recorder) -> None:
    arrived, loop = asyncio.Event(), asyncio.get_running_loop()

    def hang(request: object) -> Fault:
        loop.call_soon_threadsafe(arrived.set)
        return Hang()

    provider_server.faults = hang
    asked = thread(llm_config=LLMConfig(client="openai", model="m"))
    async with InferenceOrchestrator(memory, drain_seconds=0.0, telemetry=recorder.telemetry) as orchestrator:
        running = asyncio.create_task(orchestrator.run([asked]))
        await arrived.wait()
        running.cancel()
        await asyncio.wait([running])
    assert recorder.tree() == {"invoke_agent": ["chat m"]}
    assert [ended(span) for span in recorder.spans.get_finished_spans()] == [(StatusCode.ERROR, "cancelled")] * 2


@pytest.mark.parametrize("opted_in", ["no", "argument", "variable"])
async def test_contents_are_recorded_only_where_it_is_asked_for(
    memory: EntityStorage, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, opted_in: str
) -> None:
    if opted_in == "variable":
        monkeypatch.setenv(CONTENT_VARIABLE, "SPAN_ONLY")
    telemetry = Telemetry(tracer_provider=recorder.tracer_provider, message_content=True if opted_in == "argument" else None)
    asked = thread("SECRET 1", name="SECRET 2", system_prompt=SystemPrompt(content="SECRET 3"), tools=[add_tool()])
    clients = {"scripted": ScriptedClient([CALL, BUSY, "SECRET 4"])}
    async with InferenceOrchestrator(memory, clients=clients, retry=AT_ONCE, telemetry=telemetry) as orchestrator:
        await orchestrator.run([asked])
    if opted_in == "no":
        assert "SECRET" not in recorder.everything()
        assert not any("arguments" in name or "messages" in name for span in recorder.named("") for name in attributes(span))
        return
    [tool], [_, chat] = recorder.named("execute_tool"), recorder.named("chat")
    assert attributes(tool)["gen_ai.tool.call.arguments"] == CALL.arguments_json
    assert attributes(tool)["gen_ai.tool.call.result"] == "3"
    assert attributes(chat)["gen_ai.system_instructions"] == '[{"type": "text", "content": "SECRET 3"}]'
    called = '{"type": "tool_call", "id": "call 1", "name": "add", "arguments": {"a": 1, "b": 2}}'
    assert attributes(chat)["gen_ai.input.messages"] == (
        '[{"role": "user", "parts": [{"type": "text", "content": "SECRET 1"}]}, '
        f'{{"role": "assistant", "parts": [{called}]}}, '
        '{"role": "tool", "parts": [{"type": "tool_call_response", "id": "call 1", "response": "3"}]}]'
    )
    said = '[{"role": "assistant", "parts": [{"type": "text", "content": "SECRET 4"}], "finish_reason": "stop"}]'
    assert attributes(chat)["gen_ai.output.messages"] == said
    assert "busy with SECRET" in recorder.everything()


async def test_calls_are_counted_in_the_metrics_of_the_conventions(memory: EntityStorage, recorder: Recorder) -> None:
    answer = Reply(content="Hi.", model="model-2", finish_reason=FinishReason.stop, usage=TokenUsage(9, 3))
    clients = {"scripted": ScriptedClient([answer, answer, ProviderRefused("scripted", "no", status=400)])}
    async with InferenceOrchestrator(memory, clients=clients, telemetry=recorder.telemetry) as orchestrator:
        await orchestrator.run([thread() for _ in range(3)], concurrency=1)
    about = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "scripted", "gen_ai.request.model": "model"}
    answered = about | {"gen_ai.response.model": "model-2"}
    assert [(dict(point.attributes or {}), point.count, point.sum) for point in recorder.points("gen_ai.client.token.usage")] == [
        (answered | {"gen_ai.token.type": "input"}, 2, 18),
        (answered | {"gen_ai.token.type": "output"}, 2, 6),
    ]
    assert [(dict(point.attributes or {}), point.count) for point in recorder.points("gen_ai.client.operation.duration")] == [
        (answered, 2),
        (about | {"error.type": "400"}, 1),
    ]


async def test_a_tool_that_a_model_makes_up_names_no_span(memory: EntityStorage, recorder: Recorder) -> None:
    clients = {"scripted": ScriptedClient([ToolCall(id="1", name="made_up"), "Sorry."])}
    async with InferenceOrchestrator(memory, clients=clients, telemetry=recorder.telemetry) as orchestrator:
        completed((await orchestrator.run([thread(tools=[add_tool()])]))[0])
    assert recorder.tree() == {"invoke_agent": ["chat model", "execute_tool", "chat model"]}
    [span] = recorder.named("execute_tool")
    assert (attributes(span)["gen_ai.tool.name"], ended(span)) == ("made_up", (StatusCode.ERROR, "UnknownTool"))


def test_without_opentelemetry_everything_runs() -> None:
    command = [sys.executable, "-m", "tests.inference.no_opentelemetry"]  # not of the nursery, which has imported everything
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "You said: Hello.\n"), done.stderr


async def test_a_reply_from_the_cache_says_so_and_counts_no_tokens(memory: EntityStorage, recorder: Recorder) -> None:
    async with InferenceOrchestrator(
        memory, clients={"scripted": ScriptedClient(["Yes."])}, telemetry=recorder.telemetry, cache=True
    ) as orchestrator:
        for _ in range(2):
            [outcome] = await orchestrator.run([thread("a")])
    assert completed(outcome).from_cache
    asked, given = map(attributes, recorder.named("chat"))
    assert ("gen_ai.usage.input_tokens" in asked, "minference.from_cache" in asked) == (True, False)
    assert (given["minference.from_cache"], given["minference.attempts"], given["minference.cost_usd"]) == (True, 0, 0.0)
    assert not any(name.startswith("gen_ai.usage") for name in given)
    assert [point.count for point in recorder.points("gen_ai.client.token.usage")] == [1, 1]
