"""The response cache: who asks exactly the same again is given the reply that there is."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from minference.clients.base import Client, HasModelFile, Reply, server_of
from minference.ecs.identity import utc_now
from minference.ecs.registry import CurrentStorage, current_storage
from minference.errors import ConfigurationError, InvalidReply, StorageError, WrongArgument
from minference.inference.arguments import an_amount
from minference.inference.requests import Prepared
from minference.inference.together import Together
from minference.storage.base import EntityStorage
from minference.storage.replies import CachedReply

_log = logging.getLogger("minference.inference")


class ResponseCache:
    """Lets an orchestrator give replies again that its storage keeps: `InferenceOrchestrator(cache=ResponseCache(max_age=86_400))`.

    A reply is found by the client, where that sends its requests, and the exact request: every parameter, message, tool and
    byte of an attachment counts, and no temperature makes a difference. What was sampled once is so given to everybody.
    """

    def __init__(self, *, max_age: float | None = None) -> None:
        """Give replies that came at most so many seconds ago; `None` for any.

        Raises:
            UnusableValue: The number is not positive.
            WrongArgument: It is none.
        """
        if max_age is not None:
            why = "pass seconds, more than 0, or None for replies of any age"
            an_amount("max_age", max_age, "a number of seconds or None", why, more=True)
        self.max_age = max_age

    def __repr__(self) -> str:
        return f"ResponseCache(max_age={self.max_age})"

    async def clear(self, storage: EntityStorage | None = None, *, older_than: float | None = None) -> int:
        """Forget the replies that a storage keeps, the current one by default, or those that came so many seconds ago; how many.

        Raises:
            ConfigurationError: The storage keeps none, or the time is no number of seconds.
            StorageError: It cannot be written.
        """
        if older_than is not None:
            an_amount("older_than", older_than, "a number of seconds or None", "pass 0 or more")
        before = None if older_than is None else utc_now() - timedelta(seconds=older_than)
        return await _keeping(storage if storage is not None else current_storage()).replies().clear(before)


@dataclass(frozen=True, slots=True)
class Known:
    """A reply that was given before, and what it says."""

    payload: dict[str, Any]
    reply: Reply


class Flight:
    """One call on its way, whose reply others wait for."""

    def __init__(self, when_landed: Callable[[], object] = lambda: None) -> None:
        self._landed: asyncio.Future[CachedReply | None] = asyncio.get_running_loop().create_future()
        self._when_landed = when_landed

    def land(self, kept: CachedReply | None = None) -> None:
        """Tell those who wait what was kept, if anything was. Telling again changes nothing."""
        if not self._landed.done():
            self._landed.set_result(kept)
            self._when_landed()

    async def landed(self) -> CachedReply | None:
        """What was kept, if anything was."""
        return await asyncio.shield(self._landed)


class OpenCache:
    """A response cache while an orchestrator uses it."""

    def __init__(self, settings: ResponseCache, storage: CurrentStorage) -> None:
        self._max_age = settings.max_age
        self._replies = _keeping(storage).replies()
        self._flights: dict[str, Flight] = {}
        self._puts: Together[tuple[CachedReply, UUID]] = Together(self._replies.put)

    async def find(self, prepared: Prepared) -> Known | None:
        """The reply to this very request, if it is there and not too old."""
        found = await self._replies.find(key_of(prepared))
        if found is None or (self._max_age is not None and utc_now() - found.created_at > timedelta(seconds=self._max_age)):
            return None
        return _understood(prepared, found)

    async def knows(self, prepared: Prepared) -> bool:
        """Whether the reply is there, or on its way."""
        return key_of(prepared) in self._flights or await self.find(prepared) is not None

    async def find_or_fly(self, prepared: Prepared) -> Known | Flight:
        """The reply that is there, or that of whoever asks the same already, once it is kept; else a flight, which must land.

        Who has waited in vain gets a flight for which nobody waits: calls that fail must not wait for each other in a row.
        """
        key = key_of(prepared)
        if (ahead := self._flights.get(key)) is not None:
            kept = await ahead.landed()
            known = _understood(prepared, kept) if kept is not None else None
            return known if known is not None else Flight()
        flight = self._flights[key] = Flight(lambda: self._flights.pop(key))
        try:
            known = await self.find(prepared)
        except BaseException:
            flight.land()
            raise
        if known is None:
            return flight
        flight.land(_reply(prepared, known.payload))
        return known

    async def keep(self, prepared: Prepared, payload: dict[str, Any], holder: UUID) -> CachedReply | None:
        """Give this reply to whoever asks the same from now on, until what holds it is erased.

        A storage that cannot keep it is no failure of the call: then the log says so, and nothing is returned.
        """
        reply = _reply(prepared, payload)
        try:
            await self._puts.add((reply, holder))
        except StorageError as error:
            _log.warning("a reply could not be cached: %s", error)
            return None
        return reply

    async def aclose(self) -> None:
        """Return when everything is written."""
        await self._puts.idle()


def check_cache(cache: bool | ResponseCache) -> bool | ResponseCache:
    """The wish for a cache that was passed.

    Raises:
        WrongArgument: It is none.
    """
    if not isinstance(cache, bool | ResponseCache):
        raise WrongArgument("cache", cache, "True, False or a ResponseCache")
    return cache


def opened(cache: bool | ResponseCache, storage: CurrentStorage) -> OpenCache | None:
    """The cache that an orchestrator is to use, if it is to use one.

    Raises:
        ConfigurationError: The storage keeps no replies.
    """
    if cache is False:
        return None
    return OpenCache(ResponseCache() if cache is True else cache, storage)


def key_of(prepared: Prepared) -> str:
    """Names who is asked and what: equal for two requests that nobody can tell apart."""
    digest = hashlib.sha256(json.dumps([prepared.config.client, _where(prepared.client)]).encode())
    digest.update(prepared.body)
    return digest.hexdigest()


def _where(client: Client) -> str:
    """What answers under the name of the client."""
    return server_of(client) or (client.model_file() if isinstance(client, HasModelFile) else "")


def _reply(prepared: Prepared, payload: dict[str, Any]) -> CachedReply:
    return CachedReply(key_of(prepared), hashlib.sha256(prepared.body).hexdigest(), payload, utc_now())


def _understood(prepared: Prepared, found: CachedReply) -> Known | None:
    """What a reply says; nothing, if this minference cannot read it."""
    payload = dict(found.payload)
    try:
        return Known(payload, prepared.client.from_response(payload, prepared.request))
    except InvalidReply as error:
        _log.warning("a cached reply is not used: %s", error)
        return None


def _keeping(storage: CurrentStorage) -> EntityStorage:
    if not isinstance(storage, EntityStorage):
        name = type(storage).__name__
        raise ConfigurationError(f"a response cache needs a storage that keeps replies, and {name} does not: use open_storage")
    return storage
