"""A run file is checked whole, and an error names file, table, field and the way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

GOOD = """
[model]
client = "scripted"
model = "echo"
[prompts]
texts = ["Hello", {id = "second", prompt = "Two"}]
"""

Write = Callable[[str, str], str]


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("texts", "textz", "[prompts] textz: there is no such field (did you mean 'texts'?); the fields are file, system, texts"),
        ("client =", "clint =", "[model] clint: there is no such field (did you mean 'client'?); the fields are client, extra, fallbacks"),
        (
            "prompt =",
            "promt =",
            "[prompts.texts 2] promt: there is no such field (did you mean 'prompt'?); the fields are id, prompt, system",
        ),
        (
            "[model]",
            "[modle]",
            "modle: there is no such field (did you mean 'model'?); the fields are budget, cache, database, limits, max_turns",
        ),
        ('"echo"', '"echo"\nmax_tokens = "many"', "[model] max_tokens: Input should be a valid integer"),
        ('"echo"', '"echo"\necs_id = "x"', "model: ecs_id is set by minference: remove it"),
        ('client = "scripted"', "", "[model] client: this is missing"),
        (
            'client = "scripted"',
            'client = "anthropic"\nreasoning_effort = "minimal"',
            "[model] reasoning_effort: client 'anthropic' cannot do reasoning_effort 'minimal': use 'none', 'low'",
        ),
        ('"Hello"', '""', "[prompts.texts 1] prompt: String should have at least 1 character, not ''"),
        ('"Hello"', '{id = "second", prompt = "x"}', "the id 'second' belongs to prompt 1 already: give another"),
        ("texts", 'file = "x.jsonl"\ntexts', "prompts: give either texts or file"),
        ("[prompts]", "[limits]\nrpm = 3\n[prompts]", "[limits] rpm: there is no such field; the fields are input_tokens_per_minute"),
        (
            "[prompts]",
            '[output]\nmodel = "math:sin"\nformat = "json_object"\n[prompts]',
            "[output] format: Input should be 'structured_output' or 'tool'",
        ),
        ("[prompts]", '[output]\nname = "x"\n[prompts]', "output: give exactly one of model, schema and schema_file"),
        (
            "[prompts]",
            '[[tools]]\nfunction = "os.path"\n[prompts]',
            "[tools 1] function: 'os.path' is not an import path: write it as module:",
        ),
        (
            "[prompts]",
            '[[tools]]\nfunction = "no_such:x"\n[prompts]',
            "[tools] 1. function: cannot import no_such:x: ModuleNotFoundError: No mod",
        ),
        ("[prompts]", '[[tools]]\nfunction = "math:pi"\n[prompts]', "[tools] 1. function: math:pi is 3.14159"),
        (
            "[prompts]",
            '[output]\nmodel = "math:sin"\n[prompts]',
            "[output] model: math:sin is <built-in function sin>, not a pydantic model",
        ),
        ("[prompts]", '[output]\nschema = {type = "nonsense"}\n[prompts]', "[output]: tool 'answer' has an invalid JSON schema"),
        (
            "[prompts]",
            '[output]\nschema_file = "no.json"\n[prompts]',
            "[output] schema_file: cannot read no.json: No such file or directory",
        ),
        ("[model]", "[model", "it is no TOML file: "),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_stored(cli: Cli, write: Write, tmp_path: Path, old: str, new: str, error: str) -> None:
    assert old in GOOD
    said = cli("run", write("run.toml", GOOD.replace(old, new, 1)), "-d", "new.db")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: run.toml: {error}")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('{"prompt": "b"', "prompts.jsonl:2: the line is no JSON: "),
        ('["b"]', """prompts.jsonl:2: a line is an object like {"prompt": "..."}, not ['b']"""),
        ('{"promt": "b"}', "prompts.jsonl:2: promt: there is no such field (did you mean 'prompt'?); the fields are id, prompt, system"),
        ('{"id": "b"}', "prompts.jsonl:2: prompt: this is missing"),
        ('{"prompt": "b", "id": "one"}', "prompts.jsonl:2: the id 'one' belongs to line 1 already: give another"),
        ('{"prompt": 5}', "prompts.jsonl:2: prompt: Input should be a valid string, not 5"),
        ('{"prompt": "b", "id": "a/b"}', "prompts.jsonl:2: id: String should match pattern"),
    ],
)
def test_one_bad_line_is_named_and_nothing_is_stored(cli: Cli, write: Write, tmp_path: Path, line: str, error: str) -> None:
    write("prompts.jsonl", f'{{"prompt": "a", "id": "one"}}\n{line}\n{{"prompt": "c"}}\n')
    said = cli(
        "run",
        write("run.toml", GOOD.replace('texts = ["Hello", {id = "second", prompt = "Two"}]', 'file = "prompts.jsonl"')),
        "-d",
        "new.db",
    )
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: {error}")
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "run.toml: [prompts] file: cannot read prompts.jsonl: No such file"),
        (b"\n \n", "prompts.jsonl: it holds no prompts"),
        (b'{"prompt": "a"}\n{"prompt": "\xff"}\n', "prompts.jsonl:2: it is not UTF-8 text"),
    ],
)
def test_an_unusable_prompt_file_is_named(cli: Cli, write: Write, tmp_path: Path, content: bytes | None, error: str) -> None:
    if content is not None:
        (tmp_path / "prompts.jsonl").write_bytes(content)
    said = cli("run", write("run.toml", '[model]\nclient = "scripted"\nmodel = "m"\n[prompts]\nfile = "prompts.jsonl"\n'))
    assert said.code == 2
    assert said.err.startswith(f"error: {error}")


def test_a_run_file_that_is_not_there_is_named(cli: Cli) -> None:
    said = cli("run", "nowhere.toml")
    assert (said.code, said.err) == (2, "error: nowhere.toml: cannot read it: No such file or directory\n")


def test_an_unknown_client_and_a_missing_key_are_told_before_anything_is_stored(cli: Cli, write: Write, tmp_path: Path) -> None:
    unknown = cli("run", write("run.toml", GOOD.replace("scripted", "nobody")), "-d", "new.db")
    assert (unknown.code, unknown.out) == (2, "")
    assert unknown.err.startswith("error: no client is called 'nobody': use one of anthropic, ")
    keyless = cli("run", write("run.toml", GOOD.replace("scripted", "openai")), "-d", "new.db")
    assert (keyless.code, keyless.err) == (2, "error: client 'openai' needs an API key: set the environment variable OPENAI_API_KEY\n")
    assert not (tmp_path / "new.db").exists()
