"""`minference worker` and `run --queue`: killed, interrupted, side by side, and where there is no queue."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minference.distributed import WorkQueue
from minference.inference.limits import RequestLimits
from minference.storage.open import open_storage
from minference.storage.runs import EntryState
from minference.testing import Hang, ProviderServer, RecordedRequest, Status
from minference.threads.thread import ChatThread
from tests.cli.conftest import Cli
from tests.cli.test_run import SERVED, TOOL, prompts
from tests.cli.test_run_file import Write
from tests.inference.helpers import said, thread
from tests.support.nursery import Program

Start = Callable[..., Program]


def submit(url: str, count: int, **options: Any) -> list[ChatThread]:
    """Threads of a run that wait in the queue."""

    async def work() -> list[ChatThread]:
        threads = [thread(f"Thread {number}.", client="openai") for number in range(count)]
        async with open_storage(url) as storage, WorkQueue(url) as queue:
            await queue.submit(storage, threads, run_id="night", **options)
        return threads

    return asyncio.run(work())


def conversations(url: str, threads: list[ChatThread]) -> list[list[str]]:
    """The roles of the messages of each thread, which has one head."""

    async def read() -> list[list[str]]:
        async with open_storage(url) as storage:
            assert {len(await storage.heads(each.lineage_id)) for each in threads} == {1}
            assert await storage.check() == []
            return [[role for role, _ in said(await storage.latest(ChatThread, each.lineage_id))] for each in threads]

    return asyncio.run(read())


def counts(cli: Cli, url: str) -> dict[str, int]:
    """How many threads of the run are in each state."""
    [run] = cli("runs", "list", "--json", "-d", url).json
    found: dict[str, int] = run["counts"]
    return found


def asked(server: ProviderServer, *, answered: bool) -> Counter[str]:
    """How often each question was asked, or answered."""
    return Counter(each.body["messages"][-1]["content"] for each in server.requests if each.answered or not answered)


def hanging(server: ProviderServer, *numbers: int) -> threading.Event:
    """Leave these requests without an answer; set once all of them are there."""
    reached = threading.Event()

    def fault(request: RecordedRequest) -> Hang | None:
        if request.number == max(numbers):
            reached.set()
        return Hang() if request.number in numbers else None

    server.faults = fault
    return reached


def test_what_a_killed_worker_left_is_done_by_another_and_nothing_is_answered_twice(
    cli: Cli, start: Start, server: ProviderServer, postgresql_storage_url: str
) -> None:
    url = postgresql_storage_url
    threads = submit(url, 8, part=2, limits=RequestLimits(max_in_flight=2))
    reached = hanging(server, 6, 7)
    first = start("worker", "-d", url, "--concurrency", "2")
    assert reached.wait(30), first.communicate()
    while counts(cli, url)["done"] < 5:
        assert first.poll() is None, first.communicate()
    first.kill()
    first.wait()
    second = start("worker", "-d", url, "--until-empty", "--stall-seconds", "1")
    out, err = second.communicate()
    assert (second.returncode, out) == (0, ""), err
    assert "of a worker that is gone is done again" in err
    assert conversations(url, threads) == [["user", "assistant"]] * 8
    assert set(asked(server, answered=True).values()) == {1}
    assert sum(asked(server, answered=False).values()) == 8 + 2
    assert counts(cli, url) == {"pending": 0, "running": 0, "done": 8, "failed": 0}


def test_workers_share_a_run_that_was_queued_twice(cli: Cli, start: Start, server: ProviderServer, postgresql_storage_url: str) -> None:
    url = postgresql_storage_url
    threads = submit(url, 12, part=2)
    asyncio.run(_again(url, threads))
    both = [start("worker", "-d", url, "--until-empty", "--json") for _ in range(2)]
    ended = [(each.communicate(), each.returncode) for each in both]
    assert [code for _, code in ended] == [0, 0], ended
    assert conversations(url, threads) == [["user", "assistant"]] * 12
    assert set(asked(server, answered=False).values()) == {1}


async def _again(url: str, threads: list[ChatThread]) -> None:
    async with open_storage(url) as storage, WorkQueue(url) as queue:
        await queue.submit(storage, threads, run_id="night", part=3)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_worker_that_is_told_to_stop_saves_what_is_on_its_way_and_leaves_the_rest(
    cli: Cli, start: Start, server: ProviderServer, postgresql_storage_url: str, number: int, code: int
) -> None:
    url, asked_twice, gate = postgresql_storage_url, threading.Event(), threading.Event()

    def answer(_: dict[str, Any]) -> str:
        if len(server.requests) == 2:
            asked_twice.set()
            gate.wait(30)
        return "Here I am."

    server.answer = answer
    threads = submit(url, 4, limits=RequestLimits(max_in_flight=1))
    running = start("worker", "-d", url)
    assert running.stderr is not None
    assert asked_twice.wait(30), running.communicate()
    running.send_signal(number)
    assert any("stopping: replies on their way" in line for line in running.stderr)
    gate.set()
    _, err = running.communicate()
    assert running.returncode == code
    assert "goes back into the queue" in err
    assert [len(roles) for roles in conversations(url, threads)].count(2) == 2
    last = start("worker", "-d", url, "--until-empty")
    assert (last.communicate()[0], last.returncode) == ("", 0)
    assert conversations(url, threads) == [["user", "assistant"]] * 4
    assert set(asked(server, answered=False).values()) == {1}


def test_a_second_signal_ends_a_worker_at_once(start: Start, server: ProviderServer, postgresql_storage_url: str) -> None:
    submit(postgresql_storage_url, 1)
    reached = hanging(server, 1)
    running = start("worker", "-d", postgresql_storage_url)
    assert running.stderr is not None
    assert reached.wait(30), running.communicate()
    running.send_signal(signal.SIGINT)
    assert any("a second signal ends at once" in line for line in running.stderr)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate()
    assert (running.returncode, err) == (130, "error: interrupted at once: replies on their way are lost, what was saved before stays\n")


def test_the_prompts_of_a_file_are_done_by_workers_that_are_given_its_tools(
    cli: Cli, write: Write, server: ProviderServer, postgresql_url: str, tmp_path: Path
) -> None:
    url, server.call_tools = postgresql_url, True
    prompts(write, 3)
    write("my_queue_tools.py", TOOL)
    file = write("run.toml", SERVED + '[[tools]]\nfunction = "my_queue_tools:look_up"\n')
    queued = cli("run", file, "--queue", "-d", url)
    assert (queued.code, queued.out) == (0, "")
    assert queued.err.startswith("run 'capitals': 3 threads in the queue, `minference worker` does them")
    [listed] = cli("runs", "list", "--json", "-d", url).json
    assert (listed["status"], listed["settings"]) == (
        "queued",
        {"file": str(tmp_path / file), "queue": {"limits": RequestLimits(max_in_flight=1).model_dump(exclude_none=True), "cache": False},
         "max_turns": 8, "until": "done"},
    )  # fmt: skip
    assert server.requests == []
    worked = cli("worker", "-d", url, "--until-empty", "--file", file, "--json")
    assert (worked.code, [(line["run"], line["done"], line["failed"]) for line in worked.lines]) == (0, [("capitals", 3, 0)])
    assert len((tmp_path / "calls.txt").read_text().splitlines()) == 3
    again = cli("run", file, "--queue", "-d", url, "--json")
    assert (again.json["status"], again.err.partition(";")[0]) == ("done", "run 'capitals': nothing is left to be done")
    assert cli("db", "check", "-d", url).code == 0


def test_without_postgresql_there_is_no_queue(cli: Cli, write: Write, tmp_path: Path) -> None:
    file = write("run.toml", SERVED.replace("openai", "scripted").replace("prompts.jsonl", "p.jsonl"))
    write("p.jsonl", '{"prompt": "Hi"}\n')
    for command in (("worker", "-d", "runs.db"), ("run", file, "--queue")):
        told = cli(*command)
        assert told.code == 2, told
        assert "need PostgreSQL, and sqlite:///" in told.err
    assert not (tmp_path / "runs.db").exists()
    both = cli("run", file, "--queue", "--output", "out.jsonl")
    assert (both.code, both.err.startswith("error: --queue answers nothing yet")) == (2, True)


def test_a_worker_says_of_what_it_cannot_use_what_is_missing(cli: Cli, postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = cli("worker", "-d", postgresql_url.replace("?", "_no?"))
    assert (nowhere.code, nowhere.err.startswith("error: cannot open the database")) == (3, True)
    module = cli("worker", "-d", postgresql_url, "--import", "no_module")
    assert (module.code, module.err) == (2, "error: cannot import no_module: ModuleNotFoundError: No module named 'no_module'\n")
    redis = cli("worker", "-d", postgresql_url, "--redis", "nowhere")
    assert (redis.code, redis.err.startswith("error: 'nowhere' is no URL of Redis: Redis URL must specify one of")) == (2, True)
    monkeypatch.setattr("minference.distributed.extra.find_spec", lambda name: None if name == "psycopg" else name)
    missing = cli("worker", "-d", postgresql_url)
    assert missing.err == "error: a work queue needs 'psycopg', which is not installed: pip install \"minference[distributed]\"\n"
    assert missing.code == 2


def test_a_worker_that_ends_by_itself_says_whether_threads_failed(cli: Cli, server: ProviderServer, postgresql_storage_url: str) -> None:
    submit(postgresql_storage_url, 2)
    server.faults = {1: Status(400)}
    worked = cli("worker", "-d", postgresql_storage_url, "--until-empty")
    assert worked.code == 1
    assert "night: job 1: 1 done, 1 failed" in worked.err
    assert counts(cli, postgresql_storage_url)[EntryState.failed] == 1
