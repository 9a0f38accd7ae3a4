"""Token estimates without a vocabulary: UTF-8 bytes / 4, corrected by what replies of the same model have told."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from math import ceil

from minference.inference.corrections import REMEMBERED, Correction, Told, correction
from minference.threads.attachments import Attached, FileAttachment
from minference.threads.media import is_text

BYTES_PER_TOKEN = 4
IMAGE_TOKENS = 1_500
"""An image of usual size; providers count between 85 and about 3,000."""
_PDF_PAGE_TOKENS, _PDF_PAGE_BYTES, _PDF_MOST_PAGES = 2_500, 100_000, 100
_MOST = 10**9
"""What no request has more tokens than, whatever is told."""


def estimate_tokens(body: bytes) -> int:
    """About how many input tokens a request has; `body` is the request as JSON."""
    return ceil(len(body) / BYTES_PER_TOKEN)


def attachment_tokens(attachments: Iterable[Attached]) -> int:
    """About how many input tokens these are, beyond the request's text. A guess: only the provider looks inside."""
    return sum(map(_tokens_of, attachments))


def _tokens_of(attached: Attached) -> int:
    if not isinstance(attached, FileAttachment):
        return IMAGE_TOKENS
    if is_text(attached.media_type):
        return ceil(attached.size / BYTES_PER_TOKEN)
    return _PDF_PAGE_TOKENS * min(_PDF_MOST_PAGES, ceil(attached.size / _PDF_PAGE_BYTES))


class TokenEstimates:
    """Estimates that replies make better, for each model by itself."""

    def __init__(self) -> None:
        self._told: defaultdict[tuple[str, str], deque[Told]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        self._corrections: dict[tuple[str, str], Correction] = {}

    def estimate(self, client: str, model: str, body: bytes) -> int:
        """`estimate_tokens` with what is known of the model."""
        key = client, model
        if (known := self._corrections.get(key)) is None:
            known = self._corrections[key] = correction(self._told[key])
        return known.of(len(body) / BYTES_PER_TOKEN)

    def learn(self, client: str, model: str, body: bytes, tokens: int) -> None:
        """Remember that the model counted `tokens` for this request. Who says that there were none has not counted."""
        if tokens <= 0:
            return
        key, plain = (client, model), len(body) / BYTES_PER_TOKEN
        told = self._told[key]
        told.append(Told(plain, min(tokens, _MOST)))
        known = self._corrections.get(key)
        if known is not None and (len(told) < REMEMBERED or known.of(plain) != tokens):  # else it is as good as it can be
            del self._corrections[key]
