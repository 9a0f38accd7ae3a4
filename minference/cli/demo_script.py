"""What `minference demo` says to the embedded model: chosen so that a model of 135 million parameters answers well."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import SystemPrompt
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool

CHAT = "two turns"
SECOND_QUESTION = "Which ocean lies to the east of it?"


class City(BaseModel):
    """A city."""

    name: str
    country: str


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


def demo_threads() -> list[ChatThread]:
    """Three new threads with a first question each: a plain chat, an object to extract, and a tool to call."""
    return [
        ChatThread(
            name=CHAT,
            system_prompt=SystemPrompt(name="brief", content="Answer in one short sentence."),
            llm_config=_config(ResponseFormat.text),
            new_message="What is the capital of Japan?",
        ),
        ChatThread(
            name="an object",
            system_prompt=SystemPrompt(name="extract", content="Extract the city and its country."),
            llm_config=_config(ResponseFormat.structured_output),
            forced_output=StructuredTool.from_pydantic(City),
            new_message="I spent a week in Lisbon, Portugal.",
        ),
        ChatThread(
            name="a tool",
            system_prompt=SystemPrompt(name="calculator", content="Answer in one short sentence."),
            llm_config=_config(ResponseFormat.auto_tools),
            tools=[CallableTool.from_callable(multiply)],
            new_message="What is 127 times 48?",
        ),
    ]


def ask_again(threads: Sequence[ChatThread]) -> list[ChatThread]:
    """Those of the demo's threads that go on with a second question, which is now their `new_message`."""
    chats = [thread for thread in threads if thread.name == CHAT]
    for thread in chats:
        thread.new_message = SECOND_QUESTION
    return chats


def _config(response_format: ResponseFormat) -> LLMConfig:
    """As repeatable as a computation in parallel can be: temperature 0, a fixed seed, short replies."""
    return LLMConfig(client="local", model="SmolLM2-135M-Instruct", max_tokens=40, temperature=0, seed=7, response_format=response_format)
