"""Which tools a request offers: each once, and never two of one name."""

from __future__ import annotations

from typing import Any

import pytest

from minference.clients.catalog import create_client
from minference.errors import RepeatedToolName
from minference.threads.config import ResponseFormat
from minference.threads.tools import CallableTool, StructuredTool
from tests.clients.threads import ADD, CITY, conversation

CLIENTS = ("openai", "anthropic", "scripted")


def names(request: dict[str, Any]) -> list[str]:
    return [tool.get("name") or tool["function"]["name"] for tool in request["tools"]]


@pytest.mark.parametrize("name", CLIENTS)
def test_two_tools_of_one_name_are_refused_before_anything_is_sent(name: str) -> None:
    thread = conversation(name, ResponseFormat.auto_tools)
    thread.tools = [ADD, CITY, CallableTool(name="add", input_schema={"type": "object"})]
    with pytest.raises(RepeatedToolName, match="two different tools of the thread are called 'add'"):
        create_client(name).to_request(thread)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_workflow_may_use_one_tool_in_several_steps(name: str) -> None:
    thread = conversation(name, ResponseFormat.workflow)
    thread.tools, thread.workflow_step = [ADD, CITY, ADD], 2
    assert names(create_client(name).to_request(thread)) == ["add", "city"]


def test_the_forced_output_may_stand_among_the_tools_if_it_is_the_same() -> None:
    thread = conversation("scripted", ResponseFormat.tool)
    thread.tools, thread.forced_output = [ADD, CITY], StructuredTool(name=CITY.name, json_schema=CITY.json_schema)
    assert names(create_client("scripted").to_request(thread)) == ["add", "city"]
    thread.forced_output = StructuredTool(name="city", json_schema={"type": "object"})
    with pytest.raises(RepeatedToolName, match="'city'"):
        create_client("scripted").to_request(thread)
