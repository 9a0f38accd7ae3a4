"""One to many: a thread has notes, in order. Editing one makes a version of it and of the thread, and of nothing else."""

import asyncio

from pydantic import Field

from minference import Entity, open_storage


class Note(Entity):
    text: str


class Notebook(Entity):
    notes: list[Note] = Field(default_factory=list)


async def main() -> None:
    async with open_storage("sqlite:///one_to_many.db") as storage:
        book = await storage.register(Notebook(notes=[Note(text="buy milk"), Note(text="call Bob")]))
        book.notes.append(Note(text="sleep"))
        await storage.register(book)
        book.notes[0].text = "buy oats"
        book.notes.reverse()  # order counts
        await storage.register(book)

        for version in await storage.lineage(book.lineage_id):
            print([note.text for note in (await storage.get(Notebook, version.ecs_id)).notes])
        print([len(await storage.lineage(note.lineage_id)) for note in book.notes], "versions of each note")


if __name__ == "__main__":
    asyncio.run(main())
