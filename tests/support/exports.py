"""Exports made by hand, of lines that other exports held."""

from __future__ import annotations

import json
from collections.abc import Iterable

from minference.storage.lines import FORMAT, HEADER, WITHOUT_END, Tally

HEADER_WITHOUT_END = json.dumps({"format": FORMAT, "version": WITHOUT_END})
"""Of exports that do not say where they end: what follows may be any number of lines."""


def export_of(lines: Iterable[str]) -> list[str]:
    """The lines as an export that is whole: after a header, and with a last line that counts them."""
    tally, content = Tally(), list(lines)
    for line in content:
        tally.add(line)
    return [HEADER, *content, tally.end()]
