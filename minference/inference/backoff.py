"""`Backoff`: when to ask again a provider that refuses calls and does not say for how long. Pure: told of time, it never looks."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

SHORT_PAUSE = 1.0
"""Seconds: who is told to come again sooner is not told when a limit per minute has room."""
_ENOUGH = 3
"""Refusals without an answer between them, and of more than half of the calls, that are a limit which is used up and no chance."""
_MORE, _BACK, _LESS = 2.0, 0.5, 0.8
"""What a refusal makes of the seconds between calls, an answer down to where a call was refused, and further answers."""
_AFTER, _LEAST = 2.0, 0.05
"""Seconds between calls after the first answer, at most, and that are not worth waiting."""
_TROUBLE = 61.0
"""Seconds of nothing but refusals after which it is no limit per minute: waiting does not help."""


class Pauses(NamedTuple):
    """Seconds between calls while nothing goes through."""

    first: float
    longest: float


class Backoff:
    """Nothing between calls until only refusals come; then more and more seconds, so that one call asks for all. Fewer with each answer.

    Limits per minute end by themselves. While they last, each call that is refused costs one of the attempts that a thread has.
    """

    def __init__(self) -> None:
        self._gap = 0.0
        self._next = -inf
        self._refused_with = 0.0
        """The seconds between calls when one was refused last."""
        self._marked = inf
        """When the last refusal that counted came; calls that left before tell nothing more."""
        self._sent = 0
        self._refused = 0
        self._trouble_since = inf

    @property
    def is_on(self) -> bool:
        """Whether calls begin one after the other, since they were refused."""
        return self._gap > 0

    def wait(self, now: float) -> float:
        """Seconds before which no call should begin."""
        return max(0.0, self._next - now)

    def sent(self, now: float) -> None:
        """A call begins."""
        self._sent += 1
        if self._gap:
            self._next = now + self._gap

    def answered(self, *, sent: float) -> None:
        """A call was answered, or its answer begins to come: anything but that there were too many."""
        if sent < self._marked:
            return
        self._trouble_since = inf
        if not self._gap:
            self._marked = inf
            return
        before = self._gap
        shorter = min(self._gap, _AFTER)
        shorter = max(shorter * _BACK, min(self._refused_with, shorter * _LESS))
        self._gap = shorter if shorter > _LEAST else 0.0
        self._next += self._gap - before

    def refused(self, pauses: Pauses, *, sent: float, now: float) -> None:
        """A call was refused, without a word on when to come again."""
        if self._marked == inf:
            self._marked, self._sent, self._refused = now, 0, 0
            self._trouble_since = min(self._trouble_since, now)
            return
        if sent < self._marked:
            return
        self._refused += 1
        self._trouble_since = min(self._trouble_since, now)
        if not self._gap and (self._refused < _ENOUGH or self._refused * 2 <= self._sent):
            return
        self._marked = now
        if now - self._trouble_since > _TROUBLE:
            self._gap, self._next = 0.0, -inf
        else:
            self._refused_with = self._gap
            self._gap = min(max(self._gap * _MORE, pauses.first), pauses.longest)
            self._next = now + self._gap
