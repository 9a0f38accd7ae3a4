"""The test support keeps its promises: no way out, no keys, databases of one's own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import asyncpg
import psutil
import pytest

from tests.support.network import OutsideNetwork, is_local
from tests.support.nursery import Program, run_program, running
from tests.support.postgres import Postgres

ELSEWHERE = "192.0.2.1"
"""An address that RFC 5737 gives to nobody."""


def test_a_plain_socket_cannot_leave(outside_attempts: list[str]) -> None:
    with socket.socket() as sock, pytest.raises(OutsideNetwork, match=ELSEWHERE):
        sock.connect((ELSEWHERE, 80))
    with socket.socket(type=socket.SOCK_DGRAM) as sock, pytest.raises(OutsideNetwork):
        sock.sendto(b"hello", (ELSEWHERE, 53))
    assert len(outside_attempts) == 2
    outside_attempts.clear()


def test_a_name_is_not_even_looked_up(outside_attempts: list[str]) -> None:
    with pytest.raises(OutsideNetwork, match=r"api\.openai\.com"):
        socket.getaddrinfo("api.openai.com", 443)
    assert len(outside_attempts) == 1
    outside_attempts.clear()


async def test_asyncio_cannot_leave(outside_attempts: list[str]) -> None:
    with pytest.raises(OutsideNetwork):
        await asyncio.open_connection("api.anthropic.com", 443)
    with pytest.raises(OutsideNetwork):
        await asyncio.open_connection(ELSEWHERE, 443)
    assert len(outside_attempts) == 2
    outside_attempts.clear()


async def test_aiohttp_and_httpx2_cannot_leave(outside_attempts: list[str]) -> None:
    import aiohttp
    import httpx2

    async with aiohttp.ClientSession() as session:
        with pytest.raises(OutsideNetwork):
            await session.get("http://api.openai.com/v1/models")
    async with httpx2.AsyncClient() as client:
        with pytest.raises((OutsideNetwork, ExceptionGroup)):
            await client.get(f"http://{ELSEWHERE}/")
    assert len(outside_attempts) == 2
    outside_attempts.clear()


async def test_a_server_on_this_machine_is_reached() -> None:
    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async with await asyncio.start_server(hello, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection("localhost", server.sockets[0].getsockname()[1])
        assert await reader.read() == b"hello"
        writer.close()


def test_a_child_python_cannot_leave() -> None:
    reach = f"import socket; socket.create_connection(({ELSEWHERE!r}, 80), timeout=1)"
    child = subprocess.run([sys.executable, "-c", reach], check=False, capture_output=True, text=True)
    assert child.returncode == 1
    assert "OutsideNetwork" in child.stderr


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("", True),
        ("0.0.0.0", True),
        ("10.0.0.1", False),
        ("2001:db8::1", False),
        ("localhost.example.org", False),
        ("169.254.169.254", False),
    ],
)
def test_only_this_machine_is_local(host: str, local: bool) -> None:
    assert is_local(host) is local


@pytest.fixture(scope="module", autouse=True)
def someones_settings() -> Iterator[None]:
    """What a developer's shell may hold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "sk-real")
        patch.setenv("ANTHROPIC_BASE_URL", "https://proxy.example.org")
        patch.setenv("https_proxy", "http://127.0.0.1:3128")
        patch.setenv("PGPASSWORD", "secret")
        yield


def test_settings_of_whoever_runs_the_tests_are_not_seen(empty_home: Path) -> None:
    assert {"OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "https_proxy", "PGPASSWORD"} & set(os.environ) == set()
    assert Path.home() == empty_home
    assert list(empty_home.iterdir()) == []


async def test_each_test_has_a_postgresql_database_of_its_own(postgres: Postgres, postgresql_url: str) -> None:
    connection = await asyncpg.connect(postgresql_url)
    await connection.execute("CREATE TABLE mine (x int)")
    await connection.close()
    with postgres.database() as other:
        connection = await asyncpg.connect(other)
        assert await connection.fetchval("SELECT to_regclass('mine')") is None
        await connection.close()
    names = postgres.execute("SELECT datname FROM pg_database").split()
    assert not any(other.startswith(f"postgresql://postgres@/{name}?") for name in names)


def test_postgresql_ends_with_a_run_that_is_killed() -> None:
    program = textwrap.dedent("""
        from tests.support.postgres import running_postgres
        import time
        with running_postgres() as server:
            print(server.execute("SELECT pg_postmaster_start_time()") and server.url("postgres").partition("host=")[2], flush=True)
            time.sleep(600)
    """)
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    directory = child.stdout.readline().strip()
    child.stdout.close()
    with open(f"{directory}/postmaster.pid", encoding="utf-8") as file:
        server = psutil.Process(int(file.readline()))
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert psutil.wait_procs([server], timeout=60)[1] == []
    shutil.rmtree(Path(directory).parent)


def written(tmp_path: Path, source: str) -> str:
    """A file with a program."""
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(source))
    return str(path)


@pytest.mark.parametrize(
    "source",
    [
        "print('done')",
        "import sys; sys.exit(3)",
        "import sys; print('unflushed', end=''); sys.exit('a reason')",
        "import sys; sys.exit(256 + 7)",
        "raise SystemExit(None)",
        "raise SystemExit(True)",
        "1 / 0",
        "raise KeyboardInterrupt",
        "import os; os._exit(9)",
        "import os; os.kill(os.getpid(), 15)",
        "import atexit, sys; atexit.register(print, 'last'); sys.exit(4)",
        "import threading; threading.Timer(0.01, print, ['thread']).start()",
        "import sys; sys.stdout.write('x' * 100_000); sys.stderr.write('no end of line')",
        "import sys; print(sys.stdin.read().upper(), sys.argv, __name__, __file__, sys.path[0])",
        "import sys; print([[s.name, s.encoding, s.errors, s.line_buffering] for s in (sys.stdin, sys.stdout, sys.stderr)])",
        "import os, signal; print(os.getcwd(), signal.getsignal(2), signal.getsignal(15), signal.getsignal(13), signal.getsignal(17))",
        "import os; print(sorted(os.environ.items()), os.popen('echo $HOME $TEA').read())",
        "import os; print(sorted(os.listdir('/proc/self/fd'))); os.close(1)",
        "class Last:\n    def __del__(self):\n        print('gone')\na = Last(); a.a = a",
        f"import socket; socket.create_connection(({ELSEWHERE!r}, 80), timeout=1)",
    ],
)
def test_a_forked_program_does_what_a_started_one_does(source: str, tmp_path: Path) -> None:
    program, environment = written(tmp_path, source), {**os.environ, "TEA": "green"}
    command = [sys.executable, program, "a", "b c"]
    started = subprocess.run(command, input="in\n", cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    forked = run_program(program, "a", "b c", input="in\n", cwd=tmp_path, env=environment)
    assert (forked.returncode, forked.stdout) == (started.returncode, started.stdout)
    assert (forked.stderr.splitlines() or [""])[-1] == (started.stderr.splitlines() or [""])[-1]


def test_a_module_is_run_as_by_python_m() -> None:
    started = subprocess.run([sys.executable, "-m", "minference.cli.main", "shw"], capture_output=True, text=True, check=False)
    forked = run_program("minference.cli.main", "shw")
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_a_forked_program(number: signal.Signals, tmp_path: Path) -> None:
    # Not `signal.pause()`: a signal that comes just before it is only heard after it.
    waits = "import time\nprint('here', flush=True)\nwhile True: time.sleep(0.05)"
    with Program(written(tmp_path, waits), stdout=PIPE, stderr=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0)
        assert psutil.pid_exists(process.pid)
        process.send_signal(number)
        assert process.wait(60) == -number
        assert process.stderr is not None
        assert ("KeyboardInterrupt" in process.stderr.read()) is (number is signal.SIGINT)
        process.kill()
    assert not psutil.pid_exists(process.pid)


def test_a_forked_program_that_does_not_end_is_killed_when_its_time_is_over(tmp_path: Path) -> None:
    with Program(written(tmp_path, "import signal; signal.pause()"), stdin=PIPE) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=0)
        assert process.wait() == -signal.SIGKILL


async def test_forked_programs_talk_at_the_same_time_and_see_the_end_of_their_input(tmp_path: Path) -> None:
    program = written(tmp_path, "import sys\nfor line in sys.stdin: print(line.upper(), end='', flush=True)\nsys.exit(5)")
    async with running(program, stdin=PIPE, stdout=PIPE) as one, running(program, stdin=PIPE, stdout=PIPE) as other:
        for process in (one, other, one):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"tea\n")
            assert await process.stdout.readline() == b"TEA\n"
        assert one.stdin is not None
        one.stdin.close()
        assert await one.ended() == 5
        assert other.poll() is None
    assert other.returncode == -signal.SIGKILL


def test_forked_programs_make_ids_and_random_numbers_of_their_own(tmp_path: Path) -> None:
    values = "uuid7(), uuid.uuid4(), uuid.uuid1(), random.random(), secrets.token_hex()"
    source = f"import random, secrets, uuid\nfrom minference.ecs.identity import uuid7\nfor value in {values}: print(value)"
    program = written(tmp_path, source)
    outputs = [run_program(program).stdout.split() for _ in range(5)]
    assert [len(set(values)) for values in zip(*outputs, strict=True)] == [5] * 5


def test_what_an_interpreter_settles_at_its_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="PYTHONHASHSEED='1' works only at the start of an interpreter"):
        run_program(written(tmp_path, ""), env={**os.environ, "PYTHONHASHSEED": "1"})


def test_no_forked_program_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    written(tmp_path, "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nsignal.pause()")
    test_run = """
        from tests.support.nursery import Program
        print(Program("program.py").pid, flush=True)
        input()
    """
    command = [sys.executable, "-c", textwrap.dedent(test_run)]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        forked = psutil.Process(int(process.stdout.readline()))
        server = forked.parent()
        process.kill()
    assert server is not None
    assert psutil.wait_procs([forked, server], timeout=60)[1] == []
