"""Source text runs where the application says: by default nowhere, in the sandbox without access to anything, or as plain Python."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minference.clients.scripted import ScriptedClient
from minference.errors import (
    InvalidSource,
    InvalidToolArguments,
    InvalidToolResult,
    MissingExtra,
    SandboxDied,
    SourceRefused,
    ToolError,
    ToolRaised,
    ToolTimedOut,
)
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.sandbox import Sandbox, SandboxWorkers, sandbox_of
from minference.inference.tool_results import ToolFailed, ToolOutcome, ToolSucceeded
from minference.inference.tool_runs import run_tool_call
from minference.inference.workshop import Workshop
from minference.storage.base import EntityStorage
from minference.threads.messages import ToolCall
from minference.threads.sources import LONGEST_SOURCE
from minference.threads.tools import CallableTool
from tests.inference.helpers import completed, said, thread
from tests.inference.tool_calls import a_call

PATIENCE = 30.0
ADD = "def add(a: int, b: int = 2) -> int:\n    'Add.'\n    return a + b\n"


@pytest.fixture(autouse=True)
def nothing_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.threads.sources._TRUSTED", set())


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxWorkers]:
    """A sandbox with little time and memory."""
    workers = SandboxWorkers(Sandbox(seconds=0.5, memory=16_000_000, result=10_000))
    yield workers
    await workers.aclose()


async def run(text: str, workers: SandboxWorkers | None, **arguments: Any) -> ToolOutcome:
    tool = CallableTool.from_source(text, name=text.partition("def ")[2].partition("(")[0])
    return await run_tool_call(tool, a_call(tool.name, **arguments), Workshop(sandbox=workers))


async def failure(text: str, workers: SandboxWorkers | None, **arguments: Any) -> ToolError:
    outcome = await run(text, workers, **arguments)
    assert isinstance(outcome, ToolFailed), outcome
    return outcome.error


# Where it runs


def calls_add(**arguments: Any) -> ScriptedClient:
    return ScriptedClient([ToolCall.from_arguments("1", "add", arguments), "Done."])


async def answered(text: str, memory: EntityStorage, client: ScriptedClient, **options: Any) -> tuple[str, bool]:
    """What the model reads after its call of a tool that was saved and loaded."""
    chat = thread(tools=[CallableTool.from_source(text)])
    await memory.register(chat)
    loaded = await memory.get(type(chat), chat.ecs_id)
    async with InferenceOrchestrator(storage=memory, clients={"scripted": client}, **options) as orchestrator:
        [outcome] = await orchestrator.run([loaded])
    assert completed(outcome).content == "Done."
    assert said(loaded)[2][0] == "tool"
    return loaded.history[2].content, loaded.history[2].tool_error


async def test_a_loaded_text_is_not_run_unless_the_application_says_so(memory: EntityStorage) -> None:
    said = await answered(ADD, memory, calls_add(a=1))
    assert said == ("tool 'add' is program text, which this application does not run", True)


async def test_in_the_sandbox_a_loaded_text_runs_and_its_arguments_and_results_are_validated(memory: EntityStorage) -> None:
    assert await answered(ADD, memory, calls_add(a=1), source_tools="sandbox") == ("3", False)
    wrong = 'the arguments for tool \'add\' are not valid: a: "one" is not of type "integer"'
    assert await answered(ADD, memory, calls_add(a="one"), source_tools="sandbox") == (wrong, True)
    lie = ADD.replace("return a + b", "return 'many'")
    unusable = 'tool \'add\' returned an unusable result: "many" is not of type "integer"'
    assert await answered(lie, memory, calls_add(a=1), source_tools=Sandbox(seconds=2)) == (unusable, True)


async def test_a_text_that_the_application_vouches_for_runs_as_plain_python(memory: EntityStorage) -> None:
    text = ADD.replace("return a + b", "import os; return a + b + os.getpid()")
    CallableTool.from_source(text, trust="process")
    assert await answered(text, memory, calls_add(a="1")) == (str(3 + os.getpid()), False)
    another = await answered(text + "\n", memory, calls_add(a=1))
    assert another == ("tool 'add' is program text, which this application does not run", True)


async def test_the_text_for_reading_of_a_registered_function_is_never_run() -> None:
    tool = CallableTool(name="gone", input_schema={"type": "object"}, callable_text="def gone(): return 1")
    outcome = await run_tool_call(tool, a_call("gone"), Workshop(sandbox=sandbox_of("sandbox")))
    assert isinstance(outcome, ToolFailed)
    assert "no function is registered for tool 'gone'" in str(outcome.error)


def test_a_choice_that_means_nothing_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="source_tools is 'process': it takes 'refuse', 'sandbox' or a Sandbox"):
        InferenceOrchestrator(source_tools="process")  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ValueError, match="seconds of a sandbox is 0: it must be more than 0"):
        Sandbox(seconds=0)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MissingExtra, match=r'pip install "minference\[sandbox\]"'):
        InferenceOrchestrator(source_tools="sandbox")


# What it gives


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("return 'as it is'", "as it is"),
        ("return None", None),
        ("return {'a': [1, 2.5, True, 'ü']}", {"a": [1, 2.5, True, "ü"]}),
        ("import json, re, math\n    return [json.loads('[1]'), math.floor(2.5), re.sub('a', 'b', 'aa')]", [[1], 2, "bb"]),
        ("return (1, 2)", [1, 2]),
        ("print('x' * 100_000)\n    return 1", 1),
        ("import time\n    time.sleep(1000)\n    return 1", 1),
        ("return eval('1 + 1')", 2),
    ],
)
async def test_a_result_is_json(sandbox: SandboxWorkers, body: str, value: Any) -> None:
    outcome = await run(f"def tool():\n    {body}", sandbox)
    assert isinstance(outcome, ToolSucceeded)
    assert outcome.value == value


async def test_an_async_function_and_helpers_beside_it_will_do(sandbox: SandboxWorkers) -> None:
    text = (
        "SCALE = 2\ndef _double(n):\n    return n * SCALE\nasync def tool(n: int, **more: int) -> int:\n    return _double(n) + len(more)\n"
    )
    outcome = await run_tool_call(CallableTool.from_source(text), a_call(n=4, x=1, y=2), Workshop(sandbox=sandbox))
    assert outcome == ToolSucceeded("10", 10)


json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


def test_arguments_and_results_survive_the_way_through_the_sandbox() -> None:
    tool = CallableTool.from_source("def same(data: Any) -> Any:\n    return data\n")
    with asyncio.Runner() as runner:
        workers = SandboxWorkers(Sandbox())

        @given(json_data)
        @settings(max_examples=60)
        def check(data: Any) -> None:
            outcome = runner.run(run_tool_call(tool, a_call("same", data=data), Workshop(sandbox=workers)))
            assert isinstance(outcome, ToolSucceeded), outcome
            assert outcome.value == data

        check()
        runner.run(workers.aclose())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return {1}", "Object of type set is not JSON serializable"),
        ("return float('nan')", "Out of range float values are not JSON compliant: nan"),
        ("return tool", "Object of type function is not JSON serializable"),
        ("x = []\n    x.append(x)\n    return x", "Circular reference detected"),
        ("return 'x' * 10_001", "its JSON has more than 10000 characters, or is none"),
        ("import json\n    json.dumps = None\n    return 1", None),
    ],
)
async def test_a_result_that_json_cannot_hold_is_refused(sandbox: SandboxWorkers, body: str, reason: str | None) -> None:
    error = await failure(f"def tool():\n    {body}", sandbox)
    assert isinstance(error, InvalidToolResult if reason else ToolError)
    assert reason is None or reason in str(error)


async def test_what_the_function_raises_is_a_failure_with_its_cause(sandbox: SandboxWorkers) -> None:
    error = await failure("def tool():\n    raise ValueError('no tea left')", sandbox)
    assert isinstance(error, ToolRaised)
    assert str(error) == "tool 'tool' raised ValueError: no tea left"
    assert error.__cause__ is error.error
    assert isinstance(error.error, ValueError)


# What it cannot do

ATTACKS = {
    "open a file": "open('/etc/passwd').read()",
    "write a file": "open('escaped', 'w').write('x')",
    "list a directory": "import os; os.listdir('/')",
    "a path": "import pathlib; pathlib.Path('/etc/passwd').read_text()",
    "the environment": "import os; os.environ['PATH']",
    "a shell": "import os; os.system('touch escaped')",
    "fork": "import os; os.fork()",
    "a process": "import subprocess; subprocess.run(['touch', 'escaped'])",
    "a socket": "import socket; socket.create_connection(('127.0.0.1', 9))",
    "http": "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')",
    "ctypes": "import ctypes; ctypes.CDLL(None)",
    "the import function": "__import__('os').system('touch escaped')",
    "importlib": "import importlib; importlib.import_module('subprocess')",
    "builtins": "__builtins__['open']('escaped', 'w')",
    "subclasses": "().__class__.__bases__[0].__subclasses__()",
    "globals of a function": "tool.__globals__['__builtins__']",
    "frames": "import sys; sys._getframe(0)",
    "code objects": "tool.__code__",
    "format strings": "'{0.__class__.__mro__}'.format(1) + 1",
    "exec": "exec(\"import subprocess\\nsubprocess.run(['touch', 'escaped'])\")",
    "pickle": "import pickle; pickle.loads(b'cos\\nsystem\\n(S\"touch escaped\"\\ntR.')",
    "exit": "exit()",
    "system exit": "raise SystemExit(0)",
    "interrupt": "raise KeyboardInterrupt",
    "kill": "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
    "a list of 10**10": "[0] * 10**10",
    "a text of 10**10": "'x' * 10**10",
    "a number of 10**10 bits": "2 ** 10**10",
    "a range as a list": "list(range(10**10))",
    "a text that grows": "x = 'x'\n    while True: x += x",
    "a list that grows": "x = []\n    while True:\n        try: x.append('x' * 1000)\n        except BaseException: pass",
    "a wide format": "'{:>10000000000}'.format(1)",
    "recursion": "return tool()",
    "recursion that catches": "try: return tool()\n    except RecursionError: return tool()",
    "deep data": "x = []\n    for i in range(100_000): x = [x]\n    return x",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
async def test_an_attack_ends_with_a_tool_error_and_leaves_nothing(
    sandbox: SandboxWorkers, attack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await failure(f"def tool():\n    {attack}", sandbox)
    assert list(tmp_path.iterdir()) == []
    assert await run(ADD, sandbox, a=1) == ToolSucceeded("3", 3)


@pytest.mark.parametrize(
    "loop",
    [
        "while True: pass",
        "while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        "for i in range(10**12): i * i",
        "sum(range(10**12))",
        "import re\n    while True: re.match('(a+)+$', 'a' * 50 + 'b')",
    ],
    ids=range(5),
)
async def test_what_loops_for_ever_is_ended_while_others_go_on(sandbox: SandboxWorkers, loop: str) -> None:
    endless = asyncio.create_task(failure(f"def tool():\n    {loop}", sandbox))
    assert await run(ADD, sandbox, a=1) == ToolSucceeded("3", 3)
    error = await endless
    assert isinstance(error, ToolTimedOut)
    assert str(error) == "tool 'tool' did not finish within 0.5 s"


async def test_a_text_that_loops_before_it_defines_anything_is_ended(sandbox: SandboxWorkers) -> None:
    assert isinstance(await failure("def tool(): ...\nwhile True: pass", sandbox), ToolTimedOut)


async def test_more_calls_than_processes_wait_for_their_turn() -> None:
    workers = SandboxWorkers(Sandbox(seconds=0.3, processes=1))
    outcomes = await asyncio.gather(run("def tool():\n    while True: pass", workers), *(run(ADD, workers, a=n) for n in range(5)))
    await workers.aclose()
    assert [type(outcome) for outcome in outcomes] == [ToolFailed, *[ToolSucceeded] * 5]


async def test_one_call_leaves_nothing_for_the_next(sandbox: SandboxWorkers) -> None:
    count = "seen = []\ndef tool(n: int) -> int:\n    seen.append(n)\n    return len(seen)\n"
    assert [await run(count, sandbox, n=n) for n in range(3)] == [ToolSucceeded("1", 1)] * 3
    assert isinstance(await failure("def tool():\n    return seen", sandbox), ToolRaised)


async def test_a_tools_own_timeout_counts_if_it_is_shorter(sandbox: SandboxWorkers) -> None:
    tool = CallableTool.from_source("def tool():\n    while True: pass", timeout=0.1)
    outcome = await run_tool_call(tool, a_call(), Workshop(sandbox=sandbox))
    assert isinstance(outcome, ToolFailed)
    assert str(outcome.error) == "tool 'tool' did not finish within 0.1 s"


async def busy_worker() -> psutil.Process:
    """The process of the only sandbox, once it has worked for a while."""
    while True:
        for child in psutil.Process().children():
            if "monty" in child.name() and child.cpu_times().user > 0.05:
                return child
        await asyncio.sleep(0)


ENDLESS = "def tool():\n    while True: pass"


async def test_a_cancelled_call_ends_its_process() -> None:
    workers = SandboxWorkers(Sandbox(seconds=PATIENCE, processes=1))
    endless = asyncio.create_task(run(ENDLESS, workers))
    worker = await busy_worker()
    endless.cancel()
    with pytest.raises(asyncio.CancelledError):
        await endless
    psutil.wait_procs([worker], timeout=PATIENCE)
    assert not worker.is_running()
    assert await run(ADD, workers, a=2) == ToolSucceeded("4", 4)
    await workers.aclose()


async def test_a_sandbox_whose_process_is_killed_says_so() -> None:
    workers = SandboxWorkers(Sandbox(seconds=PATIENCE, processes=1))
    endless = asyncio.create_task(failure(ENDLESS, workers))
    (await busy_worker()).kill()
    assert isinstance(await endless, SandboxDied)
    assert await run(ADD, workers, a=1) == ToolSucceeded("3", 3)
    await workers.aclose()


async def test_a_stored_text_that_is_no_usable_program_is_a_tool_error(sandbox: SandboxWorkers) -> None:
    def stored(**fields: Any) -> CallableTool:
        return CallableTool(**{"name": "tool", "input_schema": {"type": "object"}, "source_text": "def tool(): return 1", **fields})

    async def outcome(tool: CallableTool) -> ToolError:
        found = await run_tool_call(tool, a_call(), Workshop(sandbox=sandbox))
        assert isinstance(found, ToolFailed)
        return found.error

    assert isinstance(await outcome(stored(source_text="def (:")), ToolRaised)
    assert isinstance(await outcome(stored(source_text="x = 1")), ToolRaised)
    assert isinstance(await outcome(stored(source_text='x = """')), ToolRaised)
    assert isinstance(await outcome(stored(source_text="(" * 50_000)), ToolRaised)
    assert isinstance(await outcome(stored(source_text="def tool(): ...\ndef tool(n):\n    return n")), ToolRaised)
    assert isinstance(await outcome(stored(source_text="#" * (LONGEST_SOURCE + 1))), InvalidSource)
    assert isinstance(await outcome(stored(name="two-words")), InvalidSource)
    assert isinstance(await run_tool_call(stored(), a_call(), Workshop(sandbox=sandbox)), ToolSucceeded)


async def test_arguments_are_checked_before_anything_runs(sandbox: SandboxWorkers) -> None:
    tool = CallableTool.from_source("def tool(n: int):\n    return n\n")
    for written in ('{"n": "x"}', '{"n": 1, "m": 2}', "{}", '{"n": 1e999}', '{"n": "\\ud800"}', "[1]"):
        outcome = await run_tool_call(tool, ToolCall(id="1", name="tool", arguments_json=written), Workshop(sandbox=sandbox))
        assert isinstance(outcome, ToolFailed)
        assert isinstance(outcome.error, InvalidToolArguments)


# As plain Python


async def test_a_trusted_text_is_run_once_outside_of_the_event_loop() -> None:
    text = (
        "import threading\nmade_in = threading.current_thread().name\ncalls = []\n"
        "def tool(n: int) -> list:\n    calls.append(n)\n    return [made_in, len(calls)]\n"
    )
    tool = CallableTool.from_source(text, trust="process")
    first, second = [await run_tool_call(tool, a_call(n="1")) for _ in range(2)]
    assert isinstance(first, ToolSucceeded)
    assert isinstance(second, ToolSucceeded)
    assert (first.value, second.value) == (["minference-tool", 1], ["minference-tool", 2])
    assert threading.current_thread().name != "minference-tool"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def tool(): ...\nraise ValueError('no tea')", "tool 'tool' raised ValueError: no tea"),
        ("def tool(): ...\nraise SystemExit", "tool 'tool' raised SystemExit"),
        ("def tool(): ...\ndel tool", "source 'tool' cannot be a tool: running the text defines no function of this name"),
        ("def tool() -> int:\n    return 1 / 0", "tool 'tool' raised ZeroDivisionError: division by zero"),
    ],
)
async def test_a_trusted_text_that_fails_is_a_tool_error(text: str, message: str) -> None:
    outcome = await run_tool_call(CallableTool.from_source(text, trust="process"), a_call())
    assert isinstance(outcome, ToolFailed)
    assert str(outcome.error) == message


async def test_a_trusted_text_that_hangs_is_left_behind() -> None:
    text = "import threading\ndef tool(): ...\nthreading.Event().wait(30)"
    outcome = await run_tool_call(CallableTool.from_source(text, timeout=0.01, trust="process"), a_call())
    assert isinstance(outcome, ToolFailed)
    assert isinstance(outcome.error, ToolTimedOut)


async def test_nothing_runs_without_a_sandbox() -> None:
    assert isinstance(await failure(ADD, None, a=1), SourceRefused)
