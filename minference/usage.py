"""`TokenUsage`: what a provider counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What a provider counted for one reply. `cached` and `cache_written` are contained in `prompt`."""

    prompt: int
    completion: int
    cached: int | None = None
    cache_written: int | None = None
    reasoning: int | None = None
    audio: int | None = None
    accepted_prediction: int | None = None
    rejected_prediction: int | None = None
