"""Short ways to run one tool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from minference.errors import (
    ToolError,
)
from minference.inference.tool_results import ToolFailed, ToolOutcome
from minference.inference.tool_runs import run_tool_call
from minference.threads.messages import ToolCall
from minference.threads.tools import CallableTool


class Order(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    item: str
    how_many: int = Field(default=1, alias="howMany")


def a_call(_name: str = "tool", _id: str = "call_1", **arguments: Any) -> ToolCall:
    return ToolCall.from_arguments(_id, _name, arguments)


async def run(function: Callable[..., Any], call: ToolCall | None = None, **options: Any) -> ToolOutcome:
    return await run_tool_call(CallableTool.from_callable(function, name="tool", **options), call or a_call())


async def failure(function: Callable[..., Any], call: ToolCall | None = None, **options: Any) -> ToolError:
    outcome = await run(function, call, **options)
    assert isinstance(outcome, ToolFailed)
    return outcome.error


def returning(value: Any) -> Callable[[], Any]:
    def give() -> Any:
        return value

    return give
