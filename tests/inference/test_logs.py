"""What minference logs: in its context, into real files, without contents, and only when it was asked to."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minference import logs
from minference.clients.scripted import ScriptedClient
from minference.errors import ConfigurationError, MinferenceError, ProviderRefused, UnknownChoice, UnwritableFile, WrongArgument
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.base import EntityStorage
from minference.threads.config import LLMConfig
from minference.threads.messages import ToolCall
from minference.threads.tools import CallableTool
from tests.inference.helpers import AT_ONCE, failed, thread
from tests.support.nursery import run_program
from tests.support.source import ROOT

BUSY = ProviderRefused("scripted", "busy with SECRET", status=503, code="overloaded", retryable=True, retry_after=0.0)
RUN = '[model]\nclient = "scripted"\nmodel = "m"\n[prompts]\ntexts = ["a"]\n'
logger = logging.getLogger("minference.tests")


@pytest.fixture(autouse=True)
def _undone() -> Iterator[None]:
    yield
    logs.silence()


def lines(file: Path) -> list[dict[str, Any]]:
    """The objects of a log."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def messages(file: Path, level: str) -> list[str]:
    """What was said at a level."""
    return [line["message"] for line in lines(file) if line["level"] == level]


async def test_each_line_says_what_was_being_worked_on(memory: EntityStorage, tmp_path: Path) -> None:
    """Attempts of calls that run side by side are told apart, and so are the versions that they answer."""
    logs.configure(level="DEBUG", file=tmp_path / "log")
    tried: set[str] = set()

    async def second_time(asked: Any) -> Any:
        await asyncio.sleep(0)  # let the others go between
        said = asked.history[-1].content
        if said in tried:
            return "Yes."
        tried.add(said)
        return BUSY

    threads = [thread(f"{number}") for number in range(5)]
    clients = {"scripted": ScriptedClient(second_time)}
    async with InferenceOrchestrator(memory, clients=clients, retry=AT_ONCE) as orchestrator:
        await orchestrator.run(threads, run_id="nightly")
    written = lines(tmp_path / "log")
    for each in threads:
        own = [line for line in written if line.get("thread") == str(each.lineage_id)]
        question = (await memory.lineage(each.lineage_id))[-2].ecs_id
        assert [(line["message"], line.get("attempt"), line["version"] == str(question)) for line in own] == [
            ("asking scripted/model", 1, True),
            ("scripted/model asks for a pause", 1, True),
            (own[2]["message"], 1, True),
            ("asking scripted/model", 2, True),
            ("scripted/model answers", 2, True),
            ("thread completed", None, False),
        ]
        assert re.fullmatch(r"trying again in 0\.00 s after ProviderRefused \(status 503, overloaded, after .* s\)", own[2]["message"])
        assert (own[2]["level"], own[2]["pause"]) == ("WARNING", 0.0)
        assert own[-1]["version"] == str(each.ecs_id)
    assert {line["run"] for line in written} == {"nightly"}
    first, last = written[0], written[-1]
    assert (first["message"], first["threads"], first["method"]) == ("run started", 5, "run")
    assert (last["message"], last["level"], last["logger"]) == ("run finished", "INFO", "minference.inference.orchestrator")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", first["timestamp"])


async def test_contents_and_errors_are_for_debugging_only(memory: EntityStorage, tmp_path: Path) -> None:
    logs.configure(file=tmp_path / "log")
    config = LLMConfig(client="first", model="m", fallbacks=(LLMConfig(client="second", model="m"),))
    clients = {"first": ScriptedClient(lambda _: BUSY), "second": ScriptedClient([ProviderRefused("second", "SECRET", status=400)])}
    async with InferenceOrchestrator(memory, clients=clients, retry=AT_ONCE) as orchestrator:
        failed((await orchestrator.run([thread("SECRET", llm_config=config)]))[0])
    assert messages(tmp_path / "log", "WARNING")[-2:] == [
        "asking second/m instead of who failed before",
        "thread failed: ProviderRefused (400)",
    ]
    assert "SECRET" not in (tmp_path / "log").read_text(encoding="utf-8")


async def test_tools_log_in_the_context_of_their_thread_wherever_they_run(memory: EntityStorage, tmp_path: Path) -> None:
    logs.configure(file=tmp_path / "log")

    def in_a_thread() -> None:
        logger.info("in a thread")

    async def further_down() -> None:
        await asyncio.to_thread(logger.info, "further down")

    tools = [CallableTool.from_callable(function, replace=True) for function in (in_a_thread, further_down)]
    calls = [ToolCall(id=tool.name, name=tool.name) for tool in tools]
    asked = thread(tools=list(tools))
    async with InferenceOrchestrator(memory, clients={"scripted": ScriptedClient([*calls, "Done."])}) as orchestrator:
        await orchestrator.run([asked])
    said = [line for line in lines(tmp_path / "log") if line["logger"] == "minference.tests"]
    assert [(line["message"], line["thread"]) for line in said] == [
        ("in a thread", str(asked.lineage_id)),
        ("further down", str(asked.lineage_id)),
    ]


async def test_whoever_reads_a_stream_is_outside_of_its_context(memory: EntityStorage) -> None:
    async with InferenceOrchestrator(memory) as orchestrator:
        seen = [logs.current() async for _ in orchestrator.stream(thread("a b c"))]
    assert set(seen) == {logs.Context()}


def test_the_application_can_have_the_context_in_its_own_format(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(logs.ContextFilter())
    caplog.handler.setFormatter(logging.Formatter("%(chat_run)s|%(chat_attempt)s|%(chat_thread)s|%(message)s"))
    with logs.context(run="nightly", attempt=2):
        logger.warning("inside")
    logger.warning("outside")
    assert caplog.text == "nightly|2||inside\n|||outside\n"


def test_text_is_one_line_each_and_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logger.debug("too little")
    with logs.context(run="nightly", attempt=2):
        logger.info("two\nlines")
    [line] = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\S+\+00:00 INFO minference\.tests: two\\nlines \[run=nightly attempt=2\]", line)


def test_json_holds_what_a_record_has_besides_and_its_error(tmp_path: Path) -> None:
    logs.configure(file=tmp_path / "log")
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("half a character: \udcff", extra={"path": tmp_path, "level": "mine"})
    [line] = lines(tmp_path / "log")
    assert (line["level"], line["message"], line["path"]) == ("ERROR", "half a character: \udcff", str(tmp_path))
    assert line["error"].endswith("ValueError: broken")


def test_a_file_begins_anew_at_its_size_and_some_old_ones_are_kept(tmp_path: Path) -> None:
    logs.configure(file=tmp_path / "log", max_bytes=1000, backups=2)
    for number in range(40):
        logger.info("%d", number)
    kept = [tmp_path / name for name in ("log.2", "log.1", "log")]
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert max(file.stat().st_size for file in kept) <= 1000
    numbers = [int(line["message"]) for file in kept for line in lines(file)]
    assert numbers == list(range(numbers[0], 40))


def test_two_processes_write_one_file_and_lose_nothing(tmp_path: Path) -> None:
    program = (
        "import logging, sys; from minference import logs; logs.configure(file='log', max_bytes=20_000, backups=50)\n"
        "for number in range(500): logging.getLogger('minference').info('%s %d', sys.argv[1], number)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    writing = [subprocess.Popen([sys.executable, "-c", program, name], cwd=tmp_path, env=environment) for name in "ab"]
    assert [process.wait(60) for process in writing] == [0, 0]
    files = list(tmp_path.iterdir())
    assert len(files) > 3
    written = [line["message"] for file in files for line in lines(file)]
    assert sorted(written) == sorted(f"{name} {number}" for name in "ab" for number in range(500))


def test_configuring_again_replaces_what_is_ours_and_nothing_else(tmp_path: Path) -> None:
    library = logging.getLogger("minference")
    before, level = library.handlers[:], library.level
    own = logging.FileHandler(tmp_path / "own")
    library.addHandler(own)
    library.setLevel(logging.ERROR)
    try:
        for name in ("first", "second"):
            logs.configure(file=tmp_path / name, level=logging.WARNING)
        logger.info("too little")
        logger.warning("heard")
        assert [(tmp_path / name).read_text().count("heard") for name in ("first", "second", "own")] == [0, 1, 1]
        logs.silence()
        logs.silence()
        assert (library.handlers, library.level) == ([*before, own], logging.ERROR)
    finally:
        library.setLevel(level)
        library.removeHandler(own)
        own.close()


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"level": "loud"}, UnknownChoice, "level cannot be 'loud': use 'DEBUG' or 'INFO'"),
        ({"level": None}, WrongArgument, "level must be a name"),
        ({"level": True}, WrongArgument, "level must be a name"),
        ({"file": 3}, WrongArgument, "file must be a path"),
        ({"file": "no/such/directory"}, UnwritableFile, "no/such/directory': No such file or directory"),
        ({"file": "."}, UnwritableFile, "Is a directory"),
        ({"json": "yes"}, WrongArgument, "json must be True, False or None"),
        ({"max_bytes": -1}, ConfigurationError, "max_bytes is -1: it cannot be less than 0"),
        ({"max_bytes": 1.5}, WrongArgument, "max_bytes must be a whole number"),
        ({"backups": 0}, ConfigurationError, "needs backups=1 or more"),
    ],
)
def test_a_wrong_argument_is_named_and_changes_nothing(
    arguments: dict[str, Any], error: type[MinferenceError], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    logs.configure(file="log")
    with pytest.raises(error, match=re.escape(says)):
        logs.configure(**arguments)
    logger.info("still here")
    assert messages(tmp_path / "log", "INFO") == ["still here"]


def test_nothing_is_said_by_itself(tmp_path: Path) -> None:
    program = "import logging, minference; logging.getLogger('minference.storage').error('unheard'); logging.error('heard')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == "ERROR:root:heard\n"


@pytest.mark.parametrize("by", ["option", "variable"])
def test_commands_log_into_a_file(tmp_path: Path, by: str) -> None:
    (tmp_path / "run.toml").write_text(RUN)
    options = ("--log-file", "log", "--log-level", "debug") if by == "option" else ()
    environment = {"MINFERENCE_LOG": "log", "MINFERENCE_LOG_LEVEL": "debug"} if by == "variable" else {}
    done = run_program("minference.cli.main", *options, "run", "run.toml", cwd=tmp_path, env={**os.environ, **environment}, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("1 done, 0 failed")
    assert {"run started", "asking scripted/m", "run finished"} <= {line["message"] for line in lines(tmp_path / "log")}


def test_with_a_level_alone_commands_log_to_standard_error(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(RUN)
    done = run_program("minference.cli.main", "--log-level", "debug", "run", "run.toml", cwd=tmp_path, timeout=60)
    assert re.search(r"DEBUG minference\.inference\.calls: asking scripted/m \[thread=.* attempt=1\]\n", done.stderr)
    done = run_program("minference.cli.main", "--log-level", "loud", "run", "run.toml", cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stderr.startswith("error: level cannot be 'loud': use 'DEBUG' or ")) == (2, True)


def test_a_log_that_cannot_be_written_is_an_error_of_usage(tmp_path: Path) -> None:
    done = run_program("minference.cli.main", "--log-file", "no/log", "db", "stats", cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stderr) == (2, "error: cannot write 'no/log': No such file or directory\n")
