"""`Workshop`: what tool calls are run with."""

from __future__ import annotations

from dataclasses import dataclass, field

from minference.ecs.registry import CurrentStorage
from minference.inference.sandbox import SandboxWorkers
from minference.inference.telemetry import Telemetry
from minference.inference.tool_places import ToolPlaces
from minference.inference.tool_threads import ToolThreads

_THREADS = ToolThreads()


@dataclass(frozen=True, slots=True)
class Workshop:
    """What tool calls are run with."""

    threads: ToolThreads = field(default=_THREADS)
    """Where sync functions run; by default, the threads of the process."""
    storage: CurrentStorage | None = None
    """Where references in arguments are looked up; `None` for the current storage."""
    sandbox: SandboxWorkers | None = None
    """Where source text runs that the application does not vouch for; `None` for nowhere."""
    places: ToolPlaces | None = None
    """Where calls wait until they may run; `None` for no bound."""
    telemetry: Telemetry = field(default_factory=Telemetry)
    """Gets a span for each call."""
