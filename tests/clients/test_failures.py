"""What an error means, read from status, type and headers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from minference.clients.failures import is_passing, refused, retry_after

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_what_can_pass(status: int) -> None:
    assert is_passing(status)


@pytest.mark.parametrize("status", [None, 400, 401, 402, 403, 404, 413, 422])
def test_what_cannot_pass(status: int | None) -> None:
    assert not is_passing(status)


@pytest.mark.parametrize("name", ["insufficient_quota", "enforced_spend_limit_reached", "contract_spend_limit_reached"])
def test_a_used_up_account_does_not_pass_although_its_status_would(name: str) -> None:
    assert not is_passing(429, (name,))


def test_the_provider_has_the_last_word_on_retrying() -> None:
    assert is_passing(400, headers={"x-should-retry": "true"})
    assert not is_passing(503, headers={"x-should-retry": "false"})


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "Fri, 31 Dec 99999999999999999999 23:59:59 GMT"}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOON) == seconds


@pytest.mark.parametrize(("wanted", "told"), [("86400", "86,400 s"), ("1e9", "1,000,000,000 s"), ("1.5", "1.5 s")])
def test_a_refusal_says_how_long_the_provider_wants_to_be_left_alone(wanted: str, told: str) -> None:
    error = refused("openai", status=429, headers={"retry-after": wanted}, body={"error": {"message": "slow down"}}, key=None)
    assert str(error) == f"openai: refused with status 429: slow down; it wants to be left alone for {told}"


def test_an_error_carries_its_facts_and_not_the_key() -> None:
    error = refused(
        "openai",
        status=401,
        headers={"x-request-id": "req_1"},
        body={"error": {"message": "wrong key sk-secret-123", "type": "authentication_error", "code": "invalid_api_key"}},
        key="sk-secret-123",
    )
    assert str(error) == "openai: refused with status 401 (invalid_api_key): wrong key [API key]"
    assert vars(error) == {
        "client": "openai",
        "status": 401,
        "retryable": False,
        "retry_after": None,
        "code": "invalid_api_key",
        "request_id": "req_1",
        "headers": {},
        "usage": None,
        "broke_off": False,
    }


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"detail": "no such route"}, "no such route"),
        ({"error": "just words"}, "just words"),
        ("<html>Bad gateway</html>", "an HTML page"),
        (None, "no message"),
        ({"detail": [{"loc": ["body"]}]}, "[{'loc': ['body']}]"),
        ("x" * 1000, "x" * 500 + "..."),
    ],
)
def test_error_bodies_of_all_kinds_are_told(body: object, says: str) -> None:
    assert str(refused("vllm", status=502, headers={}, body=body, key=None)) == f"vllm: refused with status 502: {says}"


@pytest.mark.parametrize(
    ("error", "status", "retryable"),
    [
        ({"type": "overloaded_error"}, 529, True),
        ({"code": 502}, 502, True),
        ({"type": "BadRequestError", "code": 400}, 400, False),
        ({"type": "something_new"}, 200, True),
        ({"type": "something_new", "code": "insufficient_quota"}, 429, False),
    ],
)
def test_an_error_in_the_middle_of_a_stream_has_the_status_that_it_names(error: object, status: int, retryable: bool) -> None:
    found = refused("openai", status=200, headers={}, body={"error": error}, key=None)
    assert (found.status, found.retryable) == (status, retryable)
