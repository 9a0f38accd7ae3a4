"""Token estimates without a vocabulary: UTF-8 bytes / 4, corrected by what answers to the same model have told."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

from minference.threads.attachments import Attached, FileAttachment
from minference.threads.media import is_text

BYTES_PER_TOKEN = 4
IMAGE_TOKENS = 1_500
"""An image of usual size; providers count between 85 and about 3,000."""
_PDF_PAGE_TOKENS, _PDF_PAGE_BYTES, _PDF_MOST_PAGES = 2_500, 100_000, 100
_WEIGHT = 0.1
"""How much one answer moves the ratio of its model."""


def estimate_tokens(body: bytes, ratio: float = 1.0) -> int:
    """About how many input tokens a request has; `body` is the request as JSON."""
    return ceil(len(body) / BYTES_PER_TOKEN * ratio)


def attachment_tokens(attachments: Iterable[Attached]) -> int:
    """About how many input tokens these are, beyond the request's text. A guess: only the provider looks inside."""
    return sum(map(_tokens_of, attachments))


def _tokens_of(attached: Attached) -> int:
    if not isinstance(attached, FileAttachment):
        return IMAGE_TOKENS
    if is_text(attached.media_type):
        return ceil(attached.size / BYTES_PER_TOKEN)
    return _PDF_PAGE_TOKENS * min(_PDF_MOST_PAGES, ceil(attached.size / _PDF_PAGE_BYTES))


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
