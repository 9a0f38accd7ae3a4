"""Whether the packages are there that workers need."""

from __future__ import annotations

from importlib.util import find_spec

from minference.errors import MissingExtra

NEEDED = ("procrastinate", "psycopg")


def require_extra() -> None:
    """Return if the packages of the extra `distributed` are installed.

    Raises:
        MissingExtra: One is not.
    """
    for package in NEEDED:
        if find_spec(package) is None:
            raise MissingExtra("a work queue", package, 'pip install "minference[distributed]"')
