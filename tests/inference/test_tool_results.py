"""What a tool returns or raises becomes JSON, or one clear sentence for the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from minference.errors import (
    InvalidToolResult,
    ToolRaised,
)
from minference.inference.tool_results import ToolFailed, ToolSucceeded, error_text, succeeded
from minference.inference.tool_runs import run_tool_call
from minference.threads.attachments import Attached, FileAttachment, ImageAttachment, ImageLink
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.tools import CallableTool
from tests.inference.tool_calls import Order, a_call, failure, returning, run


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.ecs.callables._FUNCTIONS", {})


class Colour(Enum):
    red = "r"


@pytest.mark.parametrize(
    ("result", "text", "value"),
    [
        ("as it is\n", "as it is\n", "as it is\n"),
        (None, "null", None),
        ({"a": [1, 2.5, "ü"]}, '{"a":[1,2.5,"ü"]}', {"a": [1, 2.5, "ü"]}),
        (Order(item="tea", howMany=2), '{"item":"tea","howMany":2}', {"item": "tea", "howMany": 2}),
        ([date(2026, 1, 2)], '["2026-01-02"]', ["2026-01-02"]),
        (Colour.red, "r", "r"),
        (b"bytes", "bytes", "bytes"),
        ((1, 2), "[1,2]", [1, 2]),
        (10**30, str(10**30), 10**30),
    ],
)
async def test_a_result_is_json_and_a_string_stays_as_it_is(result: Any, text: str, value: Any) -> None:
    assert await run(returning(result)) == ToolSucceeded(text, value)


PNG = ImageAttachment.from_bytes(b"\x89PNG\r\n\x1a\n", "sky.png")
NOTES = FileAttachment.from_bytes(b"blue", "notes.txt")
LINK = ImageLink(url="https://example.org/cat.png")


@pytest.mark.parametrize(
    ("result", "text", "attachments"),
    [
        (PNG, "sky.png", (PNG,)),
        (LINK, "image", (LINK,)),
        ([NOTES, PNG], "notes.txt, sky.png", (NOTES, PNG)),
        (("The sky", PNG, "is blue.", NOTES), "The sky\nis blue.", (PNG, NOTES)),
        (["", PNG], "", (PNG,)),
    ],
)
async def test_attachments_are_shown_and_not_written_as_json(result: Any, text: str, attachments: tuple[Attached, ...]) -> None:
    assert await run(returning(result)) == ToolSucceeded(text, text, attachments)


async def test_a_function_that_says_what_it_shows_has_no_schema_of_its_result_and_keeps_to_its_word() -> None:
    def draw() -> ImageAttachment | None:
        return PNG

    async def draw_all() -> list[str | ImageAttachment]:
        return ["two", PNG, PNG]

    def lie() -> list[str]:
        return ["one", PNG]  # type: ignore[list-item]  # that is the point

    assert CallableTool.from_callable(draw, name="tool").output_schema is None
    assert await run(draw) == ToolSucceeded("sky.png", "sky.png", (PNG,))
    assert await run(draw_all, replace=True) == ToolSucceeded("two", "two", (PNG, PNG))
    assert "Input should be a valid string" in str(await failure(lie, replace=True))


class Drawing(BaseModel):
    title: str
    picture: ImageAttachment


@dataclass
class Drawn:
    pictures: list[Any]


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"picture": PNG}, "a dict with an attachment inside: return the attachment itself, or a list of texts and attachments"),
        (Drawing(title="sky", picture=PNG), "a Drawing with an attachment inside"),
        ([{"a": {LINK}}], "a list with an attachment inside"),
        (Drawn([PNG]), "a Drawn with an attachment inside"),
        ([PNG, 5], "a int in a list with an attachment: return the attachment itself"),
        (["\ud800", PNG], "a str that cannot be written as JSON"),
    ],
)
async def test_an_attachment_that_the_model_would_not_see_is_a_failure(result: Any, reason: str) -> None:
    error = await failure(returning(result))
    assert isinstance(error, InvalidToolResult)
    assert error.reason.startswith(reason)


async def test_an_entity_that_holds_attachments_is_told_of_as_before() -> None:
    outcome = await run(returning(ChatMessage(role=MessageRole.user, content="Look.", attachments=(PNG,))))
    assert isinstance(outcome, ToolSucceeded)
    assert outcome.attachments == ()


def cycle() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


def too_deep() -> list[Any]:
    items: list[Any] = []
    for _ in range(5_000):
        items = [items]
    return items


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        pytest.param(object(), "a object that cannot be written as JSON", id="object"),
        pytest.param([math.nan], "it holds NaN or an infinite number", id="NaN"),
        pytest.param({"a": {"b": (1, math.inf)}}, "it holds NaN or an infinite number", id="infinity"),
        pytest.param(cycle(), "a list that cannot be written as JSON", id="cycle"),
        pytest.param(too_deep(), "a list that cannot be written as JSON", id="too deep"),
        pytest.param(b"\xff", "a bytes that cannot be written as JSON", id="bytes that are no text"),
        pytest.param("\ud800", "a str that cannot be written as JSON", id="lone surrogate"),
        pytest.param((n for n in "ab"), "it is a generator: return a list", id="generator"),
    ],
)
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_result_that_json_cannot_hold_is_a_failure(result: Any, reason: str, kind: str) -> None:
    async def give() -> Any:
        return result

    error = await failure(give if kind == "async" else returning(result))
    assert isinstance(error, InvalidToolResult)
    assert error.reason.startswith(reason)


class Measured(BaseModel):
    value: float


@dataclass
class Point:
    x: float


async def test_nan_never_becomes_null_wherever_it_hides() -> None:
    def measure() -> Measured:
        return Measured(value=math.nan)

    hiding = [Measured(value=math.nan), [{"m": Measured(value=math.inf)}], Point(math.nan), (Point(math.inf),), {math.nan: 1}]
    errors = [await failure(measure), *[await failure(returning(each), replace=True) for each in hiding]]
    assert [type(error) for error in errors] == [InvalidToolResult] * 6


async def test_a_result_is_what_the_function_promises() -> None:
    def promise() -> list[Order]:
        return [{"item": "tea", "howMany": 2}]  # type: ignore[list-item]  # a dict that fits is welcome

    def lie() -> int:
        return "many"  # type: ignore[return-value]  # that is the point

    assert await run(promise) == ToolSucceeded('[{"item":"tea","howMany":2}]', [{"item": "tea", "howMany": 2}])
    assert str(await failure(lie, replace=True)) == (
        "tool 'tool' returned an unusable result: Input should be a valid integer, unable to parse string as an integer (got 'many')"
    )


async def test_a_narrowed_output_schema_is_obeyed() -> None:
    tool = CallableTool.from_callable(returning(7), name="tool")
    tool.output_schema = {"type": "integer", "maximum": 5}
    outcome = await run_tool_call(tool, a_call())
    assert isinstance(outcome, ToolFailed)
    assert str(outcome.error) == "tool 'tool' returned an unusable result: 7 is greater than the maximum of 5"


json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


@given(json_data)
@settings(deadline=None)
def test_json_data_comes_back_unchanged(data: Any) -> None:
    assert succeeded("tool", data, None, None).value == data


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("[Errno 2] No such file or directory: '/home/ada/secret/notes.txt'", "[Errno 2] No such file or directory: 'notes.txt'"),
        ("open:/srv/app/x.py failed", "open:x.py failed"),
        ("file:///home/ada/x.py", "x.py"),
        ("~/private/key.pem is missing", "key.pem is missing"),
        (r"C:\Users\Ada Byron\notes.txt is locked", "notes.txt is locked"),
        ("GET https://example.org/v1/users/7 gave 404", "GET https://example.org/v1/users/7 gave 404"),
        ("data/notes.txt and ./a/b stay, 1/2 too", "data/notes.txt and ./a/b stay, 1/2 too"),
        ("half a pair: \ud800", "half a pair: \\ud800"),
        ("", ""),
    ],
)
def test_an_error_text_shows_no_path_of_this_machine(message: str, shown: str) -> None:
    expected = f"tool 'x' raised ValueError{': ' if shown else ''}{shown}"
    assert error_text(ToolRaised("x", ValueError(message))) == expected


def test_an_error_text_is_not_endless() -> None:
    text = error_text(ToolRaised("x", ValueError("word " * 10_000)))
    assert (len(text), text[-3:]) == (1_000, "...")
