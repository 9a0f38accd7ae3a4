"""An application served on a socket in a thread of its own, and the connections under its requests."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minference.errors import MissingExtra

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import Scope


def transport_of(scope: Scope) -> asyncio.Transport:
    """The connection of a request, where `serve_in_thread` put it."""
    transport: asyncio.Transport = scope["state"]["transports"][tuple(scope["client"])]
    return transport


def reset(scope: Scope) -> None:
    """Close the connection so that the caller sees a reset, not an end."""
    transport = transport_of(scope)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def serve_in_thread(application: Starlette, listening: socket.socket) -> Callable[[], None]:
    """Serve until the returned function is called."""
    try:
        import uvicorn
        from uvicorn.protocols.http.h11_impl import H11Protocol
    except ImportError as error:
        raise missing("uvicorn") from error

    transports: dict[tuple[str, int], asyncio.BaseTransport] = {}

    class Protocol(H11Protocol):
        """Lets answers find their connection."""

        def connection_made(self, transport: Any) -> None:
            transports[transport.get_extra_info("peername")] = transport
            self.app_state["transports"] = transports
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            if self.client is not None:
                transports.pop(self.client, None)
            super().connection_lost(exc)

    class Server(uvicorn.Server):
        """Ends at once when told to, where uvicorn looks ten times a second."""

        loop: asyncio.AbstractEventLoop
        ended: asyncio.Event

        async def main_loop(self) -> None:
            self.loop, self.ended = asyncio.get_running_loop(), asyncio.Event()
            running.set()
            await self.ended.wait()

    running = threading.Event()
    config = uvicorn.Config(application, http=Protocol, ws="none", lifespan="off", log_config=None, log_level="critical", access_log=False)
    server = Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="provider-server", daemon=True)
    thread.start()

    def stop() -> None:
        running.wait(10)
        server.should_exit = server.force_exit = True
        server.loop.call_soon_threadsafe(server.ended.set)
        thread.join(10)

    return stop


def missing(package: str) -> MissingExtra:
    return MissingExtra("ProviderServer", package, "pip install starlette uvicorn")
