"""Processes that share a database with a test. They say on stdout what happened, one JSON value a line."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from uuid import UUID

from minference.errors import ErasedLineage, StaleVersion, WriteFailed
from minference.storage.open import open_storage
from minference.storage.sql.dialects import open_engine
from minference.storage.sql.opening import open_database
from minference.threads.attachments import FileAttachment
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread

ROOM = 200_000
"""Bytes that a file may still grow on the disk that is full."""


def say(value: object) -> None:
    """Tell the test."""
    print(json.dumps(value), flush=True)


async def told_to_go() -> None:
    """Say that everything is ready, and wait for the others."""
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)


def message(content: str) -> ChatMessage:
    """What a user says."""
    return ChatMessage(role=MessageRole.user, content=content)


async def save_in_a_loop(url: str, *ecs_ids: str) -> None:
    """Append and save until killed; say each version once it is durable, with its number of messages."""
    async with open_storage(url) as storage:
        thread = ChatThread(llm_config=LLMConfig(client="scripted", model="m"))
        if ecs_ids:
            thread = await storage.get(ChatThread, UUID(ecs_ids[0]))
        while True:
            thread.history.append(message(str(len(thread.history))))
            await storage.register(thread)
            say([str(thread.ecs_id), len(thread.history)])


async def append(url: str, name: str, times: str, *ecs_ids: str) -> None:
    """Load threads, wait for the others, append so many messages to each, save after each; say where they stand."""
    async with open_storage(url) as storage:
        threads = [await storage.get(ChatThread, UUID(ecs_id)) for ecs_id in ecs_ids]
        await told_to_go()
        for number in range(int(times)):
            for thread in threads:
                thread.history.append(message(f"{name} {number}"))
                await storage.register(thread)
        say([str(thread.ecs_id) for thread in threads])


async def claim(url: str, ecs_id: str) -> None:
    """Edit a version unless somebody else was first; say whether that worked."""
    async with open_storage(url) as storage:
        thread = await storage.get(ChatThread, UUID(ecs_id))
        await told_to_go()
        thread.name = "mine"
        try:
            await storage.register(thread, on_conflict="raise")
        except StaleVersion:
            say(["late", str(thread.ecs_id), thread.name])
        else:
            say(["first", str(thread.ecs_id), thread.name])


async def fill_the_disk(url: str) -> None:
    """Save, run out of space, say what was raised and where the object stands; save again when there is space."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = Path(url.removeprefix("sqlite:///")).stat().st_size
    async with open_storage(url) as storage:
        thread = ChatThread(llm_config=LLMConfig(client="scripted", model="m"))
        await storage.register(thread)
        say(str(thread.ecs_id))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + ROOM, resource.RLIM_INFINITY))
        thread.history.append(message("x" * 10 * ROOM))
        for _ in range(2):
            try:
                await storage.register(thread)
            except WriteFailed as error:
                say([str(error), str(thread.ecs_id), len(thread.history)])
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await storage.register(thread)
        say(str(thread.ecs_id))


def thread_with(content: bytes) -> ChatThread:
    """A thread whose user shows something."""
    thread = ChatThread(llm_config=LLMConfig(client="scripted", model="m"))
    thread.add_user_message("Look.", attachments=[FileAttachment.from_bytes(b"%PDF-" + content, "a.pdf")])
    return thread


async def attach(url: str, seed: str, times: str) -> None:
    """Wait for the others, then save so many threads with contents that follow from the seed; say their versions."""
    async with open_storage(url) as storage:
        threads = [thread_with(Random(f"{seed} {number}").randbytes(99_995)) for number in range(int(times))]
        await told_to_go()
        await asyncio.gather(*(storage.register(thread) for thread in threads))
        say([str(thread.ecs_id) for thread in threads])


async def attach_in_a_loop(url: str) -> None:
    """Save threads with contents of their own until killed; say version and hash once they are durable."""
    async with open_storage(url) as storage:
        while True:
            thread = thread_with(os.urandom(300_000))
            await storage.register(thread)
            [attached] = thread.history[0].attachments
            assert isinstance(attached, FileAttachment)
            say([str(thread.ecs_id), attached.sha256])


async def erase(url: str, lineage_id: str) -> None:
    """Erase a lineage when told to, and say so between the steps."""
    async with open_storage(url) as storage:
        await told_to_go()
        erasing = asyncio.ensure_future(storage.erase(UUID(lineage_id), reason="asked to"))
        while not erasing.done():
            await asyncio.sleep(0)
            say("still at it")
        say("done")


async def erase_on_a_full_disk(url: str, lineage_id: str) -> None:
    """Erase a lineage where there is no room to write; say what was raised, and which tombstones there are."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async with open_storage(url) as storage:
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, resource.RLIM_INFINITY))
        try:
            await storage.erase(UUID(lineage_id), reason="asked to")
        except WriteFailed as error:
            say(str(error))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        say([str(each.lineage_id) for each in await storage.erasures()])


async def bring_back(url: str, ecs_id: str) -> None:
    """Hold a thread while its first message is erased, change that message and save; say what became of it, and go on without."""
    async with open_storage(url) as storage:
        thread = await storage.get(ChatThread, UUID(ecs_id))
        before = thread.history[0].content
        await told_to_go()
        thread.history[0].content = "back"
        try:
            await storage.register(thread)
        except ErasedLineage as error:
            say([str(error.lineage_id), str(thread.ecs_id), thread.history[0].content])
        thread.history[0].content = before
        thread.history.append(message("more"))
        await storage.register(thread)
        say(str(thread.ecs_id))


async def open_new(url: str) -> None:
    """Wait for the others, then open a database that may have no tables yet; say its id."""
    engine = open_engine(url)
    await told_to_go()
    say(str(await open_database(engine)))
    await engine.dispose()


async def feed(url: str, ecs_id: str) -> None:
    """Append to a thread and save, until that is refused; say each version, and the refusal."""
    async with open_storage(url) as storage:
        thread = await storage.get(ChatThread, UUID(ecs_id))
        await told_to_go()
        while True:
            thread.history.append(message(f"Wintermute {len(thread.history)}"))
            try:
                await storage.register(thread)
            except ErasedLineage as error:
                say({"refused": str(error.lineage_id)})
                return
            say(str(thread.ecs_id))


if __name__ == "__main__":
    parts: dict[str, Callable[..., Coroutine[None, None, None]]]
    parts = {
        "loop": save_in_a_loop,
        "append": append,
        "claim": claim,
        "full": fill_the_disk,
        "attach": attach,
        "attach_loop": attach_in_a_loop,
        "erase": erase,
        "erase on a full disk": erase_on_a_full_disk,
        "bring back": bring_back,
        "feed": feed,
        "open": open_new,
    }
    asyncio.run(parts[sys.argv[1]](*sys.argv[2:]))
