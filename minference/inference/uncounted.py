"""What came of threads of a named run before the process that was at them was killed: nobody could note it, but it is saved."""

from __future__ import annotations

from uuid import UUID

from minference.ecs.lineage import LineageTree
from minference.errors import MinferenceError
from minference.inference.budgets import NOTHING, Spent
from minference.storage.base import EntityStorage
from minference.storage.runs import EntryState, Regained, RunEntry
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread


async def regained(storage: EntityStorage, entry: RunEntry | None) -> Regained | None:
    """What a thread has gained since its replies were counted in its run for the last time; `None` if that is nothing.

    Only for threads that nobody is at: those of a run that this process holds, or that it has claimed.

    Raises:
        StorageError: The thread cannot be read.
    """
    if entry is None or entry.state is not EntryState.running or entry.counted_to is None:
        return None
    tree = LineageTree(await storage.lineage(entry.lineage_id))
    if entry.counted_to not in tree or not tree.children(entry.counted_to):
        return None
    counted = {message.lineage_id for message in await _replies(storage, entry.counted_to)}
    new: dict[UUID, ChatMessage] = {}
    ends = [head for head in tree.heads if any(version.ecs_id == entry.counted_to for version in tree.ancestors(head.ecs_id))]
    for head in ends:
        new.update((message.lineage_id, message) for message in await _replies(storage, head.ecs_id) if message.lineage_id not in counted)
    spent = NOTHING
    for message in new.values():
        spent = _with(spent, message)
    if spent == NOTHING:
        return None
    return Regained(entry.lineage_id, entry.counted_to, ends[-1].ecs_id, spent.replies, spent.tokens, spent.cost)


async def regained_if_readable(storage: EntityStorage, entry: RunEntry | None) -> Regained | None:
    """The same of a thread that is not gone on with, for whatever reason: `None` also if that keeps it from being read."""
    try:
        return await regained(storage, entry)
    except MinferenceError:
        return None


async def _replies(storage: EntityStorage, version: UUID) -> list[ChatMessage]:
    """The messages of a version that a model wrote, those excepted that broke off: nobody has counted what these used."""
    thread = await storage.get_cold_snapshot(ChatThread, version)
    written = (message for message in thread.history if message.role is MessageRole.assistant and message.finish_reason is not None)
    return [message for message in written if not message.is_partial]


def _with(spent: Spent, reply: ChatMessage) -> Spent:
    if (usage := reply.usage) is None:
        return spent.plus(0, None)
    return spent.plus(0 if usage.from_cache else usage.prompt_tokens + usage.completion_tokens, usage.cost_usd)
