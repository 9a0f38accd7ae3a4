"""How many examples hypothesis tries: few in every run of the suite, many in `make thorough`."""

from __future__ import annotations

import os

THOROUGH = bool(os.environ.get("THOROUGH"))


def examples(few: int, many: int) -> int:
    """As many as this run has time for."""
    return many if THOROUGH else few
