"""`minference ui`: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Callable
from urllib.request import urlopen

import pytest

from tests.cli.conftest import Cli
from tests.support.nursery import Program

Start = Callable[..., Program]


def test_it_prints_an_address_that_lets_one_in_and_ends_when_told(start: Start) -> None:
    running = start("ui", "--no-browser", "--port", "0", "--storage", "later.db")
    assert running.stdout is not None
    assert running.stderr is not None
    line = running.stdout.readline()
    assert line.startswith("the inspector is at http://127.0.0.1:")
    assert "there is no file later.db yet" in running.stderr.readline()
    with urlopen(f"{line.split()[-1].split('/?')[0]}/static/icon.svg") as answer:
        assert answer.status == 200
    running.send_signal(signal.SIGINT)
    assert running.wait(20) == 0


def test_what_is_in_the_memory_of_another_program_cannot_be_shown(cli: Cli) -> None:
    said = cli("ui", "--storage", "memory:", "--no-browser")
    assert said.code == 2
    assert "memory of another program" in said.err


def test_other_machines_are_let_in_only_on_purpose(cli: Cli) -> None:
    said = cli("ui", "--host", "0.0.0.0", "--no-browser")
    assert said.code == 2
    assert "pass --expose if that is meant" in said.err


@pytest.mark.parametrize("package", ["starlette", "jinja2", "uvicorn"])
def test_without_the_extra_it_is_said_what_to_install(package: str, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("minference.cli.ui.find_spec", lambda name: None if name == package else found(name))
    said = cli("ui", "--no-browser")
    assert said.code == 2
    assert f"needs '{package}', which is not installed: pip install \"minference[ui]\"" in said.err
