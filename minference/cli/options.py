"""Options and arguments that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DATABASE = "sqlite:///minference.db"

DATABASE_HELP = "A file, or a URL: sqlite:///file.db, postgresql://user@host/name."

DatabaseOption = Annotated[str, typer.Option("--database", "-d", envvar="MINFERENCE_DATABASE", help=DATABASE_HELP)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]
THREAD_HELP = (
    "A thread: its name, the first or last characters of its id, or @head for the one saved last. "
    "THREAD@TAG, THREAD@{3} or characters of the id of a version: that version, {3} being the third before the newest."
)
VERSION_HELP = "A version of it: a tag, @{3} for the third before the newest, or characters of its id."

ThreadArgument = Annotated[str, typer.Argument(metavar="THREAD", help=THREAD_HELP)]
FirstOption = Annotated[int | None, typer.Option("--first", min=1, help="Only so many messages from the beginning.")]
LastOption = Annotated[
    int | None, typer.Option("--last", min=1, help="Only so many messages from the end. Default: 100; with --json, all.")
]
AllOption = Annotated[bool, typer.Option("--all", help="Everything, however much it is.")]
AuthorOption = Annotated[
    str | None, typer.Option("--author", envvar="MINFERENCE_AUTHOR", help="Who saves it. Default: the name that you are logged in with.")
]
NoteOption = Annotated[str | None, typer.Option("--note", help="Why it is saved.")]

LogFileOption = Annotated[
    Path | None,
    typer.Option("--log-file", envvar="MINFERENCE_LOG", metavar="FILE", help="Append what happens to this file, as JSON lines."),
]
LogLevelOption = Annotated[
    str | None,
    typer.Option(
        "--log-level",
        envvar="MINFERENCE_LOG_LEVEL",
        metavar="LEVEL",
        help="The least that is logged: debug, info, warning or error. Without a file, to stderr.",
    ),
]


class StrategyChoice(StrEnum):
    """How a merge settles what both sides changed."""

    ours = "ours"
    theirs = "theirs"
    append = "append"


class StateChoice(StrEnum):
    """How far a thread of a run is."""

    pending = "pending"
    running = "running"
    done = "done"
    failed = "failed"
