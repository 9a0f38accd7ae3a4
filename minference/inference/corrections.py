"""`Correction`: how the tokens that one model counts differ from the plain estimate, as its replies tell.

Two things make the difference. What a provider adds to every request (its own prompt, how it writes down tools) is an overhead,
however long the text; how many tokens a text becomes is a factor. A small request tells of the overhead, a large one of the
factor: taking one for the other would multiply a few hundred hidden tokens by the length of the next document.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

REMEMBERED = 9
"""Replies of a model from which its correction is made: the last ones."""
ENOUGH = 3
"""Replies that must be known before what they have in common is believed to be an overhead."""
LEAST_FACTOR, MOST_FACTOR = 0.5, 2.0
"""How far the plain estimate is from the truth for any text."""
_USUAL_OVERHEAD, _USUAL_FACTOR = 1_000.0, 0.25
"""How far overheads are usually from 0 and factors from 1: what a difference is shared by."""
_NOISE, _RELATIVE_NOISE = 200.0, 0.05
"""How far requests of one kind differ from each other: in tokens, and for their size."""
LEAST_OVERHEAD = -100.0
"""The JSON around a text that is not counted."""
LEAST_PART = 0.25
"""What is left at least of a small estimate that is mostly such JSON."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one reply tells."""

    plain: float
    """The plain estimate of its request."""
    real: int
    """What the provider counted."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What a plain estimate is made better by."""

    overhead: float = 0.0
    factor: float = 1.0

    def of(self, plain: float) -> int:
        """The better estimate."""
        better = self.overhead + self.factor * plain
        return ceil(round(max(better, LEAST_PART * plain), 6))


def correction(told: Sequence[Told]) -> Correction:
    """What fits these replies, in any order.

    The factor is that of the straight line through them, drawn towards 1 as long as they are few or small, and never beyond what is
    possible. The overhead is the median of what it leaves, so that single replies that are unlike the others do no harm. Where that is
    below any overhead, the text becomes fewer tokens.
    """
    factor = _possible(_slope(told))
    unknown = ENOUGH - len(told)
    overhead = median([*(each.real - factor * each.plain for each in told), *[0.0] * unknown])
    if overhead >= LEAST_OVERHEAD:
        return Correction(overhead, factor)
    factors = ((each.real - LEAST_OVERHEAD) / max(each.plain, 1.0) for each in told)
    return Correction(LEAST_OVERHEAD, _possible(median([*factors, *[1.0] * unknown])))


def _possible(factor: float) -> float:
    return min(max(factor, LEAST_FACTOR), MOST_FACTOR)


def _slope(told: Sequence[Told]) -> float:
    """By weighted least squares of overhead and factor, each of which is expected to be as usual."""
    weights, plains, squares = _USUAL_OVERHEAD**-2, 0.0, _USUAL_FACTOR**-2
    differences, products = 0.0, 0.0
    for each in told:
        weight = 1 / (_NOISE + _RELATIVE_NOISE * each.plain) ** 2
        difference = min(each.real, MOST_FACTOR * each.plain + _USUAL_OVERHEAD) - each.plain
        weights += weight
        plains += weight * each.plain
        squares += weight * each.plain**2
        differences += weight * difference
        products += weight * each.plain * difference
    return 1 + (weights * products - plains * differences) / (weights * squares - plains**2)
