"""Tools as data: what a model is told of them, and the schemas that their calls must fit."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, JsonValue

from minference.ecs.entity import Entity

TOOL_NAME_PATTERN = r"^[a-zA-Z0-9_-]{1,64}$"


class CallableTool(Entity):
    """A function that a model can call. The function itself is found by name among those the application registered."""

    name: str = Field(pattern=TOOL_NAME_PATTERN)
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

    @property
    def description(self) -> str:
        """What the model reads."""
        return self.docstring


class StructuredTool(Entity):
    """A schema that a model's answer must fit."""

    name: str = Field(pattern=TOOL_NAME_PATTERN)
    description: str = ""
    instruction_string: str = "Please follow this JSON schema for your response:"
    json_schema: dict[str, JsonValue]
    """JSON schema of the answer: an object."""
    strict_schema: bool = True

    @classmethod
    def from_pydantic(cls, model: type[BaseModel], *, name: str | None = None, description: str | None = None) -> StructuredTool:
        """The schema of a pydantic model."""
        schema: dict[str, Any] = model.model_json_schema()
        text = description if description is not None else (model.__doc__ or "").strip()
        return cls(name=name or model.__name__, description=text, json_schema=schema)

    @property
    def input_schema(self) -> dict[str, JsonValue]:
        """The schema under the name that callable tools use."""
        return self.json_schema


Tool = CallableTool | StructuredTool
