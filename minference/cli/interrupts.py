"""What a command tells whoever interrupts it: what is true then, and how to go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

ANSWERED = "what was answered before is saved"


class Interrupted(Exception):
    """Somebody has ended the command; says what became of its work."""

    code = 130
    """What the command exits with."""
    how = "interrupted"

    def __init__(self, outcome: str) -> None:
        self.outcome = outcome
        super().__init__(f"{self.how}; {outcome}")


class Terminated(Interrupted):
    """The same, by SIGTERM, as `docker stop` and systemd send it."""

    code = 143
    how = "ended by SIGTERM"


@contextmanager
def if_interrupted(outcome: str) -> Iterator[None]:
    """A block whose work has come to this when it is interrupted.

    Raises:
        Interrupted: It was.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise Interrupted(outcome) from interrupt
