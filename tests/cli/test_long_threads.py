"""Of long threads the end is shown, whole ones where asked for, with a pager on a terminal; what takes long says so."""

from __future__ import annotations

import os
import pty
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from minference.cli import threads, working
from minference.cli.working import working as work
from minference.storage.base import EntityStorage
from tests.cli.conftest import MODULE, Cli
from tests.cli.threads import a_thread, grown, in_database
from tests.support.nursery import Program


@pytest.fixture
def long(tmp_path: Path) -> None:
    """A thread of 150 messages."""

    async def save(storage: EntityStorage) -> None:
        await storage.register(a_thread(*(f"message {number}" for number in range(150)), name="long"))

    in_database(tmp_path, save)


def shown(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith("message ")]


@pytest.mark.usefixtures("long")
def test_the_end_of_a_long_thread_is_shown_with_what_was_left_out(cli: Cli) -> None:
    out = cli("threads", "show", "long").out
    assert shown(out) == [f"message {number}" for number in range(50, 150)]
    assert "… 50 earlier messages (--first N, --last N, --all)" in out
    assert shown(cli("threads", "show", "long", "--last", "2").out) == ["message 148", "message 149"]
    first = cli("threads", "show", "long", "--first", "2").out
    assert (shown(first), "… 148 later messages" in first, "earlier" in first) == (["message 0", "message 1"], True, False)
    whole = cli("threads", "show", "long", "--all").out
    assert (len(shown(whole)), "…" in whole) == (150, False)
    assert len(shown(cli("threads", "show", "long", "--last", "1000").out)) == 150


@pytest.mark.usefixtures("long")
def test_data_is_whole_unless_a_part_is_asked_for(cli: Cli) -> None:
    data = cli("threads", "show", "long", "--json").json
    assert ([message["index"] for message in data["messages"]], data["message_count"]) == (list(range(150)), 150)
    part = cli("threads", "show", "long", "--last", "3", "--json").json
    assert ([message["index"] for message in part["messages"]], part["message_count"]) == ([147, 148, 149], 150)


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("command", ["show", "blame"])
def test_two_ways_to_say_which_part_are_refused(cli: Cli, command: str) -> None:
    said = cli("threads", command, "long", "--last", "3", "--all")
    assert (said.code, said.err) == (2, "error: --first, --last and --all contradict each other: give one of them\n")


@pytest.mark.parametrize("command", [("log", "grown"), ("list",)])
def test_what_is_read_in_parts_is_printed_as_if_it_were_read_at_once(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Sequence[str]
) -> None:
    async def save(storage: EntityStorage) -> None:
        await grown(storage, *(f"{'a long message ' * 8}{number}" for number in range(7)), name="grown")
        for number in range(6):
            await storage.register(a_thread("a message", name=f"thread {number}"))

    in_database(tmp_path, save)
    whole, data = cli("threads", *command).out, cli("threads", *command, "--json").out
    monkeypatch.setattr(threads, "PART", 3)
    assert (cli("threads", *command).out, cli("threads", *command, "--json").out) == (whole, data)
    assert len(whole.splitlines()) == 8


def in_terminal(folder: Path, *arguments: str, **environment: str) -> str:
    """What a command prints to a terminal of 80 x 24."""
    master, slave = pty.openpty()
    variables = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24", **environment}
    with Program(MODULE, *arguments, cwd=folder, stdin=slave, stdout=slave, stderr=slave, env=variables) as process:
        os.close(slave)
        printed = bytearray()
        while True:
            try:
                piece = os.read(master, 65_536)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            printed += piece
        process.wait(timeout=60)
    os.close(master)
    return printed.decode().replace("\r\n", "\n")


@pytest.mark.usefixtures("long")
def test_what_is_longer_than_the_terminal_goes_through_the_pager(tmp_path: Path) -> None:
    pager = "sed 's/^/PAGED /'"
    paged = in_terminal(tmp_path, "threads", "show", "long", PAGER=pager)
    assert paged.count("PAGED message ") == 100
    assert "PAGED" not in in_terminal(tmp_path, "threads", "show", "long", "--last", "1", PAGER=pager)
    assert in_terminal(tmp_path, "threads", "blame", "long", PAGER=pager).count("PAGED ") == 101
    assert in_terminal(tmp_path, "threads", "log", "long", PAGER=pager).count("PAGED ") == 0


def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        os.sched_yield()


def test_what_takes_long_says_so_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(working, "AFTER", 0.0)
    printed: list[str] = []

    def has_said(text: str) -> bool:
        printed.append(capsys.readouterr().err)
        return text in "".join(printed)

    with work("looking") as tell:
        _until(lambda: has_said("looking"))
        tell("page [2] of 3")
        _until(lambda: has_said("looking: page [2] of 3"))
    printed.append(capsys.readouterr().err)
    assert "\x1b[?25h" in "".join(printed)[-40:], "the cursor is back"


def test_nothing_is_said_where_nobody_looks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(working, "AFTER", 0.0)
    with work("looking") as tell:
        tell("page")
    assert capsys.readouterr() == ("", "")


def test_what_is_over_at_once_says_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with work("looking"):
        pass
    assert capsys.readouterr() == ("", "")
