"""Programs of different age on one database: the same program a year later has other classes, and runs in a process of its own.

The processes are forked from one that has imported everything already, so that each costs little.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from minference.ecs import entity

_SERVER = '''
import asyncio, json, os, sys, traceback, types

BEGINNING = """
import asyncio
from datetime import datetime, UTC
from enum import Enum
from typing import Annotated, Any, ClassVar
from uuid import UUID
from pydantic import AfterValidator, Field, JsonValue
from sqlalchemy import BigInteger, Boolean, Double, Uuid
from sqlalchemy.orm import Mapped, mapped_column
from minference.ecs.entity import Entity
from minference.ecs.opaque import OpaqueEntity
from minference.storage.open import open_storage
from minference.storage.sql.schema import reference
from minference.storage.sql.tables import EntityTable
from minference.storage.sql.types import ExactText, Id, Json, UtcDateTime
"""
exec(BEGINNING, {})
import alembic.command, asyncpg, minference.threads.tables
from minference.errors import MinferenceError
from minference.storage.open import open_storage

def run(url, source, arguments, options):
    program = sys.modules["program"] = types.ModuleType("program")
    exec(compile(BEGINNING + source, "program", "exec"), program.__dict__)
    async def main():
        async with open_storage(url, **options) as storage:
            return await program.main(storage, *arguments)
    return asyncio.run(main())

for line in sys.stdin:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        continue
    try:
        answer = run(*json.loads(line))
    except MinferenceError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    except BaseException:
        answer = {"failed": traceback.format_exc()}
    print("answer", json.dumps(answer, default=str), flush=True)
    os._exit(0)
'''


class _Programs:
    """The process from which programs are forked. It ends when its input does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: subprocess.Popen[str] | None = None

    def ask(self, request: str) -> Any:
        with self._lock:
            if self._server is None:
                pipe = subprocess.PIPE
                self._server = subprocess.Popen([sys.executable, "-c", _SERVER], stdin=pipe, stdout=pipe, text=True)
                atexit.register(self._server.communicate)
            assert self._server.stdin is not None
            assert self._server.stdout is not None
            self._server.stdin.write(f"{request}\n")
            self._server.stdin.flush()
            while not (line := self._server.stdout.readline()).startswith("answer "):
                assert line, "the process from which programs are forked has ended"
            return json.loads(line.removeprefix("answer "))


_programs = _Programs()


async def run_program(source: str, url: str, *arguments: object, **options: object) -> Any:
    """What the `main` of a program returns, or the error that ended it: `{"error": its class, "message": its text}`.

    The source defines classes and `async def main(storage, *arguments)`; the options are those of `open_storage`.
    """
    answer = await asyncio.to_thread(_programs.ask, json.dumps([url, source, list(map(str, arguments)), options]))
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
