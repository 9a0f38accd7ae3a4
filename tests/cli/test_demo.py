"""`minference demo`: the main job with the embedded model, from the command line."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import ANY

import pytest

from minference.cli.demo_script import demo_threads
from tests.cli.conftest import Cli


@pytest.mark.local_model
def test_the_demo_talks_saves_and_shows_what_it_saved_and_prints_commands_that_work(process: Cli, tmp_path: Path) -> None:
    said = process("demo")
    assert said.code == 0, said.err
    for title in ("saved threads  ", "versions of one of them  ", "what differs between two of them  ", "go on\n"):
        assert title in said.out
    assert (tmp_path / "minference-demo.db").is_file()
    listed = process("threads", "list", "--json", "-d", "minference-demo.db").json
    assert {line["name"]: line["messages"] for line in listed} == {"two turns": 4, "an object": ANY, "a tool": ANY}
    assert len(listed) == len(demo_threads())
    tool = process("threads", "show", "a tool", "--json", "-d", "minference-demo.db").json
    assert [message["role"] for message in tool["messages"]] == ["user", "assistant", "tool", "assistant"]
    looking, *commands = [line.strip() for line in said.out.splitlines() if line.startswith("  minference ")]
    assert (looking, len(commands)) == ("minference ui -d minference-demo.db", 3)  # which goes on until Ctrl-C: see tests/ui
    for command in commands:
        answer = process(*command.split()[1:], stdin="")
        assert answer.code == 0, answer.err


@pytest.mark.local_model
def test_a_chat_with_the_embedded_model_is_saved(process: Cli) -> None:
    said = process("chat", "--client", "local", "--max-tokens", "8", stdin="Say hello.\n")
    assert (said.code, bool(said.out.strip())) == (0, True), said.err
    assert [message["role"] for message in process("threads", "show", "@head", "--json").json["messages"]] == ["user", "assistant"]
