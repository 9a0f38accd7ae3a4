"""A table of one's own: typed columns for an entity class, one of them packed, and SQL over it and over the views. Needs no model."""

import asyncio
import zlib
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, LargeBinary, Uuid, select
from sqlalchemy.orm import Mapped, mapped_column

from minference import ChatMessage, ChatThread, Entity, LLMConfig, MessageRole, open_storage
from minference.storage.sql import EntityTable, Json
from minference.threads.tables import ChatMessageSQL, ThreadMessageView


class Review(Entity):
    """What somebody thinks of a conversation. It could be stored without a table, too."""

    thread_version: UUID
    """The version of the thread that it is about."""
    stars: int
    text: str


class ReviewSQL(EntityTable[Review]):
    """One column for each field, or this class could not be defined. The text is compressed."""

    __tablename__ = "review"
    __encoded__ = ("text",)

    thread_version: Mapped[UUID] = mapped_column(Uuid, index=True)
    stars: Mapped[int] = mapped_column(BigInteger)
    text: Mapped[bytes] = mapped_column(LargeBinary)
    extra: Mapped[Any | None] = mapped_column(Json)  # fields that subclasses of Review may have

    @classmethod
    def encode(cls, field: str, value: Any) -> Any:
        return zlib.compress(value.encode()) if field == "text" else super().encode(field, value)

    @classmethod
    def decode(cls, field: str, value: Any) -> Any:
        return zlib.decompress(value).decode() if field == "text" else super().decode(field, value)


def talk(name: str, question: str, answer: str) -> ChatThread:
    """A short conversation."""
    said = [ChatMessage(role=MessageRole.user, content=question), ChatMessage(role=MessageRole.assistant, content=answer)]
    return ChatThread(name=name, llm_config=LLMConfig(client="local", model="any"), history=said)


async def main() -> None:
    async with open_storage("sqlite:///reviews.db") as storage:
        sky = talk("sky", "Why is the sky blue?", "Because air scatters blue light most.")
        sea = talk("sea", "Why is the sea salty?", "It just is.")
        await storage.register(sky, sea)
        good = Review(thread_version=sky.ecs_id, stars=5, text="Right, and in one sentence. " * 50)
        bad = Review(thread_version=sea.ecs_id, stars=1, text="That is no answer.")
        await storage.register(good, bad, author="ann")
        bad.stars, bad.text = 2, "Short, but no answer."
        await storage.register(bad, author="bob", note="be kind")

        async with storage.sql() as session:  # reads only; everything saved is there
            print("every version of the reviews:")
            for row in await session.scalars(select(ReviewSQL).order_by(ReviewSQL.id)):
                review, who = row.to_entity(), row.entity_version
                print(f"  {review.stars} by {who.author}, {who.note}: {review.text[:27]} ({len(row.text)} bytes)")

            print("what was said in talks with at least 4 stars:")
            said = (
                select(ThreadMessageView.position, ChatMessageSQL.content)
                .join(ChatMessageSQL, ChatMessageSQL.id == ThreadMessageView.message_id)
                .join(ReviewSQL, ReviewSQL.thread_version == ThreadMessageView.thread_ecs_id)
                .where(ReviewSQL.stars >= 4)
                .order_by(ThreadMessageView.position)
            )
            for position, content in await session.execute(said):
                print(f"  {position}: {content}")

        loaded = await Review.get(bad.ecs_id)
        print(f"loaded as always: {loaded.text}")


if __name__ == "__main__":
    asyncio.run(main())
