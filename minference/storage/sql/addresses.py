"""A database URL as libpq wants it, for those who talk to the same PostgreSQL through another driver."""

from __future__ import annotations

from sqlalchemy import URL

from minference.errors import QueueNeedsPostgres
from minference.storage.sql.dialects import async_url, shown_url

_NAMES = {
    "host": "host",
    "port": "port",
    "user": "user",
    "password": "password",
    "database": "dbname",
    "ssl": "sslmode",
    "direct_tls": "sslnegotiation",
    "passfile": "passfile",
    "target_session_attrs": "target_session_attrs",
    "krbsrvname": "krbsrvname",
    "gsslib": "gsslib",
}
"""What asyncpg is told in a URL, and libpq's name for it. The rest concerns asyncpg alone."""


def libpq_settings(url: str) -> dict[str, str]:
    """The parameters of a libpq connection to the database of this URL.

    Raises:
        QueueNeedsPostgres: It is another kind of database.
        ConfigurationError: It is no URL of a database that can be used.
    """
    if url.startswith("memory:"):
        raise QueueNeedsPostgres(url)
    parsed = async_url(url)
    if parsed.get_backend_name() != "postgresql":
        raise QueueNeedsPostgres(shown_url(url))
    given = {"user": parsed.username, "password": parsed.password, "database": parsed.database, "host": parsed.host}
    found = {_NAMES[name]: value for name, value in given.items() if value}
    if parsed.port is not None:
        found["port"] = str(parsed.port)
    return found | _asked(parsed)


def _asked(parsed: URL) -> dict[str, str]:
    """What stands behind the question mark. Of several hosts, each may bring its port."""
    asked = {name: (value,) if isinstance(value, str) else value for name, value in parsed.query.items()}
    found = {_NAMES[name]: ",".join(values) for name, values in asked.items() if name in _NAMES}
    if "direct_tls" in asked:
        found["sslnegotiation"] = "direct" if asked["direct_tls"][0].lower() in ("true", "1", "on", "yes") else "postgres"
    hosts = [host.rpartition(":") if ":" in host else (host, "", "") for host in asked.get("host", ())]
    if any(port for _, _, port in hosts):
        found["host"] = ",".join(name for name, _, _ in hosts)
        found["port"] = ",".join(port for _, _, port in hosts)
    return found
