"""Every example runs as it stands, in an empty directory, without a key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
PROMISED = {
    "01_parallel_threads.py": ["You said: Why do leaves fall?", "user message", "reply of scripted/echo"],
    "02_versions.py": ["Why is the [-sky-]{+sea+} blue?", "2 heads", "bob, ask about the sea"],
    "03_tools_and_schemas.py": ["tool: 18.0", "raised KeyError", "90 is greater than the maximum of 14", "city='Rome' days=9"],
}


def test_each_example_has_a_promise() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted(PROMISED)


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_an_example_shows_what_it_promises(name: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, EXAMPLES / name], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    missing = [text for text in PROMISED[name] if text not in done.stdout]
    assert not missing, done.stdout
