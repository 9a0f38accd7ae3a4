"""The test support keeps its promises: no way out, no keys, databases of one's own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from tests.support.network import OutsideNetwork, is_local
from tests.support.postgres import Postgres

ELSEWHERE = "192.0.2.1"
"""An address that RFC 5737 gives to nobody."""


def test_a_plain_socket_cannot_leave(outside_attempts: list[str]) -> None:
    with socket.socket() as sock, pytest.raises(OutsideNetwork, match=ELSEWHERE):
        sock.connect((ELSEWHERE, 80))
    with socket.socket(type=socket.SOCK_DGRAM) as sock, pytest.raises(OutsideNetwork):
        sock.sendto(b"hello", (ELSEWHERE, 53))
    assert len(outside_attempts) == 2
    outside_attempts.clear()


def test_a_name_is_not_even_looked_up(outside_attempts: list[str]) -> None:
    with pytest.raises(OutsideNetwork, match=r"api\.openai\.com"):
        socket.getaddrinfo("api.openai.com", 443)
    assert len(outside_attempts) == 1
    outside_attempts.clear()


async def test_asyncio_cannot_leave(outside_attempts: list[str]) -> None:
    with pytest.raises(OutsideNetwork):
        await asyncio.open_connection("api.anthropic.com", 443)
    with pytest.raises(OutsideNetwork):
        await asyncio.open_connection(ELSEWHERE, 443)
    assert len(outside_attempts) == 2
    outside_attempts.clear()


async def test_aiohttp_and_httpx2_cannot_leave(outside_attempts: list[str]) -> None:
    import aiohttp
    import httpx2

    async with aiohttp.ClientSession() as session:
        with pytest.raises(OutsideNetwork):
            await session.get("http://api.openai.com/v1/models")
    async with httpx2.AsyncClient() as client:
        with pytest.raises((OutsideNetwork, ExceptionGroup)):
            await client.get(f"http://{ELSEWHERE}/")
    assert len(outside_attempts) == 2
    outside_attempts.clear()


async def test_a_server_on_this_machine_is_reached() -> None:
    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async with await asyncio.start_server(hello, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection("localhost", server.sockets[0].getsockname()[1])
        assert await reader.read() == b"hello"
        writer.close()


def test_a_child_python_cannot_leave() -> None:
    reach = f"import socket; socket.create_connection(({ELSEWHERE!r}, 80), timeout=1)"
    child = subprocess.run([sys.executable, "-c", reach], check=False, capture_output=True, text=True)
    assert child.returncode == 1
    assert "OutsideNetwork" in child.stderr


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("", True),
        ("0.0.0.0", True),
        ("10.0.0.1", False),
        ("2001:db8::1", False),
        ("localhost.example.org", False),
        ("169.254.169.254", False),
    ],
)
def test_only_this_machine_is_local(host: str, local: bool) -> None:
    assert is_local(host) is local


@pytest.fixture(scope="module", autouse=True)
def someones_settings() -> Iterator[None]:
    """What a developer's shell may hold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "sk-real")
        patch.setenv("ANTHROPIC_BASE_URL", "https://proxy.example.org")
        patch.setenv("https_proxy", "http://127.0.0.1:3128")
        patch.setenv("PGPASSWORD", "secret")
        yield


def test_settings_of_whoever_runs_the_tests_are_not_seen(empty_home: Path) -> None:
    assert {"OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "https_proxy", "PGPASSWORD"} & set(os.environ) == set()
    assert Path.home() == empty_home
    assert list(empty_home.iterdir()) == []


async def test_each_test_has_a_postgresql_database_of_its_own(postgres: Postgres, postgresql_url: str) -> None:
    connection = await asyncpg.connect(postgresql_url)
    await connection.execute("CREATE TABLE mine (x int)")
    await connection.close()
    with postgres.database() as other:
        connection = await asyncpg.connect(other)
        assert await connection.fetchval("SELECT to_regclass('mine')") is None
        await connection.close()
    names = postgres.execute("SELECT datname FROM pg_database").split()
    assert not any(other.startswith(f"postgresql://postgres@/{name}?") for name in names)


def test_postgresql_ends_with_a_run_that_is_killed() -> None:
    program = textwrap.dedent("""
        from tests.support.postgres import running_postgres
        import time
        with running_postgres() as server:
            print(server.execute("SELECT pg_postmaster_start_time()") and server.url("postgres").partition("host=")[2], flush=True)
            time.sleep(600)
    """)
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    directory = child.stdout.readline().strip()
    child.stdout.close()
    with open(f"{directory}/postmaster.pid", encoding="utf-8") as file:
        server = psutil.Process(int(file.readline()))
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert psutil.wait_procs([server], timeout=60)[1] == []
    shutil.rmtree(Path(directory).parent)
