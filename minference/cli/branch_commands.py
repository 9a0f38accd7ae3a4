"""The commands for branches and names: `minference lineage`, `minference threads branch`, `merge`, `revert`, `tag`, `untag`, `tags`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minference.cli.options import (
    DEFAULT_DATABASE,
    THREAD_HELP,
    VERSION_HELP,
    AuthorOption,
    DatabaseOption,
    JsonOption,
    NoteOption,
    StrategyChoice,
    ThreadArgument,
)
from minference.cli.thread_commands import threads

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name: up to 200 printable characters.")]


def lineage(
    thread: ThreadArgument,
    limit: Annotated[int, typer.Option(min=0, help="How many of the newest versions are shown one by one.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="Show every version by itself.")] = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid flowchart.")] = False,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Write a picture into this file.")] = None,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Draw the tree of a thread's versions.

    The newest are on top. Heads, tags, first versions and places where branches leave are always there; the other versions
    between them are told as stretches, like `… 9,980 versions …`. The filled dot is the version that THREAD names.

    \b
    minference lineage sky
    minference lineage sky --all --json
    minference lineage sky --svg sky.svg
    """
    from minference.cli.lineage import Drawing
    from minference.cli.lineage import lineage as work

    work(database, thread, Drawing(limit, everything, mermaid, svg, as_json))


@threads.command("branch")
def threads_branch(
    thread: ThreadArgument,
    at: Annotated[str | None, typer.Option("--at", metavar="VERSION", help=VERSION_HELP)] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="TAG", help="Name the version; with --say, the new one.")] = None,
    say: Annotated[str | None, typer.Option("--say", metavar="TEXT", help="Save a user message as what comes next there.")] = None,
    move: Annotated[bool, typer.Option("--move", help="Let the tag move if it names another version.")] = False,
    author: AuthorOption = None,
    note: NoteOption = None,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Go on from an older version of a thread.

    A branch is nothing that one creates: it is what saving a change to an older version makes. So this names the version
    (--name), to go on from with `minference chat --thread THREAD@TAG`, or saves a user message after it (--say), which `chat`
    then answers. A tag stays where it is when the branch grows; `threads tag --move` moves it.

    \b
    minference threads branch sky --at @{4} --say "And at night?"
    minference threads branch sky --at 1f3b --name before-the-tools
    """
    from minference.cli.branches import Signature, Start, branch_thread

    branch_thread(database, thread, Start(at, name, say, move), Signature(author, note), as_json)


@threads.command("merge")
def threads_merge(
    ours: Annotated[str, typer.Argument(metavar="OURS", help=f"{THREAD_HELP} It gets the next version.")],
    theirs: Annotated[str, typer.Argument(metavar="THEIRS", help="Another version of the same thread; it stays as it is.")],
    strategy: Annotated[
        StrategyChoice | None,
        typer.Option(help="Settle what both sides changed by one side, or keep what both added, theirs after ours (append)."),
    ] = None,
    author: AuthorOption = None,
    note: NoteOption = None,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Bring one branch of a thread into another.

    The first gets a next version with what the other changed since they parted, and what that changed is printed. What both
    sides changed differently is a conflict: then nothing is saved, the conflicts are printed, and the exit code is 4.

    \b
    minference threads merge sky@main sky@experiment
    minference threads merge sky@main sky@experiment --strategy append
    """
    from minference.cli.branches import Signature, merge_threads

    raise typer.Exit(merge_threads(database, ours, theirs, strategy.value if strategy else None, Signature(author, note), as_json))


@threads.command("revert")
def threads_revert(
    thread: ThreadArgument,
    to: Annotated[str, typer.Option("--to", metavar="VERSION", help=VERSION_HELP)],
    author: AuthorOption = None,
    note: NoteOption = None,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Save an older version as the next one.

    Prints what that changed. Nothing is lost by it.

    \b
    minference threads revert sky --to @{1}
    """
    from minference.cli.branches import Signature, revert_thread

    revert_thread(database, thread, to, Signature(author, note), as_json)


@threads.command("tag")
def threads_tag(
    thread: ThreadArgument,
    name: NameArgument,
    move: Annotated[bool, typer.Option("--move", help="Move the name if another version has it.")] = False,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Give a version a name.

    It is unique within its thread, and stays on that version until it is moved.

    \b
    minference threads tag sky main              the newest version
    minference threads tag sky@{3} before-tools
    """
    from minference.cli.tags import tag_thread

    tag_thread(database, thread, name, move, as_json)


@threads.command("untag")
def threads_untag(
    thread: ThreadArgument,
    name: NameArgument,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Take a name away. The version stays."""
    from minference.cli.tags import untag_thread

    untag_thread(database, thread, name, as_json)


@threads.command("tags")
def threads_tags(thread: ThreadArgument, database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False) -> None:
    """List the names of a thread's versions."""
    from minference.cli.tags import list_tags

    list_tags(database, thread, as_json)
