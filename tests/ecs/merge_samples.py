"""Documents to merge, and copies of them that stand on the same version."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import Annotated, TypeVar

from pydantic import Field

from minference.ecs.entity import Entity
from minference.ecs.plan import BackRef

E = TypeVar("E", bound=Entity)


class Part(Entity, kind="merge_part"):
    text: str = ""
    data: dict[str, str] = Field(default_factory=dict)
    inner: Part | None = None
    owner: Annotated[Doc | None, BackRef("parts")] = None


class Doc(Entity, kind="merge_doc"):
    title: str = ""
    score: float = 0
    one: Part | None = None
    parts: list[Part] = Field(default_factory=list)
    pair: tuple[Part, ...] = ()
    named: dict[str, Part] = Field(default_factory=dict)


def copy(entity: E) -> E:
    """A second warm copy: same identity, own objects."""
    copied: E = pickle.loads(pickle.dumps(entity))
    return copied


def texts(parts: Iterable[Part]) -> str:
    return " ".join(part.text for part in parts)
