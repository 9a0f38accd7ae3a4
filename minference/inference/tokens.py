"""Token estimates without a vocabulary: UTF-8 bytes / 4, corrected by what answers to the same model have told."""

from __future__ import annotations

from math import ceil

BYTES_PER_TOKEN = 4
_WEIGHT = 0.1
"""How much one answer moves the ratio of its model."""


def estimate_tokens(body: bytes, ratio: float = 1.0) -> int:
    """About how many input tokens a request has; `body` is the request as JSON."""
    return ceil(len(body) / BYTES_PER_TOKEN * ratio)


class TokenRatios:
    """The ratio of real to estimated input tokens of each model, as a running mean."""

    def __init__(self) -> None:
        self._ratios: dict[tuple[str, str], float] = {}

    def estimate(self, client: str, model: str, body: bytes) -> int:
        """`estimate_tokens` with what is known of the model."""
        return estimate_tokens(body, self._ratios.get((client, model), 1.0))

    def learn(self, client: str, model: str, body: bytes, tokens: int) -> None:
        """Remember that the model counted `tokens` for this request. The first answer sets the ratio, later ones move it."""
        seen = tokens * BYTES_PER_TOKEN / max(len(body), 1)
        known = self._ratios.get((client, model))
        self._ratios[client, model] = seen if known is None else known + _WEIGHT * (seen - known)
