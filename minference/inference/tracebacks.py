"""Errors that are kept: they say where they came from, and no longer hold what was there."""

from __future__ import annotations

import traceback
from types import FrameType


def forget_locals(error: BaseException) -> None:
    """Clear the local variables of the functions through which an error came, and that have ended.

    The traceback can be printed as before. Otherwise an outcome would keep the bytes of the request alive, and show them,
    with the API key, to every tool that looks into tracebacks. So with what the error arose from on its way; what the caller
    was handling already is the caller's.
    """
    on_its_way: set[FrameType] = set()
    waiting, seen = [error], {id(error)}
    while waiting:
        each = waiting.pop()
        on_its_way.update(frame for frame, _ in traceback.walk_tb(each.__traceback__))
        traceback.clear_frames(each.__traceback__)
        for cause in (each.__cause__, each.__context__):
            if cause is not None and id(cause) not in seen and cause.__traceback__ and cause.__traceback__.tb_frame in on_its_way:
                seen.add(id(cause))
                waiting.append(cause)
