"""The command line as a user meets it: in this process for speed, as a process of its own where that matters."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from minference.cli.main import run
from minference.testing import ProviderServer
from tests.support.nursery import Program, run_program

MODULE = "minference.cli.main"
COMMAND = [sys.executable, "-m", MODULE]


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as one JSON document."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Cli = Callable[..., Said]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Said:
        capsys.readouterr()
        code = run(arguments)
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return call


@pytest.fixture
def process(tmp_path: Path) -> Cli:
    """Run a command as a process of its own, in an empty folder."""

    def call(*arguments: str, stdin: str = "") -> Said:
        done = run_program(MODULE, *arguments, cwd=tmp_path, input=stdin, timeout=120)
        return Said(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Start a command as a process of its own; what is still running at the end is killed."""
    started: list[Program] = []

    def call(*arguments: str) -> Program:
        started.append(Program(MODULE, *arguments, cwd=tmp_path, stdout=PIPE, stderr=PIPE))
        return started[-1]

    yield call
    for process in started:
        with process:
            process.kill()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    """A provider on a socket of this machine, with the key and URL of the client `openai` set to it."""
    with ProviderServer() as running:
        monkeypatch.setenv("OPENAI_API_KEY", "a-test-key")
        monkeypatch.setenv("OPENAI_BASE_URL", running.openai_url)
        yield running


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """Write a file into the folder of the test, and return its name."""

    def call(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return name

    return call
