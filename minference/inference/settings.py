"""What an orchestrator is set up with: refused then, if it could not be used later."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import iscoroutinefunction

from minference.clients.base import Client
from minference.errors import WrongArgument
from minference.inference.arguments import a_count, an_amount
from minference.inference.caching import ResponseCache, check_cache
from minference.inference.retries import Retrier, RetryPolicy
from minference.inference.telemetry import Telemetry
from minference.storage.arguments import a_plain_text

_CLIENTS = "a dict of names and clients, such as {'scripted': ScriptedClient()}"
_METHODS = ("check", "to_request", "from_response", "send")
"""What no client can be without."""


def check_settings(
    storage: object,
    structured_attempts: object,
    drain_seconds: object,
    cache: bool | ResponseCache,
    progress: object,
    author: object,
    telemetry: object,
) -> None:
    """Return if an orchestrator can be set up so.

    Raises:
        WrongArgument: One is of a type that it does not take.
        UnusableValue: A number is too small.
        UnusableText: No database could keep the author.
    """
    if storage is not None and not _has(storage, "submit"):
        raise WrongArgument("storage", storage, "an open storage, from `async with open_storage(...) as storage:`, or None")
    a_count("structured_attempts", structured_attempts, "at least one reply is needed")
    an_amount("drain_seconds", drain_seconds, "a number of seconds", "pass 0 or more")
    check_cache(cache)
    _check_progress(progress)
    if author is not None:
        a_plain_text("author", author, "a str or None")
    if telemetry is not None and not isinstance(telemetry, Telemetry):
        raise WrongArgument("telemetry", telemetry, "a Telemetry or None")


def _check_progress(progress: object) -> None:
    """A coroutine would be made for each event, and never run; a class would be called as if an event were its argument."""
    if progress is None:
        return
    if not callable(progress) or isinstance(progress, type) or iscoroutinefunction(progress):
        raise WrongArgument("progress", progress, "a plain function that takes an event, an object such as RichProgress(), or None")


def clients_of(clients: Mapping[str, Client] | None) -> dict[str, Client]:
    """The clients that were given, by name.

    Raises:
        WrongArgument: They are in no dict, or one is none.
    """
    if clients is None:
        return {}
    if not isinstance(clients, Mapping):
        raise WrongArgument("clients", clients, _CLIENTS)
    for name, client in clients.items():
        if not _has(client, *_METHODS):
            raise WrongArgument(
                f"clients[{name!r}]", client, "a client, an object with the methods of one (a function: FunctionClient(function))"
            )
    return dict(clients)


def _has(value: object, *methods: str) -> bool:
    """Whether this is an object, not a class, with these methods: whoever writes a client or a storage inherits from nothing."""
    return not isinstance(value, type) and all(callable(getattr(value, method, None)) for method in methods)


def retrier_of(retry: RetryPolicy | Retrier | None) -> Retrier:
    """What tries calls.

    Raises:
        WrongArgument: It is neither that nor a policy for it.
    """
    if isinstance(retry, Retrier):
        return retry
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise WrongArgument("retry", retry, "a RetryPolicy such as RetryPolicy(max_attempts=3), a Retrier, or None")
    return Retrier(retry or RetryPolicy())
