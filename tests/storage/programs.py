"""Programs of different age on one database: the same program a year later has other classes, and runs in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from minference.ecs import entity

_BEGINNING = """
import asyncio, json, sys
from datetime import datetime, UTC
from enum import Enum
from typing import Annotated, Any, ClassVar
from uuid import UUID
from pydantic import AfterValidator, Field, JsonValue
from sqlalchemy import BigInteger, Boolean, Double, Uuid
from sqlalchemy.orm import Mapped, mapped_column
from minference.ecs.entity import Entity
from minference.ecs.opaque import OpaqueEntity
from minference.errors import *
from minference.storage.open import open_storage
from minference.storage.sql.schema import reference
from minference.storage.sql.tables import EntityTable
from minference.storage.sql.types import ExactText, Id, Json, UtcDateTime

url, *arguments = sys.argv[1:]

def program(main, **options):
    async def run():
        async with open_storage(url, **options) as storage:
            return await main(storage, *arguments)
    try:
        answer = asyncio.run(run())
    except MinferenceError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(answer, default=str))
"""


async def run_program(source: str, url: str, *arguments: object) -> Any:
    """What a program prints last: what its `main` returns, or the error that ended it.

    The source defines classes and `async def main(storage, *arguments)`, and ends with `program(main)`.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _BEGINNING + source,
        url,
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return json.loads(output.decode().splitlines()[-1])


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
