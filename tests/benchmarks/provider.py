"""A provider that costs next to nothing, in a process of its own: `python -m tests.benchmarks.provider`.

It answers every POST with the same completion, at once or after a while, and refuses what goes over limits that it counts
exactly, over sliding windows. `GET /report` tells what it saw.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.request import urlopen

PROMPT_TOKENS, COMPLETION_TOKENS = 20, 10
TOKENS = PROMPT_TOKENS + COMPLETION_TOKENS
_COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Four."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS, "total_tokens": TOKENS},
}


def _response(status: str, body: dict[str, Any], headers: str = "") -> bytes:
    content = json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n{headers}\r\n".encode() + content


_ANSWER = _response("200 OK", _COMPLETION)
_REFUSAL = _response("429 Too Many Requests", {"error": {"message": "rate limit", "type": "rate_limit"}}, "Retry-After: 1\r\n")


@dataclass
class Window:
    """What was admitted in the last `seconds`, each amount at its moment."""

    seconds: float
    requests: int | None
    tokens: int | None
    admitted: deque[float] = field(default_factory=deque)

    def admits(self, now: float) -> bool:
        """Whether one more request is within the limits; then it counts."""
        while self.admitted and self.admitted[0] <= now - self.seconds:
            self.admitted.popleft()
        number = len(self.admitted) + 1
        if (self.requests is not None and number > self.requests) or (self.tokens is not None and number * TOKENS > self.tokens):
            return False
        self.admitted.append(now)
        return True


@dataclass
class Seen:
    """What came."""

    served: int = 0
    refused: int = 0
    first: float = 0.0
    """When the first request was served, by the server's clock."""
    last: float = 0.0


class _Connection(asyncio.Protocol):
    """HTTP/1.1, kept alive; a request may come in pieces."""

    def __init__(self, latency: float, window: Window, seen: Seen) -> None:
        self._latency, self._window, self._seen = latency, window, seen
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        """Remember where to answer."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer what is whole."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = 0
            if (at := head.find(b"content-length:")) >= 0:
                length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            self._answer(is_post=head.startswith(b"post"))

    def _answer(self, *, is_post: bool) -> None:
        if not is_post:
            self._transport.write(_response("200 OK", vars(self._seen)))
            return
        now = time.monotonic()
        if not self._window.admits(now):
            self._seen.refused += 1
            self._transport.write(_REFUSAL)
            return
        self._seen.served += 1
        self._seen.first, self._seen.last = self._seen.first or now, now
        if self._latency:
            asyncio.get_running_loop().call_later(self._latency, self._transport.write, _ANSWER)
        else:
            self._transport.write(_ANSWER)


@dataclass(frozen=True)
class Provider:
    """A running one."""

    url: str

    def report(self) -> Seen:
        """What it saw so far."""
        with urlopen(f"{self.url}/report") as answer:
            return Seen(**json.load(answer))


@contextmanager
def provider(*, latency: float = 0.0, seconds: float = 60.0, requests: int | None = None, tokens: int | None = None) -> Iterator[Provider]:
    """Start one; it ends with the block."""
    options = [f"--latency={latency}", f"--seconds={seconds}"]
    options += [f"--{name}={value}" for name, value in (("requests", requests), ("tokens", tokens)) if value is not None]
    command = [sys.executable, "-m", __name__, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Provider(f"http://127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.kill()


async def _serve(arguments: argparse.Namespace) -> None:
    window, seen = Window(arguments.seconds, arguments.requests, arguments.tokens), Seen()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(arguments.latency, window, seen), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # until whoever started it is gone


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the windows")
    parser.add_argument("--requests", type=int)
    parser.add_argument("--tokens", type=int)
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    _main()
