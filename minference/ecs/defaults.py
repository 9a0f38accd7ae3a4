"""Entities as default values: each object has its own.

Pydantic copies a default for each object unless it can be hashed, which entities can: they would be shared by all objects.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined


def own_defaults(cls: type[BaseModel]) -> bool:
    """Let objects of the class have copies of the entities that are defaults of fields, and return whether it has such fields."""
    shared = [field for field in cls.model_fields.values() if _is_shared(field.default)]
    for field in shared:
        field.default, field.default_factory = PydanticUndefined, _copies_of(field.default)
    return bool(shared)


def _is_shared(default: object) -> bool:
    if isinstance(default, tuple):
        return any(map(_is_shared, default))
    if not isinstance(default, BaseModel):
        return False
    from minference.ecs.entity import Entity  # which is a model itself, and completed before it can be imported

    return isinstance(default, Entity)


def _copies_of(default: Any) -> Callable[[], Any]:
    def copied() -> Any:
        return deepcopy(default)

    return copied
