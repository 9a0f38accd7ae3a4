"""Processes for tests that cost little: forked from one that has imported everything, of which each test run has one.

Each is a process of its own, with its own pid, arguments, folder, environment, streams and exit code; `kill -9` kills it. What it
shares with the others is what is settled at the start: the seed of string hashes, variables such as `PYTHONIOENCODING`, and what
Typer reads while the commands are put together. A test of the start itself (what is imported, what `python -m` does) needs an
interpreter of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from asyncio import StreamReader, StreamReaderProtocol, StreamWriter
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from io import FileIO
from subprocess import DEVNULL, PIPE
from typing import IO, Self, TypedDict

from typing_extensions import Unpack

from tests.support.nursery_server import STREAMS

_BOOT = "import sys; from tests.support.nursery_server import serve; serve(int(sys.argv[1]))()"
_SETTLED_AT_THE_START = ("PYTHON", "LANG", "LC_")
_HANDED_ON = (*_SETTLED_AT_THE_START, "HOME", "PATH", "LD_LIBRARY_PATH")
"""Beginnings of variables that the nursery itself gets: what libraries read when imported must not come from the first test."""
_LIMIT = 2**20
"""Characters of a line that a stream of an asynchronous program may have."""

Stream = IO[str] | IO[bytes] | int | None
"""As in `subprocess`: `PIPE`, `DEVNULL`, a file, or the stream of the test."""


class _Nursery:
    """The process that programs are forked from; started with the first. It ends with this one, and with it every program."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channel: socket.socket | None = None
        self._environment: dict[str, str] = {}

    def fork(self, order: Mapping[str, object], environment: Mapping[str, str], streams: Sequence[int]) -> tuple[int, FileIO]:
        """The pid of a new process, and from where its exit code can be read."""
        with self._lock:
            channel = self._channel or self._start()
            self._check(environment)
            reading, writing = os.pipe()
            report = FileIO(reading)
            message = json.dumps({**order, "environment": dict(environment)}).encode()
            try:
                socket.send_fds(channel, [message], [*streams, writing])
            finally:
                os.close(writing)
            return int(_told(report)), report

    def _start(self) -> socket.socket:
        self._environment = {name: value for name, value in os.environ.items() if name.startswith(_HANDED_ON)}
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            number = its.fileno()
            command = [sys.executable, "-c", _BOOT, str(number)]
            server = subprocess.Popen(
                command, stdin=DEVNULL, stdout=DEVNULL, env=self._environment, pass_fds=[number], start_new_session=True
            )
        atexit.register(server.wait)
        atexit.register(ours.close)
        self._channel = ours
        return ours

    def _check(self, environment: Mapping[str, str]) -> None:
        for name in environment.keys() | self._environment.keys():
            if name.startswith(_SETTLED_AT_THE_START) and environment.get(name) != self._environment.get(name):
                raise ValueError(f"{name}={environment.get(name)!r} works only at the start of an interpreter: use subprocess")


_nursery = _Nursery()


def _told(report: FileIO) -> bytes:
    if line := report.readline():
        return line
    raise RuntimeError("the process that programs are forked from has ended; what it wrote to stderr may say why")


class Options(TypedDict, total=False):
    """What a program gets from the test unless something else is said."""

    cwd: str | os.PathLike[str]
    env: Mapping[str, str]
    stdin: Stream
    stdout: Stream
    stderr: Stream


class Fork:
    """A program that runs: a module, as by `python -m`, or a file, if the name ends in `.py`."""

    def __init__(self, program: str, *arguments: str, **options: Unpack[Options]) -> None:
        self.args = [program, *arguments]
        self.returncode: int | None = None
        """The exit code, or the negative number of the signal that ended it; `None` until a method has seen the end."""
        order = {"program": program, "arguments": arguments, "directory": os.fspath(options.get("cwd", os.getcwd()))}
        streams = options.get("stdin"), options.get("stdout"), options.get("stderr")
        with ExitStack() as its:
            pairs = [_ends(number, stream, its) for number, stream in enumerate(streams)]
            self.pid, self.report = _nursery.fork(order, options.get("env", os.environ), [given for given, _ in pairs])
        self.ours = [kept for _, kept in pairs]

    def poll(self) -> int | None:
        """The exit code, if the program has ended."""
        return self._seen(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once the program has ended.

        Raises:
            TimeoutExpired: It has not, within so many seconds.
        """
        code = self._seen(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def _seen(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            ended = select.poll()
            ended.register(self.report, select.POLLIN)
            if ended.poll(None if timeout is None else timeout * 1000):
                with self.report:
                    self.returncode = int(_told(self.report))
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the program, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it ended since, and is about to be reported
                os.kill(self.pid, number)

    def kill(self) -> None:
        """As `kill -9`."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """As `kill`."""
        self.send_signal(signal.SIGTERM)


def _ends(number: int, stream: Stream, its: ExitStack) -> tuple[int, int | None]:
    """The program's end of a stream, closed when the stack is, and ours if it is a pipe."""
    kept = None
    if stream == PIPE:
        reading, writing = os.pipe()
        given, kept = (reading, writing) if number == 0 else (writing, reading)
    elif stream == DEVNULL:
        given = os.open(os.devnull, os.O_RDWR)
    else:
        given = os.dup(number if stream is None else stream if isinstance(stream, int) else stream.fileno())
    its.callback(os.close, given)
    return given, kept


class Program(Fork):
    """A program whose pipes are text, as `subprocess.Popen(..., text=True)` has them."""

    def __init__(self, program: str, *arguments: str, **options: Unpack[Options]) -> None:
        super().__init__(program, *arguments, **options)
        self.stdin, self.stdout, self.stderr = (
            None if number is None else open(number, mode, encoding="utf-8")  # noqa: SIM115 - until `__exit__`
            for number, mode in zip(self.ours, "wrr", strict=True)
        )

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """What the program writes until it ends, after this was written to its stdin, which is closed.

        Raises:
            TimeoutExpired: It had not ended after so many seconds, and was killed.
        """
        with ThreadPoolExecutor(len(STREAMS)) as streams:
            streams.submit(_write, self.stdin, input)
            out, err = (streams.submit(_read, stream) for stream in (self.stdout, self.stderr))
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return out.result(), err.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the pipes; the program has ended afterwards. A test that failed does not wait for it."""
        if kind is not None:
            self.kill()
        for stream in (self.stdout, self.stderr, self.stdin):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        self.wait()


def _write(stream: IO[str] | None, text: str | None) -> None:
    if stream is not None:
        with suppress(BrokenPipeError), stream:
            stream.write(text or "")


def _read(stream: IO[str] | None) -> str:
    if stream is None:
        return ""
    with stream:
        return stream.read()


def run_program(
    program: str, *arguments: str, input: str = "", timeout: float | None = None, **options: Unpack[Options]
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, as `subprocess.run(..., capture_output=True, text=True)`."""
    pipes: Options = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE}
    pipes.update(options)
    with Program(program, *arguments, **pipes) as running:
        out, err = running.communicate(input, timeout)
    return subprocess.CompletedProcess(running.args, running.wait(), out, err)


class AsyncProgram(Fork):
    """A program whose pipes are streams of asyncio, as `asyncio.subprocess.Process` has them."""

    stdin: StreamWriter | None = None
    stdout: StreamReader | None = None
    stderr: StreamReader | None = None

    async def connect(self, stack: AsyncExitStack) -> None:
        """Have the streams until the stack is left."""
        stdin, *outputs = self.ours
        if stdin is not None:
            self.stdin = await _writer(stdin, stack)
        self.stdout, self.stderr = [None if number is None else await _reader(number, stack) for number in outputs]

    async def ended(self) -> int:
        """The exit code, once the program has ended."""
        if self.poll() is None:
            loop, over = asyncio.get_running_loop(), asyncio.Event()
            loop.add_reader(self.report, over.set)
            try:
                await over.wait()
            finally:
                loop.remove_reader(self.report)
        return self.wait()


@asynccontextmanager
async def running(program: str, *arguments: str, **options: Unpack[Options]) -> AsyncIterator[AsyncProgram]:
    """A program that is killed at the end of the block if it has not ended."""
    process = AsyncProgram(program, *arguments, **options)
    async with AsyncExitStack() as stack:
        try:
            await process.connect(stack)
            yield process
        finally:
            process.kill()
            process.wait()


async def _writer(number: int, stack: AsyncExitStack) -> StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(lambda: StreamReaderProtocol(StreamReader()), FileIO(number, "w"))
    stack.callback(transport.close)
    return StreamWriter(transport, protocol, None, loop)


async def _reader(number: int, stack: AsyncExitStack) -> StreamReader:
    reader = StreamReader(limit=_LIMIT)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: StreamReaderProtocol(reader), FileIO(number))
    stack.callback(transport.close)
    return reader
