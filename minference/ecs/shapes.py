"""The shape in which versions of a class are written: its stored fields, as data that outlives the class."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, NamedTuple

from minference.ecs.entity import Entity, kind_to_class, plan_of
from minference.errors import RedefinedClass

Sort = Literal["value", "reference", "list", "tuple", "dict"]
"""What a field holds: a plain value, one entity or none, or entities in order."""


class ShapeField(NamedTuple):
    """One stored field."""

    name: str
    sort: Sort | None
    """`None` if that was not noted when the version was written."""
    annotation: str
    """For whoever reads the database; never evaluated."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the stored versions of one kind looked like at some time."""

    kind: str
    version: int
    """The schema version that the class declared."""
    fields: tuple[ShapeField, ...]
    """In alphabetical order."""

    @property
    def names(self) -> frozenset[str]:
        """The names of all stored fields."""
        return frozenset(field.name for field in self.fields)

    def of_sort(self, *sorts: Sort | None) -> tuple[str, ...]:
        """The names of the fields of these sorts, in order."""
        return tuple(field.name for field in self.fields if field.sort in sorts)

    def annotation_of(self, name: str) -> str | None:
        """What the class said of a field; `None` if it had none of the name."""
        return next((field.annotation for field in self.fields if field.name == name), None)

    def completed(
        self, values: Collection[str], references: Collection[str], collections: Collection[str], keyed: Collection[str]
    ) -> Shape:
        """The shape with the sorts that were not noted, as far as they show in what one version holds."""
        if not self.of_sort(None):
            return self
        shown: dict[str, Sort] = dict.fromkeys(values, "value")
        shown |= dict.fromkeys(references, "reference")
        shown |= {name: "dict" if name in keyed else "list" for name in collections}
        return replace(self, fields=tuple(each._replace(sort=each.sort or shown.get(each.name)) for each in self.fields))


@cache
def shape_of(cls: type[Entity]) -> Shape:
    """The shape in which new versions of a class are written."""
    plan = plan_of(cls)
    sorts: dict[str, Sort] = dict.fromkeys((*plan.values, *plan.mutable), "value")
    sorts |= dict.fromkeys(plan.references, "reference")
    for field in plan.collections:
        sorts[field.name] = "dict" if field.shape is dict else "tuple" if field.shape is tuple else "list"
    fields = (ShapeField(name, sorts[name], str(cls.model_fields[name].annotation)) for name in sorted(sorts))
    return Shape(cls.__kind__, cls.__evolution__.version, tuple(fields))


def refuse_redefined(cls: type[Entity]) -> None:
    """Make sure that what is written of a class is read back, by the class that has its kind now.

    Raises:
        RedefinedClass: That is another one, of another shape.
    """
    now = kind_to_class(cls.__kind__)
    if now is None or now is cls:
        return
    one, other = shape_of(cls), shape_of(now)
    if (one.version, one.fields) != (other.version, other.fields):
        raise RedefinedClass(cls.__kind__, cls.__name__, sorted({field.name for field in {*one.fields} ^ {*other.fields}}))
