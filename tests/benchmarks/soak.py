"""Many threads with two-step tools, killed twice at random and resumed: `python -m tests.benchmarks.soak [THREADS] [URL] [CLIENT]`.

A provider on a socket sees every request. Whatever was saved when a process was killed must never be asked for again, and the
end must be what an undisturbed run has. The suite runs the same with few threads.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minference.errors import RunNotFound
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.resuming import threads_of_run
from minference.storage.open import open_storage
from minference.storage.runs import EntryState
from minference.testing import ProviderServer
from minference.testing.answers import Answer, Called
from minference.threads.config import LLMConfig
from minference.threads.messages import MessageRole
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from tests.support.nursery import Program

RUN = "soak"
Asked = tuple[str, int]
"""The question of a thread, and how many tool results the request holds."""


def double(n: int) -> int:
    """Double a number."""
    return 2 * n


def increase(n: int) -> int:
    """Add one."""
    return n + 1


def answer(body: dict[str, Any]) -> Answer:
    """Calls `double`, then `increase` with its result, then tells what came out."""
    question, results = read(body)
    match len(results):
        case 0:
            return Answer(calls=(Called("double", {"n": int(question)}),))
        case 1:
            return Answer(calls=(Called("increase", {"n": int(results[0])}),))
        case _:
            return Answer(f"{question}: {results[1]}")


def read(body: dict[str, Any]) -> tuple[str, list[str]]:
    """The question and the tool results of a request, in either dialect."""
    question, results = "", []
    for message in body["messages"]:
        blocks = message["content"] if isinstance(message["content"], list) else [message]
        for block in blocks:
            if message["role"] == "tool" or block.get("type") == "tool_result":
                results.append(text_of(block["content"]))
            elif message["role"] == "user":
                question = block.get("text") or block.get("content")
    return question, results


def text_of(content: Any) -> str:
    """The text of a tool result."""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def expected(number: int) -> list[tuple[str, str]]:
    """What an undisturbed run says to question `number`."""
    return [
        ("user", str(number)), ("assistant", ""), ("tool", str(2 * number)), ("assistant", ""), ("tool", str(2 * number + 1)),
        ("assistant", f"{number}: {2 * number + 1}"),
    ]  # fmt: skip


def new_threads(count: int, client: str) -> Iterator[ChatThread]:
    """Threads that nobody has asked anything yet."""
    config = LLMConfig(client=client, model="model", max_tokens=100, response_format="auto_tools")  # type: ignore[arg-type]  # a text is read
    tools = tools_of_run()
    for number in range(count):
        yield ChatThread(llm_config=config, new_message=str(number), tools=list(tools))


def tools_of_run() -> tuple[CallableTool, CallableTool]:
    """The tools, registered in this process."""
    return CallableTool.from_callable(double, replace=True), CallableTool.from_callable(increase, replace=True)


async def work(url: str, count: int, client: str, concurrency: int) -> None:
    """Begin the run, or go on with it, until it is done."""
    tools_of_run()
    async with open_storage(url) as storage, InferenceOrchestrator(storage) as orchestrator:
        try:
            known = (await storage.runs().get(RUN)).total
        except RunNotFound:
            known = 0
        if known:
            async for _ in orchestrator.resume(RUN, concurrency=concurrency):
                pass
        if known < count:
            begun = {question_of(each) async for each in threads_of_run(storage, RUN, tuple(EntryState))} if known else set()
            rest = (each for each in new_threads(count, client) if each.new_message not in begun)
            async for _ in orchestrator.as_completed(rest, run_id=RUN, concurrency=concurrency):
                pass


def question_of(thread: ChatThread) -> str | None:
    """What the user asked, or is about to ask."""
    return thread.history[0].content if thread.history else thread.new_message


@dataclass(frozen=True)
class Report:
    """How it went."""

    threads: int
    requests: int
    lost: int
    """Requests whose answer was on its way when a process was killed, so that they were made again."""
    repeated: list[Asked]
    """Requests that were made although their answer was saved. There must be none."""
    wrong: list[int]
    """Threads that do not end as they would undisturbed. There must be none."""
    counts: dict[EntryState, int]
    seconds: float


async def soak(url: str, count: int, *, client: str = "openai", kills: int = 2, seed: int = 0, concurrency: int = 64) -> Report:
    """Run, kill so often, and look."""
    began, chance = time.monotonic(), random.Random(seed)
    repeated: list[Asked] = []
    with ProviderServer(answer) as server:
        environment = _environment(server, client)
        command = ("tests.benchmarks.soak", "--child", url, str(count), client, str(concurrency))
        for number in range(kills + 1):
            saved = await _saved(url) if number else set()
            first = len(server.requests)
            with Program(*command, env=environment) as child:
                if number < kills:
                    await _until(server, child, first + chance.randint(count // 4, 3 * count // 4))
                    child.kill()
                else:
                    await asyncio.to_thread(child.wait)
            repeated += [asked for asked in map(_asked, server.requests[first:]) if asked in saved]
        requests = [_asked(request) for request in server.requests]
    async with open_storage(url) as storage:
        found = [thread async for thread in threads_of_run(storage, RUN, tuple(EntryState))]
        counts = dict((await storage.runs().get(RUN)).counts)
    ends = Counter(json.dumps([(message.role.value, message.content) for message in thread.history]) for thread in found)
    wrong = [number for number in range(count) if ends[json.dumps(expected(number))] != 1]
    return Report(len(found), len(requests), len(requests) - len(set(requests)), repeated, wrong, counts, time.monotonic() - began)


def _environment(server: ProviderServer, client: str) -> dict[str, str]:
    name = client.upper()
    return {**os.environ, f"{name}_API_KEY": "a-test-key", f"{name}_BASE_URL": server.openai_url if client == "openai" else server.url}


def _asked(request: Any) -> Asked:
    question, results = read(request.body)
    return question, len(results)


async def _until(server: ProviderServer, child: Program, requests: int) -> None:
    while len(server.requests) < requests:
        assert child.poll() is None, "the child ended before it was killed"
        await asyncio.sleep(0.001)


async def _saved(url: str) -> set[Asked]:
    """The requests whose answers are in the database."""
    saved: set[Asked] = set()
    async with open_storage(url) as storage:
        for head in await storage.list_by_type(ChatThread):
            thread = await storage.get(ChatThread, head.ecs_id)
            replies = [message for message in thread.history if message.role is MessageRole.assistant]
            saved |= {(str(question_of(thread)), step) for step in range(len(replies))}
    return saved


def main(arguments: list[str]) -> None:
    """Run as a program."""
    if arguments[:1] == ["--child"]:
        url, threads, client, concurrency = arguments[1:]
        asyncio.run(work(url, int(threads), client, int(concurrency)))
        return
    count = int(arguments[0]) if arguments else 5000
    with tempfile.TemporaryDirectory() as folder:
        url = arguments[1] if len(arguments) > 1 else f"sqlite:///{Path(folder) / 'soak.db'}"
        report = asyncio.run(soak(url, count, client=arguments[2] if len(arguments) > 2 else "openai", seed=random.randrange(10**6)))
    print(report)
    assert not report.repeated
    assert not report.wrong


if __name__ == "__main__":
    main(sys.argv[1:])
