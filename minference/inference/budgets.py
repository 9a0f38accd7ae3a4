"""`Budget`: what may be spent, held before each call and settled with what it really was."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from minference.errors import BudgetExceeded, UnknownPrice
from minference.inference.arguments import an_amount


@dataclass(frozen=True, slots=True)
class Spent:
    """What replies used, and attempts in vain as far as the provider counted them."""

    replies: int = 0
    """Without those that were none."""
    tokens: int = 0
    cost: float | None = 0.0
    """In US dollars; `None` if the price of one of them is unknown."""

    def plus(self, tokens: int, cost: float | None, *, replies: int = 1) -> Spent:
        """With one more reply, or with more of them."""
        dollars = None if self.cost is None or cost is None else self.cost + cost
        return Spent(self.replies + replies, self.tokens + tokens, dollars)


NOTHING = Spent()


@dataclass(frozen=True, slots=True)
class Estimate:
    """The most that a call is expected to use."""

    client: str
    model: str
    tokens: int
    cost: float | None
    """In US dollars; `None` if the price is unknown."""


class Hold:
    """Room for one call in a budget. `settle` must be called once, when the call is over."""

    __slots__ = ("_budget", "_settled", "cost", "tokens")

    def __init__(self, budget: Budget | None, tokens: int, cost: float) -> None:
        self._budget = budget
        self._settled = False
        self.tokens = tokens
        self.cost = cost

    def settle(self, tokens: int | None = None, cost: float | None = None) -> None:
        """Replace the estimates by what was used; `None` keeps an estimate. Settling again changes nothing."""
        if self._settled or self._budget is None:
            return
        self._settled = True
        self._budget.settle(self, self.tokens if tokens is None else tokens, self.cost if cost is None else cost)


class Budget:
    """What the calls of a run, or of all the runs that are given the same object, may use together.

    A call that would pass it is not made: its thread is `Failed(BudgetExceeded)`. One that would pass it only if all calls on
    their way used as much as they may waits for them. A reply that cannot be used counts with what the provider says it used. One that
    never came counts as estimated, and one that broke off with what was counted for the request and the estimate for the rest.
    """

    def __init__(self, *, max_cost: float | None = None, max_tokens: int | None = None) -> None:
        """Allow so many US dollars, and so many tokens of requests and replies; `None` for any number.

        Raises:
            UnusableValue: A number is negative or no number.
            WrongArgument: Something else was passed.
        """
        if max_cost is not None:
            an_amount("max_cost", max_cost, "a number of dollars or None", "pass dollars, 0 or more")
        if max_tokens is not None:
            an_amount("max_tokens", max_tokens, "a number of tokens or None", "pass 0 or more")
        self.max_cost = max_cost
        self.max_tokens = max_tokens
        self.cost = 0.0
        """Spent so far, in US dollars."""
        self.tokens = 0
        """Spent so far."""
        self._held_cost = 0.0
        self._held_tokens = 0
        self._line = asyncio.Lock()
        self._news = asyncio.Event()

    def __repr__(self) -> str:
        limits = [f"{name}={value}" for name, value in (("max_cost", self.max_cost), ("max_tokens", self.max_tokens)) if value is not None]
        return f"Budget({', '.join(limits)}): {self.tokens} tokens and ${self.cost:.4f} spent"

    def check(self, call: Estimate) -> None:
        """Return if the call fits into what is not spent yet.

        Raises:
            BudgetExceeded: It does not.
            UnknownPrice: There is a limit in dollars, and nobody knows what the call costs.
        """
        if self.max_tokens is not None and self.tokens + call.tokens > self.max_tokens:
            raise BudgetExceeded("tokens", self.tokens, call.tokens, self.max_tokens)
        if self.max_cost is None:
            return
        if call.cost is None:
            raise UnknownPrice(call.client, call.model)
        if self.cost + call.cost > self.max_cost:
            raise BudgetExceeded("dollars", self.cost, call.cost, self.max_cost)

    async def hold(self, call: Estimate) -> Hold:
        """Room for the call, as soon as calls on their way leave it; in order of arrival.

        Raises:
            BudgetExceeded: They cannot.
            UnknownPrice: There is a limit in dollars, and nobody knows what the call costs.
        """
        cost = call.cost or 0.0
        async with self._line:
            while True:
                self.check(call)
                if self._has_room(call.tokens, cost):
                    break
                self._news.clear()
                await self._news.wait()
            self._held_tokens += call.tokens
            self._held_cost += cost
            return Hold(self, call.tokens, cost)

    def settle(self, hold: Hold, tokens: int, cost: float) -> None:
        """Count what was used instead of what was held."""
        self._held_tokens -= hold.tokens
        self._held_cost -= hold.cost
        self.tokens += tokens
        self.cost += cost
        self._news.set()

    def _has_room(self, tokens: int, cost: float) -> bool:
        enough_tokens = self.max_tokens is None or self.tokens + self._held_tokens + tokens <= self.max_tokens
        # What is held comes and goes: rounding must not leave a call waiting for nobody.
        held = self._held_cost if self._held_tokens else 0.0
        return enough_tokens and (self.max_cost is None or self.cost + held + cost <= self.max_cost)
