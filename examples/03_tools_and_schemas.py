"""A tool that the model calls, and an answer that must fit a pydantic model.

The model is played by a script, so that this runs anywhere and shows what happens step by step.
"""

import asyncio

from pydantic import BaseModel, Field

from minference import (
    CallableTool,
    ChatThread,
    Completed,
    InferenceOrchestrator,
    LLMConfig,
    ResponseFormat,
    StructuredTool,
    ToolCall,
    open_storage,
)
from minference.testing import ScriptedClient


def temperature(city: str) -> float:
    """The temperature in a city now, in degrees Celsius.

    Args:
        city: Name of the city, in English.
    """
    return {"Oslo": 4.5, "Rome": 18.0}[city]


class Trip(BaseModel):
    """A trip that was suggested."""

    city: str
    days: int = Field(ge=1, le=14)


async def main() -> None:
    tool = CallableTool.from_callable(temperature)
    warm = ChatThread(name="weather", llm_config=LLMConfig(client="weather", model="script"), tools=[tool], new_message="Where is it warm?")
    strict = LLMConfig(client="trips", model="script", response_format=ResponseFormat.structured_output)
    trip = ChatThread(name="trip", llm_config=strict, forced_output=StructuredTool.from_pydantic(Trip), new_message="Where to?")

    clients = {
        "weather": ScriptedClient(
            [
                ToolCall.from_arguments("call_1", "temperature", {"city": "Rome"}),
                ToolCall.from_arguments("call_2", "temperature", {"city": "Atlantis"}),  # the tool raises: the model is told
                "Rome has 18 degrees. Atlantis has no weather that I know of.",
            ]
        ),
        "trips": ScriptedClient(['{"city": "Rome", "days": 90}', '{"city": "Rome", "days": 9}']),  # the first is asked for again
    }
    async with open_storage("memory:") as storage, InferenceOrchestrator(storage=storage, clients=clients) as orchestrator:
        for outcome in await orchestrator.run([warm, trip]):
            print(f"--- {outcome.thread.name}")
            for message in outcome.thread.history:
                calls = ", ".join(f"{call.name}({call.arguments_json})" for call in message.tool_calls)
                print(f"{message.role:>9}: {message.content}{calls}")
            if isinstance(outcome, Completed) and outcome.object:
                print("   object:", Trip.model_validate(outcome.object))


if __name__ == "__main__":
    asyncio.run(main())
