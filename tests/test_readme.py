"""What the README says is true: its commands exist, its links lead somewhere, and its programs run as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from minference.cli.commands import app
from minference.testing import Answer, Called, ProviderServer, default_answer
from tests.support.pages import blocks, execute
from tests.support.report import report
from tests.support.source import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ("README.md", "CONTRIBUTING.md")
MOST_WORDS = 1_100
"""What one reads in five minutes, code included."""


def answer(body: dict[str, Any]) -> Answer | str:
    """Call the tool with a city that it knows, and answer everything else as usual."""
    offers_weather = any(tool["function"]["name"] == "temperature" for tool in body.get("tools", []))
    if offers_weather and body["messages"][-1]["role"] == "user":
        return Answer(calls=(Called("temperature", {"city": "Rome"}),))
    return default_answer(body)


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ProviderServer]:
    """OpenAI's dialect on this machine, and an empty directory to work in."""
    with ProviderServer(answer) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "any")
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
        monkeypatch.chdir(tmp_path)
        yield server


def test_the_first_two_blocks_are_the_demo_and_the_tests() -> None:
    assert [block.text for block in blocks(README)][:2] == ["make demo\n", "make test\n"]


def test_it_is_read_in_five_minutes() -> None:
    assert len(README.split()) <= MOST_WORDS


async def test_its_programs_run_one_after_the_other(openai: ProviderServer) -> None:
    namespace: dict[str, Any] = {"__name__": "readme"}
    printed = [await execute(block, namespace, "README.md") for block in blocks(README, "python")]
    assert printed[0].splitlines() == [
        "You said: Why is the sky blue?",
        "You said: Why is the sea salty?",
        "You said: Why do leaves fall?",
    ]
    assert "sky" in printed[1]
    assert "sea" in printed[1]
    assert printed[2].splitlines() == ["The tools said: 18.0", "{'city': 'Suggest a short trip.', 'days': 1}"]
    assert len(openai.requests) == 6


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", text) + re.findall(r"`((?:examples|configs|tests|minference)/[\w/.-]*)`", text)
    report((target for target in targets if not (ROOT / target).exists()), f"{page} names a file that is not there")


@pytest.mark.parametrize("page", PAGES)
def test_its_make_targets_exist(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"`make (?:PYTHON=\S+ )?([a-z-]+)`", (ROOT / page).read_text(encoding="utf-8")))
    report(
        (target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)), f"{page} names a target that is not there"
    )


def test_its_commands_exist() -> None:
    commands = re.findall(r"^\| `minference ([a-z ]+?)(?: [A-Z]+)?` \|", README, re.MULTILINE)
    assert len(commands) > 5
    report(
        (command for command in commands if CliRunner().invoke(app, [*command.split(), "--help"]).exit_code != 0),
        "README.md names a command that is not there",
    )
