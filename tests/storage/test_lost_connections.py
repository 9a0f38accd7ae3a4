"""What a connection to PostgreSQL that breaks between two statements costs: nothing but time."""

from __future__ import annotations

import asyncio

import pytest

from minference.errors import DatabaseUnreadable, ErasedLineage, ReadFailed, VersionExists
from minference.storage.open import open_storage
from minference.storage.sql.dialects import Transient, diagnose, open_engine
from minference.storage.sql.driver import PostgresDriver
from tests.storage.edits import Thing
from tests.storage.proxy import PostgresProxy
from tests.storage.tables import broken_rules


async def test_a_statement_on_a_connection_that_is_closed_already_can_be_asked_again(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    try:
        async with PostgresDriver(engine).reading() as fetch:
            for _ in range(3):
                with pytest.raises(Exception, match=r"clos|terminat|another operation") as caught:
                    await fetch("SELECT pg_terminate_backend(pg_backend_pid())")
                assert isinstance(diagnose(caught.value), Transient), repr(caught.value)
        assert str(caught.value) == "connection is closed"
    finally:
        await engine.dispose()


async def test_a_connection_lost_while_a_race_is_looked_into_costs_no_save(postgresql_url: str) -> None:
    async with open_storage(postgresql_url) as elsewhere, PostgresProxy(postgresql_url) as proxy, open_storage(proxy.url) as here:
        mine = Thing(name="base")
        await here.register(mine)
        yours = await elsewhere.get(Thing, mine.ecs_id)
        base, mine.name, yours.name = mine.ecs_id, "mine", "yours"
        await elsewhere.register(yours)
        proxy.lose_answer_to(b"MAX(fork_no)")
        [branch] = (await here.submit(mine)).branches
        assert (proxy.lost, branch.parent, branch.sibling, branch.version) == (1, base, yours.ecs_id, mine.ecs_id)
    assert await broken_rules(postgresql_url) == []


async def test_a_connection_lost_while_a_refusal_is_looked_into_does_not_hide_why(postgresql_url: str) -> None:
    async with open_storage(postgresql_url) as elsewhere, PostgresProxy(postgresql_url) as proxy, open_storage(proxy.url) as here:
        stored = Thing()
        await here.register(stored)
        proxy.lose_answer_to(b"SELECT id FROM entity_version WHERE ecs_id")
        with pytest.raises(VersionExists) as exists:
            await here.register(Thing.model_validate(stored.model_dump()))
        assert (proxy.lost, exists.value.ecs_id) == (1, stored.ecs_id)
        await elsewhere.erase(stored, reason="asked to")
        stored.name = "new"
        proxy.lose_answer_to(b"SELECT 1 FROM erasure")
        with pytest.raises(ErasedLineage) as erased:
            await here.register(stored)
        assert (proxy.lost, erased.value.lineage_id) == (2, stored.lineage_id)


@pytest.mark.parametrize("word", ["storage_info i", "advisory", "CREATE TABLE", "COMMIT"])
async def test_a_connection_lost_while_a_new_database_is_opened_costs_nothing_but_time(postgresql_url: str, word: str) -> None:
    async with PostgresProxy(postgresql_url) as proxy:
        proxy.lose_answer_to(word.encode())
        async with open_storage(proxy.url) as storage:
            assert proxy.lost == 1
            await storage.register(Thing())
    assert await broken_rules(postgresql_url) == []


async def test_opening_waits_for_a_server_that_breaks_connections_off(postgresql_url: str) -> None:
    async with PostgresProxy(postgresql_url) as proxy:
        proxy.refuse(4)
        async with open_storage(proxy.url) as storage:
            assert proxy.refused == 4
            await storage.register(Thing())


async def test_a_server_that_breaks_every_connection_off_is_away_and_not_unreadable(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minference.storage.sql.driver.PATIENCE", 0.2)
    async with PostgresProxy(postgresql_url) as proxy:
        proxy.refuse(10_000)
        with pytest.raises(ReadFailed, match=r"postgresql://postgres@127.0.0.1.* away for too long .* asking again is safe") as away:
            await open_storage(proxy.url).__aenter__()
        assert away.value.retryable
        assert proxy.refused > 1


async def test_a_server_that_is_gone_after_it_was_reached_is_away_too(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.storage.sql.driver.PATIENCE", 0.2)
    async with PostgresProxy(postgresql_url) as proxy:
        proxy.vanish_with_answer_to(b"SELECT")
        with pytest.raises(ReadFailed, match="Connect call failed"):
            await open_storage(proxy.url).__aenter__()
        assert proxy.lost == 1


async def test_where_no_server_listens_opening_fails_at_once(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.storage.sql.driver.PATIENCE", float("inf"))
    async with PostgresProxy(postgresql_url) as proxy:
        nowhere = proxy.url
    with pytest.raises(DatabaseUnreadable, match="Connect call failed"):
        await open_storage(nowhere).__aenter__()


@pytest.mark.parametrize(
    ("tls", "said"),
    [("require", b"N"), ("require", b"HTTP/1.1 400"), ("disable", b"HTTP/1.1 400"), ("require", b"SSH-2.0"), ("disable", b"SSH-2.0")],
)
async def test_where_another_protocol_is_spoken_or_tls_refused_opening_fails_at_once(
    tls: str, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minference.storage.sql.driver.PATIENCE", 0.2)
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.read(8)
        writer.write(said)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"postgresql://postgres@127.0.0.1:{server.sockets[0].getsockname()[1]}/chats?ssl={tls}"
        with pytest.raises(DatabaseUnreadable, match="rejected SSL upgrade" if tls == "require" else "clos|reset"):
            await open_storage(url).__aenter__()
    assert asked == (1 if tls == "require" else 2)
