"""Threads, versions and messages as tables, text and JSON data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.filesize import decimal
from rich.text import Text

from minference.cli.output import one_line, when
from minference.cli.tables import Table, on_one_line, table
from minference.ecs.diff import CollectionChanged, EntityDiff
from minference.ecs.diff_render import printable
from minference.ecs.lineage import VersionInfo, short_id
from minference.ecs.partial import PartialList
from minference.threads.attachments import Attached, ImageLink
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread

CHANGES = 90
"""Characters of what a version changed, in the log."""
NAMED = 5
"""Members that one version added which the log tells one by one."""

_ROLES = {MessageRole.user: "bold cyan", MessageRole.assistant: "bold green", MessageRole.tool: "bold magenta", MessageRole.system: "bold"}


ERASED = "(erased)"
"""Stands for content that is gone."""


def moment(when: datetime | None) -> str | None:
    """A time as data."""
    return when.isoformat() if when is not None else None


@dataclass(frozen=True, slots=True)
class ThreadLine:
    """One line of the list of threads."""

    thread: ChatThread
    """Its messages need not be loaded."""
    head: VersionInfo
    versions: int

    def as_json(self) -> dict[str, Any]:
        """The line as data."""
        return {
            "thread": str(self.head.lineage_id),
            "version": str(self.head.ecs_id),
            "name": self.thread.name,
            "messages": len(self.thread.history),
            "client": self.thread.llm_config.client,
            "model": self.thread.llm_config.model,
            "versions": self.versions,
            "updated": self.head.created_at.isoformat(),
            "erased_at": moment(self.head.erased_at),
        }


def list_table(lines: Iterable[ThreadLine]) -> Table:
    """The list of threads."""
    rows = (
        (
            short_id(line.head.lineage_id),
            ERASED if line.thread.erased else line.thread.name or "",
            str(len(line.thread.history)),
            f"{line.thread.llm_config.client}/{line.thread.llm_config.model}",
            str(line.versions),
            when(line.head.created_at),
        )
        for line in lines
    )
    return table(("thread", "name", "messages", "model", "versions", "updated (UTC)"), rows)


def loaded_messages(thread: ChatThread) -> dict[int, ChatMessage]:
    """The messages of a thread that are there, by index."""
    history: Any = thread.history
    messages: dict[int, Any] = history.loaded if isinstance(history, PartialList) else dict(enumerate(history))
    return messages


def thread_json(thread: ChatThread) -> dict[str, Any]:
    """One version of a thread as data, with the messages that were loaded."""
    return {
        "thread": str(thread.lineage_id),
        "version": str(thread.ecs_id),
        "parent": str(thread.parent_id) if thread.parent_id else None,
        "created_at": thread.created_at.isoformat(),
        "name": thread.name,
        "erased": thread.erased,
        "client": thread.llm_config.client,
        "model": thread.llm_config.model,
        "system": thread.system_prompt.content if thread.system_prompt else None,
        "tools": [tool.name for tool in thread.tools],
        "message_count": len(thread.history),
        "messages": [{"index": index, **message_json(message)} for index, message in loaded_messages(thread).items()],
        "new_message": thread.new_message,
    }


def message_json(message: ChatMessage) -> dict[str, Any]:
    """One message as data."""
    usage = message.usage
    return {
        "message": str(message.lineage_id),
        "version": str(message.ecs_id),
        "role": message.role.value,
        "erased": message.erased,
        "content": message.content,
        "attachments": [_attachment_json(attached) for attached in message.attachments],
        "tool_calls": [{"id": call.id, "name": call.name, "arguments_json": call.arguments_json} for call in message.tool_calls],
        "tool_call_id": message.tool_call_id,
        "tool_name": message.tool_name,
        "tool_error": message.tool_error,
        "reasoning": message.reasoning,
        "refusal": message.refusal,
        "finish_reason": message.finish_reason.value if message.finish_reason else None,
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "completion_tokens": usage.completion_tokens if usage else None,
    }


def _attachment_json(attached: Attached) -> dict[str, Any]:
    if isinstance(attached, ImageLink):
        return {"name": attached.name, "url": attached.url}
    return {"name": attached.name, "media_type": attached.media_type, "size": attached.size, "sha256": attached.sha256}


def _attachment_line(attached: Attached) -> str:
    if isinstance(attached, ImageLink):
        return f"[{attached.name}: {attached.url}]"
    return f"[{attached.name}: {attached.media_type}, {decimal(attached.size)}]"


def thread_text(thread: ChatThread) -> Text:
    """One version of a thread for reading."""
    config = thread.llm_config
    name = f" {ERASED}" if thread.erased else f" {thread.name}" if thread.name else ""
    parts = [
        Text(on_one_line(f"thread {short_id(thread.lineage_id)}{name}"), style="bold"),
        Text(on_one_line(f"version {short_id(thread.ecs_id)}  {when(thread.created_at)} UTC  {config.client}/{config.model}"), style="dim"),
    ]
    if thread.system_prompt:
        prompt = ERASED if thread.system_prompt.erased else printable(thread.system_prompt.content)
        parts += [Text(), Text("system", style=_ROLES[MessageRole.system]), Text(prompt)]
    messages = loaded_messages(thread)
    before = min(messages, default=len(thread.history))
    if before:
        parts += [Text(), Text(f"… {before:,} earlier messages (--first N, --last N, --all)", style="dim")]
    for message in messages.values():
        parts += [Text(), *_message(message)]
    if after := len(thread.history) - before - len(messages):
        parts += [Text(), Text(f"… {after:,} later messages", style="dim")]
    if thread.new_message is not None:
        parts += [Text(), Text("user, not sent yet", style=_ROLES[MessageRole.user]), Text(printable(thread.new_message))]
    return Text("\n").join(parts)


def _message(message: ChatMessage) -> Iterator[Text]:
    heading = Text(message.role.value, style=_ROLES[message.role])
    if message.tool_name:
        heading.append(on_one_line(f" {message.tool_name}{' failed' if message.tool_error else ''}"))
    heading.append(f"  {short_id(message.ecs_id)}", style="dim")
    if message.usage:
        heading.append(f"  {message.usage.prompt_tokens} + {message.usage.completion_tokens} tokens", style="dim")
    if message.finish_reason and message.finish_reason.value not in ("stop", "tool_calls"):
        heading.append(f"  ended by {message.finish_reason.value}", style="yellow")
    yield heading
    if message.erased:
        yield Text(ERASED, style="dim")
    if message.reasoning:
        yield Text(printable(message.reasoning), style="dim italic")
    for attached in message.attachments:
        yield Text(printable(_attachment_line(attached)), style="blue")
    if message.content:
        yield Text(printable(message.content))
    if message.refusal:
        yield Text(printable(f"refused: {message.refusal}"), style="yellow")
    for call in message.tool_calls:
        yield Text(printable(f"-> {call.name}({call.arguments_json})"), style="magenta")


def log_entry(version: VersionInfo, tags: list[str], *, head: bool) -> dict[str, Any]:
    """One version of the log as data, before it is known what it changed."""
    return {
        "version": str(version.ecs_id),
        "parent": str(version.parent_id) if version.parent_id else None,
        "created_at": version.created_at.isoformat(),
        "time": when(version.created_at),
        "commit": version.commit.id,
        "author": version.commit.author,
        "note": version.commit.note,
        "head": head,
        "tags": tags,
        "erased_at": moment(version.erased_at),
        "changes": [],
    }


def log_widths(entries: Sequence[dict[str, Any]]) -> list[int]:
    """What the columns of a log will want, as far as it is known before it is known what the versions changed."""
    return [*log_table(entries).wanted()[:-1], CHANGES]


def log_table(entries: Sequence[dict[str, Any]], least: Sequence[int] = (), *, headed: bool = True) -> Table:
    """The log for reading, or a part of one that has these `log_widths`; a column for tags, if there are any."""
    headings = ["version", "time (UTC)", "author", "note", "changes"]
    tagged = len(least) > len(headings) or any(entry["tags"] for entry in entries)
    if tagged:
        headings.insert(1, "tags")
    return Table(headings, [_log_row(entry, tagged=tagged) for entry in entries], least, headed)


def _log_row(entry: dict[str, Any], *, tagged: bool) -> list[str]:
    begin = [entry["version"][-8:] + (" (head)" if entry["head"] else "")]
    names = [one_line(", ".join(entry["tags"]), 40)] if tagged else []
    told = [one_line(entry["author"] or "", 24), one_line(entry["note"] or "", 40), one_line("; ".join(_told(entry)), CHANGES)]
    return [*begin, *names, entry["time"], *told]


def _told(entry: dict[str, Any]) -> list[str]:
    erased: str | None = entry["erased_at"]
    return [f"(erased {erased[:10]})", *entry["changes"]] if erased else entry["changes"]


def summarise(diff: EntityDiff) -> list[str]:
    """What changed, in a few words per field."""
    return [_in_short(name, change) for name, change in diff.fields.items()] or ["nothing"]


def _in_short(name: str, change: object) -> str:
    if not isinstance(change, CollectionChanged):
        return name
    said = [one_line(who(each.entity), 50) for each in change.added[:NAMED]]
    said += [f"{len(change.added) - NAMED:,} more"] if len(change.added) > NAMED else []
    counts = ((len(change.removed), "removed"), (len(change.moved), "moved"), (len(change.changed), "changed"))
    parts = [f"+ {', '.join(said)}"] if said else []
    parts += [f"{count} {word}" for count, word in counts if count]
    return f"{name} {', '.join(parts)}"


def who(entity: object) -> str:
    """An entity in a few words: of a message, who says what."""
    if not isinstance(entity, ChatMessage):
        return type(entity).__name__
    if entity.tool_calls:
        return f"{entity.role.value} calls {', '.join(call.name for call in entity.tool_calls)}"
    return f"{entity.role.value} {ERASED if entity.erased else repr(entity.content)}"
