"""Telemetry: threads, calls of models and tools as spans and metrics, by OpenTelemetry's conventions for generative AI."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from minference.clients.base import Reply, TokenUsage, server_of
from minference.errors import ProviderError, ToolRaised
from minference.inference.outcomes import Failed, Outcome
from minference.inference.requests import Prepared
from minference.inference.spoken import instructions, messages, reply_message
from minference.inference.tool_results import ToolFailed, ToolOutcome
from minference.logs import current
from minference.threads.formats import ResponseFormat
from minference.threads.messages import ToolCall
from minference.threads.thread import ChatThread

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import Span, Tracer, TracerProvider

CONTENT_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""Names the environment variable that lets contents into spans; OpenTelemetry's own instrumentations read it too."""

_CONTENT_IN_SPANS = {"true", "span_only", "span_and_event"}
_PROVIDERS = {"azure_openai": "azure.ai.openai"}
"""Clients whose provider has another name in the conventions."""
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(4**exponent for exponent in range(14))


@dataclass(frozen=True, slots=True)
class _Instruments:
    """What OpenTelemetry's API gives."""

    tracer: Tracer
    tokens: Histogram
    seconds: Histogram
    use: Callable[[Span], AbstractContextManager[object]]
    """Makes a span the current one, and leaves its end to us."""


INACTIVE: AbstractContextManager[object] = nullcontext()
"""What a span that nobody listens to is when it is the current one."""


class Telemetry:
    """Where spans and metrics go. Nothing is recorded unless the application has set up an OpenTelemetry SDK.

    `InferenceOrchestrator(telemetry=Telemetry(message_content=True))`. By default, an orchestrator uses the providers that are
    set globally, if the API is installed (`pip install "minference[telemetry]"`).
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        message_content: bool | None = None,
    ) -> None:
        """Set up.

        Args:
            tracer_provider: Gets the spans; `None` for the global one.
            meter_provider: Gets the metrics; `None` for the global one.
            message_content: Whether spans hold what was said: messages, arguments and results of tools, texts of errors. `None`:
                as the environment variable `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` says, by default not.
        """
        said = os.environ.get(CONTENT_VARIABLE, "").strip().lower()
        self.message_content = said in _CONTENT_IN_SPANS if message_content is None else message_content
        self._is_global = tracer_provider is None and meter_provider is None
        self._instruments = _global_instruments() if self._is_global else _instruments(tracer_provider, meter_provider)

    def thread(self, thread: ChatThread) -> ThreadOperation:
        """A thread on its way begins."""
        model = thread.llm_config.model
        return ThreadOperation(
            self, thread, self._start("invoke_agent", None, {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": model})
        )

    def chat(self, prepared: Prepared, thread: ChatThread, *, streaming: bool) -> ChatOperation:
        """A call of a model begins, with all its attempts."""
        if self._unheard():
            return ChatOperation(self, thread, None)
        about = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": _PROVIDERS.get(prepared.client.name, prepared.client.name),
            "gen_ai.request.model": prepared.config.model,
            **_server(server_of(prepared.client)),
        }
        operation = ChatOperation(self, thread, self._start("chat", prepared.config.model, about, is_client=True))
        operation.asks(prepared, about, streaming=streaming)
        return operation

    def tool(self, thread: ChatThread, call: ToolCall) -> ToolOperation:
        """A call of a tool begins."""
        about = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.name,
            "gen_ai.tool.call.id": call.id,
            "gen_ai.tool.type": "function",
        }
        known = call.name if thread.tool_named(call.name) else None  # what a model makes up is no name for a span
        operation = ToolOperation(self, thread, self._start("execute_tool", known, about))
        if self.message_content:
            operation.set({"gen_ai.tool.call.arguments": call.arguments_json})
        return operation

    def _start(self, operation: str, what: str | None, about: dict[str, Any], *, is_client: bool = False) -> Span | None:
        if self._instruments is None or self._unheard():
            return None
        from opentelemetry.trace import SpanKind

        kind = SpanKind.CLIENT if is_client else SpanKind.INTERNAL
        return self._instruments.tracer.start_span(f"{operation} {what}" if what else operation, kind=kind, attributes=about)

    def _unheard(self) -> bool:
        """Whether nothing of what begins now would be recorded: there is no API, or no provider is set in it."""
        return self._instruments is None or (self._is_global and _without_providers())

    def active(self, span: Span | None) -> AbstractContextManager[object]:
        """Makes the span the current one; also one that is not recorded, so that its children are not either."""
        if self._instruments is None or span is None or not span.get_span_context().is_valid:
            return INACTIVE
        return self._instruments.use(span)

    def measure(self, about: Mapping[str, Any], seconds: float | None, usage: TokenUsage | None) -> None:
        """Add a call to the metrics."""
        if self._instruments is None:
            return
        if seconds is not None:
            self._instruments.seconds.record(seconds, about)
        if usage is not None:
            self._instruments.tokens.record(usage.prompt, {**about, "gen_ai.token.type": "input"})
            self._instruments.tokens.record(usage.completion, {**about, "gen_ai.token.type": "output"})


class Operation:
    """Something that takes time, and its span. Where OpenTelemetry is not installed or does not listen, next to nothing."""

    def __init__(self, telemetry: Telemetry, thread: ChatThread, span: Span | None) -> None:
        self._telemetry = telemetry
        self._thread = thread
        self._span = span
        self._open = True
        self._listened_to = span is not None and span.is_recording()
        if self._listened_to:
            lineage = str(thread.lineage_id)
            self.set({"gen_ai.conversation.id": lineage, "minference.thread.id": lineage, "minference.run.id": current().run})
            self.set({"minference.thread.version": str(thread.ecs_id)})

    def active(self) -> AbstractContextManager[object]:
        """Inside, what begins is part of this."""
        return self._telemetry.active(self._span)

    def set(self, attributes: Mapping[str, Any]) -> None:
        """Note these, without those that are None."""
        if self._span is not None and self._listened_to:
            self._span.set_attributes({name: value for name, value in attributes.items() if value is not None})

    def end(self, error: BaseException | None = None) -> None:
        """Note the end, once: with an error, or well."""
        if self._span is None or not self._open:
            return
        self._open = False
        if error is not None and self._listened_to:
            from opentelemetry.trace import StatusCode

            self._span.set_attribute("error.type", error_type(error))
            self._span.set_status(StatusCode.ERROR, str(error) if self._telemetry.message_content else error_type(error))
        self._span.end()


class ThreadOperation(Operation):
    """A thread on its way, as far as one call of the orchestrator takes it."""

    def finished(self, outcome: Outcome) -> None:
        """Note how it ended."""
        if self._listened_to:
            self.set(
                {
                    "minference.thread.version": str(self._thread.ecs_id),
                    "minference.thread.name": (self._thread.name or None) if self._telemetry.message_content else None,
                    "minference.failed_attempts": len(outcome.attempts),
                    "minference.replies": outcome.spent.replies,
                    "minference.tokens": outcome.spent.tokens,
                    "minference.cost_usd": outcome.spent.cost,
                }
            )
        self.end(outcome.error if isinstance(outcome, Failed) else None)


class ToolOperation(Operation):
    """One call of a tool."""

    def finished(self, outcome: ToolOutcome) -> None:
        """Note how it ended."""
        if isinstance(outcome, ToolFailed):
            self.end(outcome.error)
            return
        if self._telemetry.message_content:
            self.set({"gen_ai.tool.call.result": outcome.text})
        self.end()


class ChatOperation(Operation):
    """One call of a model with all its attempts."""

    _about: Mapping[str, Any] = {}
    _attempts = 0
    _sent: float | None = None
    """When the first attempt was let out, by the process's clock: waiting for a limit of ours is no time of the provider's."""

    def asks(self, prepared: Prepared, about: Mapping[str, Any], *, streaming: bool) -> None:
        """Note what is asked for."""
        self._about = about
        if not self._listened_to:
            return
        config = prepared.config
        in_json = config.response_format in (ResponseFormat.json_beg, ResponseFormat.json_object, ResponseFormat.structured_output)
        self.set(
            {
                "gen_ai.request.max_tokens": config.max_tokens,
                "gen_ai.request.temperature": config.temperature,
                "gen_ai.request.top_p": config.top_p,
                "gen_ai.request.seed": config.seed,
                "gen_ai.request.stream": streaming or None,
                "gen_ai.output.type": "json" if in_json else None,
            }
        )
        if self._telemetry.message_content:
            self.set({"gen_ai.request.stop_sequences": config.stop or None, "gen_ai.input.messages": messages(self._thread)})
            self.set({"gen_ai.system_instructions": instructions(self._thread)})

    def sent(self) -> None:
        """Note that an attempt is let out."""
        self._attempts += 1
        self._sent = self._sent or time.perf_counter()
        if self._span is not None and self._listened_to:
            self._span.add_event("minference.attempt", {"minference.attempt": self._attempts})

    def failed_once(self, error: ProviderError) -> None:
        """Note that an attempt failed."""
        if self._span is not None and self._listened_to:
            facts: dict[str, str | float | None] = {
                "error.type": error_type(error),
                "minference.attempt": self._attempts,
                "http.response.status_code": error.status,
                "minference.error_code": error.code,
                "minference.retry_after": error.retry_after,
                "gen_ai.usage.input_tokens": error.usage.prompt if error.usage else None,
                "gen_ai.usage.output_tokens": error.usage.completion if error.usage else None,
                "exception.message": str(error) if self._telemetry.message_content else None,
            }
            self._span.add_event("minference.attempt_failed", {name: value for name, value in facts.items() if value is not None})

    def streams(self) -> None:
        """Note that the reply begins to come."""
        if self._sent is not None:
            self.set({"gen_ai.response.time_to_first_chunk": time.perf_counter() - self._sent})

    def answered(self, reply: Reply, payload: Mapping[str, Any], cost: float | None, *, from_cache: bool = False) -> None:
        """Note the reply, and the end. One that was given before used no tokens now."""
        if self._span is None:
            return
        usage = None if from_cache else reply.usage
        if self._listened_to:
            given = payload.get("id")
            self.set(
                {
                    "gen_ai.response.model": reply.model,
                    "gen_ai.response.id": given if isinstance(given, str) else None,
                    "gen_ai.response.finish_reasons": [reply.finish_reason.value],
                    "minference.cost_usd": cost,
                    "minference.from_cache": from_cache or None,
                    **(_used(usage) if usage else {}),
                }
            )
        if self._telemetry.message_content:
            self.set({"gen_ai.output.messages": reply_message(reply)})
        self._about = {**self._about, "gen_ai.response.model": reply.model}
        if self._open:
            self._telemetry.measure(self._about, None, usage)
        self.end()

    def end(self, error: BaseException | None = None) -> None:
        """Note the end, once: with an error, or well."""
        if self._open and self._sent is not None and self._span is not None:
            failed = {} if error is None else {"error.type": error_type(error)}
            self._telemetry.measure({**self._about, **failed}, time.perf_counter() - self._sent, None)
        self.set({"minference.attempts": self._attempts})
        super().end(error)


def error_type(error: BaseException) -> str:
    """A word for the kind of an error, of which there are few: an HTTP status, or the name of a class."""
    match error:
        case asyncio.CancelledError() | GeneratorExit():
            return "cancelled"
        case ProviderError(status=int(status)) if status >= 400:
            return str(status)
        case ToolRaised(error=raised):
            return type(raised).__name__
        case _:
            return type(error).__name__


def _used(usage: TokenUsage) -> dict[str, int | None]:
    return {
        "gen_ai.usage.input_tokens": usage.prompt,
        "gen_ai.usage.output_tokens": usage.completion,
        "gen_ai.usage.cache_read.input_tokens": usage.cached,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_written,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
    }


@cache
def _server(url: str | None) -> Mapping[str, str | int]:
    if url is None:
        return {}
    try:
        parts = urlsplit(url)
        return {"server.address": parts.hostname or url, "server.port": parts.port or (443 if parts.scheme == "https" else 80)}
    except ValueError:  # no URL: the call itself will say so
        return {}


@cache
def _global_instruments() -> _Instruments | None:
    """Those of the global providers; they find a provider also if it is set later."""
    return _instruments(None, None)


def _without_providers() -> bool:
    """Whether both global providers are those of the API itself, which record nothing."""
    from opentelemetry.metrics import get_meter_provider
    from opentelemetry.trace import get_tracer_provider

    return _is_of_api(type(get_tracer_provider())) and _is_of_api(type(get_meter_provider()))


@cache
def _is_of_api(provider: type) -> bool:
    return provider.__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))


def _instruments(tracer_provider: TracerProvider | None, meter_provider: MeterProvider | None) -> _Instruments | None:
    try:
        from opentelemetry import metrics, trace
    except ImportError:
        return None

    meter = metrics.get_meter("minference", meter_provider=meter_provider)
    return _Instruments(
        trace.get_tracer("minference", tracer_provider=tracer_provider),
        meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", "Number of input and output tokens used.", explicit_bucket_boundaries_advisory=_TOKENS
        ),
        meter.create_histogram(
            "gen_ai.client.operation.duration", "s", "GenAI operation duration.", explicit_bucket_boundaries_advisory=_SECONDS
        ),
        lambda span: trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False),
    )
