"""The names that a first program needs: few, the same for people and type checkers, and free of charge until used."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
import tomllib

import pytest

import minference
from tests.support.report import report
from tests.support.source import PACKAGE, ROOT, Source

MOST_NAMES = 30

FIRST_USE_ONLY = (
    "sqlalchemy",
    "alembic",
    "openai",
    "anthropic",
    "httpx2",
    "aiohttp",
    "xllamacpp",
    "mcp",
    "pydantic_monty",
    "rich",
    "typer",
    "asyncpg",
    "aiosqlite",
    "opentelemetry",
)
"""What `import minference` must not load."""


def test_the_front_door_is_small_and_sorted() -> None:
    assert len(minference.__all__) <= MOST_NAMES
    assert minference.__all__ == sorted(set(minference.__all__))
    assert set(dir(minference)) == {*minference.__all__, "__version__"}


@pytest.mark.parametrize("name", minference.__all__)
def test_each_name_of_the_front_door_comes_from_one_module(name: str) -> None:
    home = importlib.import_module(f"minference.{minference._HOMES[name]}")
    assert getattr(minference, name) is getattr(home, name)


def test_type_checkers_see_the_same_front_door() -> None:
    [block] = [
        node for node in Source(PACKAGE / "__init__.py").tree.body if isinstance(node, ast.If) and not isinstance(node.test, ast.UnaryOp)
    ]
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == {name: f"minference.{home}" for name, home in minference._HOMES.items()}
    assert set(minference._HOMES) == set(minference.__all__)


def test_a_misspelt_name_is_answered_with_those_that_exist() -> None:
    with pytest.raises(AttributeError, match=r"no 'ChatTread': the front door has CallableTool, ChatMessage, ChatThread"):
        minference.ChatTread  # type: ignore[attr-defined]  # noqa: B018 - the point of this test


def test_the_version_is_the_one_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert minference.__version__ == project["version"]


def test_importing_the_front_door_loads_no_library() -> None:
    assert _loaded_by("import minference") & set(FIRST_USE_ONLY) == set()


def test_thread_models_load_no_database_and_no_sdk() -> None:
    loaded = _loaded_by("import minference; minference.ChatThread, minference.next_step, minference.MinferenceError")
    report(sorted(loaded & set(FIRST_USE_ONLY)), "a thread is plain data; import this on first use")


def _loaded_by(program: str) -> set[str]:
    """Top-level names of the modules that a fresh Python has loaded after the program."""
    report = f"{program}\nimport sys, json; print(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", report], check=True, capture_output=True, text=True, cwd=ROOT)
    return set(json.loads(done.stdout))


def test_help_says_what_a_method_of_a_storage_does_and_not_where_to_read_it() -> None:
    from minference.storage.versioned import VersionedStorage

    methods = inspect.getmembers(VersionedStorage, inspect.isfunction)
    told = {name: inspect.getdoc(method) or "" for name, method in methods if not name.startswith("_")}
    assert len(told) > 40
    assert [name for name, text in told.items() if len(text) < 20 or text.startswith("See ")] == []
    assert "Raises:\n    VersionNotFound: One of them is not stored here." in told["merge"]


def test_the_command_line_is_also_there_without_its_script() -> None:
    said = subprocess.run([sys.executable, "-m", "minference", "--version"], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout.split()) == (0, ["minference", minference.__version__])
