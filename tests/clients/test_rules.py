"""A strict provider server refuses what the real ones do, and says which rule was broken."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from minference.clients.base import Client
from minference.clients.catalog import create_client
from minference.errors import ProviderRefused
from minference.testing import ProviderServer
from minference.testing.rules import anthropic_problem, openai_problem
from minference.threads.config import ResponseFormat
from tests.clients.threads import CITY, asked, conversation

Change = Callable[[dict[str, Any]], object]

THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "of another"}


def openai_body() -> dict[str, Any]:
    return create_client("openai").to_request(conversation("openai"))


def anthropic_body() -> dict[str, Any]:
    return create_client("anthropic").to_request(conversation("anthropic"))


def structured(client: str) -> dict[str, Any]:
    thread = asked(client, ResponseFormat.structured_output)
    thread.forced_output = CITY
    return create_client(client).to_request(thread)


def test_what_our_clients_send_breaks_no_rule() -> None:
    for body in (openai_body(), structured("openai")):
        assert openai_problem(body, set()) is None
    for body in (anthropic_body(), structured("anthropic")):
        assert anthropic_problem(body, set(), "") is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda body: body["messages"].clear(), "there are none"),
        (lambda body: body["messages"].pop(4), r"messages\[4\]: the calls \['call_2'\] have no results before it"),
        (lambda body: body["messages"].pop(2), "a result of 'call_1', which is no call"),
        (lambda body: body["messages"].insert(4, body["messages"][3]), "a result of 'call_1', which is no call"),
        (lambda body: body["messages"][2]["tool_calls"][1].update(id="call_1"), "two have one id"),
        (lambda body: body["messages"][2]["tool_calls"][1].update(id="c" * 41), "longer than 40"),
        (lambda body: body["messages"][2]["tool_calls"][0]["function"].update(name="a.b"), "'a.b' is no name"),
        (lambda body: body["messages"][2].update(tool_calls=[]), "an empty list"),
        (lambda body: body["messages"][1].update(content=None), "null is only for messages with tool_calls"),
        (lambda body: body["messages"][1].update(reasoning="x"), "unknown field 'reasoning'"),
        (lambda body: body["messages"][2].update(thinking_blocks=[THOUGHT]), "'of another' is not ours"),
        (lambda body: body["messages"][0].update(role="boss"), "'boss' is none"),
        (lambda body: body.update(tools=[*body["tools"], *body["tools"]]), "two have one name"),
        (lambda body: body.update(tool_choice={"type": "function", "function": {"name": "gone"}}), "there is no tool 'gone'"),
        (lambda body: body["tools"][0]["function"]["parameters"].pop("additionalProperties"), "additionalProperties: false"),
        (lambda body: body["tools"][0]["function"]["parameters"].update(required=["a"]), "must require every property"),
        (lambda body: body["tools"][0]["function"]["parameters"]["properties"]["a"].update(default=1), "cannot have 'default'"),
        (lambda body: body.update(response_format={"type": "json_object"}), "must contain the word 'json'"),
    ],
)
def test_rules_of_chat_completions(change: Change, says: str) -> None:
    body = copy.deepcopy(openai_body())
    change(body)
    found = openai_problem(body, set())
    assert re.search(says, found or "no problem"), found


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda body: body.pop("max_tokens"), "field required"),
        (lambda body: body.update(temperature=1), "temperature: extra inputs"),
        (lambda body: body.update(seed=1), "seed: extra inputs"),
        (lambda body: body["messages"].pop(0), "must use the user role"),
        (lambda body: body["messages"].insert(0, body["messages"][0]), "roles must alternate"),
        (lambda body: body["messages"].pop(), "prefill"),
        (lambda body: body["messages"][2]["content"].pop(), r"results of \['call_1'\], where those of \['call_1', 'call_2'\]"),
        (lambda body: body["messages"][2]["content"].insert(0, {"type": "text", "text": "x"}), "must come first"),
        (lambda body: body["messages"][1]["content"][1].update(input="x"), "must be an object"),
        (lambda body: body["messages"][1]["content"][0].update(text=" "), "non-whitespace"),
        (lambda body: body["messages"][3].update(content=[]), "no content"),
        (lambda body: body["messages"][3]["content"].append(THOUGHT), "cannot be thinking"),
        (lambda body: body["messages"][3]["content"].insert(0, THOUGHT), "'of another' is not ours"),
        (lambda body: body.pop("tools"), "required when messages hold tool_use"),
        (lambda body: body.update(tool_choice={"type": "any"}, thinking={"type": "adaptive"}), "may not be enabled"),
        (lambda body: body.update(tool_choice={"type": "tool", "name": "gone"}), "there is no tool 'gone'"),
        (lambda body: body.update(cache_control={"type": "ephemeral"}), "a maximum of 4 blocks"),
        (lambda body: body["tools"][0]["input_schema"].pop("additionalProperties"), "additionalProperties: false"),
        (lambda body: body["tools"][0]["input_schema"]["properties"]["a"].update(minimum=1), "cannot have 'minimum'"),
    ],
)
def test_rules_of_messages(change: Change, says: str) -> None:
    body = copy.deepcopy(anthropic_body())
    change(body)
    found = anthropic_problem(body, set(), "")
    assert re.search(says, found or "no problem"), found


async def test_a_strict_server_answers_400_with_the_rule(client: Client, provider_server: ProviderServer) -> None:
    provider_server.strict = True
    request = client.to_request(asked(client.name))
    request["messages"] = []
    with pytest.raises(ProviderRefused, match=r"refused with status 400 .*: messages: "):
        await client.send(request, timeout=30)
    assert provider_server.requests[0].problem is not None
    assert provider_server.requests[0].answered is False
