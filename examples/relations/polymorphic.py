"""Polymorphic: a page holds content of several classes in one list, and each comes back as what it was."""

import asyncio

from pydantic import Field

from minference import Entity, open_storage


class Content(Entity):
    title: str


class Text(Content):
    text: str


class Image(Content):
    url: str
    width: int = 0


class Page(Entity):
    contents: list[Content] = Field(default_factory=list)  # or list[Text | Image], if nothing else may come in
    cover: Text | Image | None = None


async def main() -> None:
    async with open_storage("sqlite:///polymorphic.db") as storage:
        page = Page(
            contents=[Text(title="hello", text="Hello."), Image(title="sea", url="sea.png", width=640)], cover=Text(title="c", text="")
        )
        await storage.register(page)
        page.cover = page.contents[1] if isinstance(page.contents[1], Image) else None
        await storage.register(page)

        loaded = await Page.get(page.ecs_id)
        for content in loaded.contents:
            match content:
                case Text():
                    print(f"text {content.title}: {content.text}")
                case Image():
                    print(f"image {content.title}: {content.url}, {content.width} wide")
        print("the cover is the same object:", loaded.cover is loaded.contents[1])
        print(len(await storage.list_by_type(Content)), "contents of any class")


if __name__ == "__main__":
    asyncio.run(main())
