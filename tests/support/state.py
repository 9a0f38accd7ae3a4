"""Finds objects that live as long as the process and change: by reading the source, not by running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.support.source import Source

MUTABLE_CALLS = {
    "dict",
    "list",
    "set",
    "defaultdict",
    "deque",
    "OrderedDict",
    "Counter",
    "WeakValueDictionary",
    "WeakKeyDictionary",
    "WeakSet",
}
CHANGING_METHODS = {"append", "add", "extend", "update", "pop", "popitem", "clear", "remove", "discard", "setdefault", "insert", "sort"}


def changed_globals(source: Source) -> Iterator[tuple[str, int]]:
    """Module-level names that are rebound by a function, and mutable containers that are not constants."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Global):
            yield from ((name, node.lineno) for name in node.names)
    for statement in source.tree.body:
        targets, value = _assignment(statement)
        for target in targets:
            if isinstance(target, ast.Name) and _can_change(source, target.id, value):
                yield target.id, statement.lineno


def _can_change(source: Source, name: str, value: ast.expr | None) -> bool:
    if _is_mutable(value):
        return not _is_constant_name(name) or _is_changed(source, name)
    return name.islower() and _is_own_object(source, value)


def _assignment(statement: ast.stmt) -> tuple[list[ast.expr], ast.expr | None]:
    if isinstance(statement, ast.Assign):
        return statement.targets, statement.value
    if isinstance(statement, ast.AnnAssign):
        return [statement.target], statement.value
    return [], None


def _is_constant_name(name: str) -> bool:
    return name.isupper() or name.startswith("__")


def _is_mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp):
        return True
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in MUTABLE_CALLS


def _is_own_object(source: Source, value: ast.expr | None) -> bool:
    """Whether the value is an instance of a class with an `__init__` in the same file."""
    if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Name)):
        return False
    classes = {
        node.name
        for node in source.tree.body
        if isinstance(node, ast.ClassDef) and any(isinstance(item, ast.FunctionDef) and item.name == "__init__" for item in node.body)
    }
    return value.func.id in classes


def _is_changed(source: Source, name: str) -> bool:
    """Whether the file stores into the container, deletes from it or calls a method that changes it."""
    return any(_changed_object(node) == name for node in ast.walk(source.tree))


def _changed_object(node: ast.AST) -> str | None:
    """The name of the object that this node changes in place, if it does."""
    match node:
        case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
            return name
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if method in CHANGING_METHODS:
            return name
        case _:
            return None
