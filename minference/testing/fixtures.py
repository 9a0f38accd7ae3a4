"""Fixtures for pytest: `pytest_plugins = ["minference.testing.fixtures"]` in `conftest.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from minference.testing.server import ProviderServer


@pytest.fixture
def provider_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    """A provider on a socket, which the clients of all providers that minference knows find through the environment."""
    with ProviderServer() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server
