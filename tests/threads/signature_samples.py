"""Functions with generated signatures, and arguments for them."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any, Literal
from uuid import UUID

from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class Colour(Enum):
    red = "r"
    green = "g"


class Point(BaseModel):
    model_config = ConfigDict(populate_by_name=False)

    x: int
    label: str = Field(default="", alias="theLabel")


@dataclass(frozen=True)
class Sample:
    """A function, and one call of it in Python and in JSON."""

    function: Callable[..., Any]
    values: dict[str, Any]
    as_json: dict[str, Any]


_finite = st.floats(allow_nan=False, allow_infinity=False)
_points = st.builds(lambda x, label: Point(x=x, theLabel=label), st.integers(-5, 5), st.text(max_size=5))
_TYPES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers()),
    (float, _finite),
    (bool, st.booleans()),
    (str, st.text(max_size=20)),
    (bytes, st.text(max_size=9).map(str.encode)),
    (UUID, st.uuids()),
    (date, st.dates()),
    (datetime, st.datetimes()),
    (timedelta, st.integers(-(10**6), 10**6).map(lambda n: timedelta(seconds=n))),
    (Colour, st.sampled_from(Colour)),
    (Literal["a", 2], st.sampled_from(["a", 2])),
    (str | None, st.none() | st.text(max_size=9)),
    (list[int], st.lists(st.integers(), max_size=4)),
    (tuple[int, str], st.tuples(st.integers(), st.text(max_size=4))),
    (set[int], st.sets(st.integers(), max_size=4)),
    (dict[str, float], st.dictionaries(st.text(max_size=4), _finite, max_size=3)),
    (Point, _points),
    (list[Point] | None, st.none() | st.lists(_points, max_size=3)),
    (dict[str, Any], st.dictionaries(st.text(max_size=4), st.integers() | st.booleans() | st.text(max_size=4), max_size=3)),
]

_HOSTILE_NAMES = ["schema", "copy", "json", "model_config", "model_fields", "validate", "_private", "__x", "argument_0", "self", "return_"]
"""Names that are no problem in Python, and would be one as a field of a pydantic model."""

_names = st.sampled_from(_HOSTILE_NAMES) | st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name)
)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """A function with up to six parameters, some with defaults, and a call that leaves some of those out."""
    parameters: list[inspect.Parameter] = []
    annotations: dict[str, Any] = {}
    values: dict[str, Any] = {}
    as_json: dict[str, Any] = {}
    for name in draw(st.lists(_names, max_size=6, unique=True)):
        hint, strategy = draw(st.sampled_from(_TYPES))
        default = draw(strategy) if draw(st.booleans()) else inspect.Parameter.empty
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint))
        annotations[name] = hint
        if default is inspect.Parameter.empty or draw(st.booleans()):
            values[name] = draw(strategy)
            as_json[name] = TypeAdapter(hint).dump_python(values[name], mode="json", by_alias=True)

    def function(**given: Any) -> Any:
        return given

    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # `inspect.signature` reads it
    function.__annotations__ = annotations
    return Sample(function, values, as_json)
