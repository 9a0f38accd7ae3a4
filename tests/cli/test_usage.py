"""`minference usage`: replies, tokens and dollars by day and model."""

from __future__ import annotations

import asyncio
from pathlib import Path

from minference.clients.scripted import ScriptedClient
from minference.ecs.identity import utc_now
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.prices import Price
from minference.storage.open import open_storage
from tests.cli.conftest import Cli
from tests.inference.helpers import thread


async def _used(path: Path) -> str:
    url = f"sqlite:///{path / 'chats.db'}"
    clients = {"scripted": ScriptedClient(), "free": ScriptedClient(name="free")}
    async with (
        open_storage(url) as storage,
        InferenceOrchestrator(storage, clients=clients, prices={"scripted": Price(input=1e6, output=0)}) as orchestrator,
    ):
        await orchestrator.run([thread("twelve bytes"), thread("twelve bytes", client="free")])
    return url


def test_usage_is_told_by_day_and_model(cli: Cli, tmp_path: Path) -> None:
    url = asyncio.run(_used(tmp_path))
    today = utc_now().date().isoformat()
    result = cli("usage", "--database", url)
    assert result.code == 0
    assert result.out.split("\n")[1].split() == [
        today,
        "model",
        "2",
        "0",
        "6",
        "0",
        "10",
        "$3.00",
        "+",
        "?",
        "(1",
        "without",
        "a",
        "price)",
    ]
    [row] = cli("usage", "--json", "-d", url).json
    assert row == {
        "day": today, "model": "model", "replies": 2, "prompt_tokens": 6, "completion_tokens": 10, "cached_tokens": 0,
        "cost_usd": 3.0, "unpriced": 1, "from_cache": 0,
    }  # fmt: skip


def test_an_empty_database_has_used_nothing(cli: Cli, tmp_path: Path) -> None:
    asyncio.run(_opened(f"sqlite:///{tmp_path / 'chats.db'}"))
    assert cli("usage", "--json", "-d", "chats.db").json == []
    assert cli("usage", "-d", "chats.db").out == "no replies yet\n"
    assert cli("runs", "list", "-d", "chats.db").out == "no runs yet\n"
    assert cli("runs", "show", "x", "-d", "chats.db").err == "error: no run is called 'x': there are no runs here\n"


async def _opened(url: str) -> None:
    async with open_storage(url):
        pass
