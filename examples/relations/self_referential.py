"""Self-referential: categories in categories. Every ancestor of a change gets a version, the other branches of the tree none."""

import asyncio

from pydantic import Field

from minference import Entity, open_storage


class Category(Entity):
    name: str
    parts: "list[Category]" = Field(default_factory=list)


def outline(category: Category) -> str:
    inside = ", ".join(map(outline, category.parts))
    return f"{category.name} ({inside})" if inside else category.name


async def main() -> None:
    async with open_storage("sqlite:///self_referential.db") as storage:
        root = Category(
            name="life",
            parts=[Category(name="plants", parts=[Category(name="mosses")]), Category(name="animals", parts=[Category(name="cats")])],
        )
        await storage.register(root)
        root.parts[1].parts[0].name = "cats and dogs"
        await storage.register(root)
        print(outline(await Category.get(root.ecs_id)))

        everything = [root, *root.parts, *(below for part in root.parts for below in part.parts)]
        print({each.name: len(await storage.lineage(each.lineage_id)) for each in everything}, "versions")


if __name__ == "__main__":
    asyncio.run(main())
