"""A URL of a storage leads other drivers to the same database."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from minference.errors import ConfigurationError, QueueNeedsPostgres
from minference.storage.sql.addresses import libpq_settings

URLS = {
    "postgresql://ann@db.example/chats": {"user": "ann", "host": "db.example", "dbname": "chats"},
    "postgresql+asyncpg://ann:p%40ss%20'%5C%2F@db:6543/chats": {
        "user": "ann", "password": "p@ss '\\/", "host": "db", "port": "6543", "dbname": "chats",
    },
    "postgresql://ann@/chats?host=/var/run/my sockets&port=6543": {
        "user": "ann", "host": "/var/run/my sockets", "port": "6543", "dbname": "chats",
    },
    "postgres://db/chats?ssl=verify-full&prepared_statement_cache_size=0&direct_tls=true": {
        "host": "db", "dbname": "chats", "sslmode": "verify-full", "sslnegotiation": "direct",
    },
    "postgresql://ann@/chats?host=one:1&host=two:2&target_session_attrs=read-write": {
        "user": "ann", "host": "one,two", "port": "1,2", "dbname": "chats", "target_session_attrs": "read-write",
    },
    "postgresql://ann@[::1]:5433/chats": {"user": "ann", "host": "::1", "port": "5433", "dbname": "chats"},
    "postgresql://": {},
}  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_what_a_url_says_is_told_to_libpq(url: str) -> None:
    settings = libpq_settings(url)
    assert settings == URLS[url]
    assert conninfo_to_dict(make_conninfo(**settings)) == URLS[url]


def test_other_databases_are_refused() -> None:
    for url in ("sqlite:///chats.db", "memory:"):
        with pytest.raises(QueueNeedsPostgres):
            libpq_settings(url)
    with pytest.raises(ConfigurationError, match="no database URL"):
        libpq_settings("chats")
