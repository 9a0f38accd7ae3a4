"""A way to a PostgreSQL server that breaks when a test says so."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self
from urllib.parse import parse_qs, urlsplit


class PostgresProxy:
    """Listens on a port of its own and passes everything on, both ways, until told otherwise."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._database = parts.path
        self._socket = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._server: asyncio.Server
        self._open: set[asyncio.StreamWriter] = set()
        self._words: list[bytes] = []
        self._last = False
        self._refusals = 0
        self.lost = 0
        """Answers that were not passed on."""
        self.refused = 0
        """Connections that were closed at once."""

    @property
    def url(self) -> str:
        """How to connect through it."""
        return f"postgresql://postgres@127.0.0.1:{self._server.sockets[0].getsockname()[1]}{self._database}"

    def lose_answer_to(self, *words: bytes) -> None:
        """Cut the next connection on which the client sends the word, after the server has answered; then that with the next word."""
        self._words = list(words)

    def vanish_with_answer_to(self, word: bytes) -> None:
        """The same, and listen no more from then on."""
        self._words, self._last = [word], True

    def refuse(self, times: int) -> None:
        """Cut every connection, and close so many new ones at once."""
        self._refusals = times
        for writer in self._open:
            writer.close()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        self.refuse(0)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusals:
            self._refusals -= 1
            self.refused += 1
            writer.close()
            return
        from_server, to_server = await asyncio.open_unix_connection(self._socket)
        self._open |= {writer, to_server}
        answers = asyncio.ensure_future(_pass_on(from_server, writer))
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                if self._words and self._words[0] in data:
                    self._words.pop(0)
                    answers.cancel()
                    await asyncio.gather(answers, return_exceptions=True)
                    to_server.write(data)
                    await from_server.read(65_536)
                    self.lost += 1
                    if self._last:
                        self._server.close()
                    break
                to_server.write(data)
        answers.cancel()
        for each in (writer, to_server):
            each.close()
            self._open.discard(each)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()
