"""The inspector on a socket."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn

from minference.errors import ConfigurationError
from minference.ui.application import application
from minference.ui.guard import TOKEN, is_loopback

USUAL_PORT = 7788
"""If it is free, so that an address in the browser's history leads here again."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen."""

    host: str = "127.0.0.1"
    port: int | None = None
    """`None`: the usual one, or any that is free."""
    exposed: bool = False
    """Whether others than this machine may connect."""

    def listen(self) -> socket.socket:
        """A socket that takes connections.

        Raises:
            ConfigurationError: The address would let others in without `exposed`, or cannot be used.
        """
        if not self.exposed and not is_loopback(self.host):
            raise ConfigurationError(
                f"{self.host!r} is not only this machine: whoever reaches it and sees the printed address can read every thread, "
                "unencrypted; pass --expose if that is meant"
            )
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        for port in (self.port,) if self.port is not None else (USUAL_PORT, 0):
            try:
                return socket.create_server((self.host, port), family=family)
            except OSError as error:
                failed = error
        raise ConfigurationError(f"cannot listen on {self.host} port {self.port or USUAL_PORT}: {failed.strerror}; choose another --port")


async def serve(url: str, place: Place, ready: Callable[[str], None]) -> None:
    """Show a database until the process is told to stop. `ready` gets the address with the token, once it can be opened.

    Raises:
        ConfigurationError: The place cannot be used.
    """
    token = secrets.token_urlsafe(32)
    with place.listen() as listening:
        names = (place.host, socket.gethostname().lower()) if place.exposed else ()
        pages = application(url, token=token, exposed=place.exposed, names=names)
        ready(address(listening, place, token))
        config = uvicorn.Config(
            pages, log_level="warning", access_log=False, server_header=False, proxy_headers=False, ws="none", timeout_graceful_shutdown=2
        )
        await uvicorn.Server(config).serve(sockets=[listening])


def address(listening: socket.socket, place: Place, token: str) -> str:
    """The address that lets somebody in."""
    port = listening.getsockname()[1]
    host = "127.0.0.1" if place.host in ("0.0.0.0", "::") else place.host  # noqa: S104 - not bound to, but recognised
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/?{TOKEN}={token}"
