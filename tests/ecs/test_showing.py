"""How entities look when they are printed: everything of a few, the ends of many."""

from __future__ import annotations

from pydantic import Field
from rich.pretty import pretty_repr

from minference.ecs.entity import Entity
from minference.ecs.lineage import short_id
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread


class ShownPage(Entity):
    text: str = ""


class ShownBook(Entity):
    title: str = ""
    pages: list[ShownPage] = Field(default_factory=list)
    pair: tuple[ShownPage, ...] = ()
    named: dict[str, ShownPage] = Field(default_factory=dict)
    numbers: list[int] = Field(default_factory=list)


def pages(count: int) -> list[ShownPage]:
    return [ShownPage(text=f"page {number}") for number in range(count)]


def line(page: ShownPage) -> str:
    return f"<ShownPage {short_id(page.ecs_id)} text={page.text!r}>"


def test_few_members_are_shown_with_everything() -> None:
    book = ShownBook(title="t", pages=pages(6), numbers=list(range(9)))
    assert repr(book) == (
        f"ShownBook(version='{book.ecs_id}', title='t', pages={book.pages!r}, pair=(), named={{}}, numbers=[0, 1, 2, 3, 4, 5, 6, 7, 8])"
    )


def test_of_many_the_ends_are_shown_and_how_many_more_there_are() -> None:
    many = pages(2_000)
    book = ShownBook(pages=many, pair=tuple(many), named={page.text: page for page in many})
    first, *last = [line(page) for page in (many[0], *many[-3:])]
    middle = "… 1,996 more …"
    assert f"pages=[{first}, {middle}, {', '.join(last)}], pair=({first}, {middle}, {', '.join(last)})" in repr(book)
    assert f"named={{'page 0': {first}, {middle}, 'page 1997': {last[0]}, " in repr(book)


def test_a_thread_of_any_length_prints_short_in_every_way() -> None:
    history = [ChatMessage(role=MessageRole.user, content=f"word {number} " * 500) for number in range(10_000)]
    thread = ChatThread(name="long", llm_config=LLMConfig(client="scripted", model="m"), history=history)
    for text in (repr(thread), str(thread), pretty_repr(thread), f"{thread}"):
        assert len(text) < 5_000
        assert "long" in text
        assert "… 9,996 more …" in text
        assert "word 9999 word 9999" in text
