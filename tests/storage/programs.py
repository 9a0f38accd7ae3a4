"""Programs of different age on one database: the same program a year later has other classes, and runs in a process of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from minference.ecs import entity
from tests.support import nursery


async def run_program(source: str, url: str, *arguments: object, **options: object) -> Any:
    """What the `main` of a program returns, or the error that ended it: `{"error": its class, "message": its text}`.

    The source defines classes and `async def main(storage, *arguments)`; the options are those of `open_storage`.
    """
    order = json.dumps([url, source, list(map(str, arguments)), options])
    done = await asyncio.to_thread(nursery.run_program, "tests.storage.program_child", input=order)
    told = next((line for line in done.stdout.splitlines() if line.startswith("answer ")), None)
    assert told is not None, done.stderr
    answer = json.loads(told.removeprefix("answer "))
    assert not isinstance(answer, dict) or "failed" not in answer, answer["failed"]
    return answer


@contextmanager
def undefined(*kinds: str) -> Iterator[None]:
    """As in a program that has not imported the modules of these classes."""
    taken = {kind: entity._KINDS.pop(kind) for kind in kinds}
    try:
        yield
    finally:
        entity._KINDS.update(taken)


@contextmanager
def defined(*classes: type[entity.Entity]) -> Iterator[None]:
    """As in a program that has imported their modules, inside a block where they are undefined."""
    entity._KINDS.update({cls.__kind__: cls for cls in classes})
    try:
        yield
    finally:
        for cls in classes:
            del entity._KINDS[cls.__kind__]
