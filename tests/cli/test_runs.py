"""`minference runs` and `minference resume`: how far runs are, seen from outside, and going on with what is left."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from minference.clients.scripted import ScriptedClient
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.open import open_storage
from minference.testing import Hang, Latency, ProviderServer, Status
from tests.cli.conftest import Cli
from tests.cli.test_run import SERVED, TOOL, prompts, saved
from tests.cli.test_run_file import Write
from tests.inference.helpers import thread


def test_what_a_run_left_is_done_by_resume(cli: Cli, write: Write, server: ProviderServer, tmp_path: Path) -> None:
    prompts(write, 3)
    server.faults = {2: Status(400)}
    cli("run", write("run.toml", SERVED))
    [listed] = cli("runs", "list", "--json", "-d", "runs.db").json
    assert (listed["name"], listed["status"], listed["counts"]) == (
        "capitals",
        "failed",
        {"pending": 0, "running": 0, "done": 2, "failed": 1},
    )
    assert listed["settings"] == {"file": str(tmp_path / "run.toml"), "max_turns": 8, "until": "done"}
    table = cli("runs", "show", "capitals", "--state", "failed", "-d", "runs.db").out
    assert "2/3" in table
    assert "ProviderRefused: openai: refused with status 400" in table
    kept = cli("resume", "capitals", "--no-retry-failed", "-d", "runs.db")
    assert (kept.code, len(server.requests)) == (0, 3)
    [line] = cli("resume", "capitals", "--json", "-d", "runs.db").lines
    assert line == {
        "id": "c1",
        "status": "done",
        "already_done": False,
        "thread": ANY,
        "version": ANY,
        "text": ANY,
        "object": None,
        "error": None,
    }
    assert len(server.requests) == 4
    whole = cli("runs", "show", "capitals", "--json", "-d", "runs.db").json
    assert (whole["status"], [(each["state"], each["starts"]) for each in whole["threads"]]) == (
        "done",
        [("done", 1), ("done", 2), ("done", 1)],
    )


def test_resume_lists_threads_in_the_order_of_the_run_whichever_was_answered_first(cli: Cli, write: Write, server: ProviderServer) -> None:
    prompts(write, 4)
    server.faults = lambda request: Status(400) if request.number <= 4 else Latency(0.5) if "City 0" in str(request.body) else None
    cli("run", write("run.toml", SERVED.replace("[limits]\nmax_in_flight = 1\n", "")))
    resumed = cli("resume", "capitals", "--json", "-d", "runs.db")
    assert [(line["id"], line["status"]) for line in resumed.lines] == [(f"c{number}", "done") for number in range(4)]


def test_a_run_is_seen_from_another_process_and_resumed_after_its_own_was_killed(
    cli: Cli, write: Write, server: ProviderServer, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    prompts(write, 5)
    server.faults = {3: Hang()}
    running = start("run", write("run.toml", SERVED))
    while len(server.requests) < 3:
        assert running.poll() is None, running.communicate()
    while _seen(cli)["counts"]["done"] < 2:  # the third is asked when the second is answered, which is not saved yet
        assert running.poll() is None, running.communicate()
    assert (_seen(cli)["status"], _seen(cli)["counts"]["done"]) == ("running", 2)
    busy = cli("resume", "capitals", "-d", "runs.db")
    assert (busy.code, busy.err.startswith("error: run 'capitals' is being worked on by ")) == (3, True)
    running.kill()
    running.wait()
    resumed = cli("resume", "capitals", "--json", "-d", "runs.db")
    assert (resumed.code, [line["id"] for line in resumed.lines]) == (0, ["c2", "c3", "c4"])
    assert saved(tmp_path, 5) == {f"c{number}": ["user", "assistant"] for number in range(5)}
    assert len(server.requests) == 5 + 1


def _seen(cli: Cli) -> dict[str, Any]:
    [run] = cli("runs", "list", "--json", "-d", "runs.db").json
    return dict(run)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_what_is_on_its_way_is_saved_when_resume_is_told_to_stop_and_resume_does_the_rest(
    cli: Cli, write: Write, server: ProviderServer, start: Callable[..., subprocess.Popen[str]], tmp_path: Path, number: int, code: int
) -> None:
    prompts(write, 5)
    gate = threading.Event()

    def answer(body: dict[str, Any]) -> str:
        if len(server.requests) in (2, 4):
            gate.wait(30)
        return "Here I am."

    server.answer = answer
    for asked, command in ((2, ("run", write("run.toml", SERVED))), (4, ("resume", "capitals", "-d", "runs.db"))):
        gate.clear()
        running = start(*command)
        while len(server.requests) < asked:
            assert running.poll() is None, running.communicate()
        running.send_signal(number)
        assert running.stderr is not None
        assert any(line.startswith("stopping: replies on their way") for line in running.stderr)
        gate.set()
        running.communicate()
        assert running.returncode == code
        assert _seen(cli)["status"] == "interrupted"
    resumed = cli("resume", "capitals", "--json", "-d", "runs.db")
    assert {line["id"]: line["already_done"] for line in resumed.lines}.items() >= {"c3": True, "c4": False}.items()
    assert {line["status"] for line in resumed.lines} == {"done"}
    assert saved(tmp_path, 5) == {f"c{number}": ["user", "assistant"] for number in range(5)}
    assert len(server.requests) == 5


def test_the_tools_of_a_program_are_imported_by_name(cli: Cli, write: Write, tmp_path: Path) -> None:
    async def begin() -> None:
        clients = {"scripted": ScriptedClient([RuntimeError("stop")])}
        async with (
            open_storage(f"sqlite:///{tmp_path / 'runs.db'}") as storage,
            InferenceOrchestrator(storage, clients=clients) as orchestrator,
        ):
            with pytest.raises(RuntimeError, match="stop"):
                await orchestrator.run([thread("Hi.", name="greeting")], run_id="from a program")

    asyncio.run(begin())
    write("my_module.py", TOOL)
    missing = cli("resume", "from a program", "--import", "no_module", "-d", "runs.db")
    assert (missing.code, missing.err) == (2, "error: cannot import no_module: ModuleNotFoundError: No module named 'no_module'\n")
    [line] = cli("resume", "from a program", "--import", "my_module", "--json", "-d", "runs.db").lines
    assert (line["id"], line["status"], line["text"]) == ("greeting", "done", "You said: Hi.")
    assert "my_module" in sys.modules


def test_an_unknown_run_is_told_with_those_that_are_there(cli: Cli, write: Write) -> None:
    from tests.cli.test_run_file import GOOD

    cli("run", write("run.toml", GOOD))
    for command in (("resume", "nope"), ("runs", "show", "nope")):
        said = cli(*command)
        assert (said.code, said.err) == (3, "error: no run is called 'nope': the runs here are 'run'\n")


def test_a_file_limits_what_one_start_may_spend(cli: Cli, write: Write, server: ProviderServer) -> None:
    prompts(write, 3)
    said = cli("run", write("run.toml", SERVED + "[budget]\nmax_tokens = 100\n"), "--json")
    assert (said.code, server.requests) == (1, [])
    assert {line["error"].partition(":")[0] for line in said.lines} == {"BudgetExceeded"}
    wrong = cli("run", write("wrong.toml", SERVED + "[budget]\nmax_euros = 100\n"))
    assert "[budget] max_euros: there is no such field (did you mean 'max_cost'?); the fields are max_cost, max_tokens" in wrong.err
