"""Runs a thread with a tool once for each point of a turn, in a process that kills itself there.

`python -m tests.inference.kill_child URL FOLDER`. Each process has a run of its own, named after its point.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from minference.clients.base import Reply, Request, Response
from minference.clients.scripted import ScriptedClient
from minference.ecs.entity import Entity
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.prices import Price
from minference.inference.progress import ProgressEvent, ThreadCompleted
from minference.storage.base import Pending
from minference.storage.open import open_storage
from minference.storage.sql.backend import SqlBackend
from minference.storage.versioned import VersionedStorage
from minference.threads.messages import MessageRole, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from tests.inference.helpers import thread

POINTS = (
    "before the question is saved",
    "before call 1",
    "during call 1",
    "between reply 1 and its commit",
    "before the tool",
    "between the tool and its result",
    "between the result and its commit",
    "before call 2",
    "between reply 2 and its commit",
    "between the last commit and the work list",
)
"""Where a process can be killed, in the order in which it comes there."""

KINDS = ("repeatable", "once")
"""Whether the tool may run twice."""

PRICES = {"scripted": Price(input=1, output=1000)}


class World:
    """Where things are noted, and where this process dies."""

    def __init__(self, folder: Path, run: str, point: str | None) -> None:
        self._log = folder / f"{run}.log"
        self._point = point

    def note(self, what: str) -> None:
        """Note, also if this process dies at once."""
        with self._log.open("a") as file:
            file.write(what + "\n")

    def noted(self, what: str) -> int:
        """How often that was noted."""
        return self._log.read_text().splitlines().count(what) if self._log.exists() else 0

    def reach(self, point: str) -> None:
        """Be at a point."""
        if point == self._point:
            os.kill(os.getpid(), signal.SIGKILL)


class Provider(ScriptedClient):
    """Calls the tool for a question and tells its result."""

    def __init__(self, world: World) -> None:
        super().__init__(self._say)
        self._world = world
        self._calls = 0

    @staticmethod
    def _say(asked: ChatThread) -> str | ToolCall:
        last = asked.history[-1]
        if last.role is MessageRole.tool:
            return f"The tool says {last.content}" if not last.tool_error else "Somebody should look."
        return ToolCall.from_arguments("call", "act", {})

    async def send(self, request: Request, *, timeout: float) -> Response:
        self._number = 2 if request["messages"][-1]["role"] == "tool" else 1
        self._world.reach(f"before call {self._number}")
        self._world.note(f"asked {self._number}")
        self._world.reach(f"during call {self._number}")
        return await super().send(request, timeout=timeout)

    def from_response(self, payload: dict[str, Any], request: Request | None = None) -> Reply:
        self._world.reach(f"between reply {self._number} and its commit")
        return super().from_response(payload, request)


class Mortal(VersionedStorage):
    """A storage whose process can die before a save."""

    world: World

    def submit(self, *roots: Entity, **facts: Any) -> Pending:
        if facts.get("note") == "user message":
            self.world.reach("before the question is saved")
        if str(facts.get("note")).startswith("result of"):
            self.world.reach("between the result and its commit")
        return super().submit(*roots, **facts)


def tool_of(world: World, kind: str) -> CallableTool:
    """A tool that leaves a trace."""

    def act() -> str:
        """Act."""
        world.reach("before the tool")
        world.note("acted")
        world.reach("between the tool and its result")
        return "done."

    return CallableTool.from_callable(act, name="act", idempotent=kind == "repeatable", replace=True)


async def run(url: str, folder: Path, point: str, kind: str) -> None:
    """Run a thread until the process dies."""
    name = f"{kind}, {point}"
    world = World(folder, name, point)

    def progress(event: ProgressEvent) -> None:
        if isinstance(event, ThreadCompleted):
            world.reach("between the last commit and the work list")

    async with Mortal(SqlBackend(url, durability="full", migrate="auto")) as storage:
        storage.world = world
        async with InferenceOrchestrator(storage, clients={"scripted": Provider(world)}, prices=PRICES, progress=progress) as orchestrator:
            await orchestrator.run([thread("Do it.", tools=[tool_of(world, kind)])], run_id=name)


async def create(url: str) -> None:
    """Make the tables."""
    async with open_storage(url):
        pass


def main(url: str, folder: Path) -> None:
    """Let a process die at each point."""
    asyncio.run(create(url))
    for kind in KINDS:
        for point in POINTS:
            if (child := os.fork()) == 0:
                asyncio.run(run(url, folder, point, kind))
                os._exit(0)
            _, status = os.waitpid(child, 0)
            print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else "alive", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
