"""A switch that keeps a process on this machine: reaching for another one raises, and is remembered."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_WAYS_OUT = frozenset({"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendmsg", "socket.sendto"})
_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", ""})


class OutsideNetwork(RuntimeError):
    """Something tried to reach another machine."""

    def __init__(self, event: str, host: str) -> None:
        self.event, self.host = event, host
        super().__init__(f"{event} to {host!r}: tests stay on this machine; use a server on 127.0.0.1, or a unix socket")


class Switch:
    """Refuses to leave this machine while it is on; sees every socket of the process, whatever library made it."""

    def __init__(self) -> None:
        self.on = False
        self.attempts: list[str] = []
        """What was refused since the list was last emptied, oldest first."""
        self._installed = False

    def turn_on(self) -> None:
        """Refuse from now on."""
        if not self._installed:
            sys.addaudithook(self._audit)
            self._installed = True
        self.attempts, self.on = [], True

    @contextmanager
    def turned_on(self) -> Iterator[list[str]]:
        """Refuse and collect inside the block. The yielded list holds what was refused."""
        self.turn_on()
        try:
            yield self.attempts
        finally:
            self.on = False

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _WAYS_OUT or not self.on:  # called for each use of `id`, and a hundred other events
            return
        host = _host_of(event, arguments)
        if host is not None and not is_local(host):
            error = OutsideNetwork(event, host)
            self.attempts.append(str(error))
            raise error


def is_local(host: str) -> bool:
    """Whether a host name or address means this machine."""
    name = host.strip("[]").partition("%")[0].rstrip(".").lower()
    if name in _LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _host_of(event: str, arguments: tuple[Any, ...]) -> str | None:
    """The host that a socket event is about; `None` if it leaves no machine."""
    match event, arguments:
        case ("socket.connect" | "socket.sendto" | "socket.sendmsg", (_, (str() as host, *_), *_)):
            return host
        case ("socket.getaddrinfo" | "socket.gethostbyname", (str() as host, *_)):
            return host
        case ("socket.getaddrinfo", (bytes() as host, *_)):
            return host.decode("ascii", "replace")
        case _:
            return None


SWITCH = Switch()
"""The one switch of this process: an audit hook cannot be taken out again."""
