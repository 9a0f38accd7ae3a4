"""Help, exit codes and errors of the command line as a whole."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import inspect

from minference.cli.database import file_of
from minference.storage.sql.dialects import open_engine
from tests.cli.conftest import COMMAND, MODULE, Cli
from tests.support.nursery import Program


@pytest.mark.parametrize("arguments", [[], ["--help"], ["threads"], ["threads", "--help"], ["run", "-h"]])
def test_help_goes_to_stdout_and_is_no_error(process: Cli, arguments: list[str]) -> None:
    said = process(*arguments)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("Usage: minference")


def test_help_documents_the_exit_codes(cli: Cli) -> None:
    flat = " ".join(cli("--help").out.split())
    codes = "0 all went well; 1 some threads failed, or a provider did; 2 usage or configuration; 3 the database; "
    assert codes + "4 a merge with conflicts, nothing saved; 130 interrupted; 143 ended by SIGTERM before all was done" in flat


def test_help_imports_neither_an_sdk_nor_a_database() -> None:
    program = "import sys\nfrom minference.cli.main import run\nrun(['--help'])\nprint(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for heavy in ("'openai'", "'anthropic'", "'sqlalchemy'", "'rich'", "'aiohttp'", "'alembic'"):
        assert heavy not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["thread", "list"], "error: No such command 'thread'. Did you mean 'threads'? (see `minference --help`)\n"),
        (["threads", "shw", "x"], "error: No such command 'shw'. Did you mean 'show'? (see `minference threads --help`)\n"),
        (["threads", "show"], "error: Missing argument 'THREAD' (see `minference threads show --help`)\n"),
    ],
)
def test_a_wrong_command_is_one_line_with_a_way_out(process: Cli, arguments: list[str], error: str) -> None:
    said = process(*arguments)
    assert (said.code, said.out, said.err) == (2, "", error)


def test_the_version_is_printed(cli: Cli) -> None:
    assert cli("--version").out.startswith("minference 0.")


def test_a_reader_that_leaves_causes_no_noise() -> None:
    with subprocess.Popen([*COMMAND, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


PRINTING = [["threads", "list"], ["threads", "list", "--json"], ["threads", "export"], ["db", "stats"], ["--help"]]


@pytest.fixture
def stored(cli: Cli, tmp_path: Path) -> None:
    """A thread in minference.db."""
    (tmp_path / "run.toml").write_text('[model]\nclient = "scripted"\nmodel = "m"\n[prompts]\ntexts = ["a"]\n')
    assert cli("run", "run.toml", "-d", "minference.db").code == 0


def printing_to(stdout: int, tmp_path: Path, command: list[str]) -> tuple[int | None, str]:
    """The exit code of a command with this file as its stdout, and what it said on stderr."""
    with Program(MODULE, *command, cwd=tmp_path, stdout=stdout, stderr=subprocess.PIPE) as process:
        _, err = process.communicate(timeout=120)
    return process.returncode, err


@pytest.mark.parametrize("command", PRINTING)
@pytest.mark.usefixtures("stored")
def test_a_reader_that_leaves_is_no_failure(tmp_path: Path, command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert printing_to(writing, tmp_path, command) == (0, "")
    finally:
        os.close(writing)


@pytest.mark.parametrize("command", PRINTING)
@pytest.mark.usefixtures("stored")
def test_a_disk_that_is_full_is_one_line(tmp_path: Path, command: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        assert printing_to(full.fileno(), tmp_path, command) == (2, "error: cannot write to stdout: No space left on device\n")


@pytest.mark.usefixtures("stored")
def test_an_argument_that_is_no_text_is_an_error_of_usage(cli: Cli) -> None:
    said = cli("threads", "search", "a\udcff")
    assert (said.code, said.out, said.err) == (2, "", "error: an argument is no text in UTF-8: write it in UTF-8\n")


COMMANDS_OF_WHAT_IS_THERE = [
    *(["threads", command, "x"] for command in ("show", "log", "diff", "blame", "tags", "search")),
    ["threads", "list"], ["lineage", "x"], ["threads", "tag", "x", "t"], ["threads", "untag", "x", "t"], ["threads", "merge", "x", "y"],
    ["threads", "revert", "x", "--to", "y"], ["threads", "branch", "x", "--name", "t"], ["threads", "export"],
    ["db", "check"], ["db", "stats"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS_OF_WHAT_IS_THERE)
def test_reading_a_database_that_is_not_there_creates_none(cli: Cli, command: list[str], tmp_path: Path) -> None:
    said = cli(*command, "-d", "nowhere.db")
    assert (said.code, said.out) == (3, "")
    assert said.err == (
        "error: cannot open the database sqlite:///nowhere.db: there is no such file; pass --database, or set MINFERENCE_DATABASE\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["threads", "list"], ["usage"], ["runs", "list"], ["db", "stats"], ["tools"], ["doctor"]])
def test_reading_a_database_without_tables_makes_none(cli: Cli, empty_sql_url: str, command: list[str]) -> None:
    if (path := file_of(empty_sql_url)) is not None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA user_version = 7")  # so that the file is not empty
    said = cli(*command, "-d", empty_sql_url)
    if command == ["doctor"]:
        assert (said.code, "not created yet" in said.out) == (0, True)
    else:
        assert (said.code, said.out, said.err.count("\n")) == (3, "", 1)
        assert said.err.endswith(": it has no tables, so that nothing was ever saved in it; pass --database, or set MINFERENCE_DATABASE\n")
    assert asyncio.run(tables_of(empty_sql_url)) == []
    assert (cli("db", "upgrade", "-d", empty_sql_url).code, cli("threads", "list", "-d", empty_sql_url).out) == (0, "no threads yet\n")


async def tables_of(url: str) -> list[str]:
    """The names of the tables in a database."""
    engine = open_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    finally:
        await engine.dispose()


@pytest.mark.parametrize("how", ["mode=ro", "immutable=1"])
@pytest.mark.usefixtures("stored")
def test_a_database_can_be_opened_only_to_be_read(cli: Cli, tmp_path: Path, how: str) -> None:
    for place in ("file:minference.db", f"file:{tmp_path}/minference.db", f"file://{tmp_path}/minference.db"):
        url = f"sqlite:///{place}?{how}&uri=true"
        assert cli("threads", "list", "-d", url).out == cli("threads", "list").out
        said = cli("threads", "tag", "@head", "x", "-d", url)
        assert (said.code, "it cannot be written; check the permissions of the file and its directory" in said.err) == (3, True)
    assert "there is no such file" in cli("threads", "list", "-d", f"sqlite:///file:nowhere.db?{how}&uri=true").err


def test_the_database_can_come_from_the_environment(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINFERENCE_DATABASE", "elsewhere.db")
    assert "sqlite:///elsewhere.db" in cli("threads", "list").err


@pytest.mark.parametrize(
    ("database", "code"), [("mysql://u@h/x", 2), ("/no/such/folder/x.db", 3), ("postgresql://u:secret@127.0.0.1:1/x", 3)]
)
def test_a_database_that_cannot_be_used_is_one_line_without_its_password(cli: Cli, tmp_path: Path, database: str, code: int) -> None:
    (tmp_path / "run.toml").write_text('[model]\nclient = "scripted"\nmodel = "m"\n[prompts]\ntexts = ["a"]\n')
    said = cli("run", "run.toml", "-d", database)
    assert (said.code, said.out, said.err.count("\n")) == (code, "", 1)
    assert said.err.startswith("error: ")
    assert "secret" not in said.err


def test_shells_complete_commands(process: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as told:  # settles the commands at their start: the shell is named, not looked for among the parents
        told.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
        shown = subprocess.run([*COMMAND, "--show-completion", "bash"], capture_output=True, text=True, check=True)
    assert "_minference_completion" in shown.stdout
    for name, value in (("_MINFERENCE_COMPLETE", "complete_bash"), ("COMP_WORDS", "minference threads s"), ("COMP_CWORD", "2")):
        monkeypatch.setenv(name, value)
    assert process().out.split() == ["show", "search"]
