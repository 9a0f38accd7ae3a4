"""What a user gets wrong with the provider for tests is told, and never makes a test pass that tests nothing."""

from __future__ import annotations

from typing import Any

import pytest

from minference.clients.base import Client, TextDelta
from minference.errors import ProviderRefused, ProviderTimeout, UnusableValue, WrongArgument
from minference.testing import Answer, Hang, ProviderServer, SlowStream, Status
from tests.clients.threads import asked

WRONG_FAULTS: list[tuple[Any, str]] = [
    ({1: 429}, r"faults\[1\] must be a fault such as Status\(429\), or None \(there are Status, .*\), and is 429, of type int"),
    ([500], r"faults\[0\] must be a fault such as"),
    ([None, "reset"], r"faults\[1\] must be a fault such as"),
    ({1: Hang}, r"faults\[1\] must be a fault .* of type type"),
    ({"1": Status(400)}, "a key of faults must be the number of a request, and is '1'"),
    (Status(400), "faults must be a dict by the number of the request .*, a list .*, or a function of a request, and is Status"),
    (Hang, "faults must be a dict"),
    ("429", "faults must be a dict"),
    (None, "faults must be a dict"),
]


@pytest.mark.parametrize(("faults", "words"), WRONG_FAULTS)
def test_what_is_no_fault_is_refused_where_it_is_set(faults: Any, words: str) -> None:
    with pytest.raises(WrongArgument, match=words):
        ProviderServer(faults=faults)
    server = ProviderServer(faults=[Status(400)])
    with pytest.raises(WrongArgument, match=words):
        server.faults = faults
    assert server.faults == [Status(400)]


def test_the_number_of_no_request_is_refused() -> None:
    with pytest.raises(UnusableValue, match="a key of faults is 0: requests are counted from 1"):
        ProviderServer(faults={0: Status(400)})


@pytest.mark.parametrize("answer", ["Hello", Answer("Hello"), 42])
def test_an_answer_that_is_no_function_is_refused_where_it_is_set(answer: Any) -> None:
    with pytest.raises(WrongArgument, match="answer must be a function of the body of a request that returns an Answer or a text, and is"):
        ProviderServer(answer)


def test_other_names_than_those_of_the_server_cannot_be_set() -> None:
    with pytest.raises(AttributeError):
        ProviderServer().fault = Status(400)  # type: ignore[attr-defined]


def _raises(_: object) -> Any:
    raise KeyError("a mistake of mine")


def _fails(_: object) -> Any:
    pytest.fail("the request is not what I want")


def _returns(value: Any) -> Any:
    return lambda _: value


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        ({"answer": _raises}, KeyError, "KeyError: 'a mistake of mine'"),
        ({"faults": _raises}, KeyError, "KeyError: 'a mistake of mine'"),
        ({"answer": _fails}, pytest.fail.Exception, "Failed: the request is not what I want"),
        ({"answer": _returns(42)}, WrongArgument, "WrongArgument: what `answer` returns must be an Answer or a text, and is 42"),
        ({"answer": _returns(None)}, WrongArgument, "what `answer` returns must be an Answer or a text, and is None"),
        ({"answer": _returns(Answer(calls=(1,)))}, AttributeError, "AttributeError: 'int' object has no attribute"),  # type: ignore[arg-type]
        ({"faults": _returns("x")}, WrongArgument, "the fault of a request must be a fault such as .* and is 'x', of type str"),
    ],
)
async def test_an_error_of_a_function_is_in_the_response_and_raised_once_when_the_server_is_left(
    monkeypatch: pytest.MonkeyPatch, client: Client, wrong: dict[str, Any], kind: type[BaseException], words: str
) -> None:
    server = ProviderServer(**wrong)

    async def ask_twice() -> None:
        with server:
            monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
            monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
            for _ in range(2):
                with pytest.raises(ProviderRefused, match=f"status 500 .*{words}"):
                    await client.send(client.to_request(asked(client.name)), timeout=30)

    with pytest.raises(kind):
        await ask_twice()
    assert [request.answered for request in server.requests] == [False, False]
    assert not server.errors


def _use_and_raise(faults: Any, error: BaseException | None = None) -> None:
    """Two requests without a client to a server of such faults, and an error in the block."""
    with ProviderServer(faults=faults) as server:
        for _ in range(2):
            server.record("openai", b'{"messages": [], "model": "m"}', {})
        if error is not None:
            raise error


def test_different_errors_of_functions_are_raised_together() -> None:
    def fault(request: Any) -> Any:
        raise LookupError(f"request {request.number}")

    with pytest.raises(ExceptionGroup) as caught:
        _use_and_raise(fault)
    assert [str(error) for error in caught.value.exceptions] == ["request 1", "request 2"]


def test_an_error_of_a_function_comes_with_that_of_the_test_and_keeps_no_interruption_from_ending_it() -> None:
    found = AssertionError("what the test found")
    with pytest.raises(KeyError) as raised:
        _use_and_raise(_raises, found)
    assert raised.value.__context__ is found
    with pytest.raises(KeyboardInterrupt) as interrupted:
        _use_and_raise(_raises, KeyboardInterrupt())
    assert interrupted.value.__notes__ == ["the ProviderServer could not answer: [KeyError('a mistake of mine')]"]


async def test_a_slow_stream_pauses_after_what_comes_at_once(client: Client, provider_server: ProviderServer) -> None:
    provider_server.faults = [SlowStream(3600.0, at_once=3), SlowStream(3600.0), SlowStream(0.001), SlowStream(0.001)]
    request = client.to_request(asked(client.name))
    came: list[str] = []

    async def stream(timeout: float) -> None:
        came.clear()
        async for item in client.stream(request, timeout=timeout):
            came.extend([item.text] if isinstance(item, TextDelta) else [])

    with pytest.raises(ProviderTimeout):
        await stream(timeout=0.5)
    assert 0 < len("".join(came)) < len("You said: Hello?")
    with pytest.raises(ProviderTimeout):
        await client.send(request, timeout=0.3)
    await stream(timeout=30)
    assert "".join(came) == "You said: Hello?"
    assert client.from_response((await client.send(request, timeout=30)).payload).content == "You said: Hello?"
    assert [each.answered for each in provider_server.requests] == [False, False, True, True]
