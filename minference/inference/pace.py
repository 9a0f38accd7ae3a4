"""How fast threads are done, as a progress bar shows it: by the clock, so that it falls while nothing comes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta

from rich.progress import ProgressColumn, Task
from rich.text import Text

WINDOW = 60.0
"""Seconds over which it is taken."""
_STEP = 0.5
"""Seconds between two counts that are kept: so many that memory does not grow with the threads."""


class Pace:
    """Threads per second in the last minute, or since the start if that is nearer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._done = 0

    def note(self, done: int) -> None:
        """So many are done by now."""
        self._done = done
        if (now := self._clock()) - self._counts[-1][0] >= _STEP:
            self._counts.append((now, done))

    def per_second(self) -> float:
        """The rate."""
        now = self._clock()
        while len(self._counts) > 1 and now - self._counts[1][0] >= WINDOW:
            self._counts.popleft()
        since, before = self._counts[0]
        return (self._done - before) / max(now - since, _STEP)


class PaceColumn(ProgressColumn):
    """Threads per second, or per minute if they are few."""

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._pace = pace

    def render(self, task: Task) -> Text:  # noqa: ARG002 - rich's signature
        """As `3.1/s`; nothing as long as none is done."""
        rate = self._pace.per_second()
        return Text("" if not rate else f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min")


class TimeLeftColumn(ProgressColumn):
    """How long the rest takes at this pace."""

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._pace = pace

    def render(self, task: Task) -> Text:
        """As `0:01:30`."""
        rate = self._pace.per_second()
        if task.total is None or not rate:
            return Text("-:--:--", style="progress.remaining")
        return Text(str(timedelta(seconds=round((task.total - task.completed) / rate))), style="progress.remaining")
