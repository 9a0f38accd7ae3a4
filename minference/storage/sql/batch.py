"""Rows of one transaction: units of versions, laid out with every key known before the first INSERT."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from minference.ecs.blobs import Blob
from minference.ecs.drafts import Draft
from minference.ecs.lineage import CommitInfo
from minference.ecs.state import Ledger, Version
from minference.errors import BlobNotFound, StaleVersion
from minference.storage.base import Branch, Commit, Unit
from minference.storage.sequences import EMPTY, OPEN, Place, Run, place_edit
from minference.storage.sql.driver import Statement
from minference.storage.sql.kinds import Form
from minference.storage.sql.layout import mapping_of_shape
from minference.storage.sql.mapping import TableInsert, insert_order
from minference.storage.sql.registered import mapping_for
from minference.storage.sql.schema import EntityBlob, EntityCommit, EntityMerge, EntityVersion, RunItem, SequenceSpan, StoredBlob
from minference.storage.sql.types import DialectName, Encoder, encoder


def _insert_into(model: type[Any], *columns: str, once: bool = False) -> TableInsert:
    return TableInsert(model.__table__, columns, once)


INSERT_COMMIT = _insert_into(EntityCommit, "id", "created_at", "author", "note")
_VERSION_COLUMNS = ("id", "ecs_id", "lineage_id", "parent_id", "fork_no", "kind_id", "commit_id", "created_at")
INSERT_VERSION = _insert_into(EntityVersion, *_VERSION_COLUMNS)
INSERT_ERASED_VERSION = _insert_into(EntityVersion, *_VERSION_COLUMNS, "erased_at")
INSERT_MERGE = _insert_into(EntityMerge, "version_id", "merged_id")
INSERT_ITEM = _insert_into(RunItem, "run_id", "position", "child_id", "owner_id")
INSERT_SPAN = _insert_into(SequenceSpan, "sequence_id", "position", "run_id", "run_position", "length")
INSERT_BLOB = _insert_into(StoredBlob, "sha256", "size", "data", "created_at", once=True)
INSERT_HOLD = _insert_into(EntityBlob, "owner_id", "sha256")

_NO_PLACES: dict[str, tuple[int | None, int]] = {}
_NO_KEYS: dict[str, int | None] = {}


class Batch:
    """The rows of some units. Nothing outside of it changes until `settle`, but for the keys and places of the new versions."""

    def __init__(self, dialect: DialectName, kinds: Mapping[Form, int], new_id: Callable[[], int]) -> None:
        self._dialect = dialect
        self._kinds = kinds
        self._new_id = new_id
        self._rows: dict[TableInsert, list[tuple[Any, ...]]] = {INSERT_COMMIT: [], INSERT_VERSION: []}
        self._ends: dict[Run, int] = {}
        self._children: dict[Version, tuple[int, UUID | None]] = {}
        self._encode_uuid = _codec(dialect, "ecs_id")
        self._encode_time = _codec(dialect, "created_at")
        self._new: list[tuple[Version, int, dict[str, Place]]] = []
        """What these rows say of each version: its key, and the places of its ordered fields."""
        self.commits: list[Commit] = []
        self.blobs: dict[str, Blob] = {}
        """What the versions refer to, by SHA-256; with its bytes if any of them has them."""
        self.taken_as_stored: frozenset[str] = frozenset()
        """Those of the blobs whose bytes are not among the rows."""

    def add(self, unit: Unit) -> None:
        """Lay out one unit.

        Raises:
            StaleVersion: It must not branch, and would.
            UnstorableValue: A value does not fit into its column.
        """
        commit = CommitInfo(self._new_id() if unit.joins is None else unit.joins, unit.created_at, unit.author, unit.note)
        if unit.joins is None:
            self._rows[INSERT_COMMIT].append((commit.id, self._encode_time(commit.created_at), commit.author, commit.note))
        for draft in unit.drafts:
            draft.version.id = self._new_id()
        branches = [branch for draft in unit.drafts if (branch := self._add_version(draft, unit, commit.id)) is not None]
        for draft in unit.drafts:
            self._add_values(draft)
            self._new.append((draft.version, _key(draft.version), draft.version.places))
        self.commits.append(Commit(commit, tuple([draft.version.ecs_id for draft in unit.drafts]), tuple(branches)))

    def _add_version(self, draft: Draft, unit: Unit, commit_id: int) -> Branch | None:
        version, previous = draft.version, draft.previous
        number, sibling, parent = 0, None, None
        if previous is not None:
            number, sibling = self._children.get(previous, (previous.children, previous.last_child))
            if number and unit.on_conflict == "raise":
                raise StaleVersion(version.lineage_id, previous.ecs_id, sibling)
            self._children[previous] = (number + 1, version.ecs_id)
            parent = _key(previous)
        ecs_id, lineage_id = self._encode_uuid(version.ecs_id), self._encode_uuid(version.lineage_id)
        kind, created_at = self._kinds[draft.form], self._encode_time(version.created_at)
        row = (version.id, ecs_id, lineage_id, parent, number, kind, commit_id, created_at)
        if draft.erased_at is None:
            self._rows[INSERT_VERSION].append(row)
        else:
            self._rows.setdefault(INSERT_ERASED_VERSION, []).append((*row, self._encode_time(draft.erased_at)))
        if draft.merged:
            self._rows.setdefault(INSERT_MERGE, []).extend([(version.id, _key(merged)) for merged in draft.merged])
        if previous is None or not number:
            return None
        return Branch(version.lineage_id, previous.ecs_id, sibling, version.ecs_id)

    def _add_values(self, draft: Draft) -> None:
        version = draft.version
        assert version.id is not None, "keys are given out before values are laid out"
        places = self._place(draft) if draft.edits else _NO_PLACES
        references = (
            {name: None if child is None else _key(child) for name, child in draft.references.items()} if draft.references else _NO_KEYS
        )
        mapping = mapping_for(type(draft.entity)) if draft.opaque is None else mapping_of_shape(draft.opaque)
        values = draft.data if mapping.conversion is None else {**draft.data, **_identity(draft)}
        for insert, row in mapping.encode(self._dialect, version.id, values, draft.json, references, places, draft.keys):
            rows = self._rows.get(insert)
            if rows is None:
                rows = self._rows[insert] = []
            rows.append(row)
        if draft.blobs:
            self._hold(version.id, draft.blobs)

    def _place(self, draft: Draft) -> dict[str, tuple[int | None, int]]:
        """Lay out the ordered fields; where each is then."""
        version, places = draft.version, {}
        version.places = {}  # an attempt that came to nothing may have left others
        for name, edit in draft.edits.items():
            old = draft.previous.places.get(name, EMPTY) if draft.previous is not None else EMPTY
            placed = place_edit(old, edit, self._new_id, self._ends)
            version.places[name] = placed.place
            places[name] = (placed.place.sequence, placed.place.length)
            for run, position, child in placed.items:
                self._rows.setdefault(INSERT_ITEM, []).append((run.id, position, _key(child), version.id))
            if placed.new_sequence:
                self._rows.setdefault(INSERT_SPAN, []).extend(_span_rows(placed.place))
        return places

    def _hold(self, key: int, blobs: Iterable[Blob]) -> None:
        for sha256, blob in {blob.sha256: blob for blob in blobs}.items():
            self._rows.setdefault(INSERT_HOLD, []).append((key, sha256))
            if blob.is_loaded or sha256 not in self.blobs:
                self.blobs[sha256] = blob

    def add_contents(self, stored: Collection[str], now: datetime) -> None:
        """Lay out the bytes that are not stored; in the order of their hashes, so that no two writers wait for each other.

        Raises:
            BlobNotFound: They are not in memory either.
        """
        self.taken_as_stored = frozenset(stored)
        for sha256, blob in sorted(self.blobs.items()):
            if sha256 in stored:
                continue
            if not blob.is_loaded:
                raise BlobNotFound(sha256, blob.size)
            self._rows.setdefault(INSERT_BLOB, []).append((sha256, blob.size, blob.data, self._encode_time(now)))

    @property
    def first_key(self) -> int:
        """The key of its first version: reserved for this batch, so nobody else writes it."""
        return self._new[0][1]

    def statements(self) -> list[Statement]:
        """One INSERT for each table, in an order in which rows come after those they refer to."""
        return [(insert.sql(self._dialect), rows) for insert in insert_order(self._rows) if (rows := self._rows[insert])]

    def settle(self, ledger: Ledger) -> None:
        """Remember what is now stored."""
        for version, key, places in self._new:
            version.id, version.places = key, places  # a later attempt that came to nothing may have given it others
            ledger.versions[key] = version
        for run, end in self._ends.items():
            run.end = end
            ledger.runs.setdefault(run.id, run)
        for version, (number, last) in self._children.items():
            version.children, version.last_child = number, last


def _key(version: Version) -> int:
    assert version.id is not None, "versions have their keys before others refer to them"
    return version.id


def _identity(draft: Draft) -> dict[str, Any]:
    """That of the version. The object itself may stand on a later one by now."""
    version, parent = draft.version, draft.previous
    return {
        "ecs_id": version.ecs_id,
        "lineage_id": version.lineage_id,
        "parent_id": parent.ecs_id if parent is not None else None,
        "created_at": version.created_at,
        "live_id": uuid4(),
    }


def _span_rows(place: Place) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    position = 0
    for number, span in enumerate(place.spans, start=1):
        length = OPEN if number == len(place.spans) else span.length
        rows.append((place.sequence, position, span.run.id, span.start, length))
        position += span.length
    return rows


def _codec(dialect: DialectName, column: str) -> Encoder:
    found = encoder(EntityVersion.__table__.c[column].type, dialect)
    return found if found is not None else _unchanged


def _unchanged(value: Any) -> Any:
    return value
