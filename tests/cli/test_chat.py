"""`minference chat`: a conversation over a pipe or in a terminal, saved turn by turn."""

from __future__ import annotations

import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minference.testing import ProviderServer, Status
from tests.cli.conftest import COMMAND, MODULE, Cli
from tests.support.nursery import run_program

SCRIPTED = ("--client", "scripted", "--model", "echo")


def test_lines_of_a_pipe_are_turns_and_all_are_saved(process: Cli) -> None:
    said = process("chat", *SCRIPTED, "--system", "Be brief.", stdin="Hello\n\nBye")
    assert (said.code, said.out) == (0, "You said: Hello\nYou said: Bye\n")
    assert said.err.startswith("saved: `minference threads show ")
    data = process("threads", "show", "@head", "--json").json
    assert (data["system"], [message["content"] for message in data["messages"]]) == (
        "Be brief.",
        ["Hello", "You said: Hello", "Bye", "You said: Bye"],
    )
    assert len(process("threads", "log", "@head", "--json").json) == 4


def test_input_from_a_file_works_as_well(process: Cli, tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("Hello\n")
    with (tmp_path / "input.txt").open() as stdin:
        done = run_program(MODULE, "chat", *SCRIPTED, cwd=tmp_path, stdin=stdin)
    assert (done.returncode, done.stdout) == (0, "You said: Hello\n")


def test_without_input_nothing_is_said_or_saved(process: Cli) -> None:
    said = process("chat", *SCRIPTED)
    assert (said.code, said.out, said.err) == (0, "", "")
    assert process("threads", "list", "--json").json == []


def test_a_thread_is_continued_and_can_change_its_model(process: Cli) -> None:
    process("chat", *SCRIPTED, stdin="Hello\n")
    said = process("chat", "--thread", "@head", "--model", "other", stdin="Again\n")
    assert (said.code, said.out) == (0, "You said: Again\n")
    [line] = process("threads", "list", "--json").json
    assert (line["messages"], line["model"]) == (4, "other")


def test_text_streams_from_a_provider(process: Cli, server: ProviderServer) -> None:
    said = process("chat", "--client", "openai", "--model", "m", stdin="Hello\n")
    assert (said.code, said.out) == (0, "You said: Hello\n")
    assert server.requests[0].body["stream"] is True


def test_a_provider_that_refuses_is_told_and_the_conversation_goes_on(process: Cli, server: ProviderServer) -> None:
    server.faults = {1: Status(400)}
    said = process("chat", "--client", "openai", "--model", "m", stdin="One\nTwo\n")
    assert (said.code, said.out) == (1, "You said: Two\n")
    assert said.err.startswith("error: openai: ")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ((), "error: which client? Pass --client (see `minference doctor`); `--client local` needs no key\n"),
        (("--client", "scripted"), "error: which model of scripted? Pass --model\n"),
        (("--client", "openai", "--model", "m"), "error: client 'openai' needs an API key: set the environment variable OPENAI_API_KEY\n"),
        (("--client", "nobody", "--model", "m"), "error: no client is called 'nobody': use one of "),
    ],
)
def test_what_is_missing_is_told_before_a_database_is_made(process: Cli, tmp_path: Path, options: tuple[str, ...], error: str) -> None:
    said = process("chat", *options, stdin="Hello\n")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(error)
    assert not list(tmp_path.iterdir())


@contextmanager
def in_terminal(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A chat whose standard streams are a terminal, and the other end of it."""
    ours, its = pty.openpty()

    def take_terminal() -> None:
        import fcntl
        import termios

        fcntl.ioctl(its, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [*COMMAND, "chat", *SCRIPTED], cwd=folder, stdin=its, stdout=its, stderr=its, start_new_session=True, preexec_fn=take_terminal
    )
    os.close(its)
    try:
        yield process, ours
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)


def read_until(terminal: int, text: str) -> str:
    """What the terminal shows, up to and including the text."""
    shown = ""
    while text not in shown:
        shown += os.read(terminal, 4096).decode()
    return shown


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
@pytest.mark.parametrize(("key", "code", "last"), [(b"\x04", 0, "saved: "), (b"\x03", 130, "error: interrupted")])
def test_in_a_terminal_the_end_of_input_and_an_interrupt_leave_cleanly(
    process: Cli, tmp_path: Path, key: bytes, code: int, last: str
) -> None:
    with in_terminal(tmp_path) as (chat, terminal):
        read_until(terminal, "> ")
        os.write(terminal, b"Hello\n")
        assert "You said: Hello" in read_until(terminal, "\r\n> ")
        os.write(terminal, key)
        assert "Traceback" not in read_until(terminal, last)
        assert chat.wait(30) == code
    assert len(process("threads", "show", "@head", "--json").json["messages"]) == 2


def test_what_the_database_refuses_is_not_called_saved(process: Cli, tmp_path: Path) -> None:
    assert process("chat", "--client", "scripted", "--model", "echo", stdin="hello\n").code == 0
    with sqlite3.connect(tmp_path / "minference.db") as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON chat_message BEGIN SELECT RAISE(ABORT, 'no room'); END")
    refused = process("chat", "--client", "scripted", "--model", "echo", stdin="hello\n")
    assert refused.code == 1
    assert "no room" in refused.err
    assert "saved:" not in refused.err
