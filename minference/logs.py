"""Logs: where they go, as what, and the context in which each line was written. Silent until `configure` is called."""

from __future__ import annotations

import json as json_text
import logging
import logging.handlers
import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TextIO
from uuid import UUID

from minference.errors import ConfigurationError, UnknownChoice, UnwritableFile, WrongArgument

if sys.platform != "win32":
    import fcntl

__all__ = ["Context", "ContextFilter", "configure", "context", "current", "silence"]

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_LOGGER = logging.getLogger("minference")
_PREFIX = "chat_"
"""Before the names of the context on a record: `thread` there is the one of the operating system."""
_STANDARD = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})


class Context(NamedTuple):
    """What is being worked on."""

    thread: UUID | None = None
    """Its lineage."""
    version: UUID | None = None
    """The version of the thread from which this step began."""
    run: str | None = None
    """The name of the run, if it has one."""
    attempt: int | None = None
    """Of one call of a model; 1 for the first."""


_OUTSIDE = Context()
_CONTEXT: ContextVar[Context] = ContextVar("minference_log_context", default=_OUTSIDE)


def current() -> Context:
    """The context of the task or thread that asks."""
    return _CONTEXT.get()


def context(**fields: Any) -> AbstractContextManager[None]:
    """Everything logged inside says this too. Tasks and tools that are started inside keep it."""
    return _Inside(fields)


class _Inside:
    __slots__ = ("_fields", "_token")

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def __enter__(self) -> None:
        says_all = len(self._fields) == len(Context._fields)
        self._token = _CONTEXT.set(Context(**self._fields) if says_all else _CONTEXT.get()._replace(**self._fields))

    def __exit__(self, *exc_info: object) -> None:
        _CONTEXT.reset(self._token)


class ContextFilter(logging.Filter):
    """Puts the context on records, for handlers and formats of your own: `chat_thread`, `chat_version`, `chat_run`, `chat_attempt`.

    Each is text, and empty if there is none. Add it to a handler, not to a logger: a logger does not ask its filters about the
    records of those below it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        for name, value in current()._asdict().items():
            setattr(record, _PREFIX + name, "" if value is None else str(value))
        return True


def configure(
    *,
    level: str | int = "INFO",
    file: str | os.PathLike[str] | None = None,
    json: bool | None = None,
    max_bytes: int = 10 * 2**20,
    backups: int = 5,
) -> None:
    """Write what minference logs to a file, or to standard error. Called again, it replaces what it did before, and nothing else.

    Args:
        level: The least that is written: a name or number of `logging`.
        file: It is appended to, by several processes if need be. `None` for standard error.
        json: One JSON object per line, or text for people; `None`: JSON in a file, text on standard error.
        max_bytes: The size at which a file becomes `file.1`, and a new one begins; 0 for never.
        backups: How many old files are kept.

    Raises:
        UnknownChoice: There is no such level.
        WrongArgument: An argument has the wrong type.
        ConfigurationError: A number is negative, or files would grow for ever because none is kept.
        UnwritableFile: The file cannot be opened.
    """
    number = _level(level)
    _check(json, max_bytes, backups)
    as_json = file is not None if json is None else json
    handler = _Console() if file is None else _opened(file, max_bytes, backups)
    handler.setFormatter(_JsonLines() if as_json else _Text())
    handler.addFilter(ContextFilter())
    silence()
    handler.level_before = _LOGGER.level
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(number)


def silence() -> None:
    """Undo `configure`: its file is closed, and the level is what it was. Handlers of the application stay."""
    for handler in _LOGGER.handlers[:]:
        if isinstance(handler, _Console | _Rotating):
            _LOGGER.removeHandler(handler)
            handler.close()
            _LOGGER.setLevel(handler.level_before)


def _level(level: str | int) -> int:
    if isinstance(level, bool) or not isinstance(level, str | int):
        raise WrongArgument("level", level, "a name like 'INFO', or a number")
    if isinstance(level, int):
        return level
    if level.upper() not in LEVELS:
        raise UnknownChoice("level", level, LEVELS)
    number: int = getattr(logging, level.upper())
    return number


def _check(json: object, max_bytes: object, backups: object) -> None:
    if json is not None and not isinstance(json, bool):
        raise WrongArgument("json", json, "True, False or None")
    for name, value in (("max_bytes", max_bytes), ("backups", backups)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise WrongArgument(name, value, "a whole number")
        if value < 0:
            raise ConfigurationError(f"{name} is {value}: it cannot be less than 0")
    if max_bytes and not backups:
        raise ConfigurationError(f"a file that begins anew at max_bytes={max_bytes} needs backups=1 or more; max_bytes=0 lets it grow")


def _opened(file: str | os.PathLike[str], max_bytes: int, backups: int) -> _Rotating:
    if not isinstance(file, str | os.PathLike):
        raise WrongArgument("file", file, "a path")
    try:
        return _Rotating(Path(file), maxBytes=max_bytes, backupCount=backups, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UnwritableFile(os.fspath(file), error.strerror or str(error)) from error


class _Console(logging.StreamHandler[TextIO]):
    """Standard error as it is at the moment: notebooks and progress bars put something of their own there."""

    level_before = logging.NOTSET
    """Of the logger, before it was configured."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # an attribute in the base class, set only by its constructor
        return sys.stderr


class _Rotating(logging.handlers.RotatingFileHandler):
    """A file that begins anew at its size, also while several processes write it."""

    level_before = logging.NOTSET
    """Of the logger, before it was configured."""

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 - the name that logging calls
        if not self._is_current():
            self._reopen()  # another process has begun a new one
        return bool(super().shouldRollover(record))

    def doRollover(self) -> None:  # noqa: N802 - the name that logging calls
        try:
            lock = os.open(self.baseFilename, os.O_RDONLY)
        except FileNotFoundError:
            return self._reopen()
        try:
            if sys.platform != "win32":
                fcntl.flock(lock, fcntl.LOCK_EX)
            if self._is_current():
                super().doRollover()
            else:
                self._reopen()
        finally:
            os.close(lock)
        return None

    def _is_current(self) -> bool:
        """Whether the file that is open is the one with the name."""
        try:
            return self.stream is not None and os.path.samestat(os.stat(self.baseFilename), os.fstat(self.stream.fileno()))
        except FileNotFoundError:
            return False

    def _reopen(self) -> None:
        if self.stream is not None:
            self.stream.close()
        self.stream = self._open()


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")


def _context_of(record: logging.LogRecord) -> dict[str, str]:
    found = {name: getattr(record, _PREFIX + name) for name in Context._fields}
    return {name: value for name, value in found.items() if value}


class _JsonLines(logging.Formatter):
    """One object per line: time, level, logger, message, context, and what the record has in `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": _moment(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_context_of(record),
        }
        if "attempt" in line:
            line["attempt"] = int(line["attempt"])
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        for name, value in vars(record).items():
            if name not in _STANDARD and not name.startswith(_PREFIX):
                line.setdefault(name, value)
        return json_text.dumps(line, default=str)


class _Text(logging.Formatter):
    """One line for people; only a traceback takes more."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        where = "".join(f" {name}={value}" for name, value in _context_of(record).items())
        line = f"{_moment(record)} {record.levelname} {record.name}: {message}{where and f' [{where[1:]}]'}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
