"""`CLAIMS`: the threads that this process is running, each by one call at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakValueDictionary

from minference.errors import ThreadBusy
from minference.inference.options import check_thread
from minference.threads.thread import ChatThread


class Claims:
    """The objects that are being run: two runs of one object would both change it, in whichever orchestrators and event loops they are."""

    def __init__(self) -> None:
        self._busy: WeakValueDictionary[int, ChatThread] = WeakValueDictionary()
        """By identity. Weak: whatever becomes of a call, no object is kept, and none is taken for another that was where it is."""
        self._lock = threading.Lock()

    def __contains__(self, thread: ChatThread) -> bool:
        return id(thread) in self._busy

    @contextmanager
    def on(self, threads: Sequence[ChatThread]) -> Iterator[None]:
        """Hold the threads for one call.

        Raises:
            ThreadBusy: One is held already, or is there twice; none is held then.
            WrongArgument: One is no thread.
        """
        claimed: dict[int, ChatThread] = {}
        with self._lock:
            for thread in threads:
                check_thread(thread)
                if id(thread) in self._busy or id(thread) in claimed:
                    raise ThreadBusy(thread.ecs_id, thread.name)
                claimed[id(thread)] = thread
            self._busy.update(claimed)
        try:
            yield
        finally:
            for each in claimed:
                self._busy.pop(each, None)


CLAIMS = Claims()
"""Of the whole process, as objects are."""
