"""`SlidingWindow`: an exact log of what was spent, so that no window of its length ever holds more than the limit."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from heapq import merge
from math import inf
from operator import itemgetter


class Spending:
    """One amount in a window: on its way until the provider has certainly counted it, then counted for one length more."""

    __slots__ = ("amount", "expired", "latest", "until")

    def __init__(self, amount: int) -> None:
        self.amount = amount
        self.latest = inf
        """The moment by which the provider has counted it, if no reply says so earlier; infinity while nobody knows."""
        self.until = inf
        """The moment from which it counts no more; infinity while it is on its way."""
        self.expired = False


class SlidingWindow:
    """Admits amounts so that the sum over any `length` seconds stays within `limit`, whenever the provider counts each.

    The provider counts an amount somewhere between its leaving and its reply, at most `slack` seconds after the leaving. Until
    then the amount is held, and only from then on its `length` seconds run.
    """

    def __init__(self, what: str, limit: int, *, length: float, slack: float) -> None:
        self.what = what
        """What is counted, in words for a message: requests, input tokens, ..."""
        self.limit = limit
        """May be changed at any time."""
        self.length = length
        self._elsewhere = Spending(0)
        """What others spend of the same quota."""
        self._slack = slack
        self._held: dict[Spending, None] = {}
        """What has not left, or is counted with the reply."""
        self._in_flight: OrderedDict[Spending, None] = OrderedDict()
        """What has left, in that order."""
        self._counted: deque[Spending] = deque()
        self._total = 0

    def total(self, now: float) -> int:
        """What the provider may count at this moment."""
        self._move_on(now)
        return self._total + self._elsewhere.amount

    def observe(self, used: int, now: float, until: float) -> None:
        """The provider says that so much is used. What is not ours counts until then, or until the provider says otherwise."""
        self._move_on(now)
        self._elsewhere = Spending(max(0, used - self._total))
        self._elsewhere.until = until

    def free_at(self, amount: int, now: float) -> float:
        """The moment from which `amount` fits if nothing else happens: at most `now` if it does already.

        Infinity if only a departure or a settlement can make room.
        """
        self._move_on(now)
        missing = self._total + self._elsewhere.amount + amount - self.limit
        if missing <= 0:
            return now
        for until, there in self._in_order():
            missing -= there
            if missing <= 0:
                return until
        return inf

    def held_until(self, amount: int, now: float) -> float:
        """The moment until which what others use leaves no room for `amount`, as the provider says; at most `now` if it does."""
        self._move_on(now)
        return self._elsewhere.until if self._elsewhere.amount > max(0, self.limit - amount) else now

    def spend(self, amount: int) -> Spending:
        """Count `amount` from now on; `settle` must follow."""
        spending = Spending(amount)
        self._held[spending] = None
        self._total += amount
        return spending

    def leave(self, spending: Spending, now: float) -> None:
        """The request has left, or leaves once more: the provider knows of it by the end of the slack."""
        self._move_on(now)
        if self._slack == inf:
            return
        if spending.expired:
            spending.expired = False
            self._total += spending.amount
        elif not self._take_up(spending):
            self._counted.remove(spending)
        spending.latest, spending.until = now + self._slack, inf
        self._in_flight[spending] = None

    def arrive(self, spending: Spending, now: float) -> None:
        """The provider knows of the request."""
        self._move_on(now)
        if self._slack < inf and self._take_up(spending):
            self._count(spending, now)

    def settle(self, spending: Spending, amount: int, now: float, *, answered: bool) -> None:
        """Count what it really was. Less makes room at once; more is debt that later callers wait for.

        Without an answer, the provider may still be about to count what has just left.
        """
        self._move_on(now)
        if spending.expired:
            return
        self._total += amount - spending.amount
        spending.amount = amount
        if (answered or spending not in self._in_flight) and self._take_up(spending):
            self._count(spending, now)

    def _take_up(self, spending: Spending) -> bool:
        """Whether it was not counted yet; then it is to be put somewhere else."""
        for place in (self._held, self._in_flight):
            if spending in place:
                del place[spending]
                return True
        return False

    def _in_order(self) -> Iterator[tuple[float, int]]:
        """Moments after which amounts count no more, as far as they are known, the first first."""
        counted = ((each.until, each.amount) for each in self._counted)
        in_flight = ((each.latest + self.length, each.amount) for each in self._in_flight)
        elsewhere = [(self._elsewhere.until, self._elsewhere.amount)] if self._elsewhere.amount else []
        return merge(counted, in_flight, elsewhere, key=itemgetter(0))

    def _move_on(self, now: float) -> None:
        while self._in_flight and (first := next(iter(self._in_flight))).latest <= now:
            del self._in_flight[first]
            self._count(first, first.latest)
        if self._elsewhere.amount and self._elsewhere.until <= now:
            self._elsewhere = Spending(0)
        while self._counted and self._counted[0].until <= now:
            old = self._counted.popleft()
            old.expired = True
            self._total -= old.amount

    def _count(self, spending: Spending, moment: float) -> None:
        spending.until = moment + self.length
        self._counted.append(spending)
