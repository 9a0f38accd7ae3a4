"""See where the time of a run goes: every thread, call of a model and call of a tool as an OpenTelemetry span.

An application sends spans to its collector. This one prints them when all is done, as a tree with times and failed attempts.
"""

import asyncio

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from minference import CallableTool, ChatThread, InferenceOrchestrator, LLMConfig, ToolCall, open_storage
from minference.errors import ProviderRefused
from minference.inference.retries import RetryPolicy
from minference.testing import ScriptedClient


async def look_up(city: str) -> str:
    """The weather in a city."""
    with trace.get_tracer("weather").start_as_current_span("ask the station"):
        await asyncio.sleep(0.02)
    return f"sunny in {city}"


def show(spans: list[ReadableSpan], parent: int | None = None, indent: str = "") -> None:
    for span in sorted(spans, key=lambda span: span.start_time or 0):
        if (span.parent.span_id if span.parent else None) == parent:
            failed = [event for event in span.events if event.name == "minference.attempt_failed"]
            note = f", failed attempts: {len(failed)}" if failed else ""
            print(f"{indent}{span.name}: {((span.end_time or 0) - (span.start_time or 0)) / 1e6:.0f} ms{note}")
            show(spans, span.context.span_id, indent + "  ")


async def main() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)  # that is all: an orchestrator uses what is set up

    busy = ProviderRefused("oracle", "overloaded", status=529, retryable=True, retry_after=0.05)
    oracle = ScriptedClient([busy, ToolCall.from_arguments("call_1", "look_up", {"city": "Oslo"}), "It is sunny."])
    thread = ChatThread(
        llm_config=LLMConfig(client="oracle", model="delphi"),
        tools=[CallableTool.from_callable(look_up)],
        new_message="What is the weather in Oslo?",
    )
    async with (
        open_storage("memory:") as storage,
        InferenceOrchestrator(storage=storage, clients={"oracle": oracle}, retry=RetryPolicy(first_pause=0.05)) as orchestrator,
    ):
        with trace.get_tracer("application").start_as_current_span("request"):
            await orchestrator.run([thread])
    show(list(exporter.get_finished_spans()))


if __name__ == "__main__":
    asyncio.run(main())
