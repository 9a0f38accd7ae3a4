"""Prices: what a reply costs in US dollars, by the price lists of a maintained library or of the application."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from minference.clients.base import TokenUsage
from minference.inference.arguments import a_map

_PROVIDERS = {"openai": "openai", "azure_openai": "azure", "anthropic": "anthropic", "openrouter": "openrouter"}
"""Clients whose provider is certain, and what the library calls it. What a server of one's own costs nobody but its owner knows."""
_MILLION = 1_000_000
_MOST_UNKNOWN = 1_000
"""Names that are remembered: who answers may give each reply another one."""


class Price(BaseModel):
    """What an application pays for a model, in US dollars for a million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)
    cached: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Input that is read from the provider's cache; `None` for the price of other input."""
    cache_written: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Input that is written to it; `None` for the price of other input."""

    def of(self, usage: TokenUsage) -> float:
        """Dollars for one reply."""
        cached, written = usage.cached or 0, usage.cache_written or 0
        plain = max(usage.prompt - cached - written, 0)
        whole = (
            plain * self.input
            + cached * (self.input if self.cached is None else self.cached)
            + written * (self.input if self.cache_written is None else self.cache_written)
            + usage.completion * self.output
        )
        return whole / _MILLION


class PriceList:
    """Prices by client and model: those of the application (`client/model` or `client`) before those of `genai-prices`.

    What is not in them has no price, which is not the same as costing nothing.
    """

    def __init__(self, own: Mapping[str, Price] | None = None) -> None:
        self._own = a_map("prices", own, Price, "{'openai/gpt-5': Price(input=1.25, output=10)}")
        self._unknown: set[tuple[str, str]] = set()
        """Providers and models that the library does not know: it would compare the name with all that it knows, each time."""
        self._snapshot: object = None
        """The prices of the library of which that is so: it can be told to renew them."""

    def cost(self, client: str, model: str, usage: TokenUsage, *, at: datetime | None = None) -> float | None:
        """Dollars for a reply of this model, at the prices of that time; `None` if the price is unknown."""
        if (price := self._own.get(f"{client}/{model}") or self._own.get(client)) is not None:
            return price.of(usage)
        if (provider := _PROVIDERS.get(client)) is None:
            return None
        from genai_prices import Usage, calc_price
        from genai_prices.data_snapshot import get_snapshot

        if (snapshot := get_snapshot()) is not self._snapshot:
            self._snapshot, self._unknown = snapshot, set()
        if (provider, model) in self._unknown:
            return None
        known = Usage(
            input_tokens=usage.prompt,
            output_tokens=usage.completion,
            cache_read_tokens=usage.cached,
            cache_write_tokens=usage.cache_written,
        )
        try:
            return float(calc_price(known, model, provider_id=provider, genai_request_timestamp=at).total_price)
        except LookupError:
            if len(self._unknown) < _MOST_UNKNOWN:
                self._unknown.add((provider, model))
            return None
        except ValueError:  # the provider counts more in its cache than it says was read
            return None
