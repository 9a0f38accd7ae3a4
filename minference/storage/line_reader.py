"""Lines of an export as they are read: each checked against those before. Needs no database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from minference.ecs.blob_fields import blobs_in
from minference.ecs.blobs import Blob
from minference.ecs.entity import Entity, kind_to_class, plan_of
from minference.errors import InvalidExport, UnknownKind
from minference.storage.lines import BlobLine, CommitLine, TagLine, VersionLine, read_blob, read_line, read_values


@dataclass(frozen=True, slots=True)
class ReadVersion:
    """One version of a line that was checked."""

    line: VersionLine
    cls: type[Entity]
    values: dict[str, Any]
    blobs: list[Blob]
    """What the values refer to."""
    builds_on_lists: bool
    """Whether the parent has members in any ordered field."""


@dataclass(frozen=True, slots=True)
class ReadCommit:
    """A line that was checked."""

    number: int
    line: CommitLine
    versions: list[ReadVersion]
    blobs: dict[str, Blob]
    """Those that came right before it, with their bytes, by SHA-256."""

    @property
    def bulk(self) -> int:
        """Bytes that came with it."""
        return sum(blob.size for blob in self.blobs.values())


class LineReader:
    """Reads the lines of an export in order, and refuses what does not follow from the lines before. Needs no database."""

    def __init__(self) -> None:
        self._seen: dict[UUID, tuple[type[Entity], UUID, dict[str, int]]] = {}
        """Class, lineage, and the lengths of ordered fields."""
        self._sizes: dict[str, int] = {}
        """Of every blob so far."""
        self._arrived: dict[str, Blob] = {}
        """Blobs that the next commit holds."""

    def read(self, text: str, number: int) -> ReadCommit | TagLine | None:
        """One line after the header; `None` of a blob, which comes with its commit.

        Raises:
            InvalidExport: It is nothing that an export holds, or builds on what no line before holds.
            UnknownKind: The program has not defined the class of one of its versions.
        """
        match read_line(text, number):
            case BlobLine() as line:
                self._take(read_blob(line, number), number)
                return None
            case TagLine() as line:
                if line.version not in self._seen:
                    raise InvalidExport(number, f"tag {line.tag!r} names version {line.version}, which is on no line before")
                return line
            case line:
                return self._read_commit(line, number)

    def end(self, number: int) -> None:
        """Make sure that nothing is missing after the last line.

        Raises:
            InvalidExport: The commit that holds the last blob is.
        """
        if self._arrived:
            raise InvalidExport(number, f"the export ends before the commit that holds blob {next(iter(self._arrived))}")

    def _take(self, blob: Blob, number: int) -> None:
        if blob.sha256 in self._sizes:
            raise InvalidExport(number, f"blob {blob.sha256} is there twice")
        self._sizes[blob.sha256] = blob.size
        self._arrived[blob.sha256] = blob

    def _read_commit(self, line: CommitLine, number: int) -> ReadCommit:
        versions = [self._read(each, number) for each in line.versions]
        for version in versions:
            self._check_members(version, number)
            for blob in version.blobs:
                if self._sizes.get(blob.sha256) != blob.size:
                    raise InvalidExport(number, f"version {version.line.id} holds {blob!r}, which is on no line before")
        held = {blob.sha256 for version in versions for blob in version.blobs}
        if unheld := self._arrived.keys() - held:
            raise InvalidExport(number, f"no version of it holds blob {min(unheld)}, which comes right before it")
        arrived, self._arrived = self._arrived, {}
        return ReadCommit(number, line, versions, arrived)

    def _read(self, line: VersionLine, number: int) -> ReadVersion:
        cls = kind_to_class(line.kind)
        if cls is None:
            raise UnknownKind(line.kind)
        if line.id in self._seen:
            raise InvalidExport(number, f"version {line.id} is there twice")
        lengths: dict[str, int] = {}
        if line.parent is not None:
            parent = self._seen.get(line.parent)
            if parent is None:
                raise InvalidExport(number, f"version {line.id} was made from {line.parent}, which is on no line before")
            if parent[1] != line.lineage:
                raise InvalidExport(number, f"version {line.id} was made from {line.parent}, which is of another lineage")
            lengths = dict(parent[2])
        values = read_values(line, cls, number)
        builds_on_lists = any(lengths.values())
        self._seen[line.id] = (cls, line.lineage, self._lengths(line, cls, lengths, number))
        return ReadVersion(line, cls, values, blobs_in(cls, values), builds_on_lists)

    def _lengths(self, line: VersionLine, cls: type[Entity], before: dict[str, int], number: int) -> dict[str, int]:
        plan = plan_of(cls)
        names = {field.name for field in plan.collections}
        keyed = {field.name for field in plan.collections if field.shape is dict}
        for given, allowed in ((line.references, set(plan.references)), (line.lists, names), (line.keys, keyed)):
            if unknown := given.keys() - allowed:
                raise InvalidExport(number, f"{line.kind} has no such field as {', '.join(map(repr, sorted(unknown)))}")
        for name, edit in line.lists.items():
            if edit.keep + edit.tail > before.get(name, 0):
                raise InvalidExport(number, f"version {line.id} keeps more of {name!r} than its parent has")
            before[name] = edit.keep + len(edit.add) + edit.tail
        for name in keyed:
            keys = line.keys.get(name, ())
            if len(keys) != before.get(name, 0) or len(set(keys)) < len(keys) or not all(isinstance(key, str) for key in keys):
                raise InvalidExport(number, f"version {line.id} needs a key for each member of {name!r}")
        return before

    def _check_members(self, version: ReadVersion, number: int) -> None:
        line, plan = version.line, plan_of(version.cls)
        children = [*line.references.items(), *((name, child) for name, edit in line.lists.items() for child in edit.add)]
        for name, child in children:
            held = self._seen.get(child)
            if held is None:
                raise InvalidExport(number, f"version {line.id} holds {child} in {name!r}, which is on no line before")
            if not issubclass(held[0], plan.types[name]):
                raise InvalidExport(number, f"version {line.id} holds a {held[0].__kind__} in {name!r}, where none belongs")
