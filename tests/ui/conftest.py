"""The inspector as a browser meets it: with one database for all who only look, and others for those who change them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from starlette.testclient import TestClient

from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.thread import ChatThread
from minference.ui.application import application
from tests.ui.samples import HOSTILE, a_run, hostile, long_thread, small_talk, travel

T = TypeVar("T")
TOKEN = "a-token"
HOST = "http://127.0.0.1:7788"


@dataclass(frozen=True)
class Stored:
    """A database, and the threads in it."""

    path: Path
    travel: ChatThread
    hostile: ChatThread
    long: ChatThread

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"


def work_on(url: str, work: Callable[[EntityStorage], Awaitable[T]]) -> T:
    """What some work with a database comes to; not on the event loop of whoever asks."""

    async def run() -> T:
        async with open_storage(url) as storage:
            return await work(storage)

    with ThreadPoolExecutor() as apart:
        return apart.submit(asyncio.run, run()).result()


async def fill(storage: EntityStorage) -> tuple[ChatThread, ChatThread, ChatThread]:
    """Save some of everything."""
    talks = await small_talk(storage, 60)
    threads = await travel(storage), await hostile(storage), await long_thread(storage, 180)
    await a_run(storage, HOSTILE, HOSTILE, [threads[1].lineage_id, *talks[:5]])
    return threads


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """A database with some of everything. Nobody changes it."""
    path = tmp_path_factory.mktemp("inspector") / "chats.db"
    return Stored(path, *work_on(f"sqlite:///{path}", fill))


@pytest.fixture
def visit() -> Iterator[Callable[[str], TestClient]]:
    """Open the inspector of a database as somebody who was let in."""
    opened: list[TestClient] = []

    def call(url: str) -> TestClient:
        client = TestClient(application(url, token=TOKEN), base_url=HOST)
        opened.append(client.__enter__())
        client.get(f"/?token={TOKEN}")
        return client

    yield call
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def pages(stored: Stored, visit: Callable[[str], TestClient]) -> TestClient:
    """The inspector of the database with some of everything."""
    return visit(stored.url)
