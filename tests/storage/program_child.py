"""A program of another age: it defines classes of its own, and works on the database with them. See `tests.storage.programs`."""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
import types
from typing import Any

import minference.threads.tables  # noqa: F401 - every program knows threads
from minference.errors import MinferenceError
from minference.storage.open import open_storage

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


def run(url: str, source: str, arguments: list[str], options: dict[str, Any]) -> Any:
    """What the program's `main` returns."""
    program = sys.modules["program"] = types.ModuleType("program")
    exec(compile(BEGINNING + source, "program", "exec"), program.__dict__)

    async def main() -> Any:
        async with open_storage(url, **options) as storage:
            return await program.main(storage, *arguments)

    return asyncio.run(main())


def answer(order: str) -> Any:
    """The same, or what went wrong."""
    try:
        return run(*json.loads(order))
    except MinferenceError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except BaseException:  # noqa: BLE001 - the test shows whatever it was
        return {"failed": traceback.format_exc()}


if __name__ == "__main__":
    print("answer", json.dumps(answer(sys.stdin.read()), default=str), flush=True)
