"""The sandbox for source text: an interpreter of its own in processes of its own, which reaches nothing."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue
from pydantic_core import from_json

from minference.errors import InvalidToolResult, MissingExtra, SandboxDied, ToolRaised, ToolTimedOut, UnusableValue
from minference.inference.arguments import an_amount

if TYPE_CHECKING:
    from pydantic_monty import AsyncMonty, ResourceLimits

_CALL = """

_minference_result = {name}(**_minference_arguments)
if type(_minference_result).__name__ == "coroutine":
    _minference_result = await _minference_result
"""
_AS_JSON = """
import json as _minference_json
_minference_json.dumps(_minference_result, allow_nan=False)
"""
_OUT_OF_TIME = "feed time limit exceeded"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What source text may use: time, memory, and nothing else. No file, network, process or environment."""

    seconds: float = 5.0
    """Time for one call, in which the text is run as well; less if the tool's own timeout is less."""
    memory: int = 64 * 1024 * 1024
    """Bytes of its heap."""
    recursion: int = 200
    """Calls inside of calls."""
    result: int = 1_000_000
    """Characters of the result as JSON."""
    processes: int = 2
    """Calls that run at once; others wait. Each has an interpreter to itself, and leaves nothing behind in it."""

    def __post_init__(self) -> None:
        for field in fields(self):
            an_amount(f"{field.name} of a sandbox", getattr(self, field.name), "a number", "it must be more than 0", more=True)


SourceTools = Literal["refuse", "sandbox"] | Sandbox
"""What to do with tools that are source text: not run them, or run them within the usual limits or others."""


def sandbox_of(choice: SourceTools) -> SandboxWorkers | None:
    """The workers for this choice; none is started before it is needed.

    Raises:
        MissingExtra: The sandbox is not installed.
        UnusableValue: There is no such choice.
    """
    if choice == "refuse":
        return None
    if not isinstance(choice, Sandbox) and choice != "sandbox":
        raise UnusableValue("source_tools", choice, "it takes 'refuse', 'sandbox' or a Sandbox(...)")
    if importlib.util.find_spec("pydantic_monty") is None:
        raise _missing()
    return SandboxWorkers(choice if isinstance(choice, Sandbox) else Sandbox())


class SandboxWorkers:
    """The processes of a sandbox, started when the first text is to run. Belongs to one event loop; close it there."""

    def __init__(self, limits: Sandbox) -> None:
        self._limits = limits
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._pool: AsyncMonty | None = None

    async def run(self, name: str, text: str, arguments: dict[str, JsonValue], timeout: float | None) -> JsonValue:
        """The result of calling the function `name` of the text, as JSON data. When the caller is cancelled, its process is ended.

        Raises:
            ToolRaised: The text or the function raised, or needed more memory or depth than it may use.
            ToolTimedOut: It did not finish in time, and was ended.
            InvalidToolResult: JSON cannot hold what it returned, or it is too long.
            SandboxDied: Its process ended.
        """
        seconds = min(self._limits.seconds, timeout or self._limits.seconds)
        pool = await self._opened()
        limits: ResourceLimits = {
            "max_feed_duration_secs": seconds,
            "max_memory": self._limits.memory,
            "max_recursion_depth": self._limits.recursion,
        }
        async with pool.checkout(script_name="tool.py", limits=limits, os_policy={"sleep": "zero"}) as session:
            with _explained(name, seconds):
                await session.feed_run(text + _CALL.format(name=name), inputs={"_minference_arguments": arguments}, print_callback=_ignore)
            with _explained(name, seconds, is_result=True):
                found = await session.feed_run(_AS_JSON, print_callback=_ignore)
        return self._loaded(name, found)

    def _loaded(self, name: str, found: object) -> JsonValue:
        """What the sandbox says is JSON: it may say anything."""
        if not isinstance(found, str) or len(found) > self._limits.result:
            raise InvalidToolResult(name, f"its JSON has more than {self._limits.result} characters, or is none")
        try:
            value: JsonValue = from_json(found, allow_inf_nan=False)
        except ValueError as error:
            raise InvalidToolResult(name, str(error)) from error
        return value

    async def aclose(self) -> None:
        """End the processes."""
        self._pool = None
        await self._stack.aclose()

    async def _opened(self) -> AsyncMonty:
        async with self._opening:
            if self._pool is None:
                from pydantic_monty import AsyncMonty

                try:
                    pool = AsyncMonty(min_processes=0, max_processes=self._limits.processes)
                    self._pool = await self._stack.enter_async_context(pool)
                except FileNotFoundError as error:
                    raise _missing() from error
            return self._pool


@contextmanager
def _explained(name: str, seconds: float, *, is_result: bool = False) -> Iterator[None]:
    """Raise our errors for those of the sandbox."""
    from pydantic_monty import MontyCrashedError, MontyError

    try:
        yield
    except MontyCrashedError as error:
        raise (ToolTimedOut(name, seconds) if error.timed_out else SandboxDied(name, str(error))) from error
    except MontyError as error:
        cause = error.exception()
        if isinstance(cause, TimeoutError) and str(cause).startswith(_OUT_OF_TIME):
            raise ToolTimedOut(name, seconds) from error
        if is_result:
            raise InvalidToolResult(name, str(cause)) from error
        raise ToolRaised(name, cause) from cause


def _ignore(_stream: str, _text: str) -> None:
    """What is printed in the sandbox goes nowhere."""


def _missing() -> MissingExtra:
    return MissingExtra("running source text in the sandbox", "pydantic-monty", 'pip install "minference[sandbox]"')
