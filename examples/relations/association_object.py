"""Association object: a membership joins a user and a room, and has data of its own."""

import asyncio
from datetime import UTC, datetime

from minference import Entity, open_storage


class User(Entity):
    name: str


class Room(Entity):
    name: str


class Membership(Entity):
    user: User
    room: Room
    role: str = "viewer"
    since: datetime


async def main() -> None:
    async with open_storage("sqlite:///association.db") as storage:
        ann, tea = User(name="Ann"), Room(name="tea")
        membership = Membership(user=ann, room=tea, since=datetime(2026, 1, 31, tzinfo=UTC))
        await storage.register(membership, author="owner")

        membership.role = "admin"
        await storage.register(membership, author="owner", note="promoted")
        ann.name = "Anna"  # a change on either side is one of the association too
        await storage.register(membership, author="Ann")

        for version in await storage.lineage(membership.lineage_id):
            then = await Membership.get(version.ecs_id)
            print(f"{then.user.name} is {then.role} of {then.room.name} since {then.since:%Y-%m-%d} (by {version.commit.author})")
        print(len(await storage.lineage(tea.lineage_id)), "version of the room")


if __name__ == "__main__":
    asyncio.run(main())
