"""Errors that are kept: they say where they came from, and no longer hold what was there."""

from __future__ import annotations

import traceback
from contextlib import suppress
from dis import opmap
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from types import FrameType

_CAN_WAIT = CO_ASYNC_GENERATOR | CO_COROUTINE | CO_GENERATOR
_WAITS = opmap["YIELD_VALUE"]


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
        frames = [frame for frame, _ in traceback.walk_tb(each.__traceback__)]
        on_its_way.update(frames)
        for frame in frames:
            if not _waits(frame):
                with suppress(RuntimeError):  # it is executing
                    frame.clear()
        for cause in (each.__cause__, each.__context__):
            if cause is not None and id(cause) not in seen and cause.__traceback__ and cause.__traceback__.tb_frame in on_its_way:
                seen.add(id(cause))
                waiting.append(cause)


def _waits(frame: FrameType) -> bool:
    """Whether it may be that of a coroutine which goes on: one object may be raised to several tasks, as by a client that keeps it.

    To clear such a frame would end the coroutine, and whoever waits for it would wait for ever. Since Python 3.13 it is refused.
    """
    return bool(frame.f_code.co_flags & _CAN_WAIT) and frame.f_lasti >= 0 and frame.f_code.co_code[frame.f_lasti] == _WAITS
