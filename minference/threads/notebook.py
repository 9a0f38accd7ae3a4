"""A thread as a notebook shows it: one fragment of HTML that needs nothing else, in which all content is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import TYPE_CHECKING

from minference.ecs.diff_render import printable
from minference.ecs.lineage import short_id
from minference.ecs.partial import PartialList
from minference.threads.messages import ChatMessage, MessageRole

if TYPE_CHECKING:
    from minference.threads.thread import ChatThread

FIRST, LAST = 2, 18
"""Messages at either end that are shown of a long thread."""
LONGEST = 4_000
"""Characters that are shown of one text."""
_COLOURS = {MessageRole.user: "#0b68cb", MessageRole.assistant: "#5b5bd6", MessageRole.tool: "#96640a", MessageRole.system: "#808090"}
_QUIET = "opacity:.65;font-size:.85em"


def thread_to_html(thread: ChatThread) -> str:
    """The name and model, then the messages; of many, those at the ends."""
    return f'<div class="minference-thread" style="max-width:52em">{"".join(_parts(thread))}</div>'


def _parts(thread: ChatThread) -> Iterator[str]:
    name = "(erased)" if thread.erased else thread.name or f"thread {short_id(thread.lineage_id)}"
    config = thread.llm_config
    yield f"<div><b>{_text(name)}</b> {_quiet(f'{config.client}/{config.model}, version {short_id(thread.ecs_id)}')}</div>"
    if thread.system_prompt is not None:
        yield _block(MessageRole.system, "", _text(thread.system_prompt.content))
    # A thread of which only a part was loaded has a list that knows which.
    history: object = thread.history
    there = history.loaded if isinstance(history, PartialList) else dict(enumerate(thread.history))
    shown = {index: each for index, each in there.items() if index < FIRST or index >= len(thread.history) - LAST}
    before = 0
    for index, message in shown.items():
        if index > before:
            yield _skipped(index - before)
        before = index + 1
        if isinstance(message, ChatMessage):
            yield _message(index, message)
    if before < len(thread.history):
        yield _skipped(len(thread.history) - before)
    if thread.new_message is not None:
        yield _block(MessageRole.user, "not sent yet", _text(thread.new_message))


def _message(index: int, message: ChatMessage) -> str:
    parts = ["(erased)"] if message.erased else []
    if message.reasoning:
        parts.append(f"<details><summary>reasoning</summary><i>{_text(message.reasoning)}</i></details>")
    parts += [_quiet(f"[{each.name}]") for each in message.attachments]
    parts += [_text(each) for each in (message.content, message.refusal) if each]
    parts += [f"<code>{_text(f'{call.name}({call.arguments_json})')}</code>" for call in message.tool_calls]
    tokens = f"{message.usage.prompt_tokens} + {message.usage.completion_tokens} tokens" if message.usage else ""
    told = " ".join(filter(None, [f"#{index}", message.tool_name, "failed" if message.tool_error else "", tokens]))
    return _block(message.role, told, "<br>".join(parts))


def _block(role: MessageRole, told: str, content: str) -> str:
    heading = f'<b style="color:{_COLOURS[role]}">{role.value}</b> {_quiet(told)}'
    style = f"border-left:3px solid {_COLOURS[role]};padding:.1em .8em;margin:.5em 0"
    return f'<div style="{style}">{heading}<div style="white-space:pre-wrap;overflow-wrap:anywhere">{content}</div></div>'


def _skipped(count: int) -> str:
    plural = "" if count == 1 else "s"
    return f"<div>{_quiet(f'… {count:,} message{plural} …')}</div>"


def _quiet(text: str) -> str:
    return f'<span style="{_QUIET}">{_text(text)}</span>'


def _text(text: str) -> str:
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text) - LONGEST:,} more characters)"
    return html.escape(printable(cut))
