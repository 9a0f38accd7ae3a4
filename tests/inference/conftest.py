"""A storage in memory, where the kind of storage makes no difference."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from minference.storage.base import EntityStorage
from minference.storage.open import open_storage


@pytest.fixture
async def memory() -> AsyncIterator[EntityStorage]:
    """An empty storage in memory; it is current inside the test."""
    async with open_storage("memory:") as opened:
        yield opened
