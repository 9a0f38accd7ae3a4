"""What the pages are tried with: conversations as people have them, and one that means harm."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from minference.ecs.identity import utc_now
from minference.storage.base import EntityStorage
from minference.storage.runs import Began, Ended
from minference.threads.attachments import FileAttachment, ImageAttachment
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, FinishReason, MessageRole, SystemPrompt, ToolCall, Usage
from minference.threads.outputs import ProcessedOutput, RawOutput
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool

PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==")
HOSTILE = '<script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'"><b>bold</b> \u202egnp.exe'
"""Text that would run, fetch or mislead, if anything showed it as more than text."""

WEATHER = CallableTool(
    name="weather",
    docstring="The weather in a city now.",
    input_schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
ROUTES = CallableTool(
    name="find_route",
    docstring="Trains between two cities, with changes and prices.",
    input_schema={"type": "object", "properties": {"start": {"type": "string"}, "end": {"type": "string"}}},
)


def a_thread(
    name: str | None = None, *, model: str = "claude-opus-5-5", client: str = "anthropic", system: str | None = None
) -> ChatThread:
    """A new thread."""
    prompt = SystemPrompt(name="brief", content=system) if system else None
    return ChatThread(name=name, system_prompt=prompt, llm_config=LLMConfig(client=client, model=model))


def ask(thread: ChatThread, content: str, **more: object) -> ChatMessage:
    """Let the user say something."""
    thread.history.append(ChatMessage.model_validate({"role": MessageRole.user, "content": content, **more}))
    return thread.history[-1]


async def answer(
    storage: EntityStorage, thread: ChatThread, content: str, *, tokens: tuple[int, int] = (120, 48), seconds: float = 1.4,
    ended: datetime | None = None, attempts: Sequence[str] = (), error: str | None = None, cost: float | None = None, **more: object,
) -> ChatMessage:  # fmt: skip
    """Let the model answer, and save that with what it took, as a run does."""
    await storage.register(thread, author="run")
    config = thread.llm_config
    usage = Usage(model=config.model, prompt_tokens=tokens[0], completion_tokens=tokens[1], total_tokens=sum(tokens), cost_usd=cost)
    said = {"role": MessageRole.assistant, "content": content, "finish_reason": FinishReason.stop, "usage": usage, **more}
    reply = ChatMessage.model_validate(said)
    end = ended or utc_now()
    raw = RawOutput(
        client=config.client,
        thread_version=thread.ecs_id,
        request_parameters={"model": config.model, "max_tokens": config.max_tokens},
        request_sha256="0" * 64,
        raw_result={"id": "msg_1", "content": [{"type": "text", "text": content}], "usage": {"input_tokens": tokens[0]}},
        start_time=end - timedelta(seconds=seconds),
        end_time=end,
        attempts=tuple(attempts),
    )
    output = ProcessedOutput(
        content=content, error=error, usage=usage, time_taken=seconds, llm_client=config.client, raw_output=raw,
        chat_thread_id=thread.lineage_id, message_uuid=reply.lineage_id,
    )  # fmt: skip
    thread.history.append(reply)
    await storage.register(thread, output, author="run")
    return reply


async def travel(storage: EntityStorage) -> ChatThread:
    """A conversation with tools, reasoning and attachments, which was branched, edited and tagged."""
    thread = a_thread("Weekend in Lisbon", system="You plan short trips. Be concrete, and never invent a train.")
    thread.tools = [WEATHER, ROUTES]
    ask(thread, "I have a weekend in October and would like to see Lisbon. Is it warm enough to swim?")
    calls = (ToolCall.from_arguments("call_1", "weather", {"city": "Lisbon"}),)
    thinking = "The user asks about swimming, so air and water temperature matter. I should look the weather up first."
    await answer(
        storage, thread, "", tool_calls=calls, reasoning=thinking, finish_reason=FinishReason.tool_calls, tokens=(212, 31), seconds=0.9
    )
    result = '{"city": "Lisbon", "air_celsius": 22.5, "water_celsius": 19.1, "sky": "clear", "wind": {"knots": 8, "from": "NW"}}'
    thread.history.append(ChatMessage(role=MessageRole.tool, content=result, tool_call_id="call_1", tool_name="weather"))
    await answer(
        storage, thread,
        "Yes, if you like it **fresh**: the air is at 22 °C and the sea at 19 °C.\n\nA plan for two days:\n\n"
        "1. Saturday: Alfama on foot, then tram 28 to Estrela.\n2. Sunday: train to Cascais, swim at Praia da Rainha.\n\n"
        "```python\ntrip = Trip(city=\"Lisbon\", days=2)\ntrip.book(before=\"2026-10-01\")\n```",
        tokens=(318, 164), seconds=2.7,
    )  # fmt: skip
    await storage.tag("first plan", thread)
    ask(
        thread, "What does the train to Cascais cost? My old ticket is attached.",
        attachments=(ImageAttachment.from_bytes(PIXEL, "ticket.png"), FileAttachment.from_bytes(b"Cascais, 2024", "notes.txt")),
    )  # fmt: skip
    await answer(storage, thread, "A single ticket costs €2.40, and the trains leave every 20 minutes from Cais do Sodré.", seconds=1.1)
    kept = thread.ecs_id
    thread.history[3].content = thread.history[3].content.replace("Praia da Rainha", "Praia da Conceição")
    await storage.register(thread, author="ada", note="the beach with the shorter walk")
    ask(thread, "And if it rains?")
    await answer(storage, thread, "Then spend Sunday in the Gulbenkian museum; its garden is fine in the rain too.", tokens=(402, 37))
    await storage.tag("main", thread)
    side = await storage.get(ChatThread, kept)
    ask(side, "Could we go to Sintra instead?")
    await answer(
        storage, side, "Yes: 40 minutes from Rossio, €2.45. Start early, since the palace fills up by ten.", tokens=(377, 52), seconds=1.9
    )
    await storage.tag("sintra", side)
    return thread


async def long_thread(storage: EntityStorage, messages: int) -> ChatThread:
    """A thread with many messages, saved once."""
    thread = a_thread("A long talk", model="gpt-5.4-mini", client="openai")
    roles = (MessageRole.user, MessageRole.assistant)
    thread.history = [ChatMessage(role=roles[number % 2], content=f"message number {number}") for number in range(messages)]
    await storage.register(thread, author="ada")
    return thread


async def hostile(storage: EntityStorage) -> ChatThread:
    """A thread in which everything that holds text holds what would do harm."""
    thread = a_thread(HOSTILE, model=HOSTILE, client="scripted", system=HOSTILE)
    thread.tools = [WEATHER.model_copy(update={"docstring": HOSTILE})]
    attached = (FileAttachment.from_bytes(b"<script>1</script>", '"><script>x</script>.html', media_type="text/html"),)
    ask(thread, HOSTILE, attachments=attached)
    calls = (ToolCall(id=HOSTILE, name=HOSTILE, arguments_json=HOSTILE),)
    await answer(
        storage, thread, f"```{HOSTILE}\n{HOSTILE}\n```\n`{HOSTILE}` **x {HOSTILE}** \ud800", reasoning=HOSTILE, refusal=HOSTILE,
        tool_calls=calls, attempts=(HOSTILE,), error=HOSTILE,
    )  # fmt: skip
    result = ChatMessage(role=MessageRole.tool, content=HOSTILE, tool_call_id=HOSTILE, tool_name=HOSTILE, tool_error=True)
    thread.history.append(result)
    thread.history[0].content = f"{HOSTILE} {HOSTILE}"
    thread.new_message = HOSTILE
    await storage.register(thread, author=HOSTILE, note=HOSTILE)
    await storage.tag("<b>tag</b>", thread)
    return thread


async def a_run(storage: EntityStorage, name: str, error: str, threads: Sequence[UUID]) -> None:
    """A run of six threads whose process was killed: two are done, two have failed, one was begun."""
    runs = storage.runs()
    await runs.take(name, "a.host:1:x", -1.0, settings={"file": name, "max_turns": 8})
    await runs.add(name, threads)
    await runs.note(name, [Began(each) for each in threads[:5]])
    ends = [(None, 0.5), (None, None), (error, 0.0), (f"Unable: {error}", 0.0)]
    await runs.note(name, [Ended(each, why, 1, 100, cost) for each, (why, cost) in zip(threads, ends, strict=False)])


async def small_talk(storage: EntityStorage, count: int) -> list[UUID]:
    """Many short threads with different models over the last weeks."""
    models = (("anthropic", "claude-haiku-5-5", 0.7), ("openai", "gpt-5.4-mini", 1.1), ("vllm", "qwen3-32b", 2.0))
    made = []
    for number in range(count):
        client, model, pace = models[number * 7 % 5 % 3]
        thread = a_thread(f"{TOPICS[number % len(TOPICS)]} {number // len(TOPICS) + 1}", model=model, client=client)
        ask(thread, QUESTIONS[number % len(QUESTIONS)])
        ended = utc_now() - timedelta(days=number * 5 % 23, minutes=number)
        attempts = ("attempt 1: HTTP 429, waited 2 s",) * (number % 9 == 4) + ("attempt 2: timed out after 30 s",) * (number % 18 == 4)
        tokens = (300 + number * 137 % 900, 60 + number * 53 % 400)
        text = ANSWERS[number % len(ANSWERS)]
        cost = None if client == "vllm" else (tokens[0] + 5 * tokens[1]) / 1_000_000
        slow = pace * (1 + number % 4 * 0.3)
        await answer(storage, thread, text, tokens=tokens, seconds=slow, ended=ended, attempts=attempts, cost=cost)
        made.append(thread.lineage_id)
    return made


TOPICS = ("Unit tests for the parser", "Why is the sky blue?", "Invoice 2231", "Names for a cat", "Release notes", "Recipe with leeks")
QUESTIONS = (
    "Which cases does this parser miss?",
    "Why is the sky blue, in one sentence?",
    "Extract the total and the due date.",
    "Five names for a grey cat, please.",
    "Summarise these commits for users.",
    "Something with leeks and potatoes?",
)
ANSWERS = (
    "Empty input, a trailing comma, and nested quotes: the second one loses its last field.",
    "Air scatters short wavelengths more than long ones, so blue light reaches you from every direction.",
    "The total is €1,284.50, due on 30 November.",
    "Ash, Pewter, Misty, Grisou, Smoke.",
    "Imports are faster, and a cancelled run no longer loses the reply that was on its way.",
    "Leek and potato soup: sweat the leeks slowly, add stock, and blend only half of it.",
)
