"""Many to one: books refer to their author. The author is stored once, and books that share it stay together when saved together."""

import asyncio

from minference import Entity, open_storage


class Author(Entity):
    name: str


class Book(Entity):
    title: str
    author: Author


async def main() -> None:
    async with open_storage("sqlite:///many_to_one.db") as storage:
        author = Author(name="K. Hamsun")
        books = [Book(title=title, author=author) for title in ("Hunger", "Pan")]
        await storage.register(*books)

        author.name = "Knut Hamsun"
        await storage.register(books[0])  # a version of the author and of this book
        print([len(await storage.lineage(each.lineage_id)) for each in (author, *books)], "versions")

        pan = await Book.get(books[1].ecs_id)  # saved before the change, so as it was then
        print(f"{books[0].title} by {books[0].author.name}, {pan.title} by {pan.author.name}")
        await storage.register(books[1])  # its author has a new version: now it has one too
        print((await Book.get(books[1].ecs_id)).author.name)


if __name__ == "__main__":
    asyncio.run(main())
