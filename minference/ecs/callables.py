"""The functions of this process by tool name. Stored tools name a function; only what the application registered can run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from types import BuiltinFunctionType, CellType, FunctionType
from typing import Any

from minference.errors import ToolNameTaken, UnregisteredTool

Function = Callable[..., Any]

_FOR_ALL = (
    "a name stands for one function in the whole process, so choose another name, or register with replace=True, which makes this "
    "one answer for every thread"
)
_FOR_ONE_USER = (
    "a name stands for one function in the whole process, whoever asks. If this one is for one user or request, let a single function "
    "read whose turn it is from a context variable (docs/tools.md, 'Tools of one user'); else choose another name. With replace=True "
    "this one would answer everybody"
)

_FUNCTIONS: dict[str, Function] = {}
_LOCK = threading.Lock()


class CallableRegistry:
    """The process's functions by tool name. Holds objects that the program made: text is never turned into code."""

    @staticmethod
    def register(name: str, function: Function, *, replace: bool = False) -> None:
        """Let `function` run when the tool `name` is called.

        A function that is defined again (the same module and qualified name: a notebook cell that was run twice, a
        reloaded module) takes the place of its former self.

        Raises:
            ToolNameTaken: Another function holds the name, and `replace` is false.
        """
        with _LOCK:
            holder = _FUNCTIONS.get(name)
            if holder is not None and not replace and not _is_same_definition(holder, function):
                raise ToolNameTaken(name, full_name(holder), _FOR_ONE_USER if _holds_objects(function) else _FOR_ALL)
            _FUNCTIONS[name] = function

    @staticmethod
    def get(name: str) -> Function:
        """The function of the tool `name`.

        Raises:
            UnregisteredTool: This process registered none under this name.
        """
        try:
            return _FUNCTIONS[name]
        except KeyError:
            raise UnregisteredTool(name, sorted(_FUNCTIONS)) from None

    @staticmethod
    def remove(name: str, function: Function) -> None:
        """Calls of the tool `name` no longer run `function`. If another function holds the name, that stays."""
        with _LOCK:
            if _FUNCTIONS.get(name) is function:
                del _FUNCTIONS[name]

    @staticmethod
    def names() -> list[str]:
        """The tool names that have a function, sorted."""
        return sorted(_FUNCTIONS)


def full_name(function: Function) -> str:
    """Module and qualified name of a function; of what a partial wraps; of its class, if it is an object that can be called."""
    while isinstance(function, partial):
        function = function.func
    named = function if isinstance(_attribute(function, "__qualname__"), str) else type(function)
    return f"{_attribute(named, '__module__')}.{_attribute(named, '__qualname__')}"


def _holds_objects(function: Function) -> bool:
    """Whether it is one of many that differ in what they hold: a closure, a method of an object, a partial, an object."""
    if isinstance(function, FunctionType):
        return function.__closure__ is not None
    return not isinstance(function, BuiltinFunctionType | type)


def _is_same_definition(one: Function, other: Function) -> bool:
    """Whether two functions are one piece of source. Closures that hold different objects, and lambdas, are not."""
    if one is other or (type(one) is type(other) and not isinstance(one, FunctionType) and _are_equal_methods(one, other)):
        return True
    if not (isinstance(one, FunctionType) and isinstance(other, FunctionType)):
        return False
    return (
        (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)
        and one.__name__ != "<lambda>"
        and _captured(one) == _captured(other)
    )


def _are_equal_methods(one: Function, other: Function) -> bool:
    """Whether both are the same method of the same object: Python makes a new bound method at each access."""
    holder, function = _attribute(one, "__self__"), _attribute(one, "__func__")
    return function is not None and holder is _attribute(other, "__self__") and function is _attribute(other, "__func__")


def _captured(function: FunctionType) -> list[int]:
    """Which objects a closure holds, as `id()`s."""
    return [id(_content(cell)) for cell in function.__closure__ or ()]


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # the variable is not assigned yet
        return None


def _attribute(value: object, name: str) -> Any:
    # Anything that can be called may be a tool, and only some of these things have names.
    return getattr(value, name, None)
