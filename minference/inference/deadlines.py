"""Deadlines: moments after which no more is begun, and what is under way gets its grace and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, TypeVar

from minference.errors import DeadlineExceeded
from minference.inference.arguments import an_amount

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment by the event loop's clock."""

    moment: float
    seconds: float
    """How long there was until then, at first."""
    of: Literal["run", "thread"]

    @classmethod
    def after(cls, seconds: float, of: Literal["run", "thread"]) -> Deadline:
        """So many seconds from now.

        Raises:
            UnusableValue: That is in the past.
            WrongArgument: It is no number.
        """
        argument = "deadline" if of == "run" else "thread_deadline"
        an_amount(argument, seconds, "a number of seconds or None", "it leaves no time, pass more than 0, or None", more=True)
        return cls(asyncio.get_running_loop().time() + seconds, seconds, of)


def until(deadline: Deadline | None, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The items until the deadline. Then the work on the next one is cancelled, which may take as long as its grace.

    Raises:
        DeadlineExceeded: The items had not ended by then.
    """
    return items if deadline is None else _until(deadline, items)


async def _until(deadline: Deadline, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    async with aclosing(items):
        try:
            while True:
                if asyncio.get_running_loop().time() >= deadline.moment:
                    raise TimeoutError
                async with asyncio.timeout_at(deadline.moment):
                    item = await anext(items)
                yield item
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise DeadlineExceeded(deadline.of, deadline.seconds) from error
