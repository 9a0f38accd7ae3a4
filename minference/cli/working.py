"""Saying that something takes long: on stderr, on a terminal, after a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

from rich.markup import escape
from rich.status import Status

from minference.cli.output import stderr

AFTER = 1.0
"""Seconds after which one wants to know what is going on."""


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """A block that may take long. The function that it gets says how far things are."""
    console = stderr()
    if not console.is_terminal:
        yield lambda _text: None
        return
    status = Status(f"{escape(what)} ...", console=console)
    # Not a task of the event loop: that is busy itself while rows become objects.
    timer = Timer(AFTER, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda text: status.update(f"{escape(what)}: {escape(text)} ...")
    finally:
        timer.cancel()
        timer.join()
        status.stop()
