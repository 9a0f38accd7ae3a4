"""Tools as data: what a model is told of them, and the schemas that their calls must fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from inspect import cleandoc
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, JsonValue, PrivateAttr, ValidationError, ValidationInfo, field_validator
from pydantic_core import from_json, to_json

from minference.ecs.callables import CallableRegistry
from minference.ecs.choices import a_choice
from minference.ecs.entity import Entity
from minference.errors import InvalidSource, InvalidToolArguments, UnusableFunction, WrongArgument
from minference.threads.nulls import without_spare_nulls
from minference.threads.schemas import (
    check_schema,
    inlined,
    model_schema,
    remember_model,
    remembered_model,
    schema_errors,
    schema_validator,
    validation_errors,
)
from minference.threads.signatures import is_finite, signature_of
from minference.threads.sources import read_source, trust_source

TOOL_NAME_PATTERN = r"^[a-zA-Z0-9_-]{1,64}$"
REFERENCES = (
    'An argument can be a reference to a stored value: "@<ecs_id>.<field>", with further names, list indexes or keys after dots, '
    'e.g. "@01890a5d-ac96-774b-bcce-b302099a8057.history.0.content". The tool then receives the value.'
)
"""What a model is told of a tool that resolves references."""
Trust = Literal["process"]


class CallableTool(Entity):
    """A function that a model can call. The function itself is found by name among those the application registered."""

    name: str = Field(pattern=TOOL_NAME_PATTERN)
    """What the model calls it."""
    docstring: str = ""
    """What the tool does, as the model reads it."""
    input_schema: dict[str, JsonValue]
    """JSON schema of the arguments: an object."""
    output_schema: dict[str, JsonValue] | None = None
    """JSON schema of the result; `None` if the function does not say."""
    callable_text: str | None = None
    """Source of the function, for reading. Never executed."""
    strict_schema: bool = True
    """Whether the provider is asked to hold the model to the schema."""
    timeout: float | None = Field(default=60.0, gt=0, allow_inf_nan=False)
    """Seconds for one call; `None` for no limit."""
    idempotent: bool = True
    """Whether running it twice does no harm. If not, a call that a crash interrupted is not run again."""
    resolve_references: bool = False
    """Whether `"@<ecs_id>.field.path"` in an argument stands for what is stored there, in the storage that the thread is saved in."""
    source_text: str | None = None
    """Program text that defines a function of the tool's name, of a tool that is no registered function. Data until the
    application says that such tools may run, and where: see `from_source`."""

    @classmethod
    def erased_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """The name stays, since calls carry it, and how it is run; descriptions, schemas and source go."""
        kept = {name: values[name] for name in ("name", "strict_schema", "timeout", "idempotent", "resolve_references")}
        return super().erased_values(values) | kept | {"input_schema": {"type": "object"}}

    @field_validator("input_schema")
    @classmethod
    def _check_input_schema(cls, schema: dict[str, JsonValue], info: ValidationInfo) -> dict[str, JsonValue]:
        check_schema(str(info.data.get("name")), schema)
        return schema

    @field_validator("output_schema")
    @classmethod
    def _check_output_schema(cls, schema: dict[str, JsonValue] | None, info: ValidationInfo) -> dict[str, JsonValue] | None:
        if schema is not None:
            schema_validator(str(info.data.get("name")), schema)
        return schema

    @classmethod
    def from_callable(
        cls,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = 60.0,
        idempotent: bool = True,
        strict_schema: bool = True,
        resolve_references: bool = False,
        replace: bool = False,
    ) -> Self:
        """A tool that calls `function`, which is registered under the tool's name.

        Sync and async functions, methods of objects, partials (what they bind is hidden from the model) and objects
        with `__call__` will do. Schemas come from the annotations, descriptions from the docstring; each parameter
        needs an annotation and can be passed by name.

        Raises:
            UnusableFunction: A model could not call it; says why.
            ToolNameTaken: Another function has the name, and `replace` is false.
        """
        options: Any = {"strict_schema": strict_schema, "resolve_references": resolve_references}
        tool = cls._describing(function, name=name, description=description, timeout=timeout, idempotent=idempotent, **options)
        CallableRegistry.register(tool.name, function, replace=replace)
        return tool

    @classmethod
    def from_registry(
        cls,
        name: str,
        *,
        description: str | None = None,
        timeout: float | None = 60.0,
        idempotent: bool = True,
        strict_schema: bool = True,
        resolve_references: bool = False,
    ) -> Self:
        """A tool for the function that is registered under `name`.

        Raises:
            UnregisteredTool: There is none.
            UnusableFunction: A model could not call it; says why.
        """
        options: Any = {"strict_schema": strict_schema, "resolve_references": resolve_references}
        function = CallableRegistry.get(name)
        return cls._describing(function, name=name, description=description, timeout=timeout, idempotent=idempotent, **options)

    @classmethod
    def from_source(
        cls,
        text: str,
        *,
        name: str | None = None,
        description: str | None = None,
        input_schema: Mapping[str, Any] | None = None,
        output_schema: Mapping[str, Any] | None = None,
        timeout: float | None = 60.0,
        idempotent: bool = True,
        strict_schema: bool = True,
        resolve_references: bool = False,
        trust: Trust | None = None,
    ) -> Self:
        """A tool that is program text: it calls the function `name`, by default the only public one at the text's top.

        The text is parsed, never executed, here and when the tool is loaded. Schemas come from the annotations, which must be
        of JSON data, unless `input_schema` is given. Whether it ever runs is for the application to say: in a sandbox, with
        `InferenceOrchestrator(source_tools="sandbox")`; or, with `trust="process"`, exactly this text as plain Python in this
        process, with all that Python may do. That trust is not stored.

        Raises:
            InvalidSource: It is no Python, or has no function that a model could call; says why.
            UnknownChoice: There is no such trust.
        """
        if trust is not None:
            a_choice("trust", trust, Trust)
        source = read_source(text, name, with_schemas=input_schema is None)
        if source.signature is not None:
            input_schema = source.signature.input_schema
            output_schema = output_schema if output_schema is not None else source.signature.output_schema
        tool = cls(
            name=source.name,
            docstring=description if description is not None else source.docstring,
            input_schema=dict(input_schema or {}),
            output_schema=dict(output_schema) if output_schema is not None else None,
            timeout=timeout,
            idempotent=idempotent,
            strict_schema=strict_schema,
            resolve_references=resolve_references,
            source_text=text,
        )
        return tool.trust() if trust is not None else tool

    def trust(self) -> Self:
        """Let this process run exactly this source text as plain Python, with all that Python may do; returns the tool.

        Read it before. Nothing is executed now, and nothing is stored: another process, or another text, is not trusted.

        Raises:
            InvalidSource: The tool is no source text.
        """
        if self.source_text is None:
            raise InvalidSource(self.name, "it is a function that the application registers, which needs no trust")
        trust_source(self.name, self.source_text)
        return self

    @classmethod
    def _describing(cls, function: Callable[..., Any], *, name: str | None, description: str | None, **options: Any) -> Self:
        signature = signature_of(function)
        name = name if name is not None else signature.name
        if not re.match(TOOL_NAME_PATTERN, name) or name.endswith("\n"):
            raise UnusableFunction(name, "a tool's name has 1 to 64 of the letters a-z and A-Z, digits, '_' and '-': pass name=...")
        return cls(
            name=name,
            docstring=description if description is not None else signature.docstring.text,
            input_schema=signature.input_schema,
            output_schema=signature.output_schema,
            callable_text=signature.source,
            **options,
        )

    @property
    def description(self) -> str:
        """What the model reads."""
        return f"{self.docstring}\n\n{REFERENCES}".strip() if self.resolve_references else self.docstring


class StructuredTool(Entity):
    """A schema that a model's answer must fit."""

    name: str = Field(pattern=TOOL_NAME_PATTERN)
    description: str = ""
    """What the answer is, as the model reads it."""
    instruction_string: str = "Please follow this JSON schema for your response:"
    """How the schema is introduced where it is written into a prompt."""
    json_schema: dict[str, JsonValue]
    """JSON schema of the answer: an object."""
    strict_schema: bool = True

    _model: type[BaseModel] | None = PrivateAttr(default=None)
    """Keeps the class of `from_pydantic` alive as long as the tool."""

    @classmethod
    def erased_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """The name stays, since calls carry it; descriptions and the schema go."""
        kept = {name: values[name] for name in ("name", "strict_schema")}
        return super().erased_values(values) | kept | {"json_schema": {"type": "object"}}

    @field_validator("json_schema")
    @classmethod
    def _check_json_schema(cls, schema: dict[str, JsonValue], info: ValidationInfo) -> dict[str, JsonValue]:
        check_schema(str(info.data.get("name")), schema)
        return schema

    @classmethod
    def from_pydantic(cls, model: type[BaseModel], *, name: str | None = None, description: str | None = None) -> Self:
        """The schema of a pydantic model. In this process, `parse` makes objects of that class, loaded tools included.

        Raises:
            InvalidToolSchema: The class cannot be written as the JSON schema of an object.
            WrongArgument: It is no class of pydantic's.
        """
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise WrongArgument("model", model, "a subclass of pydantic's BaseModel")
        name = name if name is not None else model.__name__
        schema = model_schema(name, model)
        text = description if description is not None else cleandoc(model.__doc__ or "")
        tool = cls.from_json_schema(name, schema, description=text)
        tool._model = model
        remember_model(name, tool.json_schema, model)
        return tool

    @classmethod
    def from_json_schema(cls, name: str, schema: Mapping[str, Any], *, description: str = "") -> Self:
        """The schema as it is, which may refer to nothing outside of itself.

        Raises:
            InvalidToolSchema: It is no JSON schema of an object.
        """
        whole = inlined(dict(schema))
        check_schema(name, whole)
        return cls(name=name, description=description, json_schema=whole)

    @property
    def input_schema(self) -> dict[str, JsonValue]:
        """The schema under the name that callable tools use."""
        return self.json_schema

    @property
    def model_class(self) -> type[BaseModel] | None:
        """The class whose schema this is, if this process knows one; `None` once name or schema were edited."""
        return remembered_model(self.name, self.json_schema)

    def validate_object(self, object: Mapping[str, Any]) -> dict[str, JsonValue]:
        """The object as plain JSON data, as it was written; without nulls that stand for what was left out.

        Raises:
            InvalidToolArguments: It does not fit the schema, or the class refuses it; says where.
        """
        plain, _ = self._checked(object)
        return plain

    def parse(self, answer: str | Mapping[str, Any]) -> BaseModel | dict[str, JsonValue]:
        """The answer (JSON text, or an object) as an instance of `model_class`; as a plain object if there is none.

        Raises:
            InvalidToolArguments: It is no JSON object, does not fit the schema, or the class refuses it.
        """
        plain, typed = self._checked(answer)
        return typed if typed is not None else plain

    def _checked(self, answer: str | Mapping[str, Any]) -> tuple[dict[str, JsonValue], BaseModel | None]:
        plain = without_spare_nulls(self.json_schema, self._plain(answer))
        try:
            wrong = schema_errors(schema_validator(self.name, self.json_schema), plain)
            model = self.model_class
            typed = model.model_validate_json(to_json(plain)) if model is not None and wrong is None else None
        except ValidationError as error:
            raise InvalidToolArguments(self.name, validation_errors(error)) from error
        if wrong is not None:
            raise InvalidToolArguments(self.name, wrong)
        return plain, typed

    def _plain(self, answer: str | Mapping[str, Any]) -> dict[str, JsonValue]:
        try:
            text = answer if isinstance(answer, str) else to_json(dict(answer), inf_nan_mode="constants")
            plain = from_json(text, allow_inf_nan=False)
        except ValueError as error:
            shown = answer if isinstance(answer, str) else repr(answer)
            raise InvalidToolArguments(self.name, f"{shown[:200]!r} is not JSON ({error})") from error
        if not isinstance(plain, dict):
            raise InvalidToolArguments(self.name, f"the answer is a JSON {type(plain).__name__}, and an object is wanted")
        if not is_finite(plain):
            raise InvalidToolArguments(self.name, "a number is too large")
        return plain


Tool = CallableTool | StructuredTool
