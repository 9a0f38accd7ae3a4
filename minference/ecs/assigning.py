"""Assignments that pydantic refuses and graphs need: of what refers back to the object itself, and of what has no known class."""

from __future__ import annotations

from copy import copy
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError
from pydantic_core import CoreSchema, SchemaValidator

from minference.ecs.plan import EntityPlan, is_opaque
from minference.ecs.spelling import explained

if TYPE_CHECKING:
    from minference.ecs.entity import Entity


def assign_refused(entity: Entity, plan: EntityPlan, name: str, value: Any, error: ValidationError) -> None:
    """Assign what pydantic refused with `error`, if it is right for an entity; if not, the object is as it was.

    Raises:
        ValidationError: Something else is wrong with it, or was in the first place.
    """
    before = entity.__dict__
    if any(each["type"] == "recursion_loop" for each in _lines(error)):
        try:
            _inside_out(type(entity)).validate_assignment(entity, name, value)
        except ValidationError as again:
            error = again
        except BaseException:
            object.__setattr__(entity, "__dict__", before)
            raise
        else:
            return
    object.__setattr__(entity, "__dict__", before)
    if not all(is_opaque(each["input"]) for each in _lines(error)) or not plan.accepts(name, value):
        raise explained(error, type(entity)) from None
    object.__setattr__(entity, "__dict__", {**before, name: copy(value) if isinstance(value, list | dict) else value})


def _lines(error: ValidationError) -> list[Any]:
    return error.errors(include_url=False, include_context=False)


@cache
def _inside_out(cls: type[Entity]) -> SchemaValidator:
    """Validates as the class does, where the object assigned to may be met once more inside of the value.

    A class that mentions itself is a reference to a definition, and pydantic refuses the object that it is entered with when
    it comes to the same reference again. Here the outermost step is no such reference.
    """
    schema: Any = cls.__pydantic_core_schema__
    if schema["type"] == "definitions" and schema["schema"]["type"] == "definition-ref":
        own = next(each for each in schema["definitions"] if each["ref"] == schema["schema"]["schema_ref"])
        schema = {**schema, "schema": _outermost(own)}
    return SchemaValidator(cast("CoreSchema", schema))


def _outermost(schema: Any) -> Any:
    """The same schema under no name, and of no class: pydantic would put the validator that the class has in its place."""
    unnamed = {key: part for key, part in schema.items() if key != "ref"}
    if schema["type"] == "model":
        return {**unnamed, "cls": type(schema["cls"].__name__, (), {})}
    return {**unnamed, "schema": _outermost(schema["schema"])}
