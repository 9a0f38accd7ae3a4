"""The same conversation kept by LangGraph's checkpointers, for comparison. They are no dependency: see `MISSING`."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from operator import add
from statistics import median
from time import perf_counter
from typing import Annotated, Any, Protocol, TypedDict
from uuid import UUID

from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread

PACKAGES = ("langgraph", "langgraph-checkpoint-sqlite", "langgraph-checkpoint-postgres", "psycopg[binary]")
MISSING = f"LangGraph is not installed, so there is nothing to compare with: pip install {' '.join(PACKAGES)}"
QUESTION = "What do the rings of a tree say about the years in which it grew?".ljust(100, ".")
ANSWER = "Wide rings were made in years with much rain, narrow ones in dry or cold years. ".ljust(700, ".")
AROUND = 10
"""Turns whose median is the time at a length."""
ROUNDS = 9


def peers_are_installed() -> bool:
    """Whether the comparison can be made."""
    return find_spec("langgraph") is not None and find_spec("langgraph.checkpoint.sqlite") is not None


class Keeper(Protocol):
    """Something that keeps one conversation with all its versions."""

    async def turn(self) -> None:
        """Keep a question, then its answer, durably: two versions."""
        ...

    async def versions(self) -> int:
        """List every version; how many there are."""
        ...

    async def restore(self, turn: int) -> int:
        """Load the conversation as it was after that turn, counted from 1; how many messages it had."""
        ...

    async def branch(self) -> None:
        """Continue, from what was restored last, with another question."""
        ...


@dataclass
class Kept:
    """What keeping a conversation cost."""

    name: str
    turns: dict[int, float] = field(default_factory=dict)
    """Seconds for one turn, by the number of turns before."""
    bytes: int = 0
    """The whole database after the last turn."""
    listing: float = 0.0
    """Seconds to list all versions."""
    first_restoring: float = 0.0
    """Seconds to load the conversation as it was in the middle, for the first time."""
    restoring: float = 0.0
    """Seconds to load it again."""
    branching: float = 0.0
    """Seconds to continue from there."""


async def keep(name: str, keeper: Keeper, lengths: tuple[int, ...], size: Callable[[], int]) -> Kept:
    """Have a conversation of as many turns as the last of `lengths`, and look back at it."""
    kept = Kept(name)
    seconds = [await _timed(keeper.turn) for _ in range(lengths[-1] + AROUND)]
    kept.turns = {length: median(seconds[length : length + AROUND]) for length in lengths}
    kept.bytes = size()
    middle = lengths[-1] // 2
    kept.listing = await _timed(keeper.versions)
    restoring, branching = [], []
    for _ in range(ROUNDS):
        restoring.append(await _timed(lambda: keeper.restore(middle)))
        branching.append(await _timed(keeper.branch))
    found = await keeper.restore(middle)
    if found != 2 * middle:
        raise RuntimeError(f"{name} restored {found} messages of turn {middle}, not {2 * middle}")
    kept.first_restoring, kept.restoring, kept.branching = restoring[0], median(restoring), median(branching)
    return kept


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    begin = perf_counter()
    await work()
    return perf_counter() - begin


class Ours:
    """The conversation as a `ChatThread`."""

    def __init__(self, storage: EntityStorage) -> None:
        self._storage = storage
        self._thread = ChatThread(llm_config=LLMConfig(client="openai", model="a-model"))
        self._ends: list[UUID] = []
        self._restored = self._thread

    async def turn(self) -> None:
        """See `Keeper.turn`."""
        await self._say(self._thread, MessageRole.user, QUESTION)
        await self._say(self._thread, MessageRole.assistant, ANSWER)
        self._ends.append(self._thread.ecs_id)

    async def _say(self, thread: ChatThread, role: MessageRole, content: str) -> None:
        thread.history.append(ChatMessage(role=role, content=content))
        await self._storage.register(thread)

    async def versions(self) -> int:
        """See `Keeper.versions`."""
        return len(await self._storage.lineage(self._thread.lineage_id))

    async def restore(self, turn: int) -> int:
        """See `Keeper.restore`."""
        self._restored = await self._storage.get(ChatThread, self._ends[turn - 1])
        return len(self._restored.history)

    async def branch(self) -> None:
        """See `Keeper.branch`."""
        await self._say(self._restored, MessageRole.user, QUESTION)


class LangGraph:
    """The conversation as the `messages` of a graph with one node, as its documentation shows it."""

    def __init__(self, saver: Any, *, delta: bool) -> None:
        messages = import_module("langchain_core.messages")
        graphs = import_module("langgraph.graph")
        self._question, answer = messages.HumanMessage, messages.AIMessage
        channel: Any = add
        if delta:
            channel = import_module("langgraph.channels.delta").DeltaChannel(_replay)
        state = TypedDict("state", {"messages": Annotated[list[Any], channel]})  # noqa: UP013 - the channel is chosen at run time
        graph = graphs.StateGraph(state)
        graph.add_node("model", lambda _: {"messages": [answer(ANSWER, id=str(uuid.uuid4()))]})
        graph.add_edge(graphs.START, "model")
        self._graph = graph.compile(checkpointer=saver)
        self._config: dict[str, Any] = {"configurable": {"thread_id": "1"}}
        self._restored = self._config

    async def turn(self) -> None:
        """See `Keeper.turn`."""
        await self._graph.ainvoke(self._say(), self._config, durability="sync")

    def _say(self) -> dict[str, Any]:
        return {"messages": [self._question(QUESTION, id=str(uuid.uuid4()))]}

    async def versions(self) -> int:
        """See `Keeper.versions`."""
        return len([state async for state in self._graph.aget_state_history(self._config)])

    async def restore(self, turn: int) -> int:
        """See `Keeper.restore`. The first call looks up which checkpoint ended the turn, as a user would who noted it then."""
        if self._restored is self._config:
            async for state in self._graph.aget_state_history(self._config):
                if not state.next and len(state.values["messages"]) == 2 * turn:
                    self._restored = state.config
        return len((await self._graph.aget_state(self._restored)).values["messages"])

    async def branch(self) -> None:
        """See `Keeper.branch`."""
        await self._graph.aupdate_state(self._restored, self._say(), as_node="__start__")


def _replay(state: list[Any], writes: list[list[Any]]) -> list[Any]:
    return [*(state or []), *(message for write in writes for message in write)]


@asynccontextmanager
async def our_conversation(url: str) -> AsyncIterator[Keeper]:
    """A conversation of ours in the database at `url`."""
    async with open_storage(url) as storage:
        yield Ours(storage)


@asynccontextmanager
async def langgraph_conversation(url: str, *, delta: bool) -> AsyncIterator[Keeper]:
    """A conversation of LangGraph's in the database at `url`, a file's path or a PostgreSQL URL."""
    saver: AbstractAsyncContextManager[Any]
    if url.startswith("postgresql"):
        saver = import_module("langgraph.checkpoint.postgres.aio").AsyncPostgresSaver.from_conn_string(url)
    else:
        saver = import_module("langgraph.checkpoint.sqlite.aio").AsyncSqliteSaver.from_conn_string(url.removeprefix("sqlite:///"))
    async with saver as opened:
        await opened.setup()
        yield LangGraph(opened, delta=delta)
