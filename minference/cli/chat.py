"""`minference chat`: a conversation in the terminal, or over a pipe; every turn is saved."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import aclosing
from dataclasses import dataclass

from rich.console import Console

from minference.cli.database import writing
from minference.cli.draining import run_draining
from minference.cli.find import find_version
from minference.cli.interrupts import ANSWERED
from minference.cli.output import one_line, stderr
from minference.clients.base import TextDelta
from minference.clients.catalog import create_client
from minference.ecs.diff_render import printable
from minference.ecs.lineage import short_id
from minference.errors import ConfigurationError
from minference.inference.events import Finished, Saved, ToolCalled, ToolResult
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Failed
from minference.storage.base import EntityStorage
from minference.threads.config import LLMConfig
from minference.threads.messages import MessageRole, SystemPrompt
from minference.threads.thread import ChatThread
from minference.threads.turns import CallModel, RunTools, next_step


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """What the command line says."""

    client: str | None
    model: str | None
    system: str | None
    thread: str | None
    max_tokens: int | None


def chat(options: ChatOptions, database: str) -> int:
    """Talk until the input ends. Returns 1 if a turn failed, else 0.

    Raises:
        ConfigurationError: Client, model or thread cannot be used.
        StorageError: The database cannot be used.
    """
    return run_draining(_chat(options, database), ANSWERED)


async def _chat(options: ChatOptions, database: str) -> int:
    if options.thread is None:
        create_client(_config(options).client).check()
    async with writing(database) as storage:
        thread = await _thread(options, storage)
        create_client(thread.llm_config.client).check()
        failed = False
        async with InferenceOrchestrator(storage=storage, author="chat") as orchestrator:
            console, interactive = stderr(), sys.stdin.isatty()
            if interactive:
                console.print(f"{thread.llm_config.client}/{thread.llm_config.model}, saved in {storage.url}; Ctrl-D ends", style="dim")
            if isinstance(next_step(thread), CallModel | RunTools):
                failed = not await _print_stream(orchestrator, thread, console)
            while (line := await _ask(interactive)) is not None:
                if line.strip():
                    failed = not await _turn(orchestrator, thread, line, console) or failed
        is_saved = bool(thread.history) and await storage.has_entity(thread.ecs_id)
    if is_saved:
        console.print(f"saved: `minference threads show {short_id(thread.lineage_id)}`", style="dim", soft_wrap=True)
    return 1 if failed else 0


async def _ask(interactive: bool) -> str | None:
    """The next line; `None` at the end. Ctrl-C leaves without waiting for the line that nobody will write."""
    if interactive:
        print("> ", end="", file=sys.stderr, flush=True)
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str] = loop.create_future()
    received = bytearray()

    def read() -> None:
        try:
            piece = os.read(descriptor, 65_536 if interactive else 1)
        except OSError:
            piece = b""
        received.extend(piece)
        if (not piece or received.endswith(b"\n")) and not line.done():
            line.set_result(received.decode("utf-8", "replace"))

    descriptor = sys.stdin.fileno()
    try:
        loop.add_reader(descriptor, read)
    except PermissionError:
        # A regular file cannot be waited for, and need not be.
        text = sys.stdin.buffer.readline().decode("utf-8", "replace")
        return text.rstrip("\n") if text else None
    try:
        text = await line
    finally:
        loop.remove_reader(descriptor)
    return text.rstrip("\r\n") if text else None


async def _turn(orchestrator: InferenceOrchestrator, thread: ChatThread, line: str, console: Console) -> bool:
    """Say one thing and print the answer as it comes. Returns whether it worked."""
    thread.new_message = line
    return await _print_stream(orchestrator, thread, console)


async def _print_stream(orchestrator: InferenceOrchestrator, thread: ChatThread, console: Console) -> bool:
    streamed = False
    async with aclosing(orchestrator.stream(thread)) as events:
        async for event in events:
            match event:
                case TextDelta(text):
                    streamed = True
                    print(printable(text), end="", flush=True)
                case ToolCalled(call):
                    console.print(printable(f"-> {call.name}({call.arguments_json})"), style="magenta", soft_wrap=True)
                case ToolResult(_, message):
                    console.print(f"<- {one_line(message.content, 200)}", style="magenta", soft_wrap=True)
                case Saved(_, message) if message.role is MessageRole.assistant:
                    print("" if streamed else printable(message.content), flush=True)
                    streamed = False
                case Finished(Failed(error=error)):
                    if streamed:
                        print(flush=True)
                    console.print(f"error: {one_line(str(error), 1_000)}", style="red", soft_wrap=True)
                    return False
    return True


async def _thread(options: ChatOptions, storage: EntityStorage) -> ChatThread:
    if options.thread is None:
        system = SystemPrompt(content=options.system) if options.system is not None else None
        return ChatThread(llm_config=_config(options), system_prompt=system)
    thread = await storage.get(ChatThread, (await find_version(storage, options.thread)).ecs_id)
    changes = {name: value for name in ("client", "model", "max_tokens") if (value := getattr(options, name)) is not None}
    for name, value in changes.items():
        setattr(thread.llm_config, name, value)
    if options.system is not None:
        thread.system_prompt = SystemPrompt(content=options.system)
    return thread


def _config(options: ChatOptions) -> LLMConfig:
    """The config of a new thread.

    Raises:
        ConfigurationError: Client or model is missing.
    """
    if not options.client:
        raise ConfigurationError("which client? Pass --client (see `minference doctor`); `--client local` needs no key")
    model = options.model or ("local" if options.client == "local" else None)
    if not model:
        raise ConfigurationError(f"which model of {options.client}? Pass --model")
    longest = {} if options.max_tokens is None else {"max_tokens": options.max_tokens}
    return LLMConfig.model_validate({"client": options.client, "model": model, **longest})
