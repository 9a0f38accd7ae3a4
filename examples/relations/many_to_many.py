"""Many to many: users are in several rooms, rooms have several users. Each side that holds the other is a list of it."""

import asyncio

from pydantic import Field

from minference import Entity, open_storage


class Room(Entity):
    name: str


class User(Entity):
    name: str
    rooms: list[Room] = Field(default_factory=list)


async def main() -> None:
    async with open_storage("sqlite:///many_to_many.db") as storage:
        tea, garden = Room(name="tea"), Room(name="garden")
        ann, bob = User(name="Ann", rooms=[tea, garden]), User(name="Bob", rooms=[tea])
        await storage.register(ann, bob)

        tea.name = "tea and cake"
        await storage.register(ann, bob)  # one commit: a version of the room, and one of each user who is in it
        print([len(await storage.lineage(each.lineage_id)) for each in (tea, garden, ann, bob)], "versions")

        loaded = [await User.get(user.ecs_id) for user in (ann, bob)]
        for room in (tea, garden):
            members = [user.name for user in loaded if room.lineage_id in {each.lineage_id for each in user.rooms}]
            print(f"{room.name}: {', '.join(members)}")


if __name__ == "__main__":
    asyncio.run(main())
