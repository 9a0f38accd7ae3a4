r"""The lines of an export: JSON, one line for each commit, each after all that it builds on.

    {"format": "minference export", "version": 1}
    {"at": ..., "author": ..., "note": ..., "versions": [{"id": ..., "lineage": ..., "parent": ..., "at": ..., "kind": "chat_thread",
        "values": {"name": "sky", ...},                        # every plain value, as JSON of its annotation
        "exact": {"ratio": "NaN"},                             # values that JSON cannot express: what Python's JSON makes of the text
        "references": {"llm_config": "<id of a version>"},     # those that are not null
        "lists": {"history": {"keep": 5, "add": [ids], "tail": 0}},   # how it came from the parent's; not there: unchanged
        "keys": {"named": ["a", "b"]}}]}                       # of keyed fields

Before the commits come the tombstones of lineages that were erased; their versions follow like all others, without content.

    {"erased": {"lineage": ..., "at": ..., "reason": ..., "author": ..., "because_of": ...}}

The first `keep` members of the parent's list come first, then those in `add`, then the parent's last `tail`. Halves of
surrogate pairs stand as `\udXXX`, whole characters as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, ValidationInfo, field_validator

from minference.ecs.entity import Entity, plan_of
from minference.ecs.lineage import CommitInfo
from minference.ecs.values import dump_json, has_surrogates, load_json, parse
from minference.errors import InvalidExport
from minference.storage.base import Record
from minference.storage.erasing import Erasure

FORMAT = "minference export"
VERSION = 1
HEADER = json.dumps({"format": FORMAT, "version": VERSION})


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ListEdit(_Line):
    """How an ordered field came from that of the parent."""

    keep: NonNegativeInt = 0
    add: tuple[UUID, ...] = ()
    tail: NonNegativeInt = 0


class VersionLine(_Line):
    """One version."""

    id: UUID
    lineage: UUID
    parent: UUID | None
    at: AwareDatetime
    kind: str
    values: dict[str, Any]
    exact: dict[str, str] = Field(default_factory=dict)
    references: dict[str, UUID] = Field(default_factory=dict)
    lists: dict[str, ListEdit] = Field(default_factory=dict)
    keys: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    """Strings; those with halves of surrogate pairs are none to pydantic."""

    def value(self, cls: type[Entity], field: str) -> Any:
        """The validated value of one field.

        Raises:
            ValidationError: It does not fit.
        """
        if field in self.exact:
            return load_json(cls, field, self.exact[field])
        return load_json(cls, field, dump(self.values[field]))


class CommitLine(_Line):
    """Everything that was saved at one moment by one author with one note."""

    at: AwareDatetime
    author: Any
    note: Any
    versions: tuple[VersionLine, ...] = Field(min_length=1)

    @field_validator("author", "note")
    @classmethod
    def _is_text(cls, value: object) -> object:
        if value is not None and not isinstance(value, str):
            raise ValueError("must be a string or null")
        return value


class Tombstone(_Line):
    """An erasure."""

    lineage: UUID
    at: AwareDatetime
    reason: Any
    author: Any
    because_of: UUID

    @field_validator("reason", "author")
    @classmethod
    def _is_text(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str) and (value is not None or info.field_name == "reason"):
            raise ValueError("must be a string")
        return value


class ErasureLine(_Line):
    """One lineage that was erased."""

    erased: Tombstone


def dump(value: Any) -> str:
    """A value as JSON that `parse` reads back exactly, `NaN` and infinities aside."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace").decode()


def write_commit(commit: CommitInfo, versions: Sequence[str]) -> str:
    """The line of one commit from what `write_version` made."""
    head = f'"at":{dump(commit.created_at.astimezone(UTC).isoformat())},"author":{dump(commit.author)},"note":{dump(commit.note)}'
    return f'{{{head},"versions":[{",".join(versions)}]}}'


def write_erasure(erasure: Erasure) -> str:
    """The line of one tombstone."""
    ids = {"lineage": str(erasure.lineage_id), "at": erasure.erased_at.astimezone(UTC).isoformat()}
    return dump({"erased": {**ids, "reason": erasure.reason, "author": erasure.author, "because_of": str(erasure.because_of)}})


def write_version(record: Record, references: Mapping[str, UUID], lists: Mapping[str, tuple[int, Sequence[UUID], int]]) -> str:
    """One version as JSON."""
    version, cls = record.version, record.cls
    plan = plan_of(cls)
    documents = {name: dump_json(cls, name, record.values[name]).decode() for name in (*plan.values, *plan.mutable)}
    exact = {name: document for name, document in documents.items() if not _is_strict(document)}
    parts = {
        "id": dump(str(version.ecs_id)),
        "lineage": dump(str(version.lineage_id)),
        "parent": dump(str(record.parent_id) if record.parent_id is not None else None),
        "at": dump(version.created_at.astimezone(UTC).isoformat()),
        "kind": dump(cls.__kind__),
        "values": _object({name: document for name, document in documents.items() if name not in exact}),
    }
    edits = {name: {"keep": keep, "add": [str(each) for each in add], "tail": tail} for name, (keep, add, tail) in lists.items()}
    others: dict[str, Any] = {
        "exact": exact,
        "references": {name: str(child) for name, child in references.items()},
        "lists": edits,
        "keys": {name: list(record.keys[name]) for name in sorted(record.keys) if record.keys[name]},
    }
    return _object(parts | {name: dump(part) for name, part in others.items() if part})


def _object(parts: Mapping[str, str]) -> str:
    return f"{{{','.join(f'{dump(name)}:{part}' for name, part in parts.items())}}}"


def _is_strict(document: str) -> bool:
    """Whether a document is JSON to everyone: not, if it holds `NaN` or an infinity."""
    if "NaN" not in document and "Infinity" not in document:
        return True
    constants: list[str] = []
    json.loads(document, parse_constant=constants.append)
    return not constants


def read_header(line: str) -> None:
    """Make sure that an export of this format follows.

    Raises:
        InvalidExport: It does not.
    """
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("version"), int):
        raise InvalidExport(1, f"an export begins with {HEADER}, and this is none")
    if found["version"] != VERSION:
        raise InvalidExport(1, f"it has version {found['version']} of the format, and this minference reads {VERSION}: use a newer one")


def read_line(line: str, number: int) -> CommitLine | Erasure:
    """What a line says.

    Raises:
        InvalidExport: It is neither a commit nor a tombstone.
    """
    found = _load(line, number)
    try:
        if not isinstance(found, dict) or "erased" not in found:
            return CommitLine.model_validate(found)
        told = ErasureLine.model_validate(found).erased
        return Erasure(told.lineage, told.at.astimezone(UTC), told.reason, told.author, told.because_of)
    except ValidationError as error:
        raise InvalidExport(number, _first_problem(error)) from error


def _load(line: str, number: int) -> Any:
    try:
        return parse(line) if has_surrogates(line) else json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidExport(number, f"it is no JSON ({error})") from error


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"


def read_values(line: VersionLine, cls: type[Entity], number: int) -> dict[str, Any]:
    """Every plain value of a version; a field that the line does not have gets its default.

    Raises:
        InvalidExport: A value does not fit, or belongs to no field.
    """
    plan = plan_of(cls)
    names = (*plan.values, *plan.mutable)
    if unknown := (line.values.keys() | line.exact.keys()) - set(names):
        raise InvalidExport(number, f"{cls.__kind__} has no plain field {', '.join(map(repr, sorted(unknown)))}")
    values: dict[str, Any] = {}
    for name in names:
        try:
            if name in line.exact or name in line.values:
                values[name] = line.value(cls, name)
            elif (field := cls.model_fields[name]).is_required():
                raise InvalidExport(number, f"version {line.id} of {cls.__kind__} lacks {name!r}")
            else:
                values[name] = field.get_default(call_default_factory=True, validated_data=values)
        except ValidationError as error:
            raise InvalidExport(number, f"version {line.id} of {cls.__kind__}, field {name!r}: {_first_problem(error)}") from error
        except (ValueError, RecursionError) as error:
            raise InvalidExport(number, f"version {line.id} of {cls.__kind__}, field {name!r}: {error}") from error
    return values
