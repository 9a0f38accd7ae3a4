"""One to one: a user has a profile. The profile's changes make versions of the user too."""

import asyncio

from minference import Entity, open_storage


class Profile(Entity):
    city: str


class User(Entity):
    name: str
    profile: Profile | None = None


async def main() -> None:
    async with open_storage("sqlite:///one_to_one.db") as storage:
        user = await storage.register(User(name="Ann", profile=Profile(city="Oslo")))
        before = user.ecs_id

        assert user.profile is not None
        user.profile.city = "Rome"
        await storage.register(user)
        print(await storage.diff(before, user))

        user.profile = None  # the old profile stays with the old versions
        await storage.register(user)
        for version in await storage.lineage(user.lineage_id):
            profile = (await User.get(version.ecs_id)).profile
            print(profile.city if profile else "no profile")


if __name__ == "__main__":
    asyncio.run(main())
