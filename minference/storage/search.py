"""What every storage promises about finding text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from minference.ecs.entity import Entity
from minference.ecs.lineage import VersionInfo

AROUND = 60
"""Characters of a snippet before the first word that was found, and after it."""
LONGEST_TEXT, LONGEST_WORD = 150_000, 200
"""Characters of a text that are searched, and of a word that can be found: PostgreSQL has limits."""

_WORD = re.compile(r"[^\W_]+")
_ASCII_GAPS = {number: " " for number in range(128) if not chr(number).isalnum()}


@dataclass(frozen=True, slots=True)
class Hit:
    """A text in which every word was found."""

    version: VersionInfo
    """The newest version of the object in which all words are."""
    snippet: str
    """The text around the first word."""
    holders: tuple[UUID, ...]
    """Lineages that hold this version in an ordered field of one of theirs, as threads do messages; in order of their ids."""


class Search(Protocol):
    """A part of `EntityStorage`."""

    async def search(self, cls: type[Entity], text: str, *, field: str = "content", limit: int = 20) -> list[Hit]:
        """Objects of this class or a subclass whose field holds every word of `text`, whole and in any case.

        The newest first, each object once. Words are letters and digits; everything else separates them. On SQL the words are
        indexed when somebody searches, not when entities are saved: the first search takes longer.

        Raises:
            ConfigurationError: The class has no such field of text, or no table that has it.
        """
        ...


def words_of(text: str) -> list[str]:
    """The words of a text, each once, in lower case."""
    head = text[:LONGEST_TEXT]
    if head.isascii():  # as most are: the same, several times as fast
        return [word for word in dict.fromkeys(head.lower().translate(_ASCII_GAPS).split()) if len(word) <= LONGEST_WORD]
    return list(dict.fromkeys(word.lower() for word in dict.fromkeys(_WORD.findall(head)) if len(word) <= LONGEST_WORD))


def snippet(text: str, words: list[str]) -> str:
    """The text around the first of the words, on one line."""
    first = next((match for match in _WORD.finditer(text) if match[0].lower() in words), None)
    at = first.start() if first is not None else 0
    begin, end = max(0, at - AROUND), at + AROUND
    cut = " ".join(text[begin:end].split())
    return f"{'…' if begin else ''}{cut}{'…' if end < len(text) else ''}"
