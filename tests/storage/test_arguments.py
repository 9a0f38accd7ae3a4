"""What cannot be meant is refused with a sentence about it, and nothing happens."""

from __future__ import annotations

from typing import Any

import pytest

from minference.ecs.entity import Entity
from minference.errors import ConfigurationError, UnknownChoice
from minference.storage.base import EntityStorage


class Memo(Entity, kind="arguments_memo"):
    text: str = ""


async def versions(storage: EntityStorage) -> int:
    return (await storage.status()).versions


@pytest.mark.parametrize("wish", ["rasie", "", None, "BRANCH", ["raise"]])
async def test_a_mistyped_wish_in_a_conflict_is_refused_before_anything_is_saved(storage: EntityStorage, wish: Any) -> None:
    memo = Memo(text="a")
    await storage.register(memo)
    before, memo.text = memo.ecs_id, "b"
    with pytest.raises(ConfigurationError, match=r"on_conflict cannot be .*: use 'branch' or 'raise'"):
        await storage.register(memo, on_conflict=wish)
    with pytest.raises(UnknownChoice):
        storage.submit(memo, on_conflict=wish)
    with pytest.raises(UnknownChoice):
        storage.recording(on_conflict=wish)
    assert (memo.ecs_id, await versions(storage)) == (before, 1)
    async with storage.recording():
        with pytest.raises(UnknownChoice):
            await storage.register(memo, on_conflict=wish)
    await storage.register(memo)
    assert await versions(storage) == 2
