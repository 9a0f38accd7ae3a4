"""Entities whose class the program has not defined: whole, in their places, and left exactly as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, JsonValue

from minference.ecs.entity import Entity, frozen
from minference.errors import OpaqueVersion


class OpaqueEntity(Entity):
    """A stored version of a kind that no class of this program is stored as.

    It hangs where the entity itself would, whatever the annotation there asks for, and can be moved, diffed and exported.
    It cannot be changed or saved: what is saved with it refers to the version that it is. What hangs below it alone is cold.
    A copy of it is it, so that a copy of its holder holds the same version.
    """

    __opaque__: ClassVar[bool] = True

    kind: str
    """The stored name of its class."""
    data: dict[str, JsonValue]
    """The plain values, as JSON data."""
    references: dict[str, Entity] = Field(default_factory=dict)
    """Its references by field; those to nothing left out."""
    held: list[Entity] = Field(default_factory=list)
    """The members of all its collections in order, one collection after the other; see `members`."""
    collections: dict[str, int | list[str]] = Field(default_factory=dict)
    """How many members, or the keys of the members, each collection has."""

    @property
    def members(self) -> dict[str, list[Entity] | dict[str, Entity]]:
        """Its collections by field: lists, and dicts where they have keys."""
        found: dict[str, list[Entity] | dict[str, Entity]] = {}
        rest = iter(self.held)
        for name, size in self.collections.items():
            found[name] = [next(rest) for _ in range(size)] if isinstance(size, int) else {key: next(rest) for key in size}
        return found

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:  # noqa: ARG002 - nothing in it can change
        """Itself.

        Raises:
            OpaqueVersion: The copy is to differ.
        """
        for name in update or ():
            raise frozen(self, name)
        return self

    if not TYPE_CHECKING:  # a type checker that sees `__getattr__` takes every misspelt name for one that exists

        def __setattr__(self, name: str, value: Any) -> None:
            raise frozen(self, name)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_") or "kind" not in self.__dict__:
                return super().__getattr__(name)
            raise OpaqueVersion(self.__dict__["kind"], self.ecs_id, name, f"so it has no {name!r}")
