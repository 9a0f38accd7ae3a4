"""A text that a simple regular expression finds."""

from __future__ import annotations

import re
import string

_LETTERS = string.ascii_lowercase + string.ascii_uppercase + string.digits + string.punctuation + string.whitespace
_COUNT = re.compile(r"\{(\d+)(,?)(\d*)\}|[*+?]")
_OPENING = re.compile(r"\((?:\?:|\?P?<\w+>)?")
_SINGLE = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]|\\[^0-9pPkuxbBAzZ]|[^\\\[(){}*+?|^$]")


class _Difficult(Exception):
    """The pattern has something that we do not read: a condition, a reference, a class of Unicode."""


def matching(pattern: str, least: int = 0, most: int | None = None) -> str | None:
    """A short text of at least `least` and at most `most` letters that the pattern finds; `None` for what is too difficult."""
    try:
        compiled = re.compile(pattern)
        for more in range(min(least, 200) + 1):
            found = _Reader(pattern, more).read()
            if least <= len(found) and (most is None or len(found) <= most) and compiled.search(found):
                return found
    except (re.error, _Difficult):
        return None
    return None


class _Reader:
    """One walk through a pattern: the first of alternatives, and what may be repeated `more` times than it must be."""

    def __init__(self, pattern: str, more: int) -> None:
        self._pattern, self._more, self._at = pattern, more, 0

    def read(self) -> str:
        found = self._alternatives()
        if self._at < len(self._pattern):
            raise _Difficult
        return found

    def _alternatives(self) -> str:
        first = self._sequence()
        while self._takes("|"):
            self._sequence()
        return first

    def _sequence(self) -> str:
        found = ""
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            part = self._part()
            found += part * self._count()
        return found

    def _part(self) -> str:
        if self._takes("^") or self._takes("$"):
            return ""
        if opening := _OPENING.match(self._pattern, self._at):
            self._at = opening.end()
            inside = self._alternatives()
            if not self._takes(")"):
                raise _Difficult
            return inside
        if (single := _SINGLE.match(self._pattern, self._at)) is None:
            raise _Difficult
        self._at = single.end()
        written: str = single[0]
        return next((letter for letter in (*_LETTERS, written) if re.fullmatch(written, letter)), "")

    def _count(self) -> int:
        if (count := _COUNT.match(self._pattern, self._at)) is None:
            return 1
        self._at = count.end()
        self._takes("?")
        match count[0]:
            case "*":
                return self._more
            case "+":
                return 1 + self._more
            case "?":
                return min(1, self._more)
            case _:
                least = int(count[1])
                return least if not count[2] else min(least + self._more, int(count[3] or least + self._more))

    def _takes(self, letter: str) -> bool:
        found = self._pattern.startswith(letter, self._at)
        self._at += found
        return found
