"""Where mutants live: a copy of the repository, in which one file is broken while some tests run."""

from __future__ import annotations

import compileall
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode

from tests.mutants.mutant import Mutant

COPIED = ("minference", "tests", "examples", "configs", "pyproject.toml")
"""What the tests need of the repository."""
PATIENCE = 120.0
"""Seconds after which tests that should take a few are said to hang."""
_PYTEST = (
    *("-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--exitfirst"),
    *("--tb=short", "--no-header", "-rfE", "-W", "ignore::pytest.PytestUnhandledThreadExceptionWarning"),
)
_FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/\S+::.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """What came of a run of some tests."""

    outcome: str
    """`passed`, `failed`, `hangs`, or `broken`: they could not be run."""
    failed: str | None
    """The first test that failed."""
    output: str


class Laboratory:
    """A copy of the repository. To be made by `laboratory`."""

    def __init__(self, root: Path, origin: Path) -> None:
        self._root, self._origin = root, origin

    def run(self, tests: Sequence[str], mutant: Mutant | None = None) -> Run:
        """Run tests on the copy as it is, or on a mutant of it, until one fails.

        Raises:
            MovedOn: The text that the mutant breaks is not there exactly once.
        """
        if mutant is None:
            return self._pytest(tests)
        file = self._root / mutant.file
        file.write_text(mutant.applied(self._origin), encoding="utf-8")
        try:
            return self._pytest(tests)
        finally:
            shutil.copyfile(self._origin / mutant.file, file)

    def _pytest(self, tests: Sequence[str]) -> Run:
        environment = {**os.environ, "PYTHONPATH": str(self._root), "HYPOTHESIS_STORAGE_DIRECTORY": str(self._root / ".hypothesis")}
        shutil.rmtree(self._root / ".hypothesis", ignore_errors=True)
        process = subprocess.Popen(
            [sys.executable, *_PYTEST, *tests],
            cwd=self._root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            return Run("hangs", None, _end(process))
        except BaseException:
            _end(process)
            raise
        failed = _FAILED.search(output)
        outcome = {0: "passed", 1: "failed"}.get(process.returncode, "broken")
        return Run(outcome, failed[1] if failed else None, output)


def _end(process: subprocess.Popen[str]) -> str:
    """End a run and whatever it started, and return what it said."""
    process.send_signal(signal.SIGTERM)  # the tests' own way to be ended: servers are stopped
    try:
        return process.communicate(timeout=20)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]


@contextmanager
def laboratory(origin: Path) -> Iterator[Laboratory]:
    """A copy of the repository at `origin`, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="minference-mutants-") as name:
        root = Path(name)
        for each in COPIED:
            if (origin / each).is_dir():
                shutil.copytree(origin / each, root / each, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(origin / each, root / each)
        # By default Python takes a changed file for the old one if its size and the second of its change are the same.
        compileall.compile_dir(root / "minference", quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
        yield Laboratory(root, origin)
