r"""The lines of an export: JSON, one line for each commit, each after all that it builds on.

    {"format": "minference export", "version": 2}
    {"erased": {"lineage": ..., "at": ..., "reason": ..., "author": ..., "because_of": ...}}   # of every lineage that was erased
    {"blob": "<its SHA-256>", "size": 12345, "data": "<base64>"}   # right before the first commit that holds it
    {"at": ..., "author": ..., "note": ...,
     "shapes": {"0": {"kind": "chat_thread", "version": 1, "fields": {"name": ["value", "str | None"], ...}}},   # new from here on
     "versions": [{"id": ..., "lineage": ..., "parent": ..., "at": ..., "kind": "chat_thread", "shape": 0,
        "values": {"name": "sky", ...},                        # every plain value, as JSON of its annotation
        "exact": {"ratio": "NaN"},                             # values that JSON cannot express: what Python's JSON makes of the text
        "references": {"llm_config": "<id of a version>"},     # those that are not null
        "lists": {"history": {"keep": 5, "add": [ids], "tail": 0}},   # how it came from the parent's; not there: unchanged
        "keys": {"named": ["a", "b"]},                         # of keyed fields
        "merged": ["<id of a version>"]}]}                     # of other branches; these five are not there if they are empty
    {"tag": "main", "version": "<id>", "at": ...}              # after all commits
    {"end": {"erased": 0, "blobs": 1, "commits": 1, "tags": 1}}   # how many lines of each sort came before: all of it is there

The first `keep` members of the parent's list come first, then those in `add`, then the parent's last `tail`. Halves of
surrogate pairs stand as `\udXXX`, whole characters as they are. A shape says which fields the versions were written with,
and in which schema version of their class. Versions of lineages that were erased are there like all others, without content.
Exports of version 1 have no end, and are read as far as they go.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from minference.ecs.blobs import Blob
from minference.ecs.entity import plan_of
from minference.ecs.fitting import dump_data as dump
from minference.ecs.lineage import CommitInfo
from minference.ecs.shapes import Shape, ShapeField, Sort
from minference.ecs.values import dump_json, has_surrogates, parse
from minference.errors import InvalidExport
from minference.storage.arguments import unkept
from minference.storage.base import Record
from minference.storage.erasing import Erasure
from minference.storage.lineages import is_tag_name

FORMAT = "minference export"
VERSION = 2
HEADER = json.dumps({"format": FORMAT, "version": VERSION})
WITHOUT_END = 1
"""The version whose exports do not say where they end."""


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _followed(at: datetime) -> datetime:
    if not MINYEAR < at.year < MAXYEAR:
        raise ValueError("must leave room for other times before and after it, in every time zone")
    return at


_Moment = Annotated[AwareDatetime, AfterValidator(_followed)]


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
    at: _Moment
    kind: str
    shape: int | None = None
    """The number of a shape on this line or one before."""
    values: dict[str, Any]
    exact: dict[str, str] = Field(default_factory=dict)
    references: dict[str, UUID] = Field(default_factory=dict)
    lists: dict[str, ListEdit] = Field(default_factory=dict)
    keys: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    """Strings; those with halves of surrogate pairs are none to pydantic."""
    merged: tuple[UUID, ...] = ()
    """Versions of other branches that were merged into it."""

    def data(self) -> dict[str, Any]:
        """Every plain value, as JSON data.

        Raises:
            ValueError: One of those in `exact` is no JSON.
        """
        return self.values | {name: parse(document) for name, document in self.exact.items()}


class ShapeLine(_Line):
    """The shape of some versions that follow."""

    kind: str
    version: PositiveInt
    fields: dict[str, tuple[Sort | None, str]]

    def shape(self) -> Shape:
        """The same as it is known elsewhere."""
        return Shape(self.kind, self.version, tuple(ShapeField(name, *self.fields[name]) for name in sorted(self.fields)))


class CommitLine(_Line):
    """Everything that was saved at one moment by one author with one note."""

    at: _Moment
    author: Any
    note: Any
    shapes: dict[int, ShapeLine] = Field(default_factory=dict)
    versions: tuple[VersionLine, ...] = Field(min_length=1)

    @field_validator("author", "note")
    @classmethod
    def _is_text(cls, value: object) -> object:
        if value is not None and not isinstance(value, str):
            raise ValueError("must be a string or null")
        if value is not None and (what := unkept(value)) is not None:
            raise ValueError(f"holds {what}, which not every database keeps")
        return value


class BlobLine(_Line):
    """Bytes that the next commit holds."""

    blob: str
    size: NonNegativeInt
    data: str


class Tombstone(_Line):
    """An erasure."""

    lineage: UUID
    at: _Moment
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

    def erasure(self) -> Erasure:
        """The same as it is known elsewhere."""
        told = self.erased
        return Erasure(told.lineage, told.at.astimezone(UTC), told.reason, told.author, told.because_of)


class TagLine(_Line):
    """The name of a version."""

    tag: str
    version: UUID
    at: _Moment

    @field_validator("tag")
    @classmethod
    def _is_name(cls, tag: str) -> str:
        if not is_tag_name(tag):
            raise ValueError("is no name of a version")
        return tag


class Counts(_Line):
    """Lines of each sort."""

    erased: NonNegativeInt
    blobs: NonNegativeInt
    commits: NonNegativeInt
    tags: NonNegativeInt


class EndLine(_Line):
    """The last line."""

    end: Counts


_SORTS = {'{"erased":': "erased", '{"blob":': "blobs", '{"at":': "commits", '{"tag":': "tags"}
"""How lines begin that are written here."""


class Tally:
    """Counts lines as they are written."""

    def __init__(self) -> None:
        self._found = dict.fromkeys(_SORTS.values(), 0)

    def add(self, line: str) -> None:
        """Count one after the header."""
        self._found[_SORTS[line[: line.index(":") + 1]]] += 1

    def end(self) -> str:
        """The line after all those."""
        return dump({"end": self._found})


def write_commit(commit: CommitInfo, shapes: Mapping[int, Shape], versions: Sequence[str]) -> str:
    """The line of one commit from what `write_version` made; `shapes` are those that no line before has named."""
    parts = {"at": _moment(commit.created_at), "author": dump(commit.author), "note": dump(commit.note)}
    if shapes:
        parts["shapes"] = dump({number: _shape(shape) for number, shape in shapes.items()})
    return _object(parts | {"versions": f"[{','.join(versions)}]"})


_COMMIT = '{"at":'


def is_commit(line: str) -> bool:
    """Whether a line is one of `write_commit`."""
    return line.startswith(_COMMIT)


def write_blob(sha256: str, content: bytes) -> str:
    """The line of the bytes of a blob."""
    return f'{{"blob":"{sha256}","size":{len(content)},"data":"{base64.b64encode(content).decode()}"}}'


def write_tag(name: str, version: UUID, at: datetime) -> str:
    """The line of a name."""
    return f'{{"tag":{dump(name)},"version":"{version}","at":{_moment(at)}}}'


def write_erasure(erasure: Erasure) -> str:
    """The line of one tombstone."""
    ids = {"lineage": str(erasure.lineage_id), "at": erasure.erased_at.astimezone(UTC).isoformat()}
    return dump({"erased": {**ids, "reason": erasure.reason, "author": erasure.author, "because_of": str(erasure.because_of)}})


def _moment(time: datetime) -> str:
    return dump(time.astimezone(UTC).isoformat())


def _shape(shape: Shape) -> dict[str, Any]:
    fields = {each.name: [each.sort, each.annotation] for each in shape.fields}
    return {"kind": shape.kind, "version": shape.version, "fields": fields}


def write_version(
    record: Record,
    shape: int,
    references: Mapping[str, UUID],
    lists: Mapping[str, tuple[int, Sequence[UUID], int]],
    merged: Sequence[UUID] = (),
) -> str:
    """One version as JSON; `shape` is the number of its shape."""
    version = record.version
    documents = _documents(record)
    exact = {name: document for name, document in documents.items() if not _is_strict(document)}
    parts = {
        "id": dump(str(version.ecs_id)),
        "lineage": dump(str(version.lineage_id)),
        "parent": dump(str(record.parent_id) if record.parent_id is not None else None),
        "at": _moment(version.created_at),
        "kind": dump(record.kind),
        "shape": dump(shape),
        "values": _object({name: document for name, document in documents.items() if name not in exact}),
    }
    edits = {name: {"keep": keep, "add": [str(each) for each in add], "tail": tail} for name, (keep, add, tail) in sorted(lists.items())}
    others: dict[str, Any] = {
        "merged": [str(each) for each in merged],
        "exact": exact,
        "references": {name: str(child) for name, child in sorted(references.items())},
        "lists": edits,
        "keys": {name: list(record.keys[name]) for name in sorted(record.keys) if record.keys[name]},
    }
    return _object(parts | {name: dump(part) for name, part in others.items() if part})


def _documents(record: Record) -> dict[str, str]:
    """Every plain value as a JSON document."""
    if record.opaque is not None:
        return {name: dump(value) for name, value in sorted(record.values.items())}
    cls, plan = record.cls, plan_of(record.cls)
    return {name: dump_json(cls, name, record.values[name]).decode() for name in sorted((*plan.values, *plan.mutable))}


def _object(parts: Mapping[str, str]) -> str:
    return f"{{{','.join(f'{dump(name)}:{part}' for name, part in parts.items())}}}"


def _is_strict(document: str) -> bool:
    """Whether a document is JSON to everyone: not, if it holds `NaN` or an infinity."""
    if "NaN" not in document and "Infinity" not in document:
        return True
    constants: list[str] = []
    json.loads(document, parse_constant=constants.append)
    return not constants


def read_header(line: str) -> int:
    """The version of the format in which an export follows. Some editors put a byte order mark before it, which says nothing.

    Raises:
        InvalidExport: None follows, or a newer one.
    """
    try:
        found = json.loads(line.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("version"), int):
        raise InvalidExport(1, f"an export begins with {HEADER}, and this {'begins otherwise' if line.strip() else 'is empty'}")
    version: int = found["version"]
    if version not in (WITHOUT_END, VERSION):
        raise InvalidExport(1, f"it has version {version} of the format, and this minference reads up to {VERSION}: use a newer one")
    return version


def read_line(line: str, number: int) -> CommitLine | BlobLine | TagLine | Erasure | EndLine:
    """What a line after the header says.

    Raises:
        InvalidExport: It is nothing that an export holds.
    """
    data = _load(line, number)
    if not isinstance(data, dict):
        raise InvalidExport(number, f"it is no JSON object, but {line.strip()!r:.100}")
    try:
        match data:
            case {"blob": _}:
                return BlobLine.model_validate(data)
            case {"tag": _}:
                return TagLine.model_validate(data)
            case {"erased": _}:
                return ErasureLine.model_validate(data).erasure()
            case {"end": _}:
                return EndLine.model_validate(data)
            case _:
                return CommitLine.model_validate(data)
    except ValidationError as error:
        raise InvalidExport(number, _first_problem(error)) from error


def read_blob(line: BlobLine, number: int) -> Blob:
    """The bytes of a line.

    Raises:
        InvalidExport: They are not those that their hash names.
    """
    try:
        blob = Blob.of(base64.b64decode(line.data, validate=True))
    except (binascii.Error, ValueError) as error:
        raise InvalidExport(number, f"the data of blob {line.blob:.64} is no base64 ({error})") from error
    if (blob.sha256, blob.size) != (line.blob, line.size):
        raise InvalidExport(number, f"the data of blob {line.blob:.64} ({line.size} bytes) is that of {blob.sha256} ({blob.size} bytes)")
    return blob


def _load(line: str, number: int) -> Any:
    try:
        return parse(line) if has_surrogates(line) else json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidExport(number, f"it is no JSON ({error})") from error


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, problem["loc"]))
    return f"{place}: {problem['msg']}" if place else problem["msg"]
