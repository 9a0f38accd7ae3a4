"""Program text becomes a tool by being read: nothing of it is executed, and what a model could not call is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from minference.errors import InvalidSource
from minference.storage.base import EntityStorage
from minference.threads.sources import LONGEST_SOURCE, is_trusted
from minference.threads.tools import CallableTool

FORECAST = '''
from typing import Any, Literal

_SCALE = 1.8

async def forecast(place: str, days: int = 3, unit: Literal["C", "F"] = "C", *, extra: "dict[str, Any] | None" = None) -> list[float]:
    """Forecast the temperature.

    Args:
        place: Where.
        days: How far
            to look ahead.
    """
    return [0.0] * days
'''
BOMB = "raise SystemExit('executed')\nopen('executed', 'w')\ndef bomb(x: int) -> int:\n    return x\n"


@pytest.fixture(autouse=True)
def nothing_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.threads.sources._TRUSTED", set())


def test_a_text_tells_the_model_everything_in_its_signature_and_docstring() -> None:
    tool = CallableTool.from_source(FORECAST)
    assert (tool.name, tool.docstring, tool.source_text, tool.callable_text) == ("forecast", "Forecast the temperature.", FORECAST, None)
    assert tool.input_schema == {
        "type": "object",
        "properties": {
            "place": {"type": "string", "description": "Where."},
            "days": {"type": "integer", "default": 3, "description": "How far to look ahead."},
            "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
            "extra": {"anyOf": [{"type": "object", "additionalProperties": True}, {"type": "null"}], "default": None},
        },
        "required": ["place"],
        "additionalProperties": False,
    }
    assert tool.output_schema == {"type": "array", "items": {"type": "number"}}


def test_options_are_kept() -> None:
    options: dict[str, Any] = {"timeout": None, "idempotent": False, "strict_schema": False, "resolve_references": True}
    tool = CallableTool.from_source(FORECAST, description="Tell.", **options)
    assert (tool.docstring, tool.model_dump(include=set(options))) == ("Tell.", options)


def test_schemas_given_by_hand_need_no_annotations() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 5}}}
    tool = CallableTool.from_source("def f(a): 'Do.'\n", input_schema=schema, output_schema={"type": "null"})
    assert (tool.docstring, tool.input_schema, tool.output_schema) == ("Do.", schema, {"type": "null"})
    assert CallableTool.from_source("def f(a: int) -> int: ...", output_schema={}).output_schema == {}
    with pytest.raises(ValidationError, match="it says 'array': wrap it into an object"):
        CallableTool.from_source("def f(a): ...", input_schema={"type": "array"})


async def test_neither_making_nor_saving_nor_loading_a_tool_executes_its_text(
    storage: EntityStorage, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tool = CallableTool.from_source(BOMB, trust="process")
    await storage.register(tool)
    loaded = await storage.get(CallableTool, tool.ecs_id)
    assert (loaded.source_text, loaded.input_schema) == (BOMB, tool.input_schema)
    assert list(tmp_path.glob("executed")) == []


async def test_a_stored_text_is_loaded_whatever_it_is(storage: EntityStorage) -> None:
    tool = CallableTool(name="broken", input_schema={"type": "object"}, source_text="def (:\n\0\ud800")
    await storage.register(tool)
    assert (await storage.get(CallableTool, tool.ecs_id)).source_text == "def (:\n\0\ud800"


def test_trust_is_in_one_text_and_not_in_one_that_is_like_it() -> None:
    tool = CallableTool.from_source(FORECAST)
    assert not is_trusted(tool.name, FORECAST)
    assert tool.trust() is tool
    assert is_trusted("forecast", FORECAST)
    assert not is_trusted("forecast", FORECAST + " ")
    assert not is_trusted("other", FORECAST)
    with pytest.raises(InvalidSource, match="it is a function that the application registers"):
        CallableTool(name="plain", input_schema={"type": "object"}).trust()


JSON_ONLY = "and only JSON data comes from a model: use str, int, float, bool, None, Any, list[...], "


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        ("def f(:", None, "it is no Python: invalid syntax (line 1)"),
        ("def f(): ...\n  x", None, "it is no Python: unexpected indent (line 2)"),
        ("def f(): ...\0", None, "it is no Python: source code string cannot contain null bytes"),
        ("x = " + "-" * 9_000 + "1", None, "it is no Python: "),
        ("x = " + "(" * 9_000, None, "it is no Python: too many nested parentheses (line 1)"),
        ("#" * (LONGEST_SOURCE + 1), None, f"the text has {LONGEST_SOURCE + 1} characters, and at most {LONGEST_SOURCE} are read"),
        ("", None, "the text defines no function at its top"),
        ("def _f(): ...", None, "the text defines no function at its top"),
        ("class F:\n    def f(self): ...", None, "the text defines no function at its top"),
        ("def f(): ...\ndef g(): ...", None, "the text defines the functions f, g: pass name=..."),
        ("def f(): ...\ndef g(): ...", "h", "the text defines no function 'h' at its top; there are: f, g"),
        ("f = print", "f", "the text defines no function 'f' at its top; there are: none"),
        ("def größe(): ...", None, "a tool's name has 1 to 64 of the letters a-z and A-Z, digits and '_': rename the function"),
        (f"def {'f' * 65}(): ...", None, "a tool's name has 1 to 64 of the letters a-z and A-Z, digits and '_': rename the function"),
        ("def f(a): ...", None, "parameter 'a' has no annotation, so its schema is unknown: annotate it, with Any if all is welcome"),
        ("def f(a: int, /): ...", None, "parameter 'a' cannot be passed by name, which is how a model passes arguments"),
        ("def f(*a: int): ...", None, "parameter '*a' cannot be passed by name, which is how a model passes arguments"),
        ("def f(a: open): ...", None, f"'a' is annotated as open, {JSON_ONLY}"),
        ("def f(a: set[int]): ...", None, f"'a' is annotated as set[int], {JSON_ONLY}"),
        ("def f(a: 'list[exit()]'): ...", None, f"'a' is annotated as 'list[exit()]', {JSON_ONLY}"),
        ("def f(a: dict[int, str]): ...", None, f"'a' is annotated as dict[int, str], {JSON_ONLY}"),
        ("def f(a: Literal[[1]]): ...", None, f"'a' is annotated as Literal[[1]], {JSON_ONLY}"),
        ("def f(a: Literal[exit()]): ...", None, f"'a' is annotated as Literal[exit()], {JSON_ONLY}"),
        ("def f(a: int | exit()): ...", None, f"'a' is annotated as int | exit(), {JSON_ONLY}"),
        ("def f(a: int['x']): ...", None, f"'a' is annotated as int['x'], {JSON_ONLY}"),
        ("def f(a: '('): ...", None, f"'a' is annotated as '(', {JSON_ONLY}"),
        ("def f() -> bytes: ...", None, f"'return' is annotated as bytes, {JSON_ONLY}"),
        ("def f():\n    if 1:\n        yield 1", None, "it yields its results one by one: return them as a list"),
    ],
)
def test_a_text_that_a_model_could_not_call_is_refused_with_the_reason(text: str, name: str | None, reason: str) -> None:
    with pytest.raises(InvalidSource) as caught:
        CallableTool.from_source(text, name=name, trust="process")
    assert caught.value.reason.startswith(reason)
    assert not is_trusted(caught.value.name, text)


def test_the_function_may_be_chosen_and_the_last_definition_counts() -> None:
    text = "def f(a: int): ...\ndef g(b: str): ...\ndef f(c: bool):\n    def inner():\n        yield 1\n"
    assert list(CallableTool.from_source(text, name="g").input_schema["properties"]) == ["b"]  # type: ignore[arg-type]  # an object
    assert list(CallableTool.from_source(text, name="f").input_schema["properties"]) == ["c"]  # type: ignore[arg-type]  # as above


def test_a_default_that_is_not_written_out_stays_the_functions_own() -> None:
    text = "def f(a: int = -1, b: int = exit(), *, c: list = [1, {}], d: float = 1e999, **more: str): ..."
    assert CallableTool.from_source(text).input_schema == {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "default": -1},
            "b": {"type": "integer"},
            "c": {"type": "array", "items": {}, "default": [1, {}]},
            "d": {"type": "number"},
        },
        "additionalProperties": {"type": "string"},
    }


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        ("Optional[str]", {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ("typing.Union[int, None]", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("t.List['int']", {"type": "array", "items": {"type": "integer"}}),
        ("Sequence[dict[str, bool]]", {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "boolean"}}}),
        ("Literal['a', 1, None]", {"enum": ["a", 1, None]}),
        ("None", {"type": "null"}),
        ("object", {}),
    ],
)
def test_annotations_of_json_data_are_read(annotation: str, schema: dict[str, Any]) -> None:
    assert CallableTool.from_source(f"def f(a: {annotation}): ...").input_schema["properties"] == {"a": schema}


@given(st.text(alphabet=st.sampled_from("def f(a:int)=->[]|\"'\n .,*/yield "), max_size=60))
def test_no_text_does_anything_but_be_accepted_or_refused(text: str) -> None:
    try:
        CallableTool.from_source(f"def f(a: {text}): ...")
    except InvalidSource:
        return
