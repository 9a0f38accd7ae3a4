"""Threads with everything that replies leave behind, and looking for what must be gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import text

from minference.ecs.entity import Entity
from minference.ecs.identity import utc_now
from minference.storage.base import EntityStorage
from minference.storage.sql.dialects import open_engine
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, SystemPrompt, ToolCall, Usage
from minference.threads.outputs import GeneratedJsonObject, ProcessedOutput, RawOutput
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool


def said(content: str, role: MessageRole = MessageRole.user) -> ChatMessage:
    """A message."""
    return ChatMessage(role=role, content=content)


def a_thread(*contents: str, **values: Any) -> ChatThread:
    """A thread in which a user says this."""
    config = values.pop("llm_config", None) or LLMConfig(client="scripted", model="m")
    return ChatThread(llm_config=config, history=[said(each) for each in contents], **values)


async def reply(storage: EntityStorage, thread: ChatThread, secret: str) -> ProcessedOutput:
    """Save a reply that holds `secret` wherever a reply can, with its outputs, as a run would; the thread must be saved."""
    usage = Usage(model="m", prompt_tokens=3, completion_tokens=4, total_tokens=7)
    message = ChatMessage(
        role=MessageRole.assistant,
        content=f"reply {secret}",
        reasoning=f"I think {secret}",
        reasoning_json=f'[{{"thinking": "{secret}"}}]',
        refusal=f"no {secret}",
        tool_calls=(ToolCall.from_arguments("call-1", "look", {"at": secret}),),
        usage=usage,
    )
    raw = RawOutput(
        client="scripted",
        thread_version=thread.ecs_id,
        request_parameters={"stop": [secret]},
        request_sha256="0" * 64,
        raw_result={"text": secret, "deep": [{"er": secret}]},
        start_time=utc_now(),
        end_time=utc_now(),
        attempts=(f"timeout after {secret}",),
    )
    output = ProcessedOutput(
        content=secret,
        json_object=GeneratedJsonObject(name="look", object={"at": secret}),
        error=f"not {secret}",
        usage=usage,
        time_taken=1.5,
        llm_client="scripted",
        raw_output=raw,
        chat_thread_id=thread.lineage_id,
        message_uuid=message.lineage_id,
    )
    thread.history.append(message)
    await storage.register(thread, output, author="run", note="reply")
    return output


def a_full_thread(secret: str) -> ChatThread:
    """A thread all of whose texts hold `secret`."""
    return ChatThread(
        name=f"name {secret}",
        new_message=f"new {secret}",
        prefill=f"pre {secret}",
        postfill=f"post {secret}",
        system_prompt=SystemPrompt(name=secret, content=f"You are {secret}"),
        llm_config=LLMConfig(client="scripted", model="m", stop=(secret,), extra={"user": secret}),
        tools=[CallableTool(name="look", docstring=f"looks at {secret}", input_schema={"type": "object", "title": secret})],
        history=[said(f"question {secret}")],
    )


async def everything(storage: EntityStorage, *classes: type[Entity]) -> str:
    """Every version of every object of these classes, as one text."""
    shown: list[str] = []
    for cls in classes or (Entity,):
        for head in await storage.list_by_type(cls):
            versions = [await storage.get(Entity, version.ecs_id) for version in await storage.lineage(head.lineage_id)]
            shown.extend(repr(version.model_dump()) for version in versions)
    return "\n".join(shown)


async def tables_with(url: str, word: str) -> list[str]:
    """The tables, index tables among them, in which a word occurs in some column of some row, in any case."""
    engine = open_engine(url)
    names = (
        "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE '%USING fts5%'"
        if url.startswith("sqlite")
        else "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'"
    )
    found: list[str] = []
    try:
        async with engine.connect() as connection:
            for (name,) in (await connection.execute(text(names))).all():
                rows = (await connection.execute(text(f'SELECT * FROM "{name}"'))).all()
                if any(word.lower().encode() in _octets(cell).lower() for row in rows for cell in row):
                    found.append(name)
    finally:
        await engine.dispose()
    return sorted(found)


def _octets(cell: object) -> bytes:
    return cell if isinstance(cell, bytes) else str(cell).encode(errors="backslashreplace")


def files_with(url: str, word: str) -> list[str]:
    """Which files of an SQLite database hold a word."""
    path = Path(url.removeprefix("sqlite:///"))
    names = [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))]
    return [each.name for each in names if each.exists() and word.lower().encode() in each.read_bytes().lower()]
