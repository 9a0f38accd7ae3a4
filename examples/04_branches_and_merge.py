"""Branches: name versions, go back, settle a race, and merge two continuations of one talk. Needs no model at all."""

import asyncio

from minference import ChatMessage, ChatThread, LLMConfig, MessageRole, SystemPrompt, open_storage


def say(thread: ChatThread, content: str) -> None:
    """Append what somebody said."""
    thread.history.append(ChatMessage(role=MessageRole.user, content=content))


def show(title: str, thread: ChatThread) -> None:
    """Print a talk on one line."""
    print(f"{title}: {' / '.join(message.content for message in thread.history)}")


async def main() -> None:
    async with open_storage("memory:") as storage:
        talk = ChatThread(name="garden", llm_config=LLMConfig(client="local", model="any"))
        say(talk, "What shall we plant?")
        await storage.register(talk, author="ann")
        await storage.tag("start", talk)

        # Two people go on from the same version. Neither overwrites the other: the lineage has two heads.
        bobs = await storage.tagged(ChatThread, talk.lineage_id, "start")
        say(talk, "Tulips.")
        await storage.register(talk, author="ann")
        say(bobs, "Onions.")
        bobs.system_prompt = SystemPrompt(content="Be brief.")
        await storage.register(bobs, author="bob", note="vegetables")
        await storage.tag("bob's idea", bobs)

        # A merge never guesses: both added a message in the same place, so that is a conflict, and nothing is saved yet.
        for conflict in (await storage.merge(talk, bobs)).conflicts:
            print(f"{conflict.path}: {conflict.ours[0].content} or {conflict.theirs[0].content}")
        await storage.revert(talk, to=talk.ecs_id)

        # They are two continuations of one talk, so theirs may stand after ours. What only Bob changed comes along.
        await storage.merge(talk, bobs, strategy="append", author="ann")
        show("merged", talk)
        print(f"system prompt: {talk.system_prompt.content if talk.system_prompt else None}")

        # Going back is a new version too, so that nothing is lost by it.
        merged = talk.ecs_id
        await storage.revert(talk, to=(await storage.tags(talk.lineage_id))["start"].ecs_id, author="ann", note="begin again")
        show("reverted", talk)
        show("still there", await ChatThread.get(merged))

        # Somebody saved first? Replay one's own change on what they saved, and both additions are kept. What both changed otherwise
        # is as one's own side has it: look before saving that.
        mine = await storage.latest(ChatThread, talk.lineage_id)
        say(talk, "Trees?")
        await storage.register(talk, author="ann")
        mine.name = "garden plan"
        say(mine, "And grass.")
        result = await storage.rebase(mine, strategy="append")
        if not result.conflicts:
            await storage.register(mine, author="bob", on_conflict="raise")
        show(f"rebased, {mine.name}", mine)

        print(f"{len(await storage.lineage(talk.lineage_id))} versions; tags: {', '.join(await storage.tags(talk.lineage_id))}")


if __name__ == "__main__":
    asyncio.run(main())
