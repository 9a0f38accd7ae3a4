"""Errors that are kept: they say where they came from, and no longer hold what was there."""

from __future__ import annotations

import traceback


def forget_locals(error: BaseException) -> None:
    """Clear the local variables of the functions through which an error, its causes and contexts came, and that have ended.

    The traceback can be printed as before. Otherwise an outcome would keep the bytes of the request alive, and show them,
    with the API key, to every tool that looks into tracebacks.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        traceback.clear_frames(each.__traceback__)
        waiting += [each.__cause__, each.__context__]
