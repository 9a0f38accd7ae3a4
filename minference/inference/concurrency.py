"""`Concurrency`: how many calls may be under way at once, learned from how they end. Pure: told of time, it never looks."""

from __future__ import annotations

from math import inf

_LESS, _RAMP = 0.75, 0.25
_FASTER = 0.1
"""What a success adds beyond the ramp, at least so much of a call for each: a tenth more in the time of one call."""
_SMOOTHING = 0.2
_FIRST = 4
"""Calls at first, if latency is watched: only of a server that has little to do can one learn how fast it is."""
_SLOW = 2.0
"""How much slower than at its best a provider is when it is said to be overloaded."""
_FORGETTING = 1.0002
"""How fast the best latency is forgotten, per call: models and servers change."""


class Concurrency:
    """No bound until a provider is overloaded; then less, once for all the calls that saw the same, and slowly more again.

    If latency is watched, it begins with few and doubles until replies get slow.
    """

    def __init__(self, ceiling: float = inf, *, watch_latency: bool = False) -> None:
        self._ceiling = ceiling
        self._watch_latency = watch_latency
        self._ramp_until = inf
        self._lowered_at = -inf
        self._best = inf
        self._latency: float | None = None
        self.limit = min(ceiling, _FIRST) if watch_latency else ceiling
        """How many calls may be under way."""

    def has_room(self, in_flight: int) -> bool:
        """Whether one more call may begin."""
        return in_flight < max(1, int(min(self.limit, 2**31)))

    def succeeded(self, in_flight: int, *, sent: float, now: float, tokens: int) -> None:
        """A call was answered with so many tokens, while so many were under way."""
        if self._watch_latency and self._is_slow((now - sent) / max(tokens, 1)):
            self._lower(in_flight, sent, now, ramp=False)
        elif self.limit < self._ceiling:
            added = 1.0 if self.limit < self._ramp_until else max(_FASTER, 1.0 / self.limit)
            self.limit = min(self._ceiling, self.limit + added)

    def overloaded(self, in_flight: int, *, sent: float, now: float, ramp: bool = False) -> None:
        """A call was refused because there were too many.

        Args:
            ramp: Whether everybody has to wait now: then calls begin with few, so that not all come back at once.
        """
        self._lower(in_flight, sent, now, ramp=ramp)

    def _lower(self, in_flight: int, sent: float, now: float, *, ramp: bool) -> None:
        if sent < self._lowered_at:
            return  # it left before the last answer to the same trouble
        self._lowered_at = now
        self._ramp_until = max(1.0, min(self.limit, in_flight) * _LESS)
        self.limit = max(1.0, self._ramp_until * _RAMP) if ramp else self._ramp_until

    def _is_slow(self, latency: float) -> bool:
        self._latency = latency if self._latency is None else self._latency + _SMOOTHING * (latency - self._latency)
        self._best = min(self._best * _FORGETTING, self._latency)
        return self._latency > _SLOW * self._best
