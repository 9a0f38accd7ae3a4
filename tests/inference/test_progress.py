"""Progress: what is told while threads run, and what a person sees of it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from minference.clients.scripted import ScriptedClient
from minference.errors import ProviderRefused
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Completed, Failed
from minference.inference.pace import Pace
from minference.inference.progress import (
    ProgressEvent,
    RichProgress,
    RunEnded,
    RunStarted,
    ThreadCompleted,
    ThreadFailed,
    ThreadStarted,
    TokensUsed,
)
from minference.storage.base import EntityStorage
from minference.threads.messages import ChatMessage, MessageRole, ToolCall, Usage
from tests.inference.helpers import thread

REFUSED = ProviderRefused("scripted", "no", status=400)


async def test_start_tokens_and_end_are_told(memory: EntityStorage) -> None:
    told: list[ProgressEvent] = []
    good, bad = thread("a", client="good"), thread("b", client="bad")
    clients = {"good": ScriptedClient(), "bad": ScriptedClient([REFUSED], name="bad")}
    async with InferenceOrchestrator(memory, clients=clients, progress=told.append) as orchestrator:
        first, second = await orchestrator.run([good, bad])
    assert isinstance(first, Completed)
    assert isinstance(second, Failed)
    assert (told[0], told[-1]) == (RunStarted(2), RunEnded())
    assert isinstance(usage := good.history[-1].usage, Usage)
    assert [event for event in told if _is_about(event, good)] == [ThreadStarted(good), TokensUsed(good, usage), ThreadCompleted(first)]
    assert [event for event in told if _is_about(event, bad)] == [ThreadStarted(bad), ThreadFailed(second)]


def _is_about(event: ProgressEvent, wanted: object) -> bool:
    match event:
        case ThreadStarted(thread) | TokensUsed(thread):
            return thread is wanted
        case ThreadCompleted(outcome) | ThreadFailed(outcome):
            return outcome.thread is wanted
        case _:
            return False


async def test_what_a_callback_raises_ends_the_run(memory: EntityStorage) -> None:
    def broken(event: ProgressEvent) -> None:
        if isinstance(event, ThreadCompleted):
            raise ZeroDivisionError("in the callback")

    async with InferenceOrchestrator(memory, clients={"scripted": ScriptedClient()}, progress=broken) as orchestrator:
        with pytest.raises(ZeroDivisionError, match="in the callback"):
            await orchestrator.run([thread()])


async def test_a_terminal_shows_counts_tokens_and_failures(memory: EntityStorage) -> None:
    screen = io.StringIO()
    progress = RichProgress(console=Console(file=screen, force_terminal=True, width=120, color_system=None))
    clients = {"good": ScriptedClient(), "bad": ScriptedClient([REFUSED], name="bad")}
    async with InferenceOrchestrator(memory, clients=clients, progress=progress) as orchestrator:
        outcomes = await orchestrator.run([thread("a", client="good"), thread("b", client="bad"), thread("c", client="good")])
    used = sum(outcome.reply.usage.total_tokens for outcome in outcomes if isinstance(outcome, Completed) and outcome.reply.usage)
    last = next(line for line in reversed(screen.getvalue().splitlines()) if "tokens" in line)
    assert "3/3" in last
    assert f"{used} tokens · 1 failed" in last


def test_the_pace_is_that_of_the_last_minute_and_falls_while_nothing_comes() -> None:
    counts = {0.0: 0, 0.001: 30, 1.0: 30, 10.0: 40, 30.0: 40, 60.0: 100, 69.5: 100, 120.5: 100}
    times = iter([0.0, *(time for time in counts for _ in range(2))])
    pace = Pace(lambda: next(times))
    told: list[float] = []
    for done in counts.values():
        pace.note(done)
        told.append(round(pace.per_second(), 2))
    assert told == [0.0, 60.0, 30.0, 4.0, 1.33, 1.67, 1.02, 0.0]


async def test_without_a_terminal_nothing_is_shown(memory: EntityStorage) -> None:
    screen = io.StringIO()
    progress = RichProgress(console=Console(file=screen))
    async with InferenceOrchestrator(memory, clients={"scripted": ScriptedClient()}, progress=progress) as orchestrator:
        await orchestrator.run([thread()])
    assert screen.getvalue() == ""


def test_an_outcome_prints_what_matters() -> None:
    chat = thread(name="rome")
    call = ToolCall.from_arguments("1", "add", {})
    short = Completed(chat, ChatMessage(role=MessageRole.assistant, content="Yes.", tool_calls=(call,)))
    long = Completed(chat, ChatMessage(role=MessageRole.assistant, content="x" * 100), attempts=("a failure",))
    assert repr(short) == "Completed('rome', 'Yes.', calls add)"
    assert repr(long) == f"Completed('rome', '{'x' * 57}...', 1 failed attempt)"
    assert repr(Failed(chat, REFUSED)) == "Failed('rome', ProviderRefused: scripted: no)"
    assert (short.ok, Failed(chat, REFUSED).ok) == (True, False)
