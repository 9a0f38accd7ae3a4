"""Functions with generated signatures, and arguments for them."""

from __future__ import annotations

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
    """A function that returns what it was called with, and one call of it in Python and in JSON."""

    function: Callable[..., dict[str, Any]]
    values: dict[str, Any]
    """What the function must return for `as_json`."""
    as_json: dict[str, Any]
    takes_anything: bool
    """Whether it takes further arguments by name."""


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
_OMITTED = "was not passed"


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """A function with up to eight parameters of every kind, some with defaults, and a call that leaves some of those out."""
    names = draw(st.lists(_names, max_size=6, unique=True))
    hints = {name: draw(st.sampled_from(_TYPES)) for name in names}
    given_order = sorted(draw(st.sampled_from(["positional", "either", "named"])) for _ in names)
    kinds = dict(zip(names, sorted(given_order, key=["positional", "either", "named"].index), strict=True))
    defaults = _with_defaults(draw, kinds)
    values: dict[str, Any] = {}
    as_json: dict[str, Any] = {}
    for name, (hint, strategy) in hints.items():
        if name in defaults and draw(st.booleans()):
            values[name] = _OMITTED
            continue
        values[name] = draw(strategy)
        as_json[name] = TypeAdapter(hint).dump_python(values[name], mode="json", by_alias=True)
    rest: list[int] | None = draw(st.none() | st.lists(st.integers(), max_size=3))
    if rest is not None:
        values["the_rest"] = tuple(rest)
        if len(rest) > draw(st.integers(-1, 0)):
            as_json["the_rest"] = rest
    further = draw(st.none() | st.dictionaries(st.sampled_from(["further", "größer", "two words"]), _points, max_size=2))
    if further is not None:
        values["the_others"] = further
        as_json |= {name: point.model_dump(by_alias=True) for name, point in further.items()}
    function = _written(kinds, defaults, {name: hint for name, (hint, _) in hints.items()}, rest is not None, further is not None)
    return Sample(function, values, as_json, further is not None)


def _with_defaults(draw: st.DrawFn, kinds: dict[str, str]) -> set[str]:
    """Parameters that have a default: among those that can be passed by position, the last ones."""
    by_position = [name for name, kind in kinds.items() if kind != "named"]
    start = draw(st.integers(0, len(by_position)))
    return {*by_position[start:], *(name for name, kind in kinds.items() if kind == "named" and draw(st.booleans()))}


def _written(kinds: dict[str, str], defaults: set[str], hints: dict[str, Any], has_rest: bool, has_others: bool) -> Any:
    """A function in source, since only a real one refuses a call that Python would."""

    def parameters(kind: str) -> list[str]:
        return [f"{name}: hints[{name!r}]{' = omitted' if name in defaults else ''}" for name, each in kinds.items() if each == kind]

    parts = [*(p if (p := parameters("positional")) else []), *(["/"] if "positional" in kinds.values() else []), *parameters("either")]
    parts += ["*the_rest: int"] if has_rest else ["*"] if "named" in kinds.values() else []
    parts += [*parameters("named"), *(["**the_others: Point"] if has_others else [])]
    returned = ", ".join(f"{name!r}: {name}" for name in [*kinds, *["the_rest"] * has_rest, *["the_others"] * has_others])
    space = {"hints": hints, "omitted": _OMITTED, "Point": Point, "__name__": __name__}
    exec(f"def sample({', '.join(parts)}):\n    return {{{returned}}}", space)
    return space["sample"]
