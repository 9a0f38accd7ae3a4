"""Every example runs as it stands, in an empty directory, without a key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.nursery import run_program

EXAMPLES = Path(__file__).parent.parent / "examples"
PROMISED = {
    "01_parallel_threads.py": ["You said: Why do leaves fall?", "user message", "reply of scripted/echo"],
    "02_versions.py": ["Why is the [-sky-]{+sea+} blue?", "2 heads", "bob, ask about the sea"],
    "03_tools_and_schemas.py": ["tool: 18.0", "raised KeyError", "90 is greater than the maximum of 14", "city='Rome' days=9"],
    "04_branches_and_merge.py": [
        "history[1]: Tulips. or Onions.",
        "merged: What shall we plant? / Tulips. / Onions.",
        "reverted: What shall we plant?\n",
        "rebased, garden plan: What shall we plant? / Trees? / And grass.\n7 versions; tags: bob's idea, start",
    ],
    "05_own_table.py": [
        "  5 by ann, None: Right, and in one sentence. (",
        "  2 by bob, be kind: Short, but no answer. (",
        "  1: Because air scatters blue light most.\nloaded as always: Short, but no answer.",
    ],
    "06_streaming.py": ['tide({"harbour": "Whitby"}) = 04:10 and 16:35\n[tool message saved]\nAt high tide', "finished: Completed"],
    "07_mcp_server.py": ["offered: borrow: Borrow a book.", "Hunger is yours for 3 weeks", "assistant: Enjoy it"],
    "08_tracing.py": [
        "failed: the network is down; in memory there are 0 messages\nrestored: ['Where is the station?', '(shortened)']",
        "content: [-Où est la gare -]{+Where is the station+}?",
        "'Where is the station?': added by ann, written by translate",
    ],
    "09_batch_with_budget.py": [
        "Peru: the budget of 0.25 dollars does not allow",
        "Peru: What is the capital of Peru? I know it.",
        "{'done': 5}",
    ],
    "10_workflow.py": ["tool: sunny at 38.7, -9.1", "sent to Ann: Sunny tomorrow!", "completed: True | versions: 7"],
    "11_telemetry.py": [
        "request: ",
        "ms\n  invoke_agent: ",
        "ms, failed attempts: 1\n    execute_tool look_up: ",
        "ms\n      ask the station: ",
        "ms\n    chat delphi: ",
    ],
    "12_postgresql.py": ["saved the shared thread as a branch", "a head: bob was here", "SQL finds 6 notes in 2 threads, on postgresql"],
    "relations/association_object.py": ["Ann is admin of tea since 2026-01-31 (by owner)", "Anna is admin", "1 version of the room"],
    "relations/circular.py": ["2 versions: a strong circle", "2 versions: the thread", "every post knows its thread: True"],
    "relations/many_to_many.py": ["[2, 1, 2, 2] versions", "tea and cake: Ann, Bob", "garden: Ann"],
    "relations/many_to_one.py": ["[2, 2, 1] versions", "Hunger by Knut Hamsun, Pan by K. Hamsun\nKnut Hamsun"],
    "relations/one_to_many.py": ["['buy milk', 'call Bob', 'sleep']\n['sleep', 'call Bob', 'buy oats']", "[1, 1, 2] versions"],
    "relations/one_to_one.py": ["city: [-Oslo-]{+Rome+}", "Oslo\nRome\nno profile"],
    "relations/polymorphic.py": ["text hello: Hello.", "image sea: sea.png, 640 wide", "same object: True", "3 contents"],
    "relations/self_referential.py": ["{'life': 2, 'plants': 1, 'animals': 2, 'mosses': 1, 'cats and dogs': 2} versions"],
}


def test_each_example_has_a_promise() -> None:
    assert sorted(path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py")) == sorted(PROMISED)


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_an_example_shows_what_it_promises(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    wanted = {"MINFERENCE_DATABASE": request.getfixturevalue("postgresql_url")} if "postgresql" in name else {}
    done = run_program(str(EXAMPLES / name), cwd=tmp_path, timeout=60, env={**os.environ, **wanted})
    assert done.returncode == 0, done.stderr
    missing = [text for text in PROMISED[name] if text not in done.stdout]
    assert not missing, done.stdout
