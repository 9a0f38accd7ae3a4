"""`ToolConcurrency`: how many tool calls run at once. `ToolPlaces`: where they wait until they may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
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


@dataclass(slots=True)
class _Place:
    """What a call has while it runs."""

    tool: str
    within: _Place | None
    """That of the call whose tool made this one, by running a thread of its own."""
    given_back: bool = False

    def chain(self) -> Iterator[str]:
        """The tools that run now, from this one outwards."""
        place: _Place | None = self
        while place is not None and not place.given_back:
            yield place.tool
            place = place.within


_PLACE: ContextVar[_Place | None] = ContextVar("minference_tool_place", default=None)


class ToolPlaces:
    """A place for each call that may run. Made where it is used: in one event loop.

    A call that a tool makes, by running threads of its own, has the place of that tool among all: else all could wait for each
    other. For the bound of its own tool it waits, unless whoever has those places could be waiting for the tool that makes it.
    """

    def __init__(self, bounds: ToolConcurrency) -> None:
        self._bounds = bounds
        self._all = asyncio.Semaphore(bounds.total)
        self._of_tool: dict[str, asyncio.Semaphore] = {}
        self._called_by: dict[str, set[str]] = {}
        """For each tool those whose calls have waited for it: nobody waits the other way round."""

    @asynccontextmanager
    async def place(self, tool: str) -> AsyncIterator[None]:
        """Wait until one more call of this tool may run, and take its place inside the block."""
        outer = _PLACE.get()
        holding = list(outer.chain()) if outer is not None else []
        async with AsyncExitStack() as taken:
            if not holding:  # first this: one that had the last place of its tool could wait here for those who wait for that
                await taken.enter_async_context(self._all)
            if (bound := self._bounds.of(tool)) is not None and self._may_wait(tool, holding):
                await taken.enter_async_context(self._of_tool.setdefault(tool, asyncio.Semaphore(bound)))
            place = _Place(tool, outer)
            token = _PLACE.set(place)
            try:
                yield
            finally:
                place.given_back = True  # what the tool has started and left behind has no place any more
                _PLACE.reset(token)

    def _may_wait(self, tool: str, holding: list[str]) -> bool:
        if any(self._leads_to(tool, held) for held in holding):
            return False
        self._called_by.setdefault(tool, set()).update(holding)
        return True

    def _leads_to(self, caller: str, tool: str) -> bool:
        """Whether calls of `caller` have waited, themselves or through others, for `tool`."""
        return caller == tool or any(self._leads_to(caller, each) for each in self._called_by.get(tool, ()))
