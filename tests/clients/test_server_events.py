"""Events are found in a body however it is cut, and a body without events is given whole."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minference.clients.server_events import EventReader, ServerEvent, WholeBody


def read(*pieces: bytes) -> list[ServerEvent | WholeBody]:
    """What is found in a body of these pieces."""
    reader = EventReader()
    return [*(event for piece in pieces for event in reader.feed(piece)), *reader.end()]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_end_with_a_blank_line_of_any_kind(end: bytes) -> None:
    body = end.join([b": hello", b"event: text", b"data: 1", b"data: 2", b"", b"data:3", b"", b""])
    assert read(body) == [ServerEvent("text", b" 1\n 2"), ServerEvent("", b"3")]


@pytest.mark.parametrize(
    "silence",
    [b"data:\n\n", b"data: \n\n", b"event: beat\ndata:\n\n", b"retry: 3000\n\n", b"id: 7\n\n", b": ping\n\n", b"\n\n\n"],
)
def test_what_only_keeps_a_connection_open_is_no_event(silence: bytes) -> None:
    assert read(silence + b"data: 1\n\n" + silence) == [ServerEvent("", b" 1")]


def test_an_event_that_nobody_ended_is_one() -> None:
    assert read(b"event: text\ndata: 1") == [ServerEvent("text", b" 1")]


@pytest.mark.parametrize("body", [b'{"a": 1}\n\n', b"<html>\n\n<p>data: x", b"null", b"Please log in.", b"database: gone\n\n"])
def test_a_body_without_events_is_given_whole(body: bytes) -> None:
    assert read(b"\xef\xbb", b"\xbf \r", b"\n", body) == [WholeBody(body)]


def test_nothing_is_nothing() -> None:
    assert read() == read(b"", b"\n \n") == []


PARTS = [b"data: x", b"data:", b"event: e", b"id: 1", b": c", b"\n", b"\r", b"\r\n", b"\n\n", b"{", b"<", b" ", b"\xef\xbb\xbf"]
BODIES = st.lists(st.sampled_from(PARTS)).map(b"".join)


@given(BODIES, st.lists(st.integers(0, 60)))
def test_however_a_body_is_cut_the_same_is_found(body: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    pieces = [body[start:end] for start, end in pairwise(places)]
    assert read(*pieces) == read(*(bytes([each]) for each in body)) == read(body)
