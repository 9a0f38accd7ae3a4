"""`ToolConcurrency`: how many tool calls run at once. `ToolPlaces`: where they wait until they may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from minference.errors import WrongArgument
from minference.inference.arguments import a_count

_ENOUGH = "at least one tool call must be able to run"
_WANTED = "an int, or a ToolConcurrency such as ToolConcurrency(per_tool={'search': 2})"


@dataclass(frozen=True, slots=True)
class ToolConcurrency:
    """How many tool calls one orchestrator runs at once, sync and async ones; others wait for their turn, in order.

    Raises:
        WrongArgument: One is no whole number.
        UnusableValue: One is less than 1.
    """

    per_turn: int = 8
    """Of one reply."""
    per_tool: int | Mapping[str, int] | None = None
    """Of one tool, over all threads: of each, or by name; `None` for as many as there are."""
    total: int = 256
    """Of all threads."""

    def __post_init__(self) -> None:
        a_count("per_turn", self.per_turn, _ENOUGH)
        a_count("total", self.total, _ENOUGH)
        if isinstance(self.per_tool, Mapping):
            for name, count in self.per_tool.items():
                a_count(f"per_tool[{name!r}]", count, _ENOUGH)
        elif self.per_tool is not None:
            a_count("per_tool", self.per_tool, _ENOUGH)

    def of(self, tool: str) -> int | None:
        """How many calls of one tool may run at once."""
        return self.per_tool.get(tool) if isinstance(self.per_tool, Mapping) else self.per_tool


def tool_concurrency_of(given: int | ToolConcurrency) -> ToolConcurrency:
    """The bounds that were passed; a number is that of one reply.

    Raises:
        WrongArgument: They are none.
        UnusableValue: It is less than 1.
    """
    if isinstance(given, ToolConcurrency):
        return given
    if isinstance(given, bool) or not isinstance(given, int):
        raise WrongArgument("tool_concurrency", given, _WANTED)
    a_count("tool_concurrency", given, _ENOUGH)
    return ToolConcurrency(per_turn=given)


class ToolPlaces:
    """A place for each call that may run. Made where it is used: in one event loop."""

    def __init__(self, bounds: ToolConcurrency) -> None:
        self._bounds = bounds
        self._all = asyncio.Semaphore(bounds.total)
        self._of_tool: dict[str, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def place(self, tool: str) -> AsyncIterator[None]:
        """Wait until one more call of this tool may run, and take its place inside the block.

        A call that a tool makes, by running threads of its own, has the place of that tool: else all could wait for each other.
        """
        if _HAS_PLACE.get():
            yield
            return
        async with self._waiting_for(tool), self._all:
            token = _HAS_PLACE.set(True)
            try:
                yield
            finally:
                _HAS_PLACE.reset(token)

    def _waiting_for(self, tool: str) -> asyncio.Semaphore:
        if (semaphore := self._of_tool.get(tool)) is None:
            bound = self._bounds.of(tool)
            semaphore = self._of_tool[tool] = asyncio.Semaphore(self._bounds.total if bound is None else bound)
        return semaphore


_HAS_PLACE: ContextVar[bool] = ContextVar("minference_tool_has_place", default=False)
