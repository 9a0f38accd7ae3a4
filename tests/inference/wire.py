"""Stored requests, made again and put on a wire."""

from __future__ import annotations

from typing import Any

import pytest

from minference.clients.catalog import create_client
from minference.storage.base import EntityStorage
from minference.testing import ProviderServer
from minference.threads.outputs import RawOutput
from tests.clients.cells import find_through_environment


async def rebuilt(storage: EntityStorage) -> list[bytes]:
    """The bodies of all stored requests, made again and put on the wire by a client of its own, in the order of their first sending."""
    stored = [await storage.get(RawOutput, version.ecs_id) for version in await storage.list_by_type(RawOutput)]
    found: list[bytes] = []
    with ProviderServer() as elsewhere, pytest.MonkeyPatch.context() as monkeypatch:
        find_through_environment(elsewhere, monkeypatch)
        for raw in sorted(stored, key=lambda raw: raw.start_time):
            client = create_client(raw.client)
            request: dict[str, Any] = await raw.request()
            if request.get("stream"):
                plain = {name: value for name, value in request.items() if name not in ("stream", "stream_options")}
                async for _ in client.stream(plain, timeout=30):
                    pass
            else:
                await client.send(request, timeout=30)
            await client.aclose()
            found.append(elsewhere.requests[-1].content)
    return found
