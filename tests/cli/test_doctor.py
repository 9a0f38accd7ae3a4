"""`minference doctor`: says what is configured and what is missing, never a key, and changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minference.clients.catalog import client_names
from minference.testing import ProviderServer, Status
from tests.cli.conftest import Cli


def client(report: dict[str, Any], name: str) -> dict[str, Any]:
    """The line of one client."""
    return next(each for each in report["clients"] if each["name"] == name)


def test_every_client_is_told_with_its_variable_and_without_its_key(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://proxy.example/v1?code=hidden")
    said = cli("doctor", "--json")
    assert said.code == 0
    assert sorted(each["name"] for each in said.json["clients"]) == list(client_names())
    assert client(said.json, "openai") == {
        "name": "openai",
        "dialect": "openai",
        "url": "https://proxy.example/v1",
        "key_variable": "OPENAI_API_KEY",
        "key_present": True,
        "ready": True,
        "problem": None,
    }
    anthropic = client(said.json, "anthropic")
    assert (anthropic["key_present"], anthropic["ready"], anthropic["problem"]) == (False, False, "no key")
    for printed in (said, cli("doctor")):
        assert "very-secret" not in printed.out + printed.err
        assert "hidden" not in printed.out + printed.err
    assert "OPENAI_API_KEY set" in cli("doctor").out


def test_a_password_in_a_base_url_is_a_problem_and_is_not_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://user:hidden@proxy.example/v1")
    report = cli("doctor", "--json")
    openai = client(report.json, "openai")
    assert (openai["url"], openai["ready"]) == (None, False)
    assert "it holds a user name" in openai["problem"]
    for printed in (report, cli("doctor")):
        assert "hidden" not in printed.out + printed.err
    assert "ANTHROPIC_API_KEY not set" in cli("doctor").out


def test_a_database_that_is_not_there_is_not_made(cli: Cli, tmp_path: Path) -> None:
    said = cli("doctor", "-d", "new.db", "--json")
    assert said.json["database"] == {"url": "sqlite:///new.db", "state": "not created yet", "threads": None, "problem": None}
    assert said.code == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["threads", "list"], ["threads", "search", "x"], ["db", "check"], ["db", "upgrade"], ["usage"]])
def test_an_empty_file_is_a_database_that_is_yet_to_begin(cli: Cli, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "new.db").touch()
    assert (cli("doctor", "-d", "new.db").code, cli("doctor", "-d", "new.db", "--json").json["database"]["state"]) == (0, "not created yet")
    said = cli(*command, "-d", "new.db")
    assert (said.code, said.out) == (3, "")
    assert "the file is empty, so that nothing was ever saved in it" in said.err
    assert (tmp_path / "new.db").read_bytes() == b""
    (tmp_path / "run.toml").write_text('[model]\nclient = "scripted"\nmodel = "m"\n[prompts]\ntexts = ["a"]\n')
    assert cli("run", "run.toml", "-d", "new.db").code == 0
    assert cli("doctor", "-d", "new.db", "--json").json["database"]["threads"] == 1


@pytest.mark.parametrize("name", ["a b.db", "ü.db", "what?.db", "no#1.db", "100%25.db", "%.db", "-d.db"])
def test_a_path_is_taken_as_it_is_written(cli: Cli, tmp_path: Path, name: str) -> None:
    (tmp_path / "run.toml").write_text('[model]\nclient = "scripted"\nmodel = "m"\n[prompts]\ntexts = ["a"]\n')
    assert cli("run", "run.toml", "-d", name).code == 0
    assert {each.name for each in tmp_path.iterdir()} == {"run.toml", name}
    assert cli("threads", "list", "-d", name).code == 0
    assert cli("doctor", "-d", name, "--json").json["database"]["threads"] == 1


def test_a_name_that_no_file_can_have_is_an_error_of_the_database(cli: Cli) -> None:
    said = cli("threads", "list", "-d", "x" * 300)
    assert (said.code, said.err.count("\n")) == (3, 1)
    assert "File name too long" in said.err


def test_a_directory_is_called_one(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    said = cli("threads", "list", "-d", "folder")
    assert (said.code, said.err) == (3, "error: cannot open the database sqlite:///folder: that is a directory; name a file in it\n")


def test_a_database_is_counted_or_called_broken(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('[model]\nclient = "scripted"\nmodel = "m"\n[prompts]\ntexts = ["a", "b"]\n')
    cli("run", "run.toml", "-d", "good.db")
    assert cli("doctor", "-d", "good.db", "--json").json["database"]["threads"] == 2
    (tmp_path / "bad.db").write_text("no database")
    said = cli("doctor", "-d", "bad.db", "--json")
    assert (said.code, said.json["database"]["state"]) == (3, "broken")
    assert "it is no SQLite database" in said.json["database"]["problem"]


def test_a_ping_asks_the_provider(cli: Cli, server: ProviderServer) -> None:
    said = cli("doctor", "--ping", "openai/m", "--json")
    assert (said.code, said.json["pings"][0]["ok"]) == (0, True)
    server.faults = {2: Status(401)}
    said = cli("doctor", "--ping", "openai/m", "--ping", "scripted", "--json")
    assert said.code == 1
    assert [(ping["client"], ping["ok"]) for ping in said.json["pings"]] == [("openai", False), ("scripted", True)]
    assert "401" in said.json["pings"][0]["problem"]


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("nobody", "error: no client is called 'nobody': use one of "),
        ("openai", "error: --ping openai: say which model it is to ask, as --ping openai/MODEL"),
    ],
)
def test_a_ping_that_cannot_be_made_is_refused(cli: Cli, target: str, error: str) -> None:
    said = cli("doctor", "--ping", target)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(error)


def test_a_wrong_profile_file_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "providers.toml").write_text("[mine]\ndialekt = 'openai'\n")
    said = cli("doctor")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: providers.toml: [mine] dial")
