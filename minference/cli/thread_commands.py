"""The commands that read threads: `minference threads list`, `show`, `log`, `diff`, `blame`, `search`, `erase`, `export` and `import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minference.cli.options import (
    DEFAULT_DATABASE,
    THREAD_HELP,
    VERSION_HELP,
    AllOption,
    DatabaseOption,
    FirstOption,
    JsonOption,
    LastOption,
    ThreadArgument,
)

threads = typer.Typer(help="List, read, compare and change saved threads.", rich_markup_mode=None)


@threads.command("list")
def threads_list(
    limit: Annotated[int, typer.Option(min=1, help="The most threads to print.")] = 50,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """List the threads, the one saved last first."""
    from minference.cli.threads import list_threads

    list_threads(database, limit, as_json)


@threads.command("show")
def threads_show(
    thread: ThreadArgument,
    version: Annotated[str | None, typer.Option(help=VERSION_HELP)] = None,
    first: FirstOption = None,
    last: LastOption = None,
    everything: AllOption = False,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Print the messages of a thread.

    With tool calls and their results; of a long thread the end, and on a terminal with a pager, if it is too much for that.

    \b
    minference threads show sky                  the newest version
    minference threads show sky --last 3         its last three messages
    minference threads show sky@main             the version with the tag main
    minference threads show sky --version @{2}   the second before the newest
    """
    from minference.cli.threads import Part, show_thread

    show_thread(database, thread, version, Part(first, last, everything), as_json)


@threads.command("log")
def threads_log(
    thread: ThreadArgument,
    limit: Annotated[int, typer.Option(min=1, help="The most versions to print.")] = 30,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """List the versions of a thread, the newest first.

    Of each: when, who, why, its tags, and what it changed.
    """
    from minference.cli.threads import log_thread

    log_thread(database, thread, limit, as_json)


@threads.command("diff")
def threads_diff(
    first: Annotated[str, typer.Argument(metavar="A", help=f"{THREAD_HELP}")],
    second: Annotated[
        str | None, typer.Argument(metavar="[B]", help="Likewise. Without it, A is compared with the version before it.")
    ] = None,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Print what differs between two versions, from A to B.

    \b
    minference threads diff sky                  what the newest version changed
    minference threads diff sky@main sky         what came since the tag main
    minference threads diff sky@{3} sky@{1}
    """
    from minference.cli.threads import diff_threads

    diff_threads(database, first, second, as_json)


@threads.command("blame")
def threads_blame(
    thread: ThreadArgument,
    first: FirstOption = None,
    last: LastOption = None,
    everything: AllOption = False,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Say who wrote each message, and who added it.

    The one is whoever saved its present text, and when; the other whoever put the message there first, where that was another save.
    """
    from minference.cli.blame import blame_thread
    from minference.cli.threads import Part

    blame_thread(database, thread, Part(first, last, everything), as_json)


@threads.command("search")
def threads_search(
    text: Annotated[list[str], typer.Argument(metavar="TEXT...", help="Words that must all be in a message, in any case.")],
    limit: Annotated[int, typer.Option(min=1, help="The most messages to print.")] = 20,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Find messages by their words.

    The newest come first, with the threads that hold them.

    \b
    minference threads search rayleigh scattering
    """
    from minference.cli.search import search

    search(database, " ".join(text), limit, as_json)


@threads.command("erase")
def threads_erase(
    thread: ThreadArgument,
    reason: Annotated[str, typer.Option(help="Why: the tombstone keeps it, so do not name what is erased.")],
    message: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Only this message: the first or last characters of the id of one of its versions."),
    ] = None,
    author: Annotated[str | None, typer.Option(help="Who erases.")] = None,
    keep_shared: Annotated[bool, typer.Option("--keep-shared", help="Spare messages that other threads hold as well.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Take the content of a thread, or of one message, out of every version, for ever. Says what that is, and asks."""
    from minference.cli.erase import ErasureRequest, erase

    request = ErasureRequest(thread, message, reason, author, "keep" if keep_shared else "erase", confirmed=yes)
    raise typer.Exit(erase(database, request, as_json))


@threads.command("export")
def threads_export(
    which: Annotated[list[str] | None, typer.Argument(metavar="[THREAD]...", help=f"{THREAD_HELP} All, if none is named.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file, all or nothing. Default: stdout.")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="All that is in the database, also what no thread holds.")] = False,
    database: DatabaseOption = DEFAULT_DATABASE,
) -> None:
    """Write threads as JSON lines.

    With every version, and all that they hold.

    \b
    minference threads export -o all.jsonl                   all threads
    minference threads export sky sea -o two.jsonl           two of them
    minference threads export --everything -o backup.jsonl   also entities of your own
    """
    from minference.cli.transfer import export_threads

    export_threads(database, which or [], output, everything=everything)


@threads.command("import")
def threads_import(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `threads export` wrote.")],
    no_erase: Annotated[bool, typer.Option("--no-erase", help="Keep what is here although it was erased there.")] = False,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Add the threads of an export. What the database has already is left alone, unless the export says that it was erased."""
    from minference.cli.transfer import import_threads

    import_threads(database, file, as_json, erase=not no_erase)
