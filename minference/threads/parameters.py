"""The parameters of a function, of every kind that Python has, and the way from named arguments to a call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple, NotRequired, Required, Self, Unpack, get_args, get_origin, get_type_hints

import typing_extensions
from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict

from minference.errors import UnusableFunction

Parameter = inspect.Parameter

_LIST: Any = list
_LEFT_OUT = object()
"""The default of a keyword that need not be passed and has no value then."""
_NOT_FOR_PARAMETERS = (ClassVar, Final, Self, type)
"""What an annotation of a parameter cannot mean, or a model cannot pass."""
_UNPACK = (Unpack, typing_extensions.Unpack)
_REQUIRED = (Required, typing_extensions.Required)
_NOT_REQUIRED = (NotRequired, typing_extensions.NotRequired)


class Bound(NamedTuple):
    """What a function is called with."""

    positional: tuple[Any, ...]
    named: dict[str, Any]


def parameters_of(name: str, function: Callable[..., Any], hints: Mapping[str, Any]) -> tuple[tuple[Parameter, ...], Any]:
    """The parameters that a model fills in by name, with evaluated annotations, and the annotation of further ones.

    That is `None` if the function takes no others. `*args` is one parameter, a list; what `**kwargs: Unpack[...]` names are
    parameters of their own. What a `partial` has bound is not the model's business, and where it has bound anything by name
    `**kwargs` takes nothing from the model, which could replace it.

    Raises:
        UnusableFunction: A parameter has no usable annotation, or two have one name.
    """
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise UnusableFunction(name, "Python does not tell its parameters: wrap it in a function") from error
    bound = function.keywords if isinstance(function, partial) else {}
    parameters: list[Parameter] = []
    free: Any = None
    for each in found:
        if each.name in bound:
            continue
        hint = _hint(name, each, hints)
        if each.kind is Parameter.VAR_POSITIONAL:
            parameters.append(each.replace(annotation=_LIST[hint]))
        elif each.kind is not Parameter.VAR_KEYWORD:
            parameters.append(each.replace(annotation=hint))
        elif get_origin(hint) in _UNPACK and is_typeddict(get_args(hint)[0]):
            parameters += [keyword for keyword in _keywords(get_args(hint)[0]) if keyword.name not in bound]
        elif not bound:
            free = hint
    names = [each.name for each in parameters]
    if twice := next((each for each in names if names.count(each) > 1), None):
        raise UnusableFunction(name, f"two parameters are called {twice!r}, and a model passes arguments by name: rename one")
    return tuple(parameters), free


def has_default(parameter: Parameter) -> bool:
    """Whether the function itself knows a value: a pydantic `Field(...)` is a description of one."""
    is_told = parameter.default is not Parameter.empty and not isinstance(parameter.default, FieldInfo)
    return is_told or parameter.kind is Parameter.VAR_POSITIONAL


def default_of(parameter: Parameter) -> Any:
    """The value that the function itself knows."""
    return [] if parameter.kind is Parameter.VAR_POSITIONAL else parameter.default


def bind(parameters: Sequence[Parameter], values: Mapping[str, Any], further: Mapping[str, Any]) -> Bound:
    """How the function is called with these values; each parameter has one, or a default."""
    rest = next((values.get(each.name, ()) for each in parameters if each.kind is Parameter.VAR_POSITIONAL), ())
    by_position = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD) if rest else (Parameter.POSITIONAL_ONLY,)
    positional = [values.get(each.name, each.default) for each in parameters if each.kind in by_position]
    by_name = [each.name for each in parameters if each.kind not in (*by_position, Parameter.VAR_POSITIONAL)]
    return Bound((*positional, *rest), {**{name: values[name] for name in by_name if name in values}, **further})


def _hint(name: str, parameter: Parameter, hints: Mapping[str, Any]) -> Any:
    if parameter.name not in hints:
        more = " (or pass the method of an object)" if parameter.name in ("self", "cls") else ""
        stars = "*" if parameter.kind is Parameter.VAR_POSITIONAL else "**" if parameter.kind is Parameter.VAR_KEYWORD else ""
        asked = f"annotate it, with Any if all is welcome{more}"
        raise UnusableFunction(name, f"parameter {stars + parameter.name!r} has no annotation, so its schema is unknown: {asked}")
    hint = hints[parameter.name]
    if (get_origin(hint) or hint) in _NOT_FOR_PARAMETERS:
        raise UnusableFunction(
            name, f"parameter {parameter.name!r} is annotated as {hint}, which no JSON value is: annotate what is passed"
        )
    return hint


def _keywords(typed_dict: Any) -> Iterator[Parameter]:
    """The keys of a `TypedDict` as keyword parameters."""
    for key, hint in get_type_hints(typed_dict, include_extras=True).items():
        # Where annotations are text, Python does not see these marks, and `__required_keys__` is wrong.
        required = get_origin(hint) in _REQUIRED or (get_origin(hint) not in _NOT_REQUIRED and key in typed_dict.__required_keys__)
        plain = get_args(hint)[0] if get_origin(hint) in (*_REQUIRED, *_NOT_REQUIRED) else hint
        yield Parameter(key, Parameter.KEYWORD_ONLY, default=Parameter.empty if required else _LEFT_OUT, annotation=plain)
