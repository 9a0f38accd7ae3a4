"""The process that programs are forked from: it has imported everything, and runs nothing itself. Started by `tests.support.nursery`."""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

LARGEST_ORDER = 2**20
"""Bytes: more than the socket carries at once."""
STREAMS = ("stdin", "stdout", "stderr")
LIBRARIES = (
    "aiohttp",
    "aiosqlite",
    "alembic.command",
    "alembic.config",
    "anthropic.resources.messages",
    "asyncpg",
    "importlib.resources.readers",
    "jsonschema_rs",
    "openai.resources.chat",
    "openai.resources.responses",
    "pygments.lexers",
    "rich.live",
    "rich.markdown",
    "rich.progress",
    "rich.table",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "sqlalchemy.ext.asyncio",
    "typer.main",
)
"""What modules of the package import on first use."""
RUN_BY_ALEMBIC = "minference.storage.sql.migrations."
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)

Run = Callable[[], Any]


def preload() -> None:
    """Import every module that a program may want."""
    for name in LIBRARIES:
        importlib.import_module(name)
    package = importlib.import_module("minference")
    for module in pkgutil.walk_packages(package.__path__, "minference."):
        if not module.name.startswith(RUN_BY_ALEMBIC):
            importlib.import_module(module.name)
    importlib.import_module("minference.cli.commands").command_line()


def serve(channel: int) -> Run:
    """Fork a program for each order that comes over the channel. Returns only in the programs: what each is to run."""
    end = _End()
    atexit.register(end.come)  # before every other: it is the last to be called
    gc.disable()
    preload()
    gc.collect()
    gc.freeze()
    gc.enable()
    run = _Server(socket.socket(fileno=channel)).run()
    return partial(end.after, run)


class _End:
    """Ends a program as the interpreter would, after it has printed its traceback, joined its threads and called what was registered.

    Only the modules are not taken apart: those that were imported for all programs would take ten times as long as the fork.
    """

    def __init__(self) -> None:
        self._code: int | None = None

    def after(self, run: Run) -> None:
        """Run, and keep in mind how it went."""
        try:
            run()
        except SystemExit as error:
            self._code = error.code & 0xFF if isinstance(error.code, int) else int(error.code is not None)
            raise
        except KeyboardInterrupt:
            raise  # the interpreter will end itself with the signal
        except BaseException:
            self._code = 1
            raise
        self._code = 0

    def come(self) -> None:
        """Let objects that nobody holds say their last words, write what is buffered, and leave."""
        if self._code is None:
            return
        gc.collect()
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            return  # the interpreter will try it again, and say it
        os._exit(self._code)


class _Server:
    """The channel, and the programs whose end is not reported yet."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._pid = os.getpid()
        self._reports: dict[int, tuple[int, int]] = {}
        """By pidfd: the program's pid, and where to say how it ended."""
        self._events = select.poll()
        self._events.register(channel, select.POLLIN)

    def run(self) -> Run:
        while True:
            for number, _ in self._events.poll():
                if number in self._reports:
                    self._report(number)
                elif program := self._next():
                    return program

    def _next(self) -> Run | None:
        """Fork what is ordered; in the new process, what it is to run."""
        message, numbers, _, _ = socket.recv_fds(self._channel, LARGEST_ORDER, len(STREAMS) + 1)
        if not message:  # the tests are over, or dead
            os._exit(0)
        *streams, report = numbers
        if pid := os.fork():
            os.write(report, f"{pid}\n".encode())
            ended = os.pidfd_open(pid)
            self._reports[ended] = pid, report
            self._events.register(ended, select.POLLIN)
            for number in streams:
                os.close(number)
            return None
        _die_with(self._pid)
        self._channel.close()
        for number in (report, *self._reports, *(other for _, other in self._reports.values())):
            os.close(number)
        return _become(json.loads(message), streams)

    def _report(self, ended: int) -> None:
        pid, report = self._reports.pop(ended)
        self._events.unregister(ended)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(BrokenPipeError):  # nobody may wait for it
            os.write(report, f"{status}\n".encode())
        os.close(report)
        os.close(ended)


def _die_with(parent: int) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _become(order: dict[str, Any], streams: Sequence[int]) -> Run:
    """Make this process what the interpreter would be when it begins to run the program."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
        _open(number)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["directory"])
    importlib.invalidate_caches()
    program = order["program"]
    sys.argv = [program, *order["arguments"]]
    if program.endswith(".py"):
        sys.path[0] = os.path.dirname(os.path.abspath(program))
        return partial(runpy.run_path, program, run_name="__main__")
    sys.path[0] = os.getcwd()
    sys.modules.pop(program, None)
    return partial(runpy.run_module, program, run_name="__main__", alter_sys=True)


def _open(number: int) -> None:
    """Put a new object in the place of `sys.stdin`, `sys.stdout` or `sys.stderr`, with the buffering that Python would choose."""
    name = STREAMS[number]
    before = getattr(sys, name)
    raw = io.FileIO(number, "r" if number == 0 else "w", closefd=False)
    raw.name = f"<{name}>"
    direct = before.write_through  # as with PYTHONUNBUFFERED
    buffer: Any = io.BufferedReader(raw) if number == 0 else raw if direct else io.BufferedWriter(raw)
    by_line = not direct and (name == "stderr" or raw.isatty())
    text = io.TextIOWrapper(buffer, before.encoding, before.errors, "\n", line_buffering=by_line, write_through=direct)
    setattr(sys, name, text)
    setattr(sys, f"__{name}__", text)
