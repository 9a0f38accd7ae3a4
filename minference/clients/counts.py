"""Token counts as providers write them. No reply is lost for one that cannot be read: then it is unknown."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from minference.clients.failures import describe
from minference.errors import ProviderError
from minference.usage import TokenUsage

logger = logging.getLogger(__name__)

MOST_TOKENS = 2**53
"""No provider can mean more; sums of a few of them still fit into a column."""


class Counts:
    """The counts of one answer, by name."""

    def __init__(self, client: str, written: object, *, inside: str = "usage") -> None:
        self._client = client
        self._inside = inside
        self.odd = False
        """Whether one that was asked for is nothing that a count can be."""
        self._written: Mapping[str, object] = written if isinstance(written, dict) else {}
        if written is not None and not isinstance(written, dict):
            self._warn(inside, written)

    def of(self, name: str) -> int | None:
        """A count; `None` if it is not told, or is nothing that a count can be, which is logged."""
        value = self._written.get(name)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is int and 0 <= value <= MOST_TOKENS:
            return value
        self._warn(f"{self._inside}.{name}", value)
        return None

    def within(self, name: str) -> Counts:
        """The counts that are told together under one name."""
        return Counts(self._client, self._written.get(name), inside=f"{self._inside}.{name}")

    def _warn(self, where: str, found: object) -> None:
        self.odd = True
        logger.warning("%s counts %s as %s, which is no number of tokens: it is unknown", self._client, where, describe(found))


def note_break(error: ProviderError, usage: TokenUsage | None, *, begun: bool) -> None:
    """Let the error of a stream tell what was counted until then, and whether a reply was on its way.

    One that the provider refuses before a part of it came went no further; with a connection that breaks nobody knows.
    """
    if error.usage is None:
        error.usage = usage
        error.broke_off = begun or error.status is None or error.status < 400
