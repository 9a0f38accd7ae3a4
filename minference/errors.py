"""Every exception that minference raises on purpose, in one tree.

MinferenceError
├── ConfigurationError          the caller's settings: fix them and call again
│   ├── UnknownClient
│   ├── ImpossibleConfig
│   ├── ReservedToolName
│   ├── UnsendableText
│   ├── UnsupportedAttachment
│   ├── MissingKey
│   ├── UnknownThread
│   ├── RepeatedToolName
│   ├── UnknownPrice
│   ├── UnwritableFile
│   ├── UnknownChoice
│   ├── UnknownOption
│   ├── InvalidRunName
│   ├── QueueNeedsPostgres
│   ├── WrongArgument
│   ├── UnusableValue
│   ├── UnusableText
│   ├── AlreadyOpen
│   └── MissingExtra
├── EntityError                 how an entity is defined or used
│   ├── UnsupportedField
│   ├── MisplacedMark
│   ├── NoEmptyValue
│   ├── UntraceableFunction
│   ├── UnsupportedConfig
│   ├── DuplicateKind
│   ├── RedefinedClass
│   ├── InvalidEvolution
│   ├── FrozenSnapshot
│   ├── OpaqueVersion
│   ├── DifferentClasses
│   ├── NoSuchCollection
│   ├── NoPlainField
│   ├── ValueWithoutName
│   ├── UnfitValue
│   ├── NotLoaded
│   ├── UnrelatedVersions
│   ├── UnsavedChanges
│   ├── TableMismatch
│   ├── IncompleteRow
│   ├── NoSuchField
│   ├── BlobNotLoaded
│   ├── UnusableAttachment
│   └── NoStorage
├── StorageError                what the database says
│   ├── VersionNotFound
│   ├── NothingYet
│   ├── TimeWithoutZone
│   ├── BlobNotFound
│   ├── TagNotFound
│   ├── TagTaken
│   ├── RunNotFound
│   ├── RunBusy
│   ├── QueueFailed
│   ├── InvalidTagName
│   ├── WrongEntityType
│   ├── StaleVersion
│   ├── VersionExists
│   ├── ErasedLineage
│   ├── LineageNotFound
│   ├── StorageClosed
│   ├── WrongEventLoop
│   ├── StillPending
│   ├── DatabaseUnreadable
│   ├── DatabaseGone
│   ├── ForeignDatabase
│   ├── NewerDatabase
│   ├── OutdatedDatabase
│   ├── OutdatedTables
│   ├── UnknownKind
│   ├── NewerSchema
│   ├── UnknownStoredField
│   ├── UnreadableVersion
│   ├── UnstorableValue
│   ├── ConversionFailed        a table's own conversion of values
│   │   └── LossyConversion
│   ├── ReadOnlySession
│   ├── InvalidExport
│   ├── ReadFailed
│   └── WriteFailed
├── ProviderError               what a model provider did (see the attributes)
│   ├── ProviderUnreachable
│   ├── ProviderTimeout
│   ├── ProviderRefused         an HTTP status of 4xx or 5xx
│   ├── ProviderPaused          it wants to be left alone for too long
│   └── InvalidReply            an answer that is not what the provider promises
├── ToolError                   a tool or what the model passed to it
│   ├── UnknownTool
│   ├── NotThisStep
│   ├── UnregisteredTool
│   ├── ToolNameTaken
│   ├── UnusableFunction
│   ├── InvalidSource
│   ├── SourceRefused
│   ├── SandboxDied
│   ├── InvalidToolSchema
│   ├── InvalidToolArguments
│   ├── UnresolvedReference
│   ├── RepeatedCall
│   ├── InvalidToolResult
│   ├── ToolTimedOut
│   ├── ToolRaised
│   ├── McpUnavailable
│   ├── McpToolFailed
│   ├── McpConnectionLost
│   └── ToolInterrupted
└── RunError                    a run as a whole
    ├── OrchestratorClosed
    ├── ThreadBusy
    ├── NothingToAnswer
    ├── NoStructuredOutput
    ├── StepNotCalled
    ├── RequestTooLarge
    ├── TurnsExhausted
    ├── RequestNotRebuilt
    ├── DeadlineExceeded
    ├── BudgetExceeded
    ├── SharedLimitsUnavailable
    ├── ThreadsElsewhere
    ├── ClaimsLost
    ├── NotAWorkflow
    └── InvalidRunFile
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from minference.usage import TokenUsage


def a_while(seconds: float) -> str:
    """A time for a message: long ones in whole seconds."""
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def legible(text: str) -> str:
    """The text, which may quote anybody, so that it can be printed and stored anywhere: NUL and halves of surrogate pairs as escapes."""
    return text.replace("\0", "\\x00").encode(errors="backslashreplace").decode()


class MinferenceError(Exception):
    """Base of everything that minference raises on purpose. Its message can be printed, whatever it quotes."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(legible(each) if isinstance(each, str) else each for each in args))


class ConfigurationError(MinferenceError):
    """A setting that the caller gave cannot be used; nothing was sent or stored."""


class UnknownClient(ConfigurationError):
    """No client or profile has this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        from difflib import get_close_matches

        self.name, self.known = name, tuple(known)
        close = get_close_matches(name, known, 1, 0.7)
        meant = f"did you mean {close[0]!r}? The clients are" if close else "use one of"
        super().__init__(f"no client is called {name!r}: {meant} {', '.join(known)}, or add a profile to providers.toml")


class ImpossibleConfig(ConfigurationError):
    """A config asks a client for what it cannot do; nothing was sent."""

    def __init__(self, client: str, field: str, value: str, remedy: str) -> None:
        self.client, self.field, self.value, self.remedy = client, field, value, remedy
        super().__init__(f"client {client!r} cannot do {field} {value!r}: {remedy}")


class ReservedToolName(ConfigurationError):
    """A tool has the name of one that clients make up themselves; nothing was sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"a tool cannot be called {name!r}: clients that must ask for an answer as a tool call use it; rename the tool")


class UnsendableText(ConfigurationError):
    """A thread holds what is no Unicode text; nothing was sent."""

    def __init__(self, around: str) -> None:
        self.around = around
        super().__init__(f"the thread holds half of a surrogate pair, which no provider takes, at {around!a}: replace it in the text")


class UnsupportedAttachment(ConfigurationError):
    """A message carries what its client cannot send; nothing was sent."""

    def __init__(self, client: str, name: str, media_type: str, reason: str) -> None:
        self.client, self.name, self.media_type, self.reason = client, name, media_type, reason
        super().__init__(f"client {client!r} cannot send {name!r} ({media_type}): {reason}")


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


class RepeatedToolName(ConfigurationError, ValueError):
    """A thread has two tools of one name; nothing was sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"two different tools of the thread are called {name!r}, so a call could mean either: rename one of them")


class UnknownPrice(ConfigurationError, LookupError):
    """There is a limit in dollars for calls whose price nobody knows; nothing was sent."""

    def __init__(self, client: str, model: str) -> None:
        self.client, self.model = client, model
        super().__init__(
            f"max_cost cannot be kept, because the price of {client}/{model} is unknown: pass "
            f"prices={{'{client}/{model}': Price(input=..., output=...)}} to the orchestrator, or limit max_tokens instead"
        )


class UnwritableFile(ConfigurationError):
    """A file cannot be written; it is as it was."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"cannot write {path!r}: {reason}")


class UnknownChoice(ConfigurationError, ValueError):
    """An argument that takes one of a few values has another one; nothing was done."""

    def __init__(self, argument: str, value: object, choices: Sequence[str]) -> None:
        self.argument, self.value, self.choices = argument, value, tuple(choices)
        super().__init__(f"{argument} cannot be {value!r:.100}: use {' or '.join(map(repr, choices))}")


class UnknownOption(ConfigurationError, TypeError):
    """A keyword argument has a name that nothing is called by; nothing was done."""

    def __init__(self, option: str, known: Sequence[str]) -> None:
        from difflib import get_close_matches

        self.option, self.known = option, tuple(known)
        close = get_close_matches(option, known, 1)
        meant = f"did you mean {close[0]!r}? There are" if close else "there are"
        super().__init__(f"there is no option {option!r}: {meant} {', '.join(known)}")


class InvalidRunName(ConfigurationError, ValueError):
    """This cannot name a run; nothing was sent or saved."""

    def __init__(self, name: object) -> None:
        self.name = name
        super().__init__(f"{name!r:.100} cannot be a run_id: use a text of 1 to 200 printable characters without blanks at the ends")


class QueueNeedsPostgres(ConfigurationError):
    """Workers share a PostgreSQL database, and this is none."""

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(
            f"workers and their queue need PostgreSQL, and {url} is none: pass postgresql://user@host/database, or run the threads in "
            "one process, without a queue"
        )


class WrongArgument(ConfigurationError, TypeError):
    """An argument is of a type that a function does not take; nothing was done."""

    def __init__(self, argument: str, value: object, wanted: str) -> None:
        self.argument, self.value, self.wanted = argument, value, wanted
        super().__init__(f"{argument} must be {wanted}, and is {value!r:.100}, of type {type(value).__name__}")


class UnusableValue(ConfigurationError, ValueError):
    """An argument has a value with which nothing could be done, such as a number that is too small; nothing was done."""

    def __init__(self, argument: str, value: object, why: str) -> None:
        self.argument, self.value, self.why = argument, value, why
        super().__init__(f"{argument} is {value!r:.100}: {why}")


class UnusableText(ConfigurationError, ValueError):
    """A text that is kept beside versions holds what not every database can; nothing was done."""

    def __init__(self, argument: str, text: str, what: str) -> None:
        self.argument, self.text, self.what = argument, text, what
        super().__init__(f"{argument} cannot be {text!a:.100}: it holds {what}, which not every database keeps; take it out")


class AlreadyOpen(ConfigurationError, RuntimeError):
    """What is open is entered again; it stays open for whoever entered it first."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(
            f"{what} is open already, and whoever left it first would close it for all: enter it once, around everything that uses it, "
            "and hand it on; or make another object"
        )


class MissingExtra(ConfigurationError, ImportError):
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


class MisplacedMark(EntityError, TypeError):
    """A field is marked with what should happen to it at an erasure, and the mark is not for such a field."""

    def __init__(self, owner: str, field: str, annotation: object, mark: str, wanted: str) -> None:
        self.owner, self.field, self.annotation, self.mark = owner, field, annotation, mark
        super().__init__(f"{owner}.{field}: {annotation} is marked {mark}, which is for fields of {wanted}: take the mark away")


class NoEmptyValue(EntityError, TypeError):
    """An entity class does not say what becomes of a field when a version is erased; nothing was erased."""

    def __init__(self, owner: str, field: str, reason: str) -> None:
        self.owner, self.field, self.reason = owner, field, reason
        super().__init__(f"{owner} cannot be erased: {field!r} {reason}: define the classmethod {owner}.erased_values")


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


class RedefinedClass(EntityError, TypeError):
    """An object that is to be saved is of a class that is no longer the one of its kind, and that has other fields; nothing was changed."""

    def __init__(self, kind: str, name: str, fields: Sequence[str]) -> None:
        self.kind, self.name = kind, name
        self.fields = fields
        """Those that only one of both classes has, or that are otherwise in one than in the other. None, if only `version=` differs."""
        what = ", ".join(map(repr, fields)) or "its version"
        super().__init__(
            f"this object is of a class {name} that was defined again since, and differs in {what}: make it anew with the new class, "
            f"or load it again, which gives one of that. If both are needed, give one another kind than {kind!r}: "
            f"class {name}(Entity, kind=...)"
        )


class InvalidEvolution(EntityError, TypeError):
    """What a class says of its earlier shapes contradicts itself."""

    def __init__(self, entity: str, problem: str) -> None:
        self.entity, self.problem = entity, problem
        super().__init__(f"{entity}: {problem}")


class FrozenSnapshot(EntityError, AttributeError):
    """A cold snapshot was written to."""

    def __init__(self, kind: str, ecs_id: UUID, name: str) -> None:
        self.kind, self.ecs_id, self.name_ = kind, ecs_id, name
        super().__init__(f"{kind} {ecs_id} is a cold snapshot, {name!r} cannot change: load a warm copy with `await {kind}.get(ecs_id)`")


class OpaqueVersion(EntityError, AttributeError):
    """An entity of a kind that the program has not defined can be held and handed on, and nothing else."""

    def __init__(self, kind: str, ecs_id: UUID, name: str, use: str) -> None:
        self.kind, self.ecs_id, self.name_ = kind, ecs_id, name
        super().__init__(
            f"{ecs_id} is of kind {kind!r}, which no class of this program is stored as, {use}: "
            "import the module that defines it and load again"
        )


class TableMismatch(EntityError, TypeError):
    """A table and the entity class that it is to hold do not fit together."""

    def __init__(self, table: str, entity: str, problems: Sequence[str]) -> None:
        self.table, self.entity, self.problems = table, entity, tuple(problems)
        super().__init__(f"{table} does not hold {entity}: {'; '.join(problems)}")


class IncompleteRow(EntityError, TypeError):
    """A row alone does not make a whole entity: of what other rows hold it has the keys only."""

    def __init__(self, kind: str, version: UUID | None, missing: Sequence[str]) -> None:
        self.kind, self.version, self.missing = kind, version, tuple(missing)
        passed = ", ".join(f"{name}=..." for name in missing)
        whole = f", or load version {version} whole with `get`" if version is not None else ""
        super().__init__(f"the row of a {kind} does not hold {', '.join(map(repr, missing))}: pass to_entity({passed}){whole}")


class NoSuchField(EntityError, TypeError):
    """An entity class has no field of this name."""

    def __init__(self, kind: str, field: str, fields: Sequence[str]) -> None:
        self.kind, self.field, self.fields = kind, field, tuple(fields)
        super().__init__(f"{kind} has no field {field!r}: it has {', '.join(map(repr, fields))}")


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


class NoPlainField(EntityError, LookupError):
    """An entity class has no field with a plain value of this name."""

    def __init__(self, kind: str, field: str, fields: Sequence[str]) -> None:
        self.kind, self.field, self.fields = kind, field, tuple(fields)
        super().__init__(f"{kind} has no field {field!r} with a plain value: it has {', '.join(map(repr, fields)) or 'none'}")


class ValueWithoutName(EntityError, TypeError):
    """An entity was to be made of values that do not say which fields they are for."""

    def __init__(self, kind: str, values: int, fields: Sequence[str]) -> None:
        self.kind, self.values, self.fields = kind, values, tuple(fields)
        passed = ", ".join(f"{name}=..." for name in fields[:values])
        count = "one was passed" if values == 1 else f"{values} were passed"
        super().__init__(
            f"{kind} takes values by the names of its fields, and {count} without: write {kind}({passed}). "
            f"Its fields are {', '.join(fields) or 'none'}"
        )


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


class BlobNotLoaded(EntityError, LookupError):
    """The bytes of a blob are not in memory."""

    def __init__(self, sha256: str, size: int) -> None:
        self.sha256, self.size = sha256, size
        super().__init__(
            f"the {size:,} bytes of blob {sha256[:12]}… are not in memory: `await blob.read()` gives them, "
            "and `await storage.load_blobs(entity)` puts those of a whole thread at hand"
        )


class UnusableAttachment(EntityError, ValueError):
    """These bytes cannot be attached as what they are said to be."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"{name!r} cannot be attached: {reason}")


class NoStorage(EntityError):
    """An operation needs a current storage and none is open in this context."""

    def __init__(self) -> None:
        super().__init__(
            "no storage is current here: enter `async with open_storage(...)`, or call `EntityRegistry.use_storage(storage)` in the same "
            "task; in a console, where each line is a task, ask the storage itself: `await storage.get(ChatThread, ecs_id)`"
        )


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


class BlobNotFound(StorageError, LookupError):
    """The bytes of a blob are not stored here; what needs them was not written."""

    def __init__(self, sha256: str, size: int | None = None) -> None:
        self.sha256, self.size = sha256, size
        counted = f" ({size:,} bytes)" if size is not None else ""
        super().__init__(
            f"blob {sha256}{counted} is not stored here, and its bytes are not in memory: "
            "fetch them from where it came from with load_blobs(), or make it anew with Blob.of(data)"
        )


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


class RunNotFound(StorageError, LookupError):
    """No run has this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name, self.known = name, tuple(known)
        here = f"the runs here are {', '.join(map(repr, known))}" if known else "there are no runs here"
        super().__init__(f"no run is called {name!r}: {here}")


class RunBusy(StorageError):
    """Another process works on the run; nothing was sent."""

    def __init__(self, name: str, holder: str, held_until: datetime) -> None:
        self.name, self.holder, self.held_until = name, holder, held_until
        super().__init__(
            f"run {name!r} is being worked on by {holder!r}, which keeps others out until {held_until:%H:%M:%S} UTC, and longer while "
            "it lives: wait for it, or end it first"
        )


class QueueFailed(StorageError):
    """The work queue in the database cannot be used, or stopped; threads are as they were saved."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the work queue cannot be used: {reason}")


class InvalidTagName(StorageError, ValueError):
    """This text cannot name a version."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name!r:.100} cannot be a tag: use 1 to 200 printable characters without blanks at the ends")


class WrongEntityType(StorageError, TypeError):
    """The version exists, and is of another class than the one asked for."""

    def __init__(self, ecs_id: UUID, wanted: str, found: str, *, defined: bool = True) -> None:
        self.ecs_id, self.wanted, self.found, self.defined = ecs_id, wanted, found, defined
        super().__init__(
            f"version {ecs_id} is a {found}, not a {wanted}: use `await {found}.get(...)` or `await Entity.get(...)`"
            if defined
            else f"version {ecs_id} is no {wanted} but of the kind {found!r}, which this program does not define: import the module that "
            "does, or run newer code if the class was renamed since; `await Entity.get(...)` gives the version as it is"
        )


class StaleVersion(StorageError):
    """Another writer moved this lineage first; nothing was written."""

    def __init__(self, lineage_id: UUID, base: UUID, head: UUID | None) -> None:
        self.lineage_id, self.base, self.head = lineage_id, base, head
        to = f"to {head}" if head else "already"
        super().__init__(
            f"lineage {lineage_id} has moved on from {base} {to}: call rebase() of what was to be saved (of a thread with "
            "strategy='append', which keeps what both added), look at the conflicts that it returns, where saving would undo the other's "
            "change, and save again; or save with on_conflict='branch'"
        )


class VersionExists(StorageError):
    """An object that was never loaded from here carries the id of a stored version."""

    def __init__(self, ecs_id: UUID) -> None:
        self.ecs_id = ecs_id
        super().__init__(
            f"version {ecs_id} is stored already and cannot be written again: load it with get(), or make a copy with a new id"
        )


class ErasedLineage(StorageError):
    """A new version of what was erased is refused, so that its content does not come back; nothing was written."""

    def __init__(self, lineage_id: UUID) -> None:
        self.lineage_id = lineage_id
        super().__init__(
            f"lineage {lineage_id} was erased and takes no new versions; nothing was saved. Load again what holds it, "
            "or put a new object in its place"
        )


class LineageNotFound(StorageError, LookupError):
    """No stored lineage has this id."""

    def __init__(self, lineage_id: UUID, hint: str = "") -> None:
        self.lineage_id = lineage_id
        super().__init__(f"no lineage {lineage_id} is stored here{': ' + hint if hint else ''}")


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


class DatabaseGone(StorageError):
    """The file of a database lost its name while it was open; what was saved meanwhile is not under that name."""

    def __init__(self, url: str, path: str) -> None:
        self.url, self.path = url, path
        super().__init__(
            f"the database {url} was lost: its file was deleted, moved or replaced while it was open, so that what was saved is not in "
            f"{path!r}. If the file was moved, move {path + '-wal'!r} to it as well before anything opens either; otherwise save it again"
        )


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


class OutdatedTables(DatabaseUnreadable):
    """Tables that the application declares have not the columns that its classes need."""

    def __init__(self, url: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(url, "; ".join(problems))


class UnknownKind(StorageError):
    """A stored version is of a class that the program has not defined, and where it is stored is not known without that."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(
            f"no entity class is stored as {kind!r} in this program, and its versions are in a table of its own: "
            "import the modules that define the class and the table before loading"
        )


class NewerSchema(StorageError):
    """A version was written by newer code than this program's, whose shape it cannot know."""

    def __init__(self, kind: str, ecs_id: UUID, stored: int, known: int) -> None:
        self.kind, self.ecs_id, self.stored, self.known = kind, ecs_id, stored, known
        super().__init__(
            f"version {ecs_id} of {kind} was written in schema version {stored}, and the class of this program is in {known}: "
            "run the program's newer code"
        )


class UnknownStoredField(StorageError):
    """A stored version has fields that its class does not know."""

    def __init__(self, kind: str, ecs_id: UUID | None, fields: Sequence[str]) -> None:
        self.kind, self.ecs_id, self.fields = kind, ecs_id, tuple(fields)
        names, first = ", ".join(map(repr, fields)), fields[0]
        super().__init__(
            f"{_version(ecs_id)} of {kind} holds {names}, which the class has not, or holds otherwise. If newer code wrote it, run that. "
            f"Else say what became of it: class ...(Entity, renamed={{{first!r}: ...}}), removed=({first!r},), or an upgrade hook; "
            "`storage.get_stored` shows it as it is"
        )


class UnreadableVersion(StorageError):
    """What is stored does not fit its class."""

    def __init__(self, kind: str, ecs_id: UUID | None, field: str | None, reason: str) -> None:
        self.kind, self.ecs_id, self.field, self.reason = kind, ecs_id, field, reason
        where = f"field {field!r}: " if field is not None else ""
        super().__init__(
            f"{_version(ecs_id)} of {kind} does not fit its class: {where}{reason}. Let the class accept it, give the class a higher "
            "version and an upgrade hook, or look at it with `storage.get_stored`"
        )


def _version(ecs_id: UUID | None) -> str:
    """A row that a program has made itself is of no version yet."""
    return f"version {ecs_id}" if ecs_id is not None else "a row"


class UnstorableValue(StorageError, ValueError):
    """A field holds what cannot be stored so that it reads back the same; nothing was written."""

    def __init__(self, kind: str, field: str, reason: str) -> None:
        self.kind, self.field, self.reason = kind, field, reason
        super().__init__(f"field {field!r} of {kind} cannot be stored: {reason}; assign a value of the annotated type")


class ConversionFailed(StorageError, ValueError):
    """A table's own conversion could not make a row of an entity; nothing was written."""

    def __init__(self, table: str, kind: str, reason: str) -> None:
        self.table, self.kind, self.reason = table, kind, reason
        super().__init__(f"{table} cannot store a {kind}: {reason}. Nothing was written; the object still holds its changes")


class LossyConversion(ConversionFailed):
    """A table's own conversion gives back another value than it was given; nothing was written."""

    def __init__(self, table: str, kind: str, field: str, value: object, given_back: object) -> None:
        self.field, self.value, self.given_back = field, value, given_back
        super().__init__(table, kind, f"field {field!r} is {value!r:.200} and would be read back as {given_back!r:.200}")


class ReadOnlySession(StorageError):
    """A statement would write, in a session that only reads; it changed nothing."""

    def __init__(self, statement: str) -> None:
        self.statement = statement
        super().__init__(f"storage.sql() only reads, and this would write: {statement:.200}. Change entities and register them instead")


class InvalidExport(StorageError, ValueError):
    """A line to be imported is not what an export holds; nothing of it was written."""

    def __init__(self, line: int, reason: str) -> None:
        self.line, self.reason = line, reason
        super().__init__(f"line {line} cannot be imported: {reason}")


_DAMAGED = (
    "It is damaged, so that trying again does not help: restore a backup. `minference db check` says what is wrong, "
    "and `minference threads export` gives those threads that can still be read"
)


class WriteFailed(StorageError):
    """The database refused a commit; the objects are as they were, and saving again is possible."""

    def __init__(self, reason: str, *, away: bool = False, damaged: bool = False) -> None:
        self.reason = reason
        self.away = away
        """Whether it was busy or not reachable for so long that whoever else writes now would wait in vain as well."""
        self.damaged = damaged
        """Whether what is stored is damaged, so that saving there again would fail again."""
        more = f". {_DAMAGED}" if damaged else ""
        super().__init__(f"the database refused the commit: {reason}. Nothing of it was written; the objects still hold the changes{more}")


class ReadFailed(StorageError):
    """The database did not answer a question."""

    def __init__(self, reason: str, *, retryable: bool = False, damaged: bool = False) -> None:
        self.reason = reason
        self.retryable = retryable
        """Whether the same question can be answered later."""
        self.damaged = damaged
        """Whether what is stored is damaged, so that only a backup helps."""
        more = "; asking again is safe" if retryable else f". {_DAMAGED}" if damaged else ""
        super().__init__(f"the database could not be read: {reason}. Nothing was changed{more}")


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
        headers: Mapping[str, str] | None = None,
        usage: TokenUsage | None = None,
        broke_off: bool = False,
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
        self.headers = dict(headers or {})
        """Those headers of the answer that tell of limits; lower-case names."""
        self.usage = usage
        """What the provider had counted for it, and wants to be paid for; `None` if it did not say."""
        self.broke_off = broke_off
        """Whether a reply was on its way, so that more was used than was counted by then."""
        super().__init__(f"{client}: {message}")


class ProviderUnreachable(ProviderError):
    """No connection, or it broke before the whole reply was here."""


class ProviderTimeout(ProviderError):
    """No whole reply within the timeout."""


class ProviderRefused(ProviderError):
    """The provider answered with an error status."""


class ProviderPaused(ProviderError):
    """The provider wants to be left alone for longer than a call may wait; nothing was sent."""

    def __init__(self, client: str, model: str, seconds: float, patience: float) -> None:
        self.model, self.seconds, self.patience = model, seconds, patience
        super().__init__(
            client,
            f"wants no calls of {model!r} for {a_while(seconds)}, and a call may wait {a_while(patience)} for that: run the thread again "
            "later, name a fallback, or raise RetryPolicy.max_seconds",
            status=429,
            retry_after=seconds,
        )


class InvalidReply(ProviderError):
    """The provider answered with success and something that is no valid reply."""


class ToolError(MinferenceError):
    """A tool cannot be defined, or a call of it did not give a result."""


class UnknownTool(ToolError):
    """The model called a tool that the thread does not offer."""

    def __init__(self, name: str, offered: Sequence[str]) -> None:
        self.name, self.offered = name, tuple(offered)
        super().__init__(f"there is no tool {name!r}; the tools are: {', '.join(offered) or 'none'}")


class NotThisStep(ToolError):
    """The model called another tool than that of the step which a workflow is at; it was not run."""

    def __init__(self, name: str, wanted: str) -> None:
        self.name, self.wanted = name, wanted
        super().__init__(f"this call of tool {name!r} was not run, because it is not its turn: call {wanted!r} now, and nothing else")


class UnregisteredTool(ToolError, LookupError):
    """The tool is known, and this process has no function for it."""

    def __init__(self, name: str, registered: Sequence[str]) -> None:
        self.name, self.registered = name, tuple(registered)
        super().__init__(
            f"no function is registered for tool {name!r} in this process (registered: {', '.join(registered) or 'none'}): "
            f"import the module that calls CallableTool.from_callable, or call CallableRegistry.register({name!r}, function)"
        )


class ToolNameTaken(ToolError):
    """Another function is registered under this tool name, which stands for one function in the whole process."""

    def __init__(self, name: str, holder: str, remedy: str) -> None:
        self.name, self.holder = name, holder
        super().__init__(f"tool name {name!r} belongs to {holder}: {remedy}")


class UnusableFunction(ToolError, TypeError):
    """No schema can be derived from this function."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"function {name!r} cannot be a tool: {reason}")


class InvalidSource(ToolError, ValueError):
    """A program text cannot be a tool; nothing of it was executed."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"source {name!r} cannot be a tool: {reason}")


class SourceRefused(ToolError):
    """A tool is source text, and the application has not said that such text may run; nothing of it was executed."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"tool {name!r} is source text and was not run: pass source_tools='sandbox' to the orchestrator to run such tools "
            "without access to anything, or call tool.trust() after reading this one"
        )


class SandboxDied(ToolError):
    """The process in which source text ran has ended; no other call was in it."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"the sandbox of tool {name!r} ended before there was a result: {reason}")


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


class UnresolvedReference(ToolError, LookupError):
    """An argument refers to something that is not stored, or not there."""

    def __init__(self, name: str, reference: str, reason: str) -> None:
        self.name, self.reference, self.reason = name, reference, reason
        super().__init__(f"tool {name!r} was not run, because its argument {reference!r:.200} leads nowhere: {reason}")


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


class McpUnavailable(ToolError):
    """An MCP server does not offer its tools."""

    def __init__(self, server: str, reason: str) -> None:
        self.server, self.reason = server, reason
        super().__init__(f"MCP server {server!r} cannot be used: {reason}")


class McpToolFailed(ToolError):
    """A tool of an MCP server did not do what it was asked to; the message is the server's."""

    def __init__(self, name: str, server: str, message: str) -> None:
        self.name, self.server, self.message = name, server, message
        super().__init__(f"tool {name!r} failed: {message}")


class McpConnectionLost(ToolError):
    """The connection to an MCP server ended before there was a result."""

    def __init__(self, name: str, server: str) -> None:
        self.name, self.server = name, server
        super().__init__(f"tool {name!r} gave no result, because the connection to MCP server {server!r} ended; it may have had an effect")


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
    """The orchestrator is not open, or was closed in the middle of a call."""

    def __init__(self, *, midway: bool = False) -> None:
        self.midway = midway
        closed = "the orchestrator was closed meanwhile; what was answered is saved: run the thread again to go on"
        unopened = "the orchestrator is not open: use it inside `async with InferenceOrchestrator(...) as orchestrator:`"
        super().__init__(closed if midway else unopened)


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


class StepNotCalled(RunError):
    """The model did not call the tool of the step which a workflow is at, however often it was asked. Its replies are saved."""

    def __init__(self, name: str, step: int, steps: int, reason: str, *, final: bool = False) -> None:
        self.name, self.step, self.steps, self.reason = name, step, steps, reason
        self.final = final
        """Whether running the thread again asks nobody: the model has refused."""
        remedy = "" if final else ". Run the thread again to ask once more"
        super().__init__(f"step {step} of {steps}, tool {name!r}, was not called: {reason}{remedy}")


class RequestNotRebuilt(RunError):
    """The request behind a raw output cannot be made again as it was sent."""

    def __init__(self, raw_output: UUID, thread_version: UUID, reason: str) -> None:
        self.raw_output, self.thread_version, self.reason = raw_output, thread_version, reason
        super().__init__(f"the request of raw output {raw_output} cannot be rebuilt from thread version {thread_version}: {reason}")


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


class DeadlineExceeded(RunError):
    """A run or a thread in it was not done in time. What was answered is saved."""

    def __init__(self, of: str, seconds: float) -> None:
        self.of, self.seconds = of, seconds
        super().__init__(f"the {of} was not done within {seconds:g} s: run it again to go on from what is saved, or allow more time")


class BudgetExceeded(RunError):
    """The next call would spend more than is allowed; it was not made. What was answered before is saved."""

    def __init__(self, what: str, spent: float, needed: float, limit: float) -> None:
        self.what, self.spent, self.needed, self.limit = what, spent, needed, limit
        super().__init__(
            f"the budget of {limit:,.10g} {what} does not allow the next call: {spent:,.10g} are spent, and it may take {needed:,.10g}. "
            "Raise it and run the thread again to go on"
        )


class SharedLimitsUnavailable(RunError):
    """The limits that processes share cannot be reached, so that no call can be made within them."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the limits shared through Redis cannot be reached ({reason}): run the thread again when it is back")


class ThreadsElsewhere(RunError):
    """Other workers are at some threads of a job, which is done again later."""

    def __init__(self, run: str, threads: Sequence[UUID]) -> None:
        self.run, self.threads = run, tuple(threads)
        super().__init__(f"another worker is at {len(threads)} of the threads of a job of run {run!r}: the job is done again later")


class ClaimsLost(RunError):
    """The connection is gone that kept other workers from the threads of a job; what was answered is saved."""

    def __init__(self, run: str, reason: str) -> None:
        self.run, self.reason = run, reason
        super().__init__(f"the connection that claims the threads of a job of run {run!r} is gone ({reason}): the job is done again later")


class NotAWorkflow(RunError):
    """A thread whose steps are to be forced, one tool after the other, does not say so; nothing was sent."""

    def __init__(self, ecs_id: UUID, reason: str) -> None:
        self.ecs_id, self.reason = ecs_id, reason
        super().__init__(f"thread {ecs_id} is no workflow: {reason}")


class InvalidRunFile(RunError):
    """A run file or a prompt file is not valid."""

    def __init__(self, path: str, reason: str, line: int | None = None) -> None:
        self.path, self.reason, self.line = path, reason, line
        super().__init__(f"{path}{f':{line}' if line else ''}: {reason}")
