"""A provider on a real socket, and the clients that talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from minference.clients.base import Client
from minference.clients.catalog import create_client
from minference.testing import ProviderServer

KEY = "sk-test-4f1d9c0b7a"


@pytest.fixture
def provider_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    """A server that the clients of both dialects find through the environment."""
    with ProviderServer() as server:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        yield server


@pytest.fixture(params=["openai", "anthropic"])
async def client(request: pytest.FixtureRequest, provider_server: ProviderServer) -> AsyncIterator[Client]:
    """A client of each dialect in turn, talking to `provider_server` through the vendor's SDK."""
    created = create_client(request.param)
    yield created
    await created.aclose()
