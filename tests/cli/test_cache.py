"""`minference cache`, and `[cache]` in a run file."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from minference.ecs.identity import utc_now
from minference.storage.open import open_storage
from minference.storage.replies import CachedReply
from minference.testing import ProviderServer
from tests.cli.conftest import Cli


async def _kept(url: str) -> None:
    async with open_storage(url) as storage:
        old, new = (CachedReply(age * 64, age * 64, {}, utc_now() - timedelta(days=int(age))) for age in "20")
        await storage.replies().put([(old, uuid4()), (new, uuid4())])


def test_the_cache_is_shown_and_cleared(cli: Cli, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'chats.db'}"
    asyncio.run(_kept(url))
    assert cli("cache", "show", "-d", url).out.startswith("2 replies, the oldest of 20")
    assert cli("cache", "clear", "-d", url, "--older-than", "86400").out == "1 reply forgotten\n"
    assert cli("cache", "show", "-d", url, "--json").json["replies"] == 1
    assert cli("cache", "clear", "-d", url).out == "1 reply forgotten\n"
    assert cli("cache", "show", "-d", url).out == "0 replies\n"


def test_a_run_file_can_ask_for_it(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = '[model]\nclient = "openai"\nmodel = "a-model"\n[prompts]\ntexts = ["Hello.", "Hello."]\n'
    with ProviderServer() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        for name in ("one", "two"):
            (tmp_path / f"{name}.toml").write_text(f"{model}[cache]\nmax_age = 3600\n")
            assert cli("run", str(tmp_path / f"{name}.toml"), "-d", f"sqlite:///{tmp_path / 'chats.db'}").code == 0
        assert len(server.requests) == 1
    (tmp_path / "bad.toml").write_text(f"{model}[cache]\nmax_age = 0\n")
    refused = cli("run", str(tmp_path / "bad.toml"))
    assert (refused.code, "[cache] max_age" in refused.err) == (2, True)
