"""Runs tools that are source text: in this process if the application vouches for the text, else in the sandbox, else not at all."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from pydantic import JsonValue

from minference.errors import InvalidSource, SourceRefused, ToolRaised, ToolTimedOut
from minference.inference.tool_functions import check_arguments, prepare, run_prepared
from minference.inference.tool_results import ToolFailed, ToolOutcome, succeeded
from minference.inference.tool_threads import Abandoned, Raised, Returned
from minference.inference.workshop import Workshop
from minference.threads.sources import LONGEST_SOURCE, is_trusted
from minference.threads.tools import CallableTool


async def run_source(tool: CallableTool, text: str, arguments: dict[str, JsonValue], workshop: Workshop) -> ToolOutcome:
    """Run one call of a tool that is source text.

    Raises:
        SourceRefused: The application has not said that it may run.
        ToolError: It gave no result.
    """
    if is_trusted(tool.name, text):
        return await _run_here(tool, text, arguments, workshop)
    if workshop.sandbox is None:
        raise SourceRefused(tool.name)
    if len(text) > LONGEST_SOURCE or not tool.name.isidentifier():
        raise InvalidSource(tool.name, f"it needs a name that a function can have, and at most {LONGEST_SOURCE} characters")
    check_arguments(tool.name, arguments, tool.input_schema)
    value = await workshop.sandbox.run(tool.name, text, arguments, tool.timeout)
    return succeeded(tool.name, value, None, tool.output_schema)


async def _run_here(tool: CallableTool, text: str, arguments: dict[str, JsonValue], workshop: Workshop) -> ToolOutcome:
    """As plain Python. The text itself runs in a thread, once: it could take long too."""
    match await workshop.threads.run(lambda: _function(tool.name, text), tool.timeout):
        case Returned(function):
            return await run_prepared(prepare(tool, function), arguments, workshop.threads)
        case Raised(InvalidSource() as error):
            return ToolFailed(error)
        case Raised(error):
            raised = ToolRaised(tool.name, error)
            raised.__cause__ = error
            return ToolFailed(raised)
        case Abandoned():
            assert tool.timeout is not None, "without a timeout nothing is abandoned"
            return ToolFailed(ToolTimedOut(tool.name, tool.timeout, still_running=True))


@lru_cache(maxsize=256)
def _function(name: str, text: str) -> Callable[..., Any]:
    """The function that a trusted text defines."""
    space: dict[str, Any] = {"__name__": f"minference_source_{name}", "__builtins__": builtins}
    code = compile(text, f"<source of {name}>", "exec", dont_inherit=True)
    exec(code, space)  # noqa: S102 - the application has vouched for exactly this text
    found = space.get(name)
    if not callable(found):
        raise InvalidSource(name, "running the text defines no function of this name")
    function: Callable[..., Any] = found
    return function
