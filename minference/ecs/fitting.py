"""Versions in an older shape, made to fit the class as it is: hooks, then renames and removals, then defaults for what is new."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from minference.ecs.entity import Entity, plan_of, upgrade_hooks
from minference.ecs.recording import NothingRecorded
from minference.ecs.shapes import Shape, shape_of
from minference.ecs.values import has_surrogates, load_json, stored_config, stored_type
from minference.errors import NewerSchema, UnknownStoredField, UnreadableVersion

T = TypeVar("T")

_LIST: Any = list


class Fit:
    """From one shape of a class to the present one."""

    def __init__(self, cls: type[Entity], shape: Shape, also: Mapping[str, str] | None = None) -> None:
        """`also` are renames that the class itself does not declare."""
        self._cls = cls
        self._shape = shape
        self._hooks = upgrade_hooks(cls, shape.version)
        self._present = shape_of(cls).names
        self._also = also or {}
        self._brought = {self.target(name) for name in shape.names}
        """The fields of the class that the shape has something for."""

    def refuse(self, ecs_id: UUID) -> None:
        """Make sure that the class can know the shape.

        Raises:
            NewerSchema: It was written by newer code.
            UnknownStoredField: It has a reference or collection of which the class says nothing.
        """
        known = self._cls.__evolution__.version
        if self._shape.version > known:
            raise NewerSchema(self._cls.__kind__, ecs_id, self._shape.version, known)
        names = self._shape.of_sort("reference", "list", "tuple", "dict")
        if unknown := [name for name in names if self.target(name) not in (None, *self._present)]:
            raise UnknownStoredField(self._cls.__kind__, ecs_id, unknown)

    def keeps(self, name: str) -> bool:
        """Whether a stored field is anything to the class: not, if it was removed."""
        return self.target(name) is not None

    def values(self, versions: Sequence[tuple[UUID, dict[str, Any]]]) -> list[dict[str, Any]]:
        """Of each version all plain values, validated, from those that are stored, as JSON data.

        Raises:
            UnknownStoredField: One holds a value of which the class says nothing.
            UnreadableVersion: A value does not fit, or is not there and has no default.
        """
        plan = plan_of(self._cls)
        names = (*plan.values, *plan.mutable)
        data = [self.named(ecs_id, self._upgraded(ecs_id, dict(stored)), names) for ecs_id, stored in versions]
        found: list[dict[str, Any]] = [{} for _ in data]
        for name in names:
            there = [number for number, row in enumerate(data) if name in row]
            ids = [versions[number][0] for number in there]
            loaded = load_column(self._cls, name, ids, [data[number][name] for number in there])
            for number, value in zip(there, loaded, strict=True):
                found[number][name] = value
        for (ecs_id, _), row in zip(versions, found, strict=True):
            add_defaults(self._cls, names, ecs_id, row)
        return found

    def named(self, ecs_id: UUID | None, stored: Mapping[str, T], allowed: Collection[str]) -> dict[str, T]:
        """What is stored by field, under today's names and without what was removed.

        Raises:
            UnknownStoredField: The class has not one of the fields, or not among `allowed`.
            UnreadableVersion: Two of them have become one.
        """
        found: dict[str, T] = {}
        unknown: list[str] = []
        for name, value in stored.items():
            target = self.target(name)
            if target is None:
                continue
            if target not in allowed:
                unknown.append(name)
            elif target in found:
                raise UnreadableVersion(
                    self._cls.__kind__, ecs_id, target, "it was renamed, and is stored under its old name and the new one"
                )
            else:
                found[target] = value
        if unknown:
            raise UnknownStoredField(self._cls.__kind__, ecs_id, sorted(unknown))
        return found

    def references(self, ecs_id: UUID | None, stored: Mapping[str, T]) -> dict[str, T | None]:
        """Every reference of the class. Those to nothing need not be among the stored ones.

        Raises:
            UnknownStoredField, UnreadableVersion: As `values`.
        """
        plan = plan_of(self._cls)
        found = self.named(ecs_id, stored, plan.references)
        self._require(ecs_id, plan.references, found)
        return {name: found.get(name) for name in plan.references}

    def collections(self, ecs_id: UUID | None, stored: Mapping[str, T], keyed: Collection[str]) -> dict[str, T]:
        """The ordered fields that are not empty; `keyed` are the stored ones that have keys.

        Raises:
            UnknownStoredField, UnreadableVersion: As `values`.
        """
        fields = {field.name: field for field in plan_of(self._cls).collections}
        found = self.named(ecs_id, stored, fields)
        self._require(ecs_id, fields, found)
        had_keys = {self.target(name) for name in keyed}
        for name in found:
            if (fields[name].shape is dict) != (name in had_keys):
                change = "had keys, and has none now" if name in had_keys else "had no keys, and has them now"
                raise UnreadableVersion(self._cls.__kind__, ecs_id, name, f"it {change}: keep it as it was, beside a new field")
        return found

    def _require(self, ecs_id: UUID | None, names: Iterable[str], found: Collection[str]) -> None:
        for name in names:
            if name not in found and name not in self._brought and (problem := entity_default(self._cls, name)) is not None:
                raise UnreadableVersion(self._cls.__kind__, ecs_id, name, problem)

    def target(self, name: str) -> str | None:
        """The field that a stored one is today, itself if nothing is said of it."""
        try:
            return self._cls.__evolution__.target(name, self._present)
        except KeyError:
            return self._also.get(name, name)

    def _upgraded(self, ecs_id: UUID | None, data: dict[str, Any]) -> dict[str, Any]:
        for version, hook in self._hooks:
            where = f"its upgrade hook from schema version {version}, {getattr(hook, '__name__', hook)!r},"
            try:
                data = hook(data)
            except Exception as error:
                raise UnreadableVersion(self._cls.__kind__, ecs_id, None, f"{where} raised {type(error).__name__}: {error}") from error
            if not isinstance(data, dict):
                raise UnreadableVersion(self._cls.__kind__, ecs_id, None, f"{where} returned {data!r:.100} instead of a dict")
        return data


def add_defaults(cls: type[Entity], names: Iterable[str], ecs_id: UUID | None, row: dict[str, Any]) -> None:
    """Give the plain fields that a version was written without their defaults.

    Raises:
        UnreadableVersion: One has none.
    """
    for name in names:
        if name in row:
            continue
        field = cls.model_fields[name]
        if field.is_required():
            reason = "it is required, and was not there when this was written: give it a default, or supply it in an upgrade hook"
            raise UnreadableVersion(cls.__kind__, ecs_id, name, reason)
        row[name] = field.get_default(call_default_factory=True, validated_data=row)


def entity_default(cls: type[Entity], name: str) -> str | None:
    """Why versions that were written without a reference or collection cannot be read; `None` if they hold nothing there."""
    field = cls.model_fields[name]
    if field.is_required():
        return "it is required, and was not there when this was written: give it a default that holds nothing"
    with NothingRecorded():
        default = field.get_default(call_default_factory=True, validated_data={})
    return "its default is an entity, which an old version cannot hold: let the default hold nothing" if default else None


def load_column(cls: type[Entity], name: str, ids: Sequence[UUID], data: list[Any]) -> list[Any]:
    """The validated values of one field, from JSON data.

    Raises:
        UnreadableVersion: One does not fit.
    """
    document = dump_data(data)
    if has_surrogates(document):
        return [load_value(cls, name, ecs_id, dump_data(value)) for ecs_id, value in zip(ids, data, strict=True)]
    try:
        return _list_adapter(cls, name).validate_json(document, strict=False, by_alias=False, by_name=True)
    except ValidationError as error:
        place, reason = misfit(error)
        raise UnreadableVersion(cls.__kind__, ids[int(place[0])], ".".join([name, *place[1:]]), reason) from error


def load_value(cls: type[Entity], name: str, ecs_id: UUID | None, document: str) -> Any:
    """The validated value of one field of one version.

    Raises:
        UnreadableVersion: It does not fit.
    """
    try:
        return load_json(cls, name, document)
    except ValidationError as error:
        place, reason = misfit(error)
        raise UnreadableVersion(cls.__kind__, ecs_id, ".".join([name, *place]), reason) from error


def misfit(error: ValidationError) -> tuple[list[str], str]:
    """Where the first problem is, and what."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return [str(part) for part in problem["loc"]], problem["msg"]


def dump_data(data: object) -> str:
    """JSON data as a document that `parse` and `load_json` read."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace").decode()


@cache
def _list_adapter(cls: type[Entity], name: str) -> TypeAdapter[list[Any]]:
    return TypeAdapter(_LIST[stored_type(cls, name)], config=stored_config(cls))
