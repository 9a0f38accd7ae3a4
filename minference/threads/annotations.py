"""Annotations of JSON data, read from a syntax tree: names that mean something else than in a fresh Python are not looked up."""

from __future__ import annotations

import ast
from typing import Any, Literal, Optional, Union

_PLAIN: dict[str, Any] = {
    "Any": Any,
    "Dict": dict[str, Any],
    "List": list[Any],
    "None": None,
    "bool": bool,
    "dict": dict[str, Any],
    "float": float,
    "int": int,
    "list": list[Any],
    "object": Any,
    "str": str,
}
_LISTS = ("list", "List", "Sequence", "Iterable")
_DICTS = ("dict", "Dict", "Mapping")
_LIST: Any = list
_DICT: Any = dict
_LITERAL: Any = Literal
_UNION: Any = Union
_OPTIONAL: Any = Optional

_ALLOWED = "str, int, float, bool, None, Any, list[...], dict[str, ...], Literal[...], Optional[...] and unions of these"


class UnreadableAnnotation(Exception):
    """An annotation is of no JSON data; the message quotes it and says what is allowed."""


def read_annotation(expression: ast.expr) -> Any:
    """The type that an annotation names.

    Raises:
        UnreadableAnnotation: It names something else than JSON data.
    """
    try:
        return _read(expression)
    except (_Unknown, RecursionError, SyntaxError, ValueError, TypeError, MemoryError) as error:
        raise UnreadableAnnotation(f"{_quoted(expression)}, and only JSON data comes from a model: use {_ALLOWED}") from error


class _Unknown(Exception):
    """No type of JSON data."""


def _read(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str() as text):
            return _read(ast.parse(text.strip(), mode="eval").body)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _UNION[_read(left), _read(right)]
        case ast.Subscript(value=of, slice=inside):
            return _generic(_name(of), list(inside.elts) if isinstance(inside, ast.Tuple) else [inside])
        case _ if (name := _name(node)) in _PLAIN:
            return _PLAIN[name]
        case _:
            raise _Unknown


def _name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(id="typing" | "t"), attr=name):
            return name
        case _:
            raise _Unknown


def _generic(name: str, inside: list[ast.expr]) -> Any:
    if name == "Literal":
        values = [ast.literal_eval(each) for each in inside]
        if not all(value is None or isinstance(value, str | int) for value in values):
            raise _Unknown
        return _LITERAL[tuple(values)]
    parts = [_read(each) for each in inside]
    match name, parts:
        case "Union", _:
            return _UNION[tuple(parts)]
        case "Optional", [only]:
            return _OPTIONAL[only]
        case _, [only] if name in _LISTS:
            return _LIST[only]
        case _, [key, value] if name in _DICTS and key is str:
            return _DICT[key, value]
        case _:
            raise _Unknown


def _quoted(node: ast.expr) -> str:
    try:
        text = ast.unparse(node)
    except RecursionError:
        return "something nested too deeply"
    return text if len(text) <= 80 else f"{text[:77]}..."
