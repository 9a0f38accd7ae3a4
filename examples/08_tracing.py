"""Who changed what: a traced function saves what it changes, in its own name.

A pipeline that edits a conversation leaves a history that can be asked: which step made this version, who wrote this
message, and what was it before a step that failed?
"""

import asyncio

from minference import ChatMessage, ChatThread, LLMConfig, MessageRole, entity_tracer, open_storage


@entity_tracer
async def translate(thread: ChatThread) -> None:
    """Replace the question by its translation."""
    thread.history[0].content = "Where is the station?"


@entity_tracer
async def shorten(thread: ChatThread, most: int) -> ChatThread:
    """Drop what is too long, and say so."""
    thread.history = [message for message in thread.history if len(message.content) <= most]
    thread.history.append(ChatMessage(role=MessageRole.user, content="(shortened)"))
    return thread


@entity_tracer
async def fail(thread: ChatThread) -> None:
    """Change something, and come to grief."""
    thread.history.clear()
    raise RuntimeError("the network is down")


async def main() -> None:
    async with open_storage("memory:") as storage:
        thread = ChatThread(llm_config=LLMConfig(client="scripted", model="echo"))
        for content in ("Où est la gare ?", "A very long story that nobody will ever read to its end."):
            thread.history.append(ChatMessage(role=MessageRole.user, content=content))
        await storage.register(thread, author="ann", note="as it was asked")

        await translate(thread)
        await shorten(thread, most=30)
        try:
            await fail(thread)
        except RuntimeError as error:
            print(f"failed: {error}; in memory there are {len(thread.history)} messages")
            thread = await ChatThread.get(thread.ecs_id)  # the version from before the call
            print(f"restored: {[message.content for message in thread.history]}")

        for version in await storage.lineage(thread.lineage_id):
            before = await ChatThread.get(version.parent_id) if version.parent_id else None
            changes = await storage.diff(before, await ChatThread.get(version.ecs_id)) if before else "begun"
            print(f"\n{version.commit.author}: {changes}")
        print()
        for message, blame in zip(thread.history, await storage.blame(thread), strict=True):
            print(f"{message.content!r}: added by {blame.added.author}, written by {blame.version.commit.author}")


if __name__ == "__main__":
    asyncio.run(main())
