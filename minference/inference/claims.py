"""`Claims`: threads that are being run, each by one call at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from minference.errors import ThreadBusy
from minference.inference.options import check_thread
from minference.threads.thread import ChatThread


class Claims:
    """The objects that are being run: two runs of one object would both change it."""

    def __init__(self) -> None:
        self._busy: set[int] = set()

    def __contains__(self, thread: ChatThread) -> bool:
        return id(thread) in self._busy

    @contextmanager
    def on(self, threads: Sequence[ChatThread]) -> Iterator[None]:
        """Hold the threads for one call.

        Raises:
            ThreadBusy: One is held already, or is there twice; none is held then.
            WrongArgument: One is no thread.
        """
        claimed: set[int] = set()
        for thread in threads:
            check_thread(thread)
            if id(thread) in self._busy or id(thread) in claimed:
                raise ThreadBusy(thread.ecs_id, thread.name)
            claimed.add(id(thread))
        self._busy |= claimed
        try:
            yield
        finally:
            self._busy -= claimed
