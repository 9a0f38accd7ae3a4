"""How a rule of the house fails: what to do, and where."""

from __future__ import annotations

from collections.abc import Iterable

import pytest


def report(found: Iterable[str], remedy: str) -> None:
    """Fail with the remedy and every place that was found, if there is one."""
    listed = list(found)
    if listed:
        pytest.fail("\n".join([f"{remedy}:", *(f"  {line}" for line in listed)]), pytrace=False)
