"""Every command with its arguments. The work is imported when the command runs, so that `--help` stays fast."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup
from typer.main import get_command

from minference.cli.branch_commands import lineage
from minference.cli.options import (
    DATABASE_HELP,
    DEFAULT_DATABASE,
    THREAD_HELP,
    DatabaseOption,
    JsonOption,
    LogFileOption,
    LogLevelOption,
    StateChoice,
)
from minference.cli.thread_commands import threads

EXIT_CODES = """Exit codes: 0 all went well; 1 some threads failed, or a provider did; 2 usage or configuration;
3 the database; 4 a merge with conflicts, nothing saved; 130 interrupted; 143 ended by SIGTERM before all was done (a worker, which
ends when it is told to: 0)."""

app = typer.Typer(
    name="minference",
    help="Git for conversations, with a fleet of models attached.",
    epilog=EXIT_CODES,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
db = typer.Typer(help="The database as a whole.", rich_markup_mode=None)
runs = typer.Typer(help="Runs: what was to be done, and how far it is.", rich_markup_mode=None)
cache = typer.Typer(help="Replies that are given again to the same request.", rich_markup_mode=None)
local = typer.Typer(help="The embedded model.", rich_markup_mode=None)
app.add_typer(threads, name="threads")
app.add_typer(runs, name="runs")
app.add_typer(db, name="db")
app.add_typer(cache, name="cache")
app.add_typer(local, name="local")


@lru_cache
def command_line() -> TyperGroup:
    """All commands, read from their signatures once in a process."""
    group = get_command(app)
    assert isinstance(group, TyperGroup), "there are many"
    return group


def _version(wanted: bool) -> None:
    if wanted:
        from minference import __version__

        print(f"minference {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
    log_file: LogFileOption = None,
    log_level: LogLevelOption = None,
) -> None:
    del version
    from minference.cli.log_output import listen

    context.call_on_close(listen(log_file, log_level))


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
    queue: Annotated[
        bool, typer.Option("--queue", help="Only put the prompts into the queue of a PostgreSQL database: `minference worker` does them.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run many prompts in parallel. The same command again continues where it stopped and repeats nothing."""
    if queue:
        from minference.cli.queue import queue as submit

        raise typer.Exit(submit(file, database, output, as_json))
    from minference.cli.run import run as work

    raise typer.Exit(work(file, database, output, as_json))


@app.command()
def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The name of the run: see `minference runs list`.")],
    modules: Annotated[
        list[str] | None, typer.Option("--import", help="A module that registers tools of the run, if no run file names them.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option(help="Whether threads that have failed are tried again.")] = True,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that was interrupted or in which threads have failed. What is answered is not asked again."""
    from minference.cli.runs import resume as work

    raise typer.Exit(work(run, database, modules or [], retry_failed, as_json))


@app.command()
def worker(
    database: DatabaseOption = DEFAULT_DATABASE,
    concurrency: Annotated[int, typer.Option(min=1, help="Jobs at once; the threads of a job, 50 by default, are under way together.")] = 4,
    until_empty: Annotated[
        bool, typer.Option("--until-empty", help="End when no job waits or is being done, with 1 if threads failed.")
    ] = False,
    modules: Annotated[
        list[str] | None, typer.Option("--import", help="A module that registers tools of the runs; may be given several times.")
    ] = None,
    files: Annotated[
        list[Path] | None, typer.Option("--file", metavar="FILE", help="A run file whose tools the runs use; may be given several times.")
    ] = None,
    redis: Annotated[
        str | None, typer.Option(envvar="MINFERENCE_REDIS", metavar="URL", help="Where workers share the limits of the runs.")
    ] = None,
    stall_seconds: Annotated[
        float, typer.Option(min=1, help="A worker that is silent for so long is taken to be dead, and its jobs are done again.")
    ] = 30.0,
    as_json: JsonOption = False,
) -> None:
    """Do the jobs of runs that were put into the queue of a PostgreSQL database, beside any number of other workers.

    Each job is some threads of a run. What is answered is saved at once; a worker that is killed loses no answer, and its jobs
    are done by others. Ctrl-C or SIGTERM: replies on their way are waited for and saved, the rest goes back into the queue; a second
    one ends at once. Without --redis each worker keeps to the limits of a run by itself, so that two workers send twice as much.

    \b
    minference run night.toml --queue -d postgresql://db/chats      put the prompts of a file into the queue
    minference worker -d postgresql://db/chats --file night.toml    on each machine; its tools come from that file
    minference runs show night -d postgresql://db/chats             how far it is, from anywhere
    """
    from minference.cli.worker import WorkerOptions
    from minference.cli.worker import worker as work

    options = WorkerOptions(concurrency, until_empty, stall_seconds, redis, modules or [], files or [], as_json)
    raise typer.Exit(work(database, options))


@runs.command("list")
def runs_list(database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False) -> None:
    """List the runs in the database, with how far they are, also while they run."""
    from minference.cli.runs import list_runs

    list_runs(database, as_json)


@runs.command("show")
def runs_show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The name of the run.")],
    state: Annotated[list[StateChoice] | None, typer.Option(help="Only threads in this state.")] = None,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Show how far a run is, and the state of each of its threads."""
    from minference.cli.runs import show_run

    show_run(run, database, [each.value for each in state or ()], as_json)


@app.command()
def usage(database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False) -> None:
    """Say what all replies in the database used and cost, by day and model. Days are those of UTC."""
    from minference.cli.usage import usage as work

    work(database, as_json)


@app.command()
def tools(
    modules: Annotated[
        list[str] | None, typer.Argument(metavar="[MODULE[:NAME]]...", help="Modules of your own, in this folder or installed.")
    ] = None,
    mcp: Annotated[str | None, typer.Option(help="An MCP server: its address, or the command that starts it.")] = None,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """List tools that models can be given: those of the database, or of modules or an MCP server.

    Of the database the newest version of each tool, equal ones once. Of a module its tools, and what its functions and pydantic classes
    would be as tools; the module is imported, which runs it. A question mark stands behind parameters that may be left out.

    \b
    minference tools                             those in the database in this folder
    minference tools my_tools                    those in my_tools.py
    minference tools my_tools:weather --json     one, with its whole schema
    minference tools --mcp "python server.py"    those of a server, which is started for it
    minference tools --mcp http://localhost:8000/mcp
    """
    from minference.cli.tools import list_tools

    list_tools(database, modules or [], mcp, as_json)


@app.command()
def ui(
    database: Annotated[
        str, typer.Option("--storage", "--database", "-d", envvar="MINFERENCE_DATABASE", help=DATABASE_HELP)
    ] = DEFAULT_DATABASE,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Where to listen; 0: anywhere. Default: 7788, or else anywhere.")
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    expose: Annotated[bool, typer.Option("--expose", help="Allow a --host that others than this machine can reach.")] = False,
) -> None:
    """Look at threads, versions, differences and usage in the browser.

    The pages only read, and follow a run while it goes on. Ctrl-C ends.

    \b
    minference ui                                the database in this folder
    minference ui --storage postgresql://localhost/chats
    """
    from minference.cli.ui import inspect

    inspect(database, host, port, exposed=expose, browse=not no_browser)


@app.command()
def doctor(
    ping: Annotated[list[str] | None, typer.Option(help="Also ask this client for a short answer (CLIENT or CLIENT/MODEL).")] = None,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Say what is configured, what is missing, and whether the database can be opened. Changes nothing."""
    from minference.cli.doctor import doctor as work

    raise typer.Exit(work(ping or [], database, as_json))


app.command()(lineage)


@db.command("check")
def db_check(
    modules: Annotated[
        list[str] | None, typer.Option("--import", help="A module that defines entities of your own; may be given several times.")
    ] = None,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Verify that all rows fit together and every version can be loaded; say what is wrong. Changes nothing.

    Entities of your own are checked whole if their module is imported; a note names kinds that are not known.
    """
    from minference.cli.check import check

    raise typer.Exit(check(database, modules or [], as_json))


@db.command("stats")
def db_stats(database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False) -> None:
    """Say how much the database holds, by kind and by table."""
    from minference.cli.check import stats

    stats(database, as_json)


@db.command("upgrade")
def db_upgrade(database: DatabaseOption = DEFAULT_DATABASE) -> None:
    """Bring the tables of an older minference up to date, or make them in an empty database."""
    from minference.cli.check import upgrade

    upgrade(database)


@cache.command("show")
def cache_show(database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False) -> None:
    """Say how many replies are kept to be given again, and of which times."""
    from minference.cli.cache import show

    show(database, as_json)


@cache.command("clear")
def cache_clear(
    database: DatabaseOption = DEFAULT_DATABASE,
    older_than: Annotated[float | None, typer.Option(min=0, help="Only replies that came at least so many seconds ago.")] = None,
) -> None:
    """Forget replies that are kept to be given again. Threads keep theirs."""
    from minference.cli.cache import clear

    clear(database, older_than)


@local.command("setup")
def local_setup() -> None:
    """Install the embedded model and what runs it."""
    from minference.cli.local import setup

    raise typer.Exit(setup())
