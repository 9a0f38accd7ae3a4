"""Every exception that minference raises on purpose, in one tree.

MinferenceError
├── ConfigurationError          the caller's settings: fix them and call again
│   ├── UnknownClient
│   ├── MissingKey
│   ├── UnknownThread
│   └── MissingExtra
├── EntityError                 how an entity is defined or used
│   ├── UnsupportedField
│   ├── UntraceableFunction
│   ├── UnsupportedConfig
│   ├── DuplicateKind
│   ├── FrozenSnapshot
│   ├── DifferentClasses
│   ├── NoSuchCollection
│   ├── NoSuchField
│   ├── UnfitValue
│   ├── NotLoaded
│   ├── UnrelatedVersions
│   ├── UnsavedChanges
│   ├── TableMismatch
│   └── NoStorage
├── StorageError                what the database says
│   ├── VersionNotFound
│   ├── NothingYet
│   ├── TimeWithoutZone
│   ├── TagNotFound
│   ├── TagTaken
│   ├── InvalidTagName
│   ├── WrongEntityType
│   ├── StaleVersion
│   ├── VersionExists
│   ├── StorageClosed
│   ├── WrongEventLoop
│   ├── StillPending
│   ├── DatabaseUnreadable
│   ├── ForeignDatabase
│   ├── NewerDatabase
│   ├── OutdatedDatabase
│   ├── UnknownStoredField
│   ├── UnreadableVersion
│   ├── UnstorableValue
│   ├── InvalidExport
│   ├── ReadFailed
│   └── WriteFailed
├── ProviderError               what a model provider did (see the attributes)
│   ├── ProviderUnreachable
│   ├── ProviderTimeout
│   ├── ProviderRefused         an HTTP status of 4xx or 5xx
│   └── InvalidReply            an answer that is not what the provider promises
├── ToolError                   a tool or what the model passed to it
│   ├── UnknownTool
│   ├── UnregisteredTool
│   ├── ToolNameTaken
│   ├── UnusableFunction
│   ├── InvalidToolSchema
│   ├── InvalidToolArguments
│   ├── RepeatedCall
│   ├── InvalidToolResult
│   ├── ToolTimedOut
│   ├── ToolRaised
│   └── ToolInterrupted
└── RunError                    a run as a whole
    ├── OrchestratorClosed
    ├── ThreadBusy
    ├── NothingToAnswer
    ├── NoStructuredOutput
    ├── RequestTooLarge
    ├── TurnsExhausted
    └── InvalidRunFile
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID


class MinferenceError(Exception):
    """Base of everything that minference raises on purpose."""


class ConfigurationError(MinferenceError):
    """A setting that the caller gave cannot be used; nothing was sent or stored."""


class UnknownClient(ConfigurationError):
    """No client or profile has this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        from difflib import get_close_matches

        self.name, self.known = name, tuple(known)
        close = get_close_matches(name, known, 1)
        meant = f"did you mean {close[0]!r}? The clients are" if close else "use one of"
        super().__init__(f"no client is called {name!r}: {meant} {', '.join(known)}, or add a profile to providers.toml")


class MissingKey(ConfigurationError):
    """The API key that a client needs is not in the environment."""

    def __init__(self, client: str, variable: str) -> None:
        self.client, self.variable = client, variable
        super().__init__(f"client {client!r} needs an API key: set the environment variable {variable}")


class UnknownThread(ConfigurationError, LookupError):
    """What a person typed names no thread or version, or several."""

    def __init__(self, text: str, reason: str) -> None:
        self.text, self.reason = text, reason
        super().__init__(f"no one thread or version is called {text!r}: {reason}")


class MissingExtra(ConfigurationError):
    """A feature whose optional packages are not installed."""

    def __init__(self, feature: str, package: str, remedy: str) -> None:
        self.feature, self.package, self.remedy = feature, package, remedy
        super().__init__(f"{feature} needs {package!r}, which is not installed: {remedy}")


class EntityError(MinferenceError):
    """An entity class or object is used in a way that versions cannot follow."""


class UnsupportedField(EntityError, TypeError):
    """A field nests entities where their versions could not be tracked."""

    def __init__(self, owner: str, field: str, annotation: object, why: str) -> None:
        self.owner, self.field, self.annotation = owner, field, annotation
        super().__init__(
            f"{owner}.{field}: {annotation} {why}: use Entity, Entity | None, a union of entity classes, "
            "list[Entity], tuple[Entity, ...] or dict[str, Entity]"
        )


class UntraceableFunction(EntityError, TypeError):
    """A function cannot be traced, because it has no end at which to save."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name} is a generator and cannot be traced: trace the function that runs it, or use storage.recording()")


class UnsupportedConfig(EntityError, TypeError):
    """An entity class takes values that are no fields, which would be lost."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        super().__init__(f"{owner} is configured with extra='allow', whose values would not be stored: declare a dict field for them")


class DuplicateKind(EntityError, TypeError):
    """Two entity classes claim one stored name."""

    def __init__(self, kind: str, first: str, second: str) -> None:
        self.kind, self.first, self.second = kind, first, second
        super().__init__(f"entity kind {kind!r} of {second} is taken by {first}: give one of them another, class X(Entity, kind='...')")


class FrozenSnapshot(EntityError, AttributeError):
    """A cold snapshot was written to."""

    def __init__(self, kind: str, ecs_id: UUID, name: str) -> None:
        self.kind, self.ecs_id, self.name_ = kind, ecs_id, name
        super().__init__(f"{kind} {ecs_id} is a cold snapshot, {name!r} cannot change: load a warm copy with `await {kind}.get(ecs_id)`")


class TableMismatch(EntityError, TypeError):
    """A table and the entity class that it is to hold do not fit together."""

    def __init__(self, table: str, entity: str, problems: Sequence[str]) -> None:
        self.table, self.entity, self.problems = table, entity, tuple(problems)
        super().__init__(f"{table} does not hold {entity}: {'; '.join(problems)}")


class WrongMember(EntityError, TypeError):
    """A collection holds what its annotation does not allow; nothing was saved."""

    def __init__(self, kind: str, field: str, member: object, allowed: Sequence[str]) -> None:
        self.kind, self.field, self.member, self.allowed = kind, field, member, tuple(allowed)
        super().__init__(f"{field} of {kind} holds {member!r:.100}, of type {type(member).__name__}: it takes {' or '.join(allowed)}")


class NoSuchCollection(EntityError, LookupError):
    """An entity class has no ordered or keyed field of entities with this name."""

    def __init__(self, kind: str, field: str | None, collections: Sequence[str]) -> None:
        self.kind, self.field, self.collections = kind, field, tuple(collections)
        named = f" called {field!r}" if field else ""
        super().__init__(f"{kind} has no collection of entities{named}: it has {', '.join(map(repr, collections)) or 'none'}")


class NoSuchField(EntityError, LookupError):
    """An entity class has no field with a plain value of this name."""

    def __init__(self, kind: str, field: str, fields: Sequence[str]) -> None:
        self.kind, self.field, self.fields = kind, field, tuple(fields)
        super().__init__(f"{kind} has no field {field!r} with a plain value: it has {', '.join(map(repr, fields)) or 'none'}")


class UnfitValue(EntityError, ValueError):
    """A field can never hold this value, so that it is found nowhere."""

    def __init__(self, kind: str, field: str, value: object, reason: str) -> None:
        self.kind, self.field, self.value, self.reason = kind, field, value, reason
        super().__init__(f"{kind}.{field} cannot be {value!r:.100}: {reason}")


class NotLoaded(EntityError):
    """A member of a collection is stored, and was not asked for when the rest of the snapshot was loaded."""

    def __init__(self, version: str, place: int | str) -> None:
        self.version, self.place = version, place
        super().__init__(f"member [{place!r}] of a collection of {version} was not loaded: load the whole version with get()")


class DifferentClasses(EntityError, TypeError):
    """Two entities of different classes cannot be compared."""

    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new
        super().__init__(f"a {old} cannot be compared with a {new}: pass two entities of one class")


class UnrelatedVersions(EntityError, ValueError):
    """Two versions do not come from one object, or their common ancestor is not stored; nothing was changed."""

    def __init__(self, one: UUID, other: UUID) -> None:
        self.one, self.other = one, other
        super().__init__(f"versions {one} and {other} have no common ancestor: take two versions of one lineage")


class UnsavedChanges(EntityError):
    """An object that is only read from holds changes that are in no version, so that they would be passed over."""

    def __init__(self, kind: str, ecs_id: UUID) -> None:
        self.kind, self.ecs_id = kind, ecs_id
        super().__init__(f"the {kind} on version {ecs_id} holds unsaved changes: register it first, or pass the id of the version alone")


class NoStorage(EntityError):
    """An operation needs a current storage and none is open in this context."""

    def __init__(self) -> None:
        super().__init__("no storage is current here: enter `async with open_storage(...)`, or call `EntityRegistry.use_storage(storage)`")


class StorageError(MinferenceError):
    """The storage could not do what was asked; what was stored before is unchanged."""


class VersionNotFound(StorageError, LookupError):
    """No stored version has this id."""

    def __init__(self, ecs_id: UUID, hint: str = "") -> None:
        self.ecs_id = ecs_id
        super().__init__(f"no version {ecs_id} is stored here{': ' + hint if hint else ''}")


class NothingYet(StorageError, LookupError):
    """The lineage had no version at that time."""

    def __init__(self, lineage_id: UUID, when: datetime, first: datetime) -> None:
        self.lineage_id, self.when, self.first = lineage_id, when, first
        super().__init__(f"lineage {lineage_id} had no version at {when.isoformat()}: its first was created at {first.isoformat()}")


class TimeWithoutZone(StorageError, ValueError):
    """A time says nothing of its zone, so that it could be any of many."""

    def __init__(self, when: datetime) -> None:
        self.when = when
        super().__init__(f"{when.isoformat()} has no time zone: pass an aware time, e.g. datetime.now(UTC) or when.astimezone()")


class TagNotFound(StorageError, LookupError):
    """A lineage has no tag of this name."""

    def __init__(self, lineage_id: UUID, name: str, known: Sequence[str]) -> None:
        self.lineage_id, self.name, self.known = lineage_id, name, tuple(known)
        super().__init__(f"lineage {lineage_id} has no tag {name!r}; its tags are: {', '.join(map(repr, known)) or 'none'}")


class TagTaken(StorageError):
    """The tag names another version of the lineage; it was not moved."""

    def __init__(self, lineage_id: UUID, name: str, holder: UUID) -> None:
        self.lineage_id, self.name, self.holder = lineage_id, name, holder
        super().__init__(f"tag {name!r} of lineage {lineage_id} names version {holder}: pass move=True to move it, or choose another name")


class InvalidTagName(StorageError, ValueError):
    """This text cannot name a version."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name!r:.100} cannot be a tag: use 1 to 200 printable characters without blanks at the ends")


class WrongEntityType(StorageError, TypeError):
    """The version exists, and is of another class than the one asked for."""

    def __init__(self, ecs_id: UUID, wanted: str, found: str) -> None:
        self.ecs_id, self.wanted, self.found = ecs_id, wanted, found
        super().__init__(f"version {ecs_id} is a {found}, not a {wanted}: use `await {found}.get(...)` or `await Entity.get(...)`")


class StaleVersion(StorageError):
    """Another writer moved this lineage first; nothing was written."""

    def __init__(self, lineage_id: UUID, base: UUID, head: UUID | None) -> None:
        self.lineage_id, self.base, self.head = lineage_id, base, head
        to = f"to {head}" if head else "already"
        super().__init__(f"lineage {lineage_id} has moved on from {base} {to}: reload it, call rebase(), or save with on_conflict='branch'")


class VersionExists(StorageError):
    """An object that was never loaded from here carries the id of a stored version."""

    def __init__(self, ecs_id: UUID) -> None:
        self.ecs_id = ecs_id
        super().__init__(
            f"version {ecs_id} is stored already and cannot be written again: load it with get(), or make a copy with a new id"
        )


class StorageClosed(StorageError):
    """The storage is not open."""

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(f"the storage {url} is not open: use it inside `async with open_storage(...)`")


class WrongEventLoop(StorageError):
    """A storage was used from another event loop or thread than the one that opened it."""

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(
            f"the storage {url} belongs to the event loop that opened it: open another one here, "
            "or hand the work over with asyncio.run_coroutine_threadsafe"
        )


class StillPending(StorageError):
    """An entity was changed through another storage on the same database, which has not written it yet."""

    def __init__(self, ecs_id: UUID) -> None:
        self.ecs_id = ecs_id
        super().__init__(f"version {ecs_id} is still being written by another storage on this database: await its flush() first")


class DatabaseUnreadable(StorageError):
    """The database cannot be opened."""

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"cannot open the database {url}: {reason}")


class ForeignDatabase(DatabaseUnreadable):
    """The database holds tables, and they are not minference's."""

    def __init__(self, url: str, tables: Sequence[str]) -> None:
        self.tables = tuple(tables)
        some = ", ".join(tables[:5]) + (", ..." if len(tables) > 5 else "")
        super().__init__(url, f"it belongs to another application (tables {some}); choose another file or an empty database")


class NewerDatabase(DatabaseUnreadable):
    """The database was written by a newer minference."""

    def __init__(self, url: str, revision: str, known: str) -> None:
        self.revision, self.known = revision, known
        super().__init__(url, f"its schema revision is {revision!r} and this minference knows {known!r}; upgrade minference to read it")


class OutdatedDatabase(DatabaseUnreadable):
    """The database was written by an older minference, or is empty, and must not be changed here."""

    def __init__(self, url: str, revision: str | None, known: str) -> None:
        self.revision, self.known = revision, known
        what = f"its schema revision is {revision!r}" if revision else "it holds no tables yet"
        super().__init__(url, f"{what} and this minference needs {known!r}; run `minference db upgrade`, or open it with migrate='auto'")


class UnknownKind(StorageError):
    """A stored version is of a class that the program has not defined."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(f"no entity class is stored as {kind!r} in this program: import the module that defines it before loading")


class UnknownStoredField(StorageError):
    """A stored version has fields that its class does not know."""

    def __init__(self, kind: str, fields: Sequence[str]) -> None:
        self.kind, self.fields = kind, tuple(fields)
        super().__init__(f"stored {kind} has fields {', '.join(map(repr, fields))} that the class has not: add them back, or rename them")


class UnreadableVersion(StorageError):
    """What is stored does not fit its class."""

    def __init__(self, kind: str, reason: str) -> None:
        self.kind, self.reason = kind, reason
        super().__init__(f"a stored {kind} does not fit its class: {reason}. Make the class accept what it accepted when this was written")


class UnstorableValue(StorageError, ValueError):
    """A field holds what cannot be stored so that it reads back the same; nothing was written."""

    def __init__(self, kind: str, field: str, reason: str) -> None:
        self.kind, self.field, self.reason = kind, field, reason
        super().__init__(f"field {field!r} of {kind} cannot be stored: {reason}; assign a value of the annotated type")


class InvalidExport(StorageError, ValueError):
    """A line to be imported is not what an export holds; nothing of it was written."""

    def __init__(self, line: int, reason: str) -> None:
        self.line, self.reason = line, reason
        super().__init__(f"line {line} cannot be imported: {reason}")


class WriteFailed(StorageError):
    """The database refused a commit; the objects are as they were, and saving again is possible."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the database refused the commit: {reason}. Nothing of it was written; the objects still hold the changes")


class ReadFailed(StorageError):
    """The database did not answer a question."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the database could not be read: {reason}. Nothing was changed; asking again is safe")


class ProviderError(MinferenceError):
    """A provider did not give a usable reply."""

    def __init__(
        self,
        client: str,
        message: str,
        *,
        status: int | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        self.client = client
        self.status = status
        """HTTP status, if there was one."""
        self.retryable = retryable
        """Whether the same request can succeed later."""
        self.retry_after = retry_after
        """Seconds the provider asked us to wait; `None` if it did not say."""
        self.code = code
        """The provider's own name of the error, e.g. `insufficient_quota`."""
        self.request_id = request_id
        super().__init__(f"{client}: {message}")


class ProviderUnreachable(ProviderError):
    """No connection, or it broke before the whole reply was here."""


class ProviderTimeout(ProviderError):
    """No whole reply within the timeout."""


class ProviderRefused(ProviderError):
    """The provider answered with an error status."""


class InvalidReply(ProviderError):
    """The provider answered with success and something that is no valid reply."""


class ToolError(MinferenceError):
    """A tool cannot be defined, or a call of it did not give a result."""


class UnknownTool(ToolError):
    """The model called a tool that the thread does not offer."""

    def __init__(self, name: str, offered: Sequence[str]) -> None:
        self.name, self.offered = name, tuple(offered)
        super().__init__(f"there is no tool {name!r}; the tools are: {', '.join(offered) or 'none'}")


class UnregisteredTool(ToolError, LookupError):
    """The tool is known, and this process has no function for it."""

    def __init__(self, name: str, registered: Sequence[str]) -> None:
        self.name, self.registered = name, tuple(registered)
        super().__init__(
            f"no function is registered for tool {name!r} in this process (registered: {', '.join(registered) or 'none'}): "
            f"import the module that calls CallableTool.from_callable, or call CallableRegistry.register({name!r}, function)"
        )


class ToolNameTaken(ToolError):
    """Another function is registered under this tool name."""

    def __init__(self, name: str, holder: str) -> None:
        self.name, self.holder = name, holder
        super().__init__(f"tool name {name!r} belongs to {holder}: choose another name, or register with replace=True")


class UnusableFunction(ToolError, TypeError):
    """No schema can be derived from this function."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"function {name!r} cannot be a tool: {reason}")


class InvalidToolSchema(ToolError, ValueError):
    """A tool's JSON schema is no valid schema."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"tool {name!r} has an invalid JSON schema: {reason}")


class InvalidToolArguments(ToolError, ValueError):
    """The arguments that the model passed do not fit the tool's schema."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"the arguments for tool {name!r} are not valid: {reason}")


class RepeatedCall(ToolError):
    """Two calls of one reply have the same id; the second was not run."""

    def __init__(self, name: str, call_id: str) -> None:
        self.name, self.call_id = name, call_id
        super().__init__(
            f"this call of tool {name!r} was not run: another call has its id {call_id!r} already. Call it again if it is needed"
        )


class InvalidToolResult(ToolError):
    """A tool returned what JSON cannot hold, or what its output schema forbids."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"tool {name!r} returned an unusable result: {reason}")


class ToolTimedOut(ToolError):
    """A tool did not finish in time."""

    def __init__(self, name: str, seconds: float, *, still_running: bool = False) -> None:
        self.name, self.seconds = name, seconds
        self.still_running = still_running
        """Whether it goes on all the same: a thread cannot be stopped from outside."""
        more = "; it could not be stopped and may still have an effect" if still_running else ""
        super().__init__(f"tool {name!r} did not finish within {seconds:g} s{more}")


class ToolRaised(ToolError):
    """A tool raised an exception; it is the `__cause__`."""

    def __init__(self, name: str, error: BaseException) -> None:
        self.name, self.error = name, error
        try:
            text = str(error)
        except Exception:  # noqa: BLE001 - an exception of somebody else's, whose __str__ may be broken
            text = ""
        super().__init__(f"tool {name!r} raised {type(error).__name__}{': ' if text else ''}{text}")


class ToolInterrupted(ToolError):
    """A call that may have started before a crash, of a tool that must not run twice."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"the call of tool {name!r} was interrupted before its result was saved; it may have taken effect and was not run again. "
            "Find out what happened before calling it again"
        )


class RunError(MinferenceError):
    """A run could not go on."""


class OrchestratorClosed(RunError):
    """The orchestrator is not open."""

    def __init__(self) -> None:
        super().__init__("the orchestrator is not open: use it inside `async with InferenceOrchestrator(...) as orchestrator:`")


class ThreadBusy(RunError):
    """One thread object was given to run twice at once; nothing was sent for any thread of that call."""

    def __init__(self, ecs_id: UUID, name: str | None) -> None:
        self.ecs_id, self.name = ecs_id, name
        super().__init__(
            f"thread {ecs_id}{f' ({name!r})' if name else ''} is being run already, or was passed twice: wait for it, "
            "or load a second copy with `await ChatThread.get(...)`, which makes a branch"
        )


class NothingToAnswer(RunError):
    """The thread waits for its user."""

    def __init__(self, ecs_id: UUID) -> None:
        self.ecs_id = ecs_id
        super().__init__(f"thread {ecs_id} waits for its user: set new_message, or call add_user_message(), and run it again")


class NoStructuredOutput(RunError):
    """A structured output was asked for and the reply holds none that is valid. The reply is saved in the history."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"the reply is no valid {name!r}: {reason}")


class RequestTooLarge(RunError):
    """A request asks for more tokens than the limit allows in one minute; waiting would never help."""

    def __init__(self, needed: int, limit: int, what: str) -> None:
        self.needed, self.limit, self.what = needed, limit, what
        super().__init__(f"the request needs about {needed} {what} and the limit is {limit} per minute: shorten it or raise the limit")


class TurnsExhausted(RunError):
    """A thread still wanted to go on after the largest number of model calls."""

    def __init__(self, max_turns: int) -> None:
        self.max_turns = max_turns
        super().__init__(f"the thread was not done after {max_turns} model calls: raise max_turns, or run it again to go on")


class InvalidRunFile(RunError):
    """A run file or a prompt file is not valid."""

    def __init__(self, path: str, reason: str, line: int | None = None) -> None:
        self.path, self.reason, self.line = path, reason, line
        super().__init__(f"{path}{f':{line}' if line else ''}: {reason}")
