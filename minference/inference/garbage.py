"""The garbage collector while threads run: thousands of objects that stay alive make it search much, and find nothing."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG_OBJECTS = 50_000
"""Objects after which it looks again. Python's own few hundred are for programs that hold little: with two thousand calls in flight
a third of all computing went into passes over the same objects."""


class _Runs:
    """How many runs there are in this process, and what the collector was told before the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._before = gc.get_threshold()

    def begin(self) -> None:
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._before = gc.get_threshold()
                young, *older = self._before
                if 0 < young < YOUNG_OBJECTS:  # 0 is off
                    gc.set_threshold(YOUNG_OBJECTS, *older)

    def end(self) -> None:
        with self._lock:
            self._count -= 1
            if self._count == 0 and gc.get_threshold() == (YOUNG_OBJECTS, *self._before[1:]):  # else the program has had its say
                gc.set_threshold(*self._before)


_runs = _Runs()


@contextmanager
def collected_less_often() -> Iterator[None]:
    """Inside, cycles are looked for after more objects, in the whole process; a program that asked for still less often keeps that."""
    _runs.begin()
    try:
        yield
    finally:
        _runs.end()
