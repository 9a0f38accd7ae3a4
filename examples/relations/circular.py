"""Circular: entities that refer to each other, strongly, and a back-reference, which is only a convenience."""

import asyncio
from typing import Annotated

from pydantic import Field

from minference import Entity, open_storage
from minference.ecs.plan import BackRef


class Person(Entity):
    name: str
    spouse: "Person | None" = None


class Post(Entity):
    text: str
    thread: "Annotated[Thread | None, BackRef('posts')]" = None  # not stored: filled when the thread is loaded


class Thread(Entity):
    posts: list[Post] = Field(default_factory=list)


async def main() -> None:
    async with open_storage("sqlite:///circular.db") as storage:
        ann, bob = Person(name="Ann"), Person(name="Bob")
        ann.spouse, bob.spouse = bob, ann
        await storage.register(ann)
        bob.name = "Robert"
        print(len((await storage.submit(ann)).versions), "versions: a strong circle changes as one")

        thread = await storage.register(Thread(posts=[Post(text=str(number)) for number in range(100)]))
        thread.posts.append(Post(text="the next", thread=thread))
        print(len((await storage.submit(thread)).versions), "versions: the thread and its new post")
        loaded = await Thread.get(thread.ecs_id)
        print("every post knows its thread:", all(post.thread is loaded for post in loaded.posts))


if __name__ == "__main__":
    asyncio.run(main())
