"""A storage in memory, where the kind of storage makes no difference; a provider on a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.testing import ProviderServer


@pytest.fixture
async def memory() -> AsyncIterator[EntityStorage]:
    """An empty storage in memory; it is current inside the test."""
    async with open_storage("memory:") as opened:
        yield opened


@pytest.fixture
def provider_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    """A provider on a socket that the clients of both dialects find through the environment; it calls the tools on offer."""
    with ProviderServer(call_tools=True) as server:
        for name in ("OPENAI", "ANTHROPIC"):
            monkeypatch.setenv(f"{name}_API_KEY", "sk-test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        yield server
