"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_DATABASE = "sqlite:///minference.db"

DATABASE_HELP = "A file, or a URL: sqlite:///file.db, postgresql://user@host/name."

DatabaseOption = Annotated[str, typer.Option("--database", "-d", envvar="MINFERENCE_DATABASE", help=DATABASE_HELP)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]
THREAD_HELP = "A thread: its name, the first or last characters of its id, or @head for the one saved last."
