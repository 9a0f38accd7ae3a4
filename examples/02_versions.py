"""Versions: edit, compare, go back, branch. Needs no model at all."""

import asyncio

from minference import ChatMessage, ChatThread, LLMConfig, MessageRole, open_storage


async def main() -> None:
    async with open_storage("memory:") as storage:
        thread = ChatThread(name="colours", llm_config=LLMConfig(client="local", model="any"))
        thread.history.append(ChatMessage(role=MessageRole.user, content="Why is the sky blue?"))
        thread.history.append(ChatMessage(role=MessageRole.assistant, content="Because air scatters blue light most."))
        await storage.register(thread, author="ann", note="first talk")
        first = thread.ecs_id

        # Editing is plain Python. Saving makes one new version of each thing that changed, and of what holds it.
        thread.history[0].content = "Why is the sea blue?"
        await storage.register(thread, author="bob", note="ask about the sea")
        print(await storage.diff(first, thread.ecs_id))

        # Every version can be loaded and edited; saving an old one makes a branch beside what came after it.
        branch = await ChatThread.get(first)
        branch.history.append(ChatMessage(role=MessageRole.user, content="And at sunset?"))
        await storage.register(branch, author="ann", note="go on from the first talk")

        print(f"\n{len(await storage.heads(thread.lineage_id))} heads; every version of this thread:")
        for version in await storage.lineage(thread.lineage_id):
            print(f"  {version.ecs_id} from {version.parent_id}: {version.commit.author}, {version.commit.note}")


if __name__ == "__main__":
    asyncio.run(main())
