"""`Attempt`: a request that has its room, and what is counted for it in the end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from minference.clients.base import TokenUsage
from minference.ecs.identity import utc_now
from minference.errors import ProviderError
from minference.inference.budgets import Hold
from minference.inference.limits import Reservation
from minference.inference.requests import Prepared

NO_TOKENS = TokenUsage(0, 0)
"""What a request used that was not served."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request that has its room under the limits and in the budget."""

    prepared: Prepared
    reservation: Reservation
    hold: Hold
    start: datetime = field(default_factory=utc_now)

    def settle(self, usage: TokenUsage | None = None, cost: float | None = None, *, answered: bool = False) -> None:
        """Count what was used, or the estimate if nobody knows. Settling again changes nothing.

        Args:
            usage: What was used.
            cost: In USD.
            answered: Whether the provider has, with a reply or a refusal.
        """
        if usage is None:
            self.reservation.settle(answered=answered)
            self.hold.settle()
        else:
            told = usage.prompt > 0 or usage is NO_TOKENS  # who says 0 of a request that was served has not counted
            self.reservation.settle(usage.prompt if told else None, usage.completion, answered=answered)
            if told:
                self.hold.settle(usage.prompt + usage.completion, cost)
            else:
                self.hold.settle()

    def used_in_vain(self, error: ProviderError, *, begun: bool) -> TokenUsage | None:
        """What the attempt is to be counted with, since it failed so; `None` if nobody knows better than the estimate.

        What the provider had counted is what it used. Of a reply that broke off nobody knows how long it would have been:
        its output counts as estimated, unless the provider has counted more. A refusal used nothing, except in the middle
        of a reply that had `begun`.
        """
        if error.usage is None:
            refused = error.status is not None and error.status >= 400
            return NO_TOKENS if refused and not begun and not error.broke_off else None
        if not error.broke_off:
            return error.usage
        return replace(error.usage, completion=max(error.usage.completion, self.prepared.config.max_tokens))
