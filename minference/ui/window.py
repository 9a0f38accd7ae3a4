"""Which messages of a long thread a page shows."""

from __future__ import annotations

from dataclasses import dataclass

MESSAGES = 50
"""On one page."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of messages."""

    start: int
    stop: int
    length: int
    """Of the whole thread."""

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole thread."""
        return self.stop - self.start == self.length

    @property
    def earlier(self) -> int | None:
        """Where the stretch before it begins."""
        return max(0, self.start - MESSAGES) if self.start else None

    @property
    def later(self) -> int | None:
        """Where the stretch after it begins."""
        return self.stop if self.stop < self.length else None


def window_of(length: int, wanted: str | None) -> Window:
    """The last messages, or those from the index that is wanted; whatever is no index of the thread is brought back into it."""
    if wanted is None or not (wanted.isascii() and wanted.isdigit() and len(wanted) < 10):
        start = max(0, length - MESSAGES)
    else:
        start = min(int(wanted), max(0, length - 1))
    return Window(start, min(length, start + MESSAGES), length)
