"""`minference run`: everything is saved as it comes, and the same command again continues."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from minference.cli.find import lineage_of_run
from minference.storage.open import open_storage
from minference.testing import Hang, ProviderServer, RecordedRequest, Status, default_answer
from minference.threads.thread import ChatThread
from tests.cli.conftest import Cli
from tests.cli.test_run_file import GOOD, Write
from tests.support.nursery import Program
from tests.support.sqlite import with_tables

SERVED = """
name = "capitals"
database = "runs.db"
[model]
client = "openai"
model = "test-model"
[prompts]
file = "prompts.jsonl"
[limits]
max_in_flight = 1
"""

TOOL = """
from pathlib import Path

def look_up(city: str) -> str:
    \"\"\"Look a city up.\"\"\"
    with Path("calls.txt").open("a") as file:
        file.write(city + "\\n")
    return city.upper()
"""

TWO_SIGNALS = """
import asyncio, os, signal

async def ring_twice(city: str) -> str:
    \"\"\"Ring twice, and wait.\"\"\"
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
    await asyncio.Event().wait()
    return city
"""


def prompts(write: Write, count: int) -> None:
    write("prompts.jsonl", "".join(json.dumps({"prompt": f"City {number}", "id": f"c{number}"}) + "\n" for number in range(count)))


def saved(folder: Path, count: int) -> dict[str, list[str]]:
    """The roles of the messages of each thread of the run that is in the database."""

    async def read() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        async with open_storage(with_tables(folder / "runs.db")) as storage:
            for number in range(count):
                for head in await storage.heads(lineage_of_run(f"capitals/c{number}")):
                    assert f"c{number}" not in found, "one thread, one head"
                    thread = await storage.get_cold_snapshot(ChatThread, head.ecs_id)
                    found[f"c{number}"] = [message.role.value for message in thread.history]
        return found

    return asyncio.run(read())


def test_the_results_come_as_a_table_and_the_summary_on_stderr(cli: Cli, write: Write) -> None:
    said = cli("run", write("run.toml", GOOD))
    assert said.code == 0
    assert [line.split() for line in said.out.splitlines()] == [
        ["id", "status", "answer"],
        ["1", "done", "You", "said:", "Hello"],
        ["second", "done", "You", "said:", "Two"],
    ]
    assert said.err.startswith("2 done, 0 failed, ")


def test_as_json_there_is_one_line_per_prompt_in_order(process: Cli, write: Write) -> None:
    said = process("run", write("run.toml", GOOD), "--json")
    common = {"status": "done", "already_done": False, "version": ANY, "object": None, "error": None}
    assert said.lines == [
        {"id": "1", "thread": str(lineage_of_run("run/1")), "text": "You said: Hello", **common},
        {"id": "second", "thread": str(lineage_of_run("run/second")), "text": "You said: Two", **common},
    ]
    assert process("threads", "show", "run/second", "--json").json["messages"][1]["content"] == "You said: Two"


def test_the_same_command_again_asks_nothing_and_says_so(cli: Cli, write: Write, server: ProviderServer) -> None:
    prompts(write, 3)
    first = cli("run", write("run.toml", SERVED), "--json")
    again = cli("run", "run.toml", "--json")
    assert len(server.requests) == 3
    assert again.lines == [{**line, "already_done": True} for line in first.lines]
    assert again.err.startswith("3 done (3 of them before), 0 failed, 0 tokens, ")


def test_the_output_file_holds_everything_or_stays_as_it_was(cli: Cli, write: Write, tmp_path: Path) -> None:
    said = cli("run", write("run.toml", GOOD), "--output", "out.jsonl", "--json")
    assert (tmp_path / "out.jsonl").read_text() == said.out
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith("minference.db")} == {"run.toml", "out.jsonl"}
    missing = cli("run", "run.toml", "--output", "no/out.jsonl")
    assert (missing.code, missing.err) == (2, "error: cannot write 'no/out.jsonl': there is no directory 'no': make it first\n")


def test_the_output_is_never_written_over_the_database(cli: Cli, write: Write, tmp_path: Path) -> None:
    write("run.toml", GOOD)
    early = cli("run", "run.toml", "-d", "new.db", "-o", "new.db")
    assert (early.code, (tmp_path / "new.db").exists()) == (2, False)
    assert cli("run", "run.toml", "-d", "new.db").code == 0
    said = cli("run", "run.toml", "-d", "new.db", "-o", "new.db")
    assert (said.code, said.err) == (2, "error: cannot write 'new.db': it is a database, and would be lost: name another file\n")
    assert "run/second" in cli("threads", "list", "-d", "new.db").out


def test_a_thread_that_failed_is_told_and_tried_again_by_the_same_command(cli: Cli, write: Write, server: ProviderServer) -> None:
    prompts(write, 3)
    server.faults = {2: Status(400)}
    first = cli("run", write("run.toml", SERVED), "--json")
    assert first.code == 1
    assert [line["status"] for line in first.lines] == ["done", "failed", "done"]
    assert first.lines[1]["error"].startswith("ProviderRefused: openai: ")
    assert "1 failed" in first.err
    again = cli("run", "run.toml", "--json")
    assert (again.code, [line["already_done"] for line in again.lines]) == (0, [True, False, True])
    assert len(server.requests) == 4


def test_what_the_file_says_now_holds_for_what_is_still_to_do(cli: Cli, write: Write, server: ProviderServer) -> None:
    prompts(write, 1)
    server.faults = {1: Status(404)}
    assert cli("run", write("run.toml", SERVED)).code == 1
    assert cli("run", write("run.toml", SERVED.replace("test-model", "better-model"))).code == 0
    assert [request.body["model"] for request in server.requests] == ["test-model", "better-model"]


def test_another_prompt_under_an_id_that_was_asked_is_refused(cli: Cli, write: Write) -> None:
    cli("run", write("run.toml", GOOD))
    said = cli("run", write("run.toml", GOOD.replace("Two", "Three")))
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "error: run.toml: run 'run' has asked 'Two' under the id 'second', not 'Three': "
        "give the run another name, or the prompts ids of their own\n"
    )


def test_tools_of_the_users_own_file_are_called(cli: Cli, write: Write, server: ProviderServer, tmp_path: Path) -> None:
    prompts(write, 2)
    write("tools_of_one_test.py", TOOL.replace("look_up", "look_up_once"))
    server.call_tools = True
    said = cli("run", write("run.toml", SERVED + '[[tools]]\nfunction = "tools_of_one_test:look_up_once"\n'), "--json")
    assert [line["text"] for line in said.lines] == ["The tools said: CITY 0", "The tools said: CITY 1"]
    assert sorted((tmp_path / "calls.txt").read_text().splitlines()) == ["City 0", "City 1"]


@pytest.mark.parametrize("form", ["model", "schema", "schema_file"])
def test_answers_are_held_to_the_output_form(cli: Cli, write: Write, server: ProviderServer, form: str) -> None:
    prompts(write, 1)
    write("output_forms.py", "from pydantic import BaseModel\nclass City(BaseModel):\n    name: str\n")
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
        "additionalProperties": False,
    }
    write("city.json", json.dumps(schema))
    toml = {"type": '"object"', "properties": '{name = {type = "string"}}', "required": '["name"]', "additionalProperties": "false"}
    table = {
        "model": 'model = "output_forms:City"',
        "schema": "[output.schema]\n" + "\n".join(f"{name} = {value}" for name, value in toml.items()),
        "schema_file": 'schema_file = "city.json"',
    }[form]
    said = cli("run", write("run.toml", f"{SERVED}[output]\n{table}\n"), "--json")
    assert [line["object"] for line in said.lines] == [{"name": "City 0"}]
    assert len(server.requests) == 1


def test_the_database_of_the_file_is_relative_to_the_file(cli: Cli, write: Write, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    assert cli("run", write("deep/run.toml", 'database = "its.db"\n' + GOOD)).code == 0
    assert (tmp_path / "deep" / "its.db").is_file()


def test_killed_in_the_middle_nothing_is_asked_or_run_twice(
    process: Cli, start: Callable[..., Program], write: Write, server: ProviderServer, tmp_path: Path
) -> None:
    count = 8
    prompts(write, count)
    write("my_tools.py", TOOL)
    write("run.toml", SERVED.replace("max_in_flight = 1", "max_in_flight = 2") + '[[tools]]\nfunction = "my_tools:look_up"\n')
    stuck = threading.Event()

    def hang_after_ten(request: RecordedRequest) -> Hang | None:
        if request.number <= 10:
            return None
        stuck.set()
        return Hang()

    server.call_tools, server.faults = True, hang_after_ten
    running = start("run", "run.toml")
    assert stuck.wait(60)
    running.kill()
    running.wait()

    before = saved(tmp_path, count)
    replies = sum(roles.count("assistant") for roles in before.values())
    results = sum(roles.count("tool") for roles in before.values())
    assert replies > 0
    server.faults, asked = {}, len(server.requests)
    called = len((tmp_path / "calls.txt").read_text().splitlines())

    again = process("run", "run.toml", "--json")
    assert (again.code, len(again.lines)) == (0, count), again.err
    assert len(server.requests) - asked == 2 * count - replies
    assert len((tmp_path / "calls.txt").read_text().splitlines()) - called == count - results
    assert saved(tmp_path, count) == {f"c{number}": ["user", "assistant", "tool", "assistant"] for number in range(count)}


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM")], ids=["Ctrl-C", "SIGTERM"]
)
def test_told_to_stop_it_saves_what_is_on_its_way_and_the_same_command_continues(
    process: Cli, start: Callable[..., Program], write: Write, server: ProviderServer, number: int, code: int, said: str
) -> None:
    prompts(write, 40)
    write("run.toml", SERVED)
    waiting, go_on = threading.Event(), threading.Event()

    def answer(body: dict[str, Any]) -> Any:
        if len(server.requests) == 4:
            waiting.set()
            assert go_on.wait(60)
        return default_answer(body)

    server.answer = answer
    running = start("run", "run.toml")
    assert waiting.wait(60)
    running.send_signal(number)
    go_on.set()
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err.splitlines()[-1]) == (code, "", f"error: {said}; what was answered before is saved")
    assert process("run", "run.toml", "--json").code == 0
    assert len(server.requests) == 40


@pytest.mark.parametrize(("number", "how"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "ended by SIGTERM")])
def test_it_says_that_it_is_stopping_and_a_second_signal_ends_it_at_once(
    start: Callable[..., Program], write: Write, server: ProviderServer, number: int, how: str
) -> None:
    prompts(write, 1)
    write("run.toml", SERVED)
    waiting, done = threading.Event(), threading.Event()

    def answer(body: dict[str, Any]) -> Any:
        waiting.set()
        done.wait(60)
        return default_answer(body)

    server.answer = answer
    running = start("run", "run.toml")
    assert running.stderr is not None
    assert waiting.wait(60)
    running.send_signal(number)  # the first drains for 30 s, however often it is looked at
    assert any("stopping: replies on their way are waited for; a second signal ends at once" in line for line in running.stderr)
    running.send_signal(number)
    _, err = running.communicate()
    done.set()
    told = f"error: {how} at once: replies on their way are lost, what was saved before stays\n"
    assert (running.returncode, err) == (128 + number, told)


def test_two_signals_that_come_together_end_it_at_once(start: Callable[..., Program], write: Write, server: ProviderServer) -> None:
    """As from a terminal and from the program that started it: neither may be lost in the other."""
    prompts(write, 1)
    write("two_signals.py", TWO_SIGNALS)
    write("run.toml", SERVED + '[[tools]]\nfunction = "two_signals:ring_twice"\n')
    server.call_tools = True
    running = start("run", "run.toml")
    _, err = running.communicate()
    assert running.returncode == 130
    assert "error: interrupted at once: " in err
    assert len(server.requests) == 1


def test_results_are_shown_and_not_called_saved_when_the_database_is_gone(
    cli: Cli, write: Write, server: ProviderServer, tmp_path: Path
) -> None:
    prompts(write, 2)
    write("run.toml", SERVED)

    def answer(body: dict[str, Any]) -> Any:
        (tmp_path / "runs.db").unlink(missing_ok=True)
        return "Here I am."

    server.answer = answer
    said = cli("run", "run.toml", "--json")
    assert [(line["status"], line["text"]) for line in said.lines] == [("done", "Here I am.")] * 2
    assert (said.code, "saved in" in said.err) == (3, False)
    assert "runs.db was lost: its file was deleted" in said.err


def test_the_example_that_we_ship_runs(cli: Cli, tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "configs" / "example.toml"
    (tmp_path / "example.toml").write_text(example.read_text())
    said = cli("run", "example.toml", "--json")
    assert [(line["id"], line["status"]) for line in said.lines] == [("1", "done"), ("italy", "done")]
    assert (tmp_path / "capitals.db").is_file()
