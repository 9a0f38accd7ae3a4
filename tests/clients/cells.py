"""Every cell of the matrix: a thread for each form of reply on each provider, and what is sent for it.

`python -m tests.clients.cells` writes the bodies into `tests/clients/wire/`, one file per provider.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from minference.clients.catalog import create_client
from minference.clients.local_dialect import lower
from minference.testing import ProviderServer
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import SystemPrompt
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool

PROVIDERS = ("openai", "azure_openai", "anthropic", "vllm", "litellm", "openrouter", "local")
ON_A_SOCKET = PROVIDERS[:-1]
"""The last one is a child process of ours."""
WIRE = Path(__file__).parent / "wire"


# Every field has a bound, so that a model which keeps to the schema comes to an end.
class City(BaseModel):
    """A city."""

    name: str = Field(min_length=1, max_length=20)
    people: int | None = Field(default=None, ge=0, le=100_000_000)
    tags: list[Annotated[str, Field(max_length=12)]] = Field(default_factory=list, max_length=3)


def shout(text: Annotated[str, Field(max_length=30)], times: Annotated[int, Field(ge=1, le=3)] = 1) -> str:
    """Say it louder."""
    return " ".join([text.upper()] * times)


def cell(provider: str, wanted: ResponseFormat, **config: Any) -> ChatThread:
    """A question to be answered in this form."""
    model = "local" if provider == "local" else "m-1"
    settings = LLMConfig(client=provider, model=model, response_format=wanted, **{"max_tokens": 60, **config})
    thread = ChatThread(llm_config=settings, system_prompt=SystemPrompt(content="Be brief."), new_message="Rome")
    louder, city = CallableTool.from_callable(shout, replace=True), StructuredTool.from_pydantic(City)
    match wanted:
        case ResponseFormat.structured_output:
            thread.forced_output = city
        case ResponseFormat.tool:
            thread.tools, thread.forced_output = [louder], city
        case ResponseFormat.auto_tools:
            thread.tools = [louder]
        case ResponseFormat.workflow:
            thread.tools = [louder, city]
        case _:
            pass
    return thread


def find_through_environment(server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clients of all providers on a socket find the server."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


def body(provider: str, wanted: ResponseFormat) -> dict[str, Any]:
    """What is sent first."""
    request = create_client(provider).to_request(cell(provider, wanted))
    return lower(request).body if provider == "local" else request


def recorded(provider: str, wanted: ResponseFormat) -> dict[str, Any]:
    """What was sent when the file was written, and read by somebody."""
    found: dict[str, Any] = json.loads((WIRE / f"{provider}.json").read_text())[wanted.value]
    return found


def write() -> None:
    """Write what is sent now."""
    for provider in PROVIDERS:
        bodies = {wanted.value: body(provider, wanted) for wanted in ResponseFormat}
        (WIRE / f"{provider}.json").write_text(json.dumps(bodies, indent=1) + "\n")


if __name__ == "__main__":
    write()
