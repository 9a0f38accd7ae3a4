"""A function as a model sees it: the schema of its arguments and of its result, and the way from JSON to its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from math import isfinite
from textwrap import dedent
from types import FunctionType, NoneType, UnionType, new_class
from typing import Annotated, Any, Never, NoReturn, Optional, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError, to_json

from minference.errors import UnusableFunction
from minference.threads.attachments import Attachment, ImageLink
from minference.threads.docstrings import Docstring, parse_docstring
from minference.threads.parameters import Bound, Parameter, bind, default_of, has_default, parameters_of


class _SchemaWriter(GenerateJsonSchema):
    """Schemas for models to read: no titles that only repeat names, no defaults that JSON cannot hold."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - declared so by pydantic

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's name
        return False

    def encode_default(self, dft: Any) -> Any:
        encoded = super().encode_default(dft)
        if not (is_finite(encoded) and is_finite(dft)):
            raise PydanticSerializationError("JSON has no such number")
        return encoded


@dataclass(frozen=True)
class Signature:
    """What is known of a function that can be a tool."""

    name: str
    """What the function calls itself."""
    docstring: Docstring
    source: str | None
    """Its source text, if there is any."""
    is_async: bool
    arguments: type[BaseModel]
    """Fields `argument_0`, ...: parameters may have names that a pydantic field cannot. Their aliases are the real names."""
    parameters: tuple[Parameter, ...]
    """The parameter of each field, in the same order."""
    result: TypeAdapter[Any] | None
    """What it returns; `None` if it does not say."""
    shows: bool = False
    """Whether it returns attachments, which are no JSON."""

    @cached_property
    def input_schema(self) -> dict[str, Any]:
        """JSON schema of the arguments."""
        schema = self.arguments.model_json_schema(schema_generator=_SchemaWriter)
        return {"type": "object", "properties": {}, **{key: value for key, value in schema.items() if key != "title"}}

    @cached_property
    def output_schema(self) -> dict[str, Any] | None:
        """JSON schema of the result; `None` if the function does not say, or returns attachments."""
        if self.result is None or self.shows:
            return None
        return self.result.json_schema(mode="serialization", schema_generator=_SchemaWriter)

    def bind(self, arguments: Mapping[str, JsonValue]) -> Bound:
        """The arguments as the function wants them; what is not given and has a default of the function's is left to it.

        Raises:
            pydantic.ValidationError: They do not fit.
        """
        validated = self.arguments.model_validate_json(to_json(arguments))
        given, values = validated.model_fields_set, validated.__dict__
        bound = {
            parameter.name: values[field]
            for field, parameter in zip(self.arguments.model_fields, self.parameters, strict=True)
            if field in given or not has_default(parameter)
        }
        return bind(self.parameters, bound, validated.model_extra or {})


def signature_of(function: Callable[..., Any]) -> Signature:
    """What is known of `function`; worked out once.

    Raises:
        UnusableFunction: A model could not call it; says why.
    """
    return _signature(_SameObject(function))


class _SameObject:
    """A key for things that may not be hashable."""

    __slots__ = ("value",)

    def __init__(self, value: Callable[..., Any]) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SameObject) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


@lru_cache(maxsize=1024)
def _signature(key: _SameObject) -> Signature:
    function = key.value
    core = _core(function)
    target = _target(core)
    name = _name(core, target)
    _refuse_other_things(name, target)
    docstring = parse_docstring(_docstring(core, target))
    hints = _hints(name, target)
    parameters, free = parameters_of(name, function, hints)
    arguments = _arguments(name, [_field(each, docstring) for each in parameters], free)
    result = _result(name, hints.get("return", Any))
    signature = Signature(
        name=name,
        docstring=docstring,
        source=_source(target),
        is_async=inspect.iscoroutinefunction(target),
        arguments=arguments,
        parameters=parameters,
        result=result,
        shows=_names_attachments(hints.get("return")),
    )
    _write_schemas(signature, hints.get("return"))
    return signature


def _core(function: Callable[..., Any]) -> Callable[..., Any]:
    """The callable inside of any number of partials."""
    while isinstance(function, partial):
        function = function.func
    return function


def _target(core: Callable[..., Any]) -> Callable[..., Any]:
    """The function or method that holds annotations, docstring and source."""
    if inspect.isroutine(core) or inspect.isclass(core) or not callable(core):
        return core
    instance: Any = core
    method: Callable[..., Any] = instance.__call__
    return method


def _name(core: Callable[..., Any], target: Callable[..., Any]) -> str:
    named: Any = core if core is target else type(core)
    return str(named.__name__) if inspect.isroutine(named) or inspect.isclass(named) else repr(core)


def _refuse_other_things(name: str, target: Callable[..., Any]) -> None:
    if not callable(target):
        raise UnusableFunction(name, f"it is a {type(target).__name__}, which cannot be called")
    if inspect.isclass(target):
        raise UnusableFunction(name, "it is a class: pass a function that makes one, or use StructuredTool.from_pydantic for a schema")
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        raise UnusableFunction(name, "it yields its results one by one: return them as a list")


def _docstring(core: Callable[..., Any], target: Callable[..., Any]) -> str | None:
    return inspect.getdoc(target) if core is target else target.__doc__ or inspect.getdoc(type(core))


def _source(target: Callable[..., Any]) -> str | None:
    try:
        return dedent(inspect.getsource(target))
    except (OSError, TypeError):
        return None


def _hints(name: str, target: Callable[..., Any]) -> dict[str, Any]:
    """Evaluated annotations; those of a function inside another see the variables that it captured."""
    plain = inspect.unwrap(getattr(target, "__func__", target))
    try:
        captured = _captured(plain) if inspect.isfunction(plain) else {}
        return get_type_hints(target, localns=captured or None, include_extras=True)
    except NameError as error:
        reason = f"an annotation names {error.name!r}, which is not defined in its module: move the definition to the top of the module"
        raise UnusableFunction(name, reason) from error
    except TypeError as error:
        raise UnusableFunction(name, f"its annotations cannot be read ({error})") from error


def _captured(function: FunctionType) -> dict[str, Any]:
    """The variables of outer functions that a function uses, without those that are assigned later, such as its own tool."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # nothing in it yet
            found[name] = cell.cell_contents
    return found


def _field(parameter: Parameter, docstring: Docstring) -> tuple[Any, Any]:
    """Annotation and field of one argument. A description in the annotation is worth more than one in the docstring."""
    base, metadata = _unpacked(parameter.annotation)
    if parameter.default is None and not _allows_none(base):
        base = Optional[base]  # noqa: UP045 - `|` does not work with every object that can be an annotation
    if said := docstring.parameters.get(parameter.name):
        metadata = (Field(description=said), *metadata)
    if isinstance(parameter.default, FieldInfo):
        metadata = (*metadata, parameter.default)
    annotation = Annotated[(base, *metadata)] if metadata else base
    name = parameter.name
    if has_default(parameter):
        field = Field(default=default_of(parameter), alias=name, validation_alias=name, serialization_alias=name)
    else:
        field = Field(alias=name, validation_alias=name, serialization_alias=name)
    return annotation, field


def _unpacked(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(hint) is not Annotated:
        return hint, ()
    base, *metadata = get_args(hint)
    return base, tuple(metadata)


def _allows_none(hint: Any) -> bool:
    base, _ = _unpacked(hint)
    if get_origin(base) in (Union, UnionType):
        return any(_allows_none(arm) for arm in get_args(base))
    return base in (Any, None, NoneType, object)


def _arguments(name: str, fields: list[tuple[Any, Any]], free: Any) -> type[BaseModel]:
    """The model of the arguments; `free` is the annotation of those that have no field, `None` if there are none."""
    space = {"__module__": __name__, "model_config": ConfigDict(extra="forbid" if free is None else "allow", protected_namespaces=())}
    if free is not None:
        space["__annotations__"] = {"__pydantic_extra__": dict[str, free]}
    try:
        base = new_class("Arguments", (BaseModel,), exec_body=lambda body: body.update(space))
        made: type[BaseModel] = create_model(  # type: ignore[call-overload]  # the fields are known at run time only
            "Arguments", __base__=base, **{f"argument_{at}": field for at, field in enumerate(fields)}
        )
        made.model_rebuild()
    except (PydanticUserError, NameError, TypeError) as error:
        raise UnusableFunction(name, _blame(fields, error)) from error
    return made


def _blame(fields: list[tuple[Any, Any]], error: Exception) -> str:
    """Which parameter pydantic could not deal with."""
    for annotation, field in fields:
        try:
            TypeAdapter(annotation).json_schema(schema_generator=_SchemaWriter)
        except (PydanticUserError, NameError, TypeError):
            base, _ = _unpacked(annotation)
            remedy = f"bind it with functools.partial(..., {field.alias}=...)"
            return f"parameter {field.alias!r} is a {_shown(base)}, which JSON cannot hold: {remedy}"
    return str(error)


def _result(name: str, hint: Any) -> TypeAdapter[Any] | None:
    if get_origin(hint) in (Awaitable, Coroutine):
        hint = get_args(hint)[-1]
    if hint in (Any, object, NoReturn, Never):
        return None
    try:
        return TypeAdapter(hint)
    except (PydanticUserError, NameError, TypeError) as error:
        raise UnusableFunction(name, f"it returns a {_shown(hint)}, which JSON cannot hold: return a string or a pydantic model") from error


def _names_attachments(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, Attachment | ImageLink):
        return True
    return any(_names_attachments(part) for part in get_args(hint))


def _write_schemas(signature: Signature, returns: Any) -> None:
    """Write both schemas now, so that what cannot be written is refused when the tool is made."""
    try:
        _ = signature.input_schema
    except PydanticUserError as error:
        fields = [_field(each, signature.docstring) for each in signature.parameters]
        raise UnusableFunction(signature.name, _blame(fields, error)) from error
    try:
        _ = signature.output_schema
    except PydanticUserError as error:
        raise UnusableFunction(signature.name, f"it returns a {_shown(returns)}, which has no JSON schema ({error.message})") from error


def _shown(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) else str(hint)


def is_finite(value: object) -> bool:
    """Whether no number in lists, dicts and the like is NaN or infinite. They must not contain themselves."""
    stack: list[object] = [value]
    while stack:
        match stack.pop():
            case float() as number if not isfinite(number):
                return False
            case dict() as mapping:
                stack.extend(mapping)
                stack.extend(mapping.values())
            case list() | tuple() | set() | frozenset() as items:
                stack.extend(items)
    return True
