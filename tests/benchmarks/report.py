"""How a measurement is printed."""

from __future__ import annotations


def heading(text: str) -> None:
    """A part of the report begins."""
    print(f"\n{text}")


def line(what: str, measured: str, budget: str = "") -> None:
    """One number, and what it should be."""
    print(f"  {what:<44} {measured:>16}   {budget and 'budget ' + budget}", flush=True)
