"""What every test gets: no way out of this machine, no keys, an empty home, and databases of its own."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support.fast_files import fast_directory
from tests.support.network import SWITCH
from tests.support.postgres import Postgres, running_postgres
from tests.support.sqlite import create_tables, with_tables

if TYPE_CHECKING:
    from minference.storage.base import EntityStorage

ROOT = Path(__file__).parent.parent
FOREIGN_SETTINGS = (
    "ANTHROPIC_", "AWS_", "AZURE_", "GEMINI_", "GOOGLE_", "GROQ_", "HF_", "LITELLM_", "MINFERENCE_", "OPENAI_", "OPENROUTER_",
    "OTEL_", "PG", "REDIS_", "VLLM_", "XDG_", "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip
"""Beginnings of environment variables that would make a test depend on who runs it."""
YOUNG_OBJECTS = (10_000, 10, 10)
"""How many the garbage collector waits for, by generation: Python's own numbers suit a smaller program."""


def pytest_configure() -> None:
    """Let SIGTERM end a run like Ctrl-C does: fixtures are closed and servers stopped. No example of hypothesis is timed."""
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", fast_directory())
    tempfile.tempdir = fast_directory()
    settings.register_profile("house", deadline=None)
    settings.load_profile("house")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in the background by a shell: the programs under test would inherit the deafness to Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported and collected stays until the end: whoever looks for garbage need not look through it each time."""
    gc.disable()
    try:
        yield
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(*YOUNG_OBJECTS)
        gc.enable()


@pytest.fixture(autouse=True)
def outside_attempts() -> Iterator[list[str]]:
    """Fail every test that reaches for another machine, even if the code under test swallowed the refusal."""
    with SWITCH.turned_on() as attempts:
        yield attempts
    if attempts:
        pytest.fail("the test left this machine:\n" + "\n".join(attempts), pytrace=False)


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home directory without anybody's settings."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, empty_home: Path) -> None:
    """Take away keys, base URLs, proxies and the home of whoever runs the tests, for children as well."""
    for name in os.environ:
        if name.upper().startswith(FOREIGN_SETTINGS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(empty_home))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "tests/support/child_guard"), str(ROOT)]))


@pytest.fixture(scope="module")
def local_child() -> Iterator[None]:
    """The process of the embedded model, one for all tests of a module: each client joins it and leaves it."""
    from minference.clients.local_process import find_model, shared_server

    server = shared_server(find_model(importlib.util.find_spec))
    server.child(local_child)
    yield
    server.release(local_child)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, started when the first test asks for it: one per run, with xdist one per worker."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgresql_url(postgres: Postgres) -> Iterator[str]:
    """The URL of a fresh, empty PostgreSQL database."""
    with postgres.database() as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_template(postgres: Postgres) -> str:
    """The name of a PostgreSQL database whose tables are there: to copy it is faster than to create them again."""
    name = "with_tables"
    postgres.execute(f"CREATE DATABASE {name}")
    with ThreadPoolExecutor() as apart:  # from the event loop of the test that asks first
        for _ in range(2):  # who connects after the tables were made leaves a file in which each copy finds what they are
            apart.submit(asyncio.run, create_tables(postgres.url(name))).result()
    return name


@pytest.fixture
def postgresql_storage_url(postgres: Postgres, postgresql_template: str) -> Iterator[str]:
    """The URL of a fresh PostgreSQL database that has its tables."""
    with postgres.database(postgresql_template) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of an SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'chats.db'}"


@pytest.fixture
def sqlite_storage_url(tmp_path: Path) -> str:
    """The URL of an SQLite file that has its tables."""
    return with_tables(tmp_path / "chats.db")


def _url_of(backend: str, request: pytest.FixtureRequest) -> str:
    """Only what a test uses is made: a test on memory starts no PostgreSQL."""
    return "memory:" if backend == "memory" else str(request.getfixturevalue(f"{backend}_url"))


@pytest.fixture(params=["memory", "sqlite_storage", "postgresql_storage"], ids=["memory", "sqlite", "postgresql"])
def storage_url(request: pytest.FixtureRequest) -> str:
    """Every kind of storage in turn, without entities."""
    return _url_of(request.param, request)


@pytest.fixture(params=["sqlite_storage", "postgresql_storage"], ids=["sqlite", "postgresql"])
def sql_url(request: pytest.FixtureRequest) -> str:
    """Every SQL database in turn, without entities."""
    return _url_of(request.param, request)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_sql_url(request: pytest.FixtureRequest) -> str:
    """Every SQL database in turn, without tables."""
    return _url_of(request.param, request)


@pytest.fixture
async def storage(storage_url: str) -> AsyncIterator[EntityStorage]:
    """Every kind of storage in turn, open and empty; it is current inside the test."""
    from minference.storage.open import open_storage

    async with open_storage(storage_url) as opened:
        yield opened
