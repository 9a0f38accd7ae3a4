"""Every command with its arguments. The work is imported when the command runs, so that `--help` stays fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minference.cli.options import DATABASE_HELP, DEFAULT_DATABASE, THREAD_HELP, DatabaseOption, JsonOption

EXIT_CODES = """Exit codes: 0 all went well; 1 some threads failed, or a provider did; 2 usage or configuration;
3 the database; 130 interrupted."""

app = typer.Typer(
    name="minference",
    help="Git for conversations, with a fleet of models attached.",
    epilog=EXIT_CODES,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
threads = typer.Typer(help="List, read and compare saved threads.", rich_markup_mode=None)
db = typer.Typer(help="The database as a whole.", rich_markup_mode=None)
local = typer.Typer(help="The embedded model.", rich_markup_mode=None)
app.add_typer(threads, name="threads")
app.add_typer(db, name="db")
app.add_typer(local, name="local")

ThreadArgument = Annotated[str, typer.Argument(metavar="THREAD", help=THREAD_HELP)]


def _version(wanted: bool) -> None:
    if wanted:
        from minference import __version__

        print(f"minference {__version__}")
        raise typer.Exit


@app.callback()
def _main(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False) -> None:
    del version


@app.command()
def demo(
    database: Annotated[str, typer.Option("--database", "-d", help=DATABASE_HELP)] = "sqlite:///minference-demo.db",
) -> None:
    """Run several threads against the embedded model in parallel, and look at what was saved."""
    from minference.cli.demo import demo as work

    raise typer.Exit(work(database))


@app.command()
def chat(
    client: Annotated[str | None, typer.Option(help="The client: openai, anthropic, local, ... (see `minference doctor`).")] = None,
    model: Annotated[str | None, typer.Option(help="The model's name as the provider knows it.")] = None,
    system: Annotated[str | None, typer.Option(help="The system prompt.")] = None,
    thread: Annotated[str | None, typer.Option(help=f"Continue a thread. {THREAD_HELP}")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The longest reply.")] = None,
    database: DatabaseOption = DEFAULT_DATABASE,
) -> None:
    """Talk to a model; every turn is saved. Also reads lines from a pipe. Ctrl-D ends."""
    from minference.cli.chat import ChatOptions
    from minference.cli.chat import chat as work

    raise typer.Exit(work(ChatOptions(client, model, system, thread, max_tokens), database))


@app.command()
def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A TOML file like configs/example.toml.")],
    database: Annotated[
        str | None, typer.Option("--database", "-d", envvar="MINFERENCE_DATABASE", help=f"{DATABASE_HELP} Default: the file's.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the results to this file as JSON lines, all or nothing.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run many prompts in parallel. The same command again continues where it stopped and repeats nothing."""
    from minference.cli.run import run as work

    raise typer.Exit(work(file, database, output, as_json))


@app.command()
def doctor(
    ping: Annotated[list[str] | None, typer.Option(help="Also ask this client for a short answer (CLIENT or CLIENT/MODEL).")] = None,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Say what is configured, what is missing, and whether the database can be opened. Changes nothing."""
    from minference.cli.doctor import doctor as work

    raise typer.Exit(work(ping or [], database, as_json))


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
    version: Annotated[str | None, typer.Option(help="An older version: the first or last characters of its id.")] = None,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Print the messages of a thread, with tool calls and their results."""
    from minference.cli.threads import show_thread

    show_thread(database, thread, version, as_json)


@threads.command("log")
def threads_log(
    thread: ThreadArgument,
    limit: Annotated[int, typer.Option(min=1, help="The most versions to print.")] = 30,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """List the versions of a thread, the newest first: when, who, why, and what changed."""
    from minference.cli.threads import log_thread

    log_thread(database, thread, limit, as_json)


@threads.command("diff")
def threads_diff(
    first: Annotated[str, typer.Argument(metavar="A", help=f"{THREAD_HELP} Or a version.")],
    second: Annotated[
        str | None, typer.Argument(metavar="[B]", help="Likewise. Without it, A is compared with the version before it.")
    ] = None,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Print what differs between two versions, from A to B."""
    from minference.cli.threads import diff_threads

    diff_threads(database, first, second, as_json)


@threads.command("search")
def threads_search(
    text: Annotated[list[str], typer.Argument(metavar="TEXT...", help="Words that must all be in a message, in any case.")],
    limit: Annotated[int, typer.Option(min=1, help="The most messages to print.")] = 20,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Find messages by their words, the newest first, and the threads that hold them."""
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
    database: DatabaseOption = DEFAULT_DATABASE,
) -> None:
    """Write threads with every version, and all that they hold, as JSON lines."""
    from minference.cli.transfer import export_threads

    export_threads(database, which or [], output)


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


@db.command("check")
def db_check(database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False) -> None:
    """Verify that all rows fit together and every version can be loaded; say what is wrong. Changes nothing."""
    from minference.cli.check import check

    raise typer.Exit(check(database, as_json))


@db.command("stats")
def db_stats(database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False) -> None:
    """Say how much the database holds, by kind and by table."""
    from minference.cli.check import stats

    stats(database, as_json)


@db.command("upgrade")
def db_upgrade(database: DatabaseOption = DEFAULT_DATABASE) -> None:
    """Bring the tables of an older minference up to date."""
    from minference.cli.check import upgrade

    upgrade(database)


@local.command("setup")
def local_setup() -> None:
    """Install the embedded model and what runs it."""
    from minference.cli.local import setup

    raise typer.Exit(setup())
