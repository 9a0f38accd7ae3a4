"""Lines of an export as they are read: each checked against those before, and brought into the present shapes of this program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from minference.ecs.blob_fields import blobs_in, blobs_in_data
from minference.ecs.blobs import Blob
from minference.ecs.entity import Entity, kind_to_class, plan_of
from minference.ecs.fitting import Fit
from minference.ecs.opaque import OpaqueEntity
from minference.ecs.shapes import Shape, ShapeField, shape_of
from minference.errors import InvalidExport, UnknownStoredField, UnreadableVersion
from minference.storage.erasing import Erasure
from minference.storage.lines import (
    VERSION,
    WITHOUT_END,
    BlobLine,
    CommitLine,
    Counts,
    EndLine,
    ListEdit,
    TagLine,
    VersionLine,
    read_blob,
    read_line,
)


@dataclass(frozen=True, slots=True)
class ReadVersion:
    """One version of a line that was checked, under today's names."""

    line: VersionLine
    cls: type[Entity]
    values: dict[str, Any]
    """Every plain value, validated."""
    references: dict[str, UUID | None]
    lists: dict[str, ListEdit]
    """Ordered fields that are not as the parent has them."""
    keys: dict[str, tuple[str, ...]]
    collections: tuple[str, ...]
    """Every ordered field."""
    blobs: Sequence[Blob]
    """What the values refer to."""
    builds_on_lists: bool
    """Whether the parent has members in any ordered field."""
    opaque: Shape | None = None
    """If this program does not define the kind: its shape. The values are JSON data then."""


@dataclass(frozen=True, slots=True)
class ReadCommit:
    """A line that was checked."""

    number: int
    line: CommitLine
    versions: list[ReadVersion]
    blobs: dict[str, Blob]
    """Those that came right before it, with their bytes, by SHA-256."""
    bulk: int
    """Characters of the line, and bytes of those blobs."""
    strange: list[str]
    """What fields hold from before they took another class. It loads like all else, but a table of the class may refuse it."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is remembered of a version for those that are made from it or hold it."""

    cls: type[Entity]
    shape: Shape
    lineage: UUID
    at: datetime
    lengths: dict[str, int]


class LineReader:
    """Reads the lines of an export in order, and refuses what does not follow from the lines before. Needs no database."""

    def __init__(self, version: int = VERSION) -> None:
        """`version` is that of the format."""
        self._is_open = version != WITHOUT_END
        """Whether a last line has yet to come."""
        self._is_over = False
        self._counts = dict.fromkeys(Counts.model_fields, 0)
        self._seen: dict[UUID, _Seen] = {}
        self._shapes: dict[int, Shape] = {}
        self._fits: dict[tuple[type[Entity], Shape], Fit] = {}
        self._sizes: dict[str, int] = {}
        """Of every blob so far."""
        self._arrived: dict[str, Blob] = {}
        """Blobs that the next commit holds."""

    def read(self, text: str, number: int) -> ReadCommit | TagLine | Erasure | None:
        """One line after the header; `None` of a blob, which comes with its commit, and of the last one.

        Raises:
            InvalidExport: It is nothing that an export holds, builds on what no line before holds, or does not fit the classes
                of this program.
            NewerSchema: A version was written by newer code.
        """
        if self._is_over:
            raise InvalidExport(number, "it comes after the line that ends the export: two exports are two files")
        match read_line(text, number):
            case EndLine(end=counts):
                self._close(counts, number)
                return None
            case BlobLine() as line:
                self._counts["blobs"] += 1
                self._take(read_blob(line, number), number)
                return None
            case Erasure() as erasure:
                self._counts["erased"] += 1
                return erasure
            case TagLine() as line:
                if line.version not in self._seen:
                    raise InvalidExport(number, f"tag {line.tag!r} names version {line.version}, which is on no line before")
                self._counts["tags"] += 1
                return line
            case line:
                self._counts["commits"] += 1
                return self._read_commit(line, number, len(text))

    def end(self, number: int) -> None:
        """Make sure that nothing is missing after the last line.

        Raises:
            InvalidExport: Something is: the commit that holds the last blob, or the line that ends the export.
        """
        self._refuse_unheld(number)
        if self._is_open:
            reason = "it is the last one, but not the one that ends an export: what followed was cut off. Get a whole copy, or export again"
            raise InvalidExport(number, reason)

    def _refuse_unheld(self, number: int) -> None:
        if self._arrived:
            raise InvalidExport(number, f"the export ends before the commit that holds blob {next(iter(self._arrived))}")

    def _close(self, counts: Counts, number: int) -> None:
        self._refuse_unheld(number)
        found = Counts(**self._counts)
        if counts != found:
            reason = f"it ends an export of {_counted(counts)}, and before it are {_counted(found)}: some were cut out. Get a whole copy"
            raise InvalidExport(number, reason)
        self._is_open, self._is_over = False, True

    def _take(self, blob: Blob, number: int) -> None:
        if blob.sha256 in self._sizes:
            raise InvalidExport(number, f"blob {blob.sha256} is there twice")
        self._sizes[blob.sha256] = blob.size
        self._arrived[blob.sha256] = blob

    def _read_commit(self, line: CommitLine, number: int, length: int) -> ReadCommit:
        for key, shape in line.shapes.items():
            self._shapes[key] = shape.shape()
        versions = [self._read(each, number) for each in line.versions]
        strange: list[str] = []
        for version in versions:
            strange += self._check_members(version, number)
            for blob in version.blobs:
                if self._sizes.get(blob.sha256) != blob.size:
                    raise InvalidExport(number, f"version {version.line.id} holds {blob!r}, which is on no line before")
        held = {blob.sha256 for version in versions for blob in version.blobs}
        if unheld := self._arrived.keys() - held:
            raise InvalidExport(number, f"no version of it holds blob {min(unheld)}, which comes right before it")
        arrived, self._arrived = self._arrived, {}
        return ReadCommit(number, line, versions, arrived, length + sum(blob.size for blob in arrived.values()), strange)

    def _read(self, line: VersionLine, number: int) -> ReadVersion:
        if line.id in self._seen:
            raise InvalidExport(number, f"version {line.id} is there twice")
        parent = self._seen.get(line.parent) if line.parent is not None else None
        if line.parent is not None and parent is None:
            raise InvalidExport(number, f"version {line.id} was made from {line.parent}, which is on no line before")
        if parent is not None and parent.lineage != line.lineage:
            raise InvalidExport(number, f"version {line.id} was made from {line.parent}, which is of another lineage")
        if parent is not None and line.at <= parent.at:
            raise InvalidExport(number, f"version {line.id} of {line.at.isoformat()} was made from {line.parent}, which is no older")
        for merged in line.merged:
            if (other := self._seen.get(merged)) is None or other.lineage != line.lineage:
                raise InvalidExport(number, f"version {line.id} merged {merged}, which is none of its lineage on a line before")
        cls = kind_to_class(line.kind)
        shape = self._shape(line, cls, parent, number)
        version = self._made(line, cls, shape, _lists(line, shape, parent), parent, number)
        lengths = _lengths(version, parent.lengths if parent is not None else {}, number)
        self._seen[line.id] = _Seen(version.cls, shape, line.lineage, line.at, lengths)
        return version

    def _made(
        self, line: VersionLine, cls: type[Entity] | None, shape: Shape, lists: dict[str, ListEdit], parent: _Seen | None, number: int
    ) -> ReadVersion:
        builds_on = parent is not None and any(parent.lengths.values())
        try:
            return self._opaque(line, shape, lists, builds_on) if cls is None else self._fitted(line, cls, shape, lists, builds_on)
        except UnknownStoredField as error:
            names = ", ".join(map(repr, error.fields))
            reason = f"version {line.id} holds {names}, and {line.kind} has no such field, nor says what became of it"
            raise InvalidExport(number, reason) from error
        except UnreadableVersion as error:
            where = f", field {error.field!r}" if error.field is not None else ""
            raise InvalidExport(number, f"version {line.id} of {line.kind}{where}: {error.reason}") from error
        except (ValueError, RecursionError) as error:
            raise InvalidExport(number, f"version {line.id} of {line.kind}: {error}") from error

    def _shape(self, line: VersionLine, cls: type[Entity] | None, parent: _Seen | None, number: int) -> Shape:
        if line.shape is None:
            return _shown_shape(line, shape_of(cls) if cls is not None else parent.shape if parent is not None else None)
        shape = self._shapes.get(line.shape)
        if shape is None or shape.kind != line.kind:
            raise InvalidExport(number, f"version {line.id} is of shape {line.shape}, and no line before describes that of a {line.kind}")
        return shape.completed({**line.values, **line.exact}, line.references, line.lists, line.keys)

    def _fitted(self, line: VersionLine, cls: type[Entity], shape: Shape, lists: dict[str, ListEdit], builds_on: bool) -> ReadVersion:
        """The version as its class has it now."""
        fit = self._fits.get((cls, shape))
        if fit is None:
            fit = self._fits[cls, shape] = Fit(cls, shape)
        fit.refuse(line.id)
        collections = {field.name: field.shape for field in plan_of(cls).collections}
        [values] = fit.values([(line.id, line.data())])
        return ReadVersion(
            line,
            cls,
            values,
            fit.references(line.id, line.references),
            fit.collections(line.id, lists, set(shape.of_sort("dict")) & lists.keys()),
            fit.named(line.id, line.keys, [name for name, held in collections.items() if held is dict]),
            tuple(collections),
            blobs_in(cls, values),
            builds_on,
        )

    def _opaque(self, line: VersionLine, shape: Shape, lists: dict[str, ListEdit], builds_on: bool) -> ReadVersion:
        """The version as it is, since this program does not define its kind."""
        data = line.data()
        _refuse_strangers(line, data, shape, lists)
        references: dict[str, UUID | None] = {name: line.references.get(name) for name in shape.of_sort("reference")}
        collections = shape.of_sort("list", "tuple", "dict")
        # Nothing says which of the values are blobs; what looks like one and came with its bytes is one.
        blobs = [blob for blob in blobs_in_data(data) if self._sizes.get(blob.sha256) == blob.size]
        return ReadVersion(line, OpaqueEntity, data, references, lists, line.keys, collections, blobs, builds_on, shape)

    def _check_members(self, version: ReadVersion, number: int) -> Iterator[str]:
        """Make sure that all that a version holds is there, and tell what its class has no place for today."""
        line, types = version.line, plan_of(version.cls).types if version.opaque is None else {}
        children = [*version.references.items(), *((name, child) for name, edit in version.lists.items() for child in edit.add)]
        for name, child in children:
            if child is None:
                continue
            held = self._seen.get(child)
            if held is None:
                raise InvalidExport(number, f"version {line.id} holds {child} in {name!r}, which is on no line before")
            if not issubclass(held.cls, types.get(name, Entity)) and not held.cls.__opaque__:
                yield f"version {line.id} holds a {held.shape.kind} in {name!r}, where none belongs"


def _counted(counts: Counts) -> str:
    return f"{counts.commits} commits, {counts.blobs} blobs, {counts.tags} tags and {counts.erased} erasures"


def _lengths(version: ReadVersion, before: Mapping[str, int], number: int) -> dict[str, int]:
    line, lengths = version.line, {name: before.get(name, 0) for name in version.collections}
    for name, edit in version.lists.items():
        if edit.keep + edit.tail > lengths[name]:
            raise InvalidExport(number, f"version {line.id} keeps more of {name!r} than its parent has")
        lengths[name] = edit.keep + len(edit.add) + edit.tail
    keyed = (
        version.opaque.of_sort("dict")
        if version.opaque is not None
        else [field.name for field in plan_of(version.cls).collections if field.shape is dict]
    )
    for name in keyed:
        keys = version.keys.get(name, ())
        if len(keys) != lengths[name] or len(set(keys)) < len(keys) or not all(isinstance(key, str) for key in keys):
            raise InvalidExport(number, f"version {line.id} needs a key for each member of {name!r}")
    return lengths


def _lists(line: VersionLine, shape: Shape, parent: _Seen | None) -> dict[str, ListEdit]:
    """The ordered fields that are not as the parent has them: also those that its shape has not, which begin empty."""
    new = [] if parent is None else [name for name in shape.of_sort("list", "tuple", "dict") if name not in parent.shape.names]
    return {name: ListEdit() for name in new} | line.lists


def _shown_shape(line: VersionLine, known: Shape | None) -> Shape:
    """The shape of a version on a line that names none: the one that is known, and what the version holds beside."""
    fields = {each.name: each for each in known.fields} if known is not None else {}
    held: dict[str, Any] = {**line.values, **line.exact, **line.references, **line.lists, **line.keys}
    for name in held.keys() - fields.keys():
        fields[name] = ShapeField(name, None, "")
    shape = Shape(line.kind, 1, tuple(fields[name] for name in sorted(fields)))
    return shape.completed({**line.values, **line.exact}, line.references, line.lists, line.keys)


def _refuse_strangers(line: VersionLine, data: Mapping[str, Any], shape: Shape, lists: Mapping[str, ListEdit]) -> None:
    """Refuse a version of an unknown kind that holds other fields than its shape names."""
    wanted = {
        "values": shape.of_sort("value"),
        "references": shape.of_sort("reference"),
        "lists": shape.of_sort("list", "tuple", "dict"),
        "keys": shape.of_sort("dict"),
    }
    for part, given in (("values", data), ("references", line.references), ("lists", lists), ("keys", line.keys)):
        if unknown := given.keys() - set(wanted[part]):
            raise ValueError(f"its shape has no such {part} as {', '.join(map(repr, sorted(unknown)))}")
    if missing := set(wanted["values"]) - data.keys():
        raise ValueError(f"it lacks {', '.join(map(repr, sorted(missing)))}")
