"""What replies cost, for reading: a price that nobody knows is said, and is not taken for nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Priced(Protocol):
    """Anything whose replies cost something."""

    @property
    def cost_usd(self) -> float | None:
        """US dollars for what has a known price; `None` if nothing has."""
        ...

    @property
    def unpriced(self) -> int:
        """How many have no known price."""
        ...


def money(dollars: float) -> str:
    """An amount of US dollars, small ones with more digits."""
    if dollars >= 1000:
        return f"${dollars:,.0f}"
    if dollars >= 0.1 or dollars == 0:
        return f"${dollars:.2f}"
    return f"${dollars:.4f}" if dollars >= 0.001 else f"${dollars:.2g}"


def short_money(dollars: float) -> str:
    """An amount of US dollars in a few characters."""
    return f"${dollars:,.0f}" if dollars >= 1000 else f"${dollars:.3g}"


def cost(of: Priced) -> str:
    """What something cost: `$1.20`, `unknown`, or `$1.20 + unknown`."""
    if of.cost_usd is None or (of.unpriced and not of.cost_usd):
        return "unknown" if of.unpriced else money(0)
    return f"{money(of.cost_usd)} + unknown" if of.unpriced else money(of.cost_usd)


def sum_of(parts: Iterable[Priced]) -> tuple[float | None, int]:
    """Dollars and the number without a known price, over all of them."""
    known, unpriced = list[float](), 0
    for part in parts:
        unpriced += part.unpriced
        if part.cost_usd is not None:
            known.append(part.cost_usd)
    return (sum(known) if known else None), unpriced
