"""A function becomes a tool: what a model is told of it, and which functions cannot be one."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date
from functools import partial, wraps
from typing import Annotated, Any, Literal, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from minference.ecs.callables import CallableRegistry
from minference.errors import ToolNameTaken, UnregisteredTool, UnusableFunction, WrongArgument
from minference.threads.docstrings import parse_docstring
from minference.threads.signatures import signature_of
from minference.threads.tools import CallableTool, StructuredTool


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.ecs.callables._FUNCTIONS", {})


class Place(BaseModel):
    """Somewhere."""

    name: str
    north: float = Field(ge=-90, le=90)


def forecast(place: Place, days: int = 3, unit: Literal["C", "F"] = "C") -> list[float]:
    """Forecast the temperature.

    Args:
        place: Where.
        days (int, optional): How far
            to look ahead.

    Returns:
        One number a day.
    """
    return [0.0] * days


def test_a_function_tells_the_model_everything_in_its_signature_and_docstring() -> None:
    tool = CallableTool.from_callable(forecast)
    assert tool.model_dump(exclude={"ecs_id", "lineage_id", "parent_id", "created_at", "live_id", "callable_text"}) == {
        "name": "forecast",
        "docstring": "Forecast the temperature.\n\nReturns:\n    One number a day.",
        "input_schema": {
            "type": "object",
            "properties": {
                "place": {"$ref": "#/$defs/Place", "description": "Where."},
                "days": {"type": "integer", "default": 3, "description": "How far to look ahead."},
                "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
            },
            "required": ["place"],
            "additionalProperties": False,
            "$defs": {
                "Place": {
                    "title": "Place",
                    "description": "Somewhere.",
                    "type": "object",
                    "properties": {"name": {"type": "string"}, "north": {"type": "number", "minimum": -90.0, "maximum": 90.0}},
                    "required": ["name", "north"],
                }
            },
        },
        "output_schema": {"type": "array", "items": {"type": "number"}},
        "strict_schema": True,
        "timeout": 60.0,
        "idempotent": True,
        "resolve_references": False,
        "source_text": None,
    }
    assert tool.callable_text is not None
    assert tool.callable_text.startswith("def forecast(place: Place,")
    assert CallableRegistry.get("forecast") is forecast


def test_options_are_kept() -> None:
    tool = CallableTool.from_callable(forecast, name="weather-2", description="Tell.", timeout=None, idempotent=False, strict_schema=False)
    assert (tool.name, tool.description, tool.timeout, tool.idempotent, tool.strict_schema) == ("weather-2", "Tell.", None, False, False)


def test_a_function_may_use_what_is_assigned_after_it_became_a_tool() -> None:
    def ask(question: str) -> str:
        return f"{tool.name} of {later}: {question}"

    tool = CallableTool.from_callable(ask)
    later = "now"
    assert ask("why?") == "ask of now: why?"
    assert tool.input_schema["required"] == ["question"]


def test_a_function_without_parameters_takes_an_empty_object() -> None:
    def now() -> date:
        return date.today()  # noqa: DTZ011 - never called

    tool = CallableTool.from_callable(now)
    assert tool.input_schema == {"type": "object", "properties": {}, "additionalProperties": False}
    assert tool.output_schema == {"type": "string", "format": "date"}


GOOGLE = """Find.

    More about it: a lot.

    Args:
        query (str): What to find,
            in words.

            In any language.
        *limit (Optional[int]): How many.

    Raises:
        ValueError: Never.
    """
NUMPY = """Find.

    More about it: a lot.

    Parameters
    ----------
    query : str
        What to find,
        in words.

        In any language.
    limit, most : int, optional
        How many.

    Raises
    ------
    ValueError
        Never.
    """
REST = """Find.

    More about it: a lot.

    :param str query: What to find,
        in words.
        In any language.
    :type query: str
    :param limit: How many.
    :raises ValueError: Never.
    """


@pytest.mark.parametrize(
    ("docstring", "text", "parameters"),
    [
        pytest.param(
            GOOGLE,
            "Find.\n\nMore about it: a lot.\n\nRaises:\n    ValueError: Never.",
            {"query": "What to find, in words. In any language.", "limit": "How many."},
            id="google",
        ),
        pytest.param(
            NUMPY,
            "Find.\n\nMore about it: a lot.\n\nRaises\n------\nValueError\n    Never.",
            {"query": "What to find, in words. In any language.", "limit": "How many.", "most": "How many."},
            id="numpy",
        ),
        pytest.param(
            REST,
            "Find.\n\nMore about it: a lot.\n\n:raises ValueError: Never.",
            {"query": "What to find, in words. In any language.", "limit": "How many."},
            id="rest",
        ),
        pytest.param(
            "Find.\n\nArgs:\n    \\*limit: How many.\n    `query` (`str`, *optional*):\n        What to find.",
            "Find.",
            {"limit": "How many.", "query": "What to find."},
            id="google with markup",
        ),
        pytest.param(
            "Find.\n\n:param \\*limit: How many.\n\n    At least one.\n:param list[str] query: What.\n\nThen sort.",
            "Find.\n\nThen sort.",
            {"limit": "How many. At least one.", "query": "What."},
            id="rest with markup and paragraphs",
        ),
        pytest.param("Find.\n\nArgs:\n    query - What.", "Find.\n\nArgs:\n    query - What.", {}, id="a style of one's own"),
        pytest.param("Args:\n", "Args:", {}, id="a heading over nothing"),
        pytest.param("Note: this is prose.", "Note: this is prose.", {}, id="prose with a colon"),
        pytest.param(None, "", {}, id="none"),
    ],
)
def test_docstrings_of_every_style_describe_parameters(docstring: str | None, text: str, parameters: dict[str, str]) -> None:
    parsed = parse_docstring(docstring)
    assert (parsed.text, parsed.parameters) == (text, parameters)


@given(st.text(alphabet=st.sampled_from("a :-\n*()pArgs:\t"), max_size=80))
@settings(deadline=None)
def test_no_docstring_is_too_odd_to_be_read(docstring: str) -> None:
    assert isinstance(parse_docstring(docstring).text, str)


def test_a_description_in_the_annotation_wins_over_the_docstring() -> None:
    def look(where: Annotated[str, Field(description="from the annotation", max_length=9)], how: int = Field(default=2, ge=1)) -> str:
        """Look.

        Args:
            where: from the docstring
            how: with care
        """
        return where

    schema = CallableTool.from_callable(look).input_schema
    assert schema["properties"] == {
        "where": {"type": "string", "description": "from the annotation", "maxLength": 9},
        "how": {"type": "integer", "description": "with care", "minimum": 1, "default": 2},
    }
    assert schema["required"] == ["where"]
    assert signature_of(look).bind({"where": "here"}).named == {"where": "here", "how": 2}


def test_a_default_of_none_allows_null() -> None:
    def ask(who: str = None) -> str:  # type: ignore[assignment]  # noqa: RUF013 - people write this
        return who

    assert CallableTool.from_callable(ask).input_schema["properties"] == {
        "who": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
    }


def test_a_default_that_json_cannot_hold_stays_the_functions_own() -> None:
    nothing = object()

    def look(where: Any = nothing, far: float = float("inf")) -> Any:
        return where is nothing

    tool = CallableTool.from_callable(look)
    assert tool.input_schema["properties"] == {"where": {}, "far": {"type": "number"}}
    assert "required" not in tool.input_schema
    assert signature_of(look).bind({}) == ((), {})


def test_a_result_that_says_nothing_has_no_schema() -> None:
    def anything() -> Any: ...

    def never() -> NoReturn:
        raise NotImplementedError

    def silent():  # type: ignore[no-untyped-def]  # that is the point
        ...

    assert [CallableTool.from_callable(each).output_schema for each in (anything, never, silent)] == [None, None, None]
    assert signature_of(forecast).output_schema is not None


class Library:
    """Books."""

    def __init__(self, books: list[str]) -> None:
        self.books = books

    def find(self, title: str) -> bool:
        """Find a book."""
        return title in self.books

    def __call__(self, at: int) -> str:
        """Take a book."""
        return self.books[at]


def seek(shelf: sqlite3.Connection, title: str, /, *, limit: int = 1) -> str:
    """Seek a book."""
    return title * limit


async def fetch(title: str) -> str:
    """Fetch a book."""
    return title


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    ("function", "name", "docstring", "parameters"),
    [
        pytest.param(Library([]).find, "find", "Find a book.", ["title"], id="method of an object"),
        pytest.param(Library([]), "Library", "Take a book.", ["at"], id="object with __call__"),
        pytest.param(partial(seek, sqlite3.connect(":memory:"), "Faust"), "seek", "Seek a book.", ["limit"], id="partial by position"),
        pytest.param(partial(Library([]).find, title="Faust"), "find", "Find a book.", [], id="partial by name"),
        pytest.param(fetch, "fetch", "Fetch a book.", ["title"], id="async function"),
        pytest.param(logged(fetch), "fetch", "Fetch a book.", ["title"], id="decorated function"),
    ],
)
def test_other_callables_are_tools_too(function: Callable[..., Any], name: str, docstring: str, parameters: list[str]) -> None:
    tool = CallableTool.from_callable(function)
    properties = tool.input_schema["properties"]
    assert isinstance(properties, dict)
    assert (tool.name, tool.docstring, list(properties)) == (name, docstring, parameters)
    assert CallableRegistry.get(name) is function


def test_a_function_without_source_has_none() -> None:
    space: dict[str, Any] = {"__name__": "somewhere"}
    exec("def made(x: int) -> int:\n    return x", space)
    assert CallableTool.from_callable(space["made"]).callable_text is None


def bare(a) -> None: ...  # type: ignore[no-untyped-def]  # that is the point
def open_file(connection: sqlite3.Connection, name: str) -> None: ...
def call_back(then: Callable[[], int]) -> None: ...
def connect() -> sqlite3.Connection: ...  # type: ignore[empty-body]
def one_by_one() -> Iterator[int]:
    yield 1


async def one_by_one_later() -> AsyncIterator[int]:
    yield 1


def of_nothing(a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821 - that is the point


BARE = "parameter '{}' has no annotation, so its schema is unknown: annotate it, with Any if all is welcome"
NOT_JSON = "parameter '{0}' is a {1}, which JSON cannot hold: bind it with functools.partial(..., {0}=...)"


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (bare, BARE.format("a")),
        (
            Library.find,
            BARE.format("self") + " (or pass the method of an object)",
        ),
        (
            open_file,
            NOT_JSON.format("connection", "Connection"),
        ),
        (
            call_back,
            NOT_JSON.format("then", "collections.abc.Callable[[], int]"),
        ),
        (connect, "it returns a Connection, which JSON cannot hold: return a string or a pydantic model"),
        (one_by_one, "it yields its results one by one: return them as a list"),
        (one_by_one_later, "it yields its results one by one: return them as a list"),
        (Library, "it is a class: pass a function that makes one, or use StructuredTool.from_pydantic for a schema"),
        (of_nothing, "an annotation names 'Nowhere', which is not defined in its module: move the definition to the top of the module"),
        (lambda: 1, "a tool's name has 1 to 64 of the letters a-z and A-Z, digits, '_' and '-': pass name=..."),
        (len, BARE.format("obj")),
        (7, "it is a int, which cannot be called"),
    ],
)
def test_a_function_that_a_model_could_not_call_is_refused_with_the_reason(function: Any, reason: str) -> None:
    with pytest.raises(UnusableFunction) as caught:
        CallableTool.from_callable(function)
    assert (caught.value.reason, CallableRegistry.names()) == (reason, [])


@pytest.mark.parametrize("name", ["", "two words", "größe", "x" * 65, "line\n", "a.b"])
def test_a_name_that_no_provider_takes_is_refused(name: str) -> None:
    with pytest.raises(UnusableFunction, match="1 to 64"):
        CallableTool.from_callable(forecast, name=name)
    assert CallableRegistry.names() == []


def test_an_option_that_is_refused_registers_nothing() -> None:
    with pytest.raises(ValidationError):
        CallableTool.from_callable(forecast, timeout=-1)
    assert CallableRegistry.names() == []


def test_a_name_registered_twice_never_runs_one_function_under_the_schema_of_another() -> None:
    CallableTool.from_callable(forecast)
    with pytest.raises(ToolNameTaken):
        CallableTool.from_callable(fetch, name="forecast")
    replaced = CallableTool.from_callable(fetch, name="forecast", replace=True)
    assert replaced.input_schema == signature_of(fetch).input_schema
    assert CallableRegistry.get("forecast") is fetch


def test_from_registry_describes_the_registered_function() -> None:
    CallableRegistry.register("weather", forecast)
    tool = CallableTool.from_registry("weather", timeout=5)
    assert (tool.name, tool.input_schema, tool.timeout) == ("weather", signature_of(forecast).input_schema, 5)
    with pytest.raises(UnregisteredTool):
        CallableTool.from_registry("storm")


@pytest.mark.parametrize("model", [int, "City", None])
def test_a_structured_tool_comes_from_a_pydantic_class_alone(model: Any) -> None:
    with pytest.raises(WrongArgument, match="model must be a subclass of pydantic's BaseModel"):
        StructuredTool.from_pydantic(model)
