"""The storage contract: what every storage promises to user code, and what a backend promises to the storage."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, runtime_checkable
from uuid import UUID

from minference.ecs.diff import EntityDiff
from minference.ecs.entity import Entity
from minference.ecs.lineage import Blame, KindCount, StorageStatus, VersionInfo
from minference.ecs.recording import OnConflict as OnConflict
from minference.ecs.shapes import Shape
from minference.ecs.state import Ledger, Version
from minference.storage.blobs import Blobs
from minference.storage.checks import Checks
from minference.storage.commits import Branch as Branch
from minference.storage.commits import Commit as Commit
from minference.storage.erasing import Eraser, Erasing
from minference.storage.glances import Glances
from minference.storage.lineages import Lineages
from minference.storage.portable import Portable
from minference.storage.queries import Queries
from minference.storage.recording import RecordingBlock
from minference.storage.replies import KeepsReplies, Replies
from minference.storage.runs import KeepsRuns, Runs
from minference.storage.search import Hit, Search
from minference.storage.stored import Stored, StoredVersion
from minference.storage.units import Unit as Unit

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from minference.storage.archive import Archive
    from minference.storage.shallow import Shallow

E = TypeVar("E", bound=Entity)


class Pending:
    """A save whose versions are made in memory and on their way to the database.

    Awaiting it gives the `Commit` once that is durable. Cancelling whoever awaits does not cancel the write.
    """

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def __await__(self) -> Generator[Any, None, Commit]:
        self._unit.listeners += 1
        try:
            yield from self._unit.ended().__await__()
        finally:
            self._unit.listeners -= 1
        self._unit.heard = True
        return self._unit.done.result()

    @property
    def error(self) -> BaseException | None:
        """Why it could not be written; `None` if it was, or still is on its way."""
        return self._unit.done.exception() if self._unit.done.done() else None

    @property
    def versions(self) -> tuple[UUID, ...]:
        """The new versions, children first; empty if nothing had changed."""
        return tuple(draft.version.ecs_id for draft in self._unit.drafts)


@dataclass(slots=True)
class Record:
    """One stored version as a backend reads it."""

    version: Version
    """With its key, and the places of its ordered fields."""
    parent_id: UUID | None
    cls: type[Entity]
    values: dict[str, Any]
    """Every plain value, validated; those that can change in place are new objects. The dict itself may be shared."""
    references: dict[str, int | None]
    members: dict[str, list[int]]
    """Keys of the members of each collection, in order."""
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    opaque: Shape | None = None
    """If the program does not define its kind: the shape in which it is stored. The values are JSON data then."""
    erased_at: datetime | None = None
    """When its content was erased."""
    partial: Mapping[str, tuple[int, ...]] | None = None
    """Of collections that were not read as a whole: the indexes of the members that are in `members`."""
    blank: dict[str, Any] | None = None
    """The `__dict__` of any object of this version but for its live id and what it holds, if many objects are made of it."""
    leaf: bool = False
    """Whether it is known to hold nothing."""

    @property
    def kind(self) -> str:
        """The stored name of its class."""
        return self.opaque.kind if self.opaque is not None else self.cls.__kind__


class Backend(Protocol):
    """Where versions are kept. Each call is one consistent, atomic operation."""

    url: str

    async def open(self) -> Ledger:
        """Connect, create or check the tables, and return a ledger that names the database.

        Raises:
            ReadFailed: The server was reached, and then was lost for too long.
            DatabaseUnreadable: The database cannot be used; nothing in it was changed.
        """
        ...

    async def close(self) -> None:
        """Give back every connection. Nothing is pending when this is called."""
        ...

    async def write(self, units: Sequence[Unit]) -> list[Commit]:
        """Make all units durable in one transaction, in order, and return their commits.

        Raises:
            StaleVersion: A unit with `on_conflict="raise"` would branch.
            BlobNotFound: A version refers to bytes that are neither stored nor in memory.
            ErasedLineage: A unit would give an erased lineage another version.
            StorageError: They could not be written. In every case, nothing of any unit was written.
        """
        ...

    async def read(self, ecs_id: UUID) -> dict[int, Record]:
        """The version with this id and everything that it reaches, by key, itself first.

        Raises:
            VersionNotFound: There is no such version.
        """
        ...

    async def read_stored(self, ecs_id: UUID) -> StoredVersion:
        """See `Stored.get_stored`."""
        ...

    async def move_rows(self, classes: Sequence[type[Entity]]) -> int:
        """See `Stored.move_rows`; subclasses of the classes are among them."""
        ...

    async def find(self, ecs_id: UUID) -> VersionInfo | None:
        """The version with this id."""
        ...

    async def lineage(self, lineage_id: UUID) -> list[VersionInfo]:
        """All versions of one logical object, oldest first."""
        ...

    async def heads_of_kinds(self, kinds: Sequence[str]) -> list[VersionInfo]:
        """The newest version of each lineage of these kinds, newest first."""
        ...

    async def matching(self, prefix: str) -> list[VersionInfo]:
        """Versions whose own or lineage id starts with these hexadecimal digits; a few, enough to see whether they are unique."""
        ...

    async def tag(self, name: str, ecs_id: UUID, *, move: bool, at: datetime) -> UUID:
        """Give a stored version a name within its lineage, if it is free or `move`; the version that has the name then.

        Args:
            at: When it was given the name.

        Raises:
            WriteFailed: It could not be written.
        """
        ...

    async def untag(self, name: str, lineage_id: UUID) -> bool:
        """Take a name away; whether it was there.

        Raises:
            WriteFailed: It could not be written.
        """
        ...

    async def tags(self, lineage_id: UUID) -> dict[str, VersionInfo]:
        """The named versions of a lineage, by name in alphabetical order."""
        ...

    async def kinds(self) -> set[str]:
        """The stored names of all classes of which there may be versions."""
        ...

    async def counts(self) -> dict[str, KindCount]:
        """How much of each kind is stored."""
        ...

    def shallow(self) -> Shallow:
        """Versions and lists of them, without more of what they hold than is asked for. Usable while the backend is open."""
        ...

    def archive(self) -> Archive:
        """Versions without what hangs on them, and the bytes of blobs. Usable while the backend is open."""
        ...

    def eraser(self) -> Eraser:
        """What erases content. Usable while the backend is open."""
        ...

    async def search(self, classes: Sequence[type[Entity]], field: str, text: str, limit: int) -> list[Hit]:
        """See `Search.search`; the first of the classes is the one that was asked for, the others its subclasses."""
        ...

    def sql(self) -> AbstractAsyncContextManager[AsyncSession]:
        """See `Queries.sql`."""
        ...

    def runs(self) -> Runs:
        """What keeps named runs. Usable while the backend is open."""
        ...

    def replies(self) -> Replies:
        """What keeps cached replies. Usable while the backend is open."""
        ...

    def checks(self) -> Checks:
        """What finds out whether the rows are sound, and how many there are.

        Raises:
            ConfigurationError: There are no rows.
        """
        ...


@runtime_checkable
class EntityStorage(Lineages, Glances, Blobs, Portable, Checks, Search, Queries, Stored, Erasing, KeepsRuns, KeepsReplies, Protocol):
    """Keeps entities as immutable versions."""

    url: str
    """Where: without a password."""

    async def __aenter__(self) -> Self:
        """The storage, open and current. After it was left it can be entered again, also in another event loop.

        Raises:
            AlreadyOpen: It is open, and stays as it is.
        """
        ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    def submit(self, *roots: Entity, author: str | None = None, note: str | None = None, on_conflict: OnConflict = "branch") -> Pending:
        """Make versions of what changed under `roots` now, as one commit, and hand them to the writer.

        A plain function: the cut is consistent, and the objects stand on their new versions when it returns.

        Raises:
            StorageClosed: The storage is not open.
            WrongArgument, UnknownChoice: Something is no entity, author or note no text, `on_conflict` neither of its values.
        """
        ...

    async def register(
        self, entity: E, *more: Entity, author: str | None = None, note: str | None = None, on_conflict: OnConflict = "branch"
    ) -> E:
        """Save what changed under the entities in one commit; they stand on their new, durable versions.

        Each changed entity and each of its ancestors under the roots gets exactly one new version; without changes
        nothing is written. If it fails, nothing is written and the objects keep their changes.

        Inside `recording()` it returns at once, and the end of that block saves.

        Raises:
            WrongArgument, UnknownChoice: Something is no entity, author or note no text, `on_conflict` neither of its values.
            StaleVersion: `on_conflict="raise"`, and another writer was first.
            BlobNotFound: The bytes of a blob are neither stored here nor in memory.
            ErasedLineage: What is to be saved was erased.
            WriteFailed: The database refused.
        """
        ...

    def recording(self, *, author: str | None = None, note: str | None = None, on_conflict: OnConflict = "branch") -> RecordingBlock:
        """A block that becomes one commit: `async with storage.recording(author="ann") as s:`.

        What is registered, added with `s.add(...)` or constructed inside (reachable or not) is saved at its end, together;
        so is what functions with `@entity_tracer` change. An exception inside saves nothing of it. A block inside another
        block or traced call is a part of that. `submit` and `fork` save for themselves, at once, by the same author if none is named.
        Entities that another library constructs without calling the class or its `model_validate` need `add`, or a holder.
        """
        ...

    async def flush(self) -> None:
        """Return when everything submitted before is durable.

        Raises:
            StorageError: Something submitted, whose `Pending` nobody awaited to its end, could not be written, and has not been
                saved or given up since. Of several failures this is the first; the next flush, or leaving, raises the next.
        """
        ...

    async def get(self, cls: type[E], ecs_id: UUID) -> E:
        """A new warm copy of one version, with everything that it holds.

        Raises:
            VersionNotFound: No version has this id.
            WrongEntityType: The version is of another class.
            NewerSchema: It, or something that it holds, was written by newer code.
            UnknownStoredField: It holds a field of which its class says nothing.
            UnreadableVersion: It does not fit its class any more.
        """
        ...

    async def get_cold_snapshot(self, cls: type[E], ecs_id: UUID) -> E:
        """The same as a frozen tree, whose setters raise `FrozenSnapshot`."""
        ...

    async def has_entity(self, ecs_id: UUID) -> bool:
        """Whether a version with this id is stored."""
        ...

    async def info(self, ecs_id: UUID) -> VersionInfo:
        """What is known of one version without loading it."""
        ...

    async def latest(self, cls: type[E], lineage_id: UUID) -> E:
        """A warm copy of the newest version of a lineage."""
        ...

    async def lineage(self, lineage_id: UUID) -> list[VersionInfo]:
        """All versions of one logical object, oldest first; empty if there is none."""
        ...

    async def heads(self, lineage_id: UUID) -> list[VersionInfo]:
        """The versions that no other was made from, oldest first: one, unless the lineage has branched."""
        ...

    async def ancestors(self, ecs_id: UUID) -> list[VersionInfo]:
        """The versions that one was made from, nearest first."""
        ...

    async def list_by_type(self, cls: type[Entity]) -> list[VersionInfo]:
        """The newest version of each lineage of this class or a subclass, newest first.

        With `Entity`, versions of kinds that the program does not define are among them; with `OpaqueEntity`, nothing else.
        """
        ...

    async def matching(self, prefix: str) -> list[VersionInfo]:
        """Versions whose own or lineage id begins with `prefix` (hexadecimal digits, dashes allowed): the newest few."""
        ...

    async def blame(self, entity: Entity | UUID, field: str | None = None, *, window: slice | None = None) -> list[Blame]:
        """For each member of an ordered field, in order: who wrote it as it is there, and who added it first.

        Of a thread, its messages. Tells of the saved version; an entity may be modified since. `field` defaults to the first
        collection of the class; of several commits that added a member to branches, only those that this version comes from count.
        `window` selects members, e.g. `slice(-10, None)` the last ten.

        Raises:
            VersionNotFound: The version is not stored.
            NoSuchCollection: The class has no collection of this name.
        """
        ...

    async def status(self) -> StorageStatus:
        """How many versions and lineages of each kind are stored."""
        ...

    async def diff(self, old: Entity | UUID, new: Entity | UUID) -> EntityDiff:
        """What differs between two versions of one class, whole trees, as a structure that prints readably.

        Objects are compared as they are, unsaved edits included. Of versions given by their ids (or one by its id, and one by
        an object without unsaved edits) only what differs is loaded: `old` and `new` of the diff are cold snapshots then,
        whose collections know their length and those members that are told of, and raise `NotLoaded` for the others.

        Raises:
            VersionNotFound: One of them is not stored here.
            DifferentClasses: They are of different classes.
        """
        ...
