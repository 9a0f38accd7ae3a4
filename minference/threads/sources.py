"""Source text as a tool: read, and never executed here.

A function's schema comes from its syntax tree. The texts that the application vouches for are remembered one by one, so
that a text from elsewhere, however similar, is not taken for one of them.
"""

from __future__ import annotations

import ast
import inspect
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from minference.errors import InvalidSource, UnusableFunction
from minference.threads.annotations import UnreadableAnnotation, read_annotation
from minference.threads.signatures import Signature, signature_of

LONGEST_SOURCE = 100_000
"""Characters of a program text that may be a tool."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Parameter = inspect.Parameter
_TRUSTED: set[tuple[str, str]] = set()
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Source:
    """What is known of a program text without running it."""

    name: str
    """The function that is the tool."""
    docstring: str
    """What its docstring says, parameters left out if their schema says it."""
    signature: Signature | None
    """Its schemas; `None` if nobody asked for them."""


def read_source(text: str, name: str | None = None, *, with_schemas: bool = True) -> Source:
    """What `text` says of the function `name`: by default, the only one at its top whose name does not begin with `_`.

    Raises:
        InvalidSource: It is no Python, has no such function, or one that a model could not call; says why.
    """
    function = _function(_parsed(text, name), name)
    if len(function.name) > 64 or not function.name.isascii():
        raise InvalidSource(function.name, "a tool's name has 1 to 64 of the letters a-z and A-Z, digits and '_': rename the function")
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in _own_nodes(function)):
        raise InvalidSource(function.name, "it yields its results one by one: return them as a list")
    if not with_schemas:
        return Source(function.name, ast.get_docstring(function) or "", None)
    try:
        signature = signature_of(_stand_in(function))
    except UnusableFunction as error:
        raise InvalidSource(function.name, error.reason) from error
    return Source(function.name, signature.docstring.text, signature)


def trust_source(name: str, text: str) -> None:
    """Let this process run exactly this text as plain Python, with all that Python may do, when the tool `name` is called."""
    with _LOCK:
        _TRUSTED.add((name, text))


def is_trusted(name: str, text: str) -> bool:
    """Whether the application has vouched for exactly this text in this process."""
    return (name, text) in _TRUSTED


def _parsed(text: str, name: str | None) -> ast.Module:
    shown = name or "source"
    if len(text) > LONGEST_SOURCE:
        raise InvalidSource(shown, f"the text has {len(text)} characters, and at most {LONGEST_SOURCE} are read")
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise InvalidSource(shown, f"it is no Python: {error.msg} (line {error.lineno})") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise InvalidSource(shown, f"it is no Python: {error or 'it is nested too deeply'}") from error


def _function(module: ast.Module, name: str | None) -> _Function:
    found = {node.name: node for node in module.body if isinstance(node, _Function)}
    public = [each for each in found if not each.startswith("_")]
    if name is not None:
        if name not in found:
            raise InvalidSource(name, f"the text defines no function {name!r} at its top; there are: {', '.join(found) or 'none'}")
        return found[name]
    if len(public) != 1:
        reason = (
            f"the text defines the functions {', '.join(public)}: pass name=..." if public else "the text defines no function at its top"
        )
        raise InvalidSource("source", reason)
    return found[public[0]]


def _own_nodes(function: _Function) -> Iterator[ast.AST]:
    """What a function consists of, without the functions inside of it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting.extend(ast.iter_child_nodes(node))


def _stand_in(function: _Function) -> Callable[..., Any]:
    """A function that does nothing, with the name, docstring and signature of the one in the text."""

    def stand_in() -> None:
        """Never called."""

    parameters = list(_parameters(function))
    annotations = {each.name: each.annotation for each in parameters if each.annotation is not _Parameter.empty}
    if function.returns is not None:
        annotations["return"] = _annotation(function, "return", function.returns)
    stand_in.__name__ = stand_in.__qualname__ = function.name
    stand_in.__doc__ = ast.get_docstring(function)
    stand_in.__annotations__ = annotations
    stand_in.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # `inspect.signature` reads it
    return stand_in


def _parameters(function: _Function) -> Iterator[inspect.Parameter]:
    given = function.args
    if given.posonlyargs or given.vararg:
        odd = given.posonlyargs[0].arg if given.posonlyargs else f"*{given.vararg.arg}" if given.vararg else ""
        raise InvalidSource(function.name, f"parameter {odd!r} cannot be passed by name, which is how a model passes arguments")
    defaults = [*[None] * (len(given.args) - len(given.defaults)), *given.defaults]
    for each, default in zip(given.args, defaults, strict=True):
        yield _parameter(function, each, default, _Parameter.POSITIONAL_OR_KEYWORD)
    for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield _parameter(function, each, default, _Parameter.KEYWORD_ONLY)
    if given.kwarg:
        yield _parameter(function, given.kwarg, None, _Parameter.VAR_KEYWORD)


def _parameter(function: _Function, found: ast.arg, default: ast.expr | None, kind: Any) -> inspect.Parameter:
    hint = _annotation(function, found.arg, found.annotation) if found.annotation is not None else _Parameter.empty
    return _Parameter(found.arg, kind, default=_Parameter.empty if default is None else _value(default), annotation=hint)


def _value(default: ast.expr) -> Any:
    """A default that is written out; for any other an object that JSON cannot hold, so that it stays the function's own."""
    try:
        return ast.literal_eval(default)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return object()


def _annotation(function: _Function, name: str, expression: ast.expr) -> Any:
    try:
        return read_annotation(expression)
    except UnreadableAnnotation as error:
        raise InvalidSource(function.name, f"{name!r} is annotated as {error}") from error
