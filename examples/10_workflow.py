"""A workflow: tools in a fixed order, each called once by the model, which fills in the arguments.

The model is played by a script. Each step is saved before the next, so a workflow that was interrupted goes on at the
step where it ended.
"""

import asyncio

from minference import CallableTool, ChatThread, Completed, InferenceOrchestrator, LLMConfig, ResponseFormat, ToolCall, open_storage
from minference.testing import ScriptedClient


def look_up(city: str) -> dict[str, float]:
    """Where a city is."""
    return {"latitude": 38.7, "longitude": -9.1} if city == "Lisbon" else {}


def forecast(latitude: float, longitude: float) -> str:
    """The weather at a place, tomorrow."""
    return f"sunny at {latitude:.1f}, {longitude:.1f}"


def send(to: str, text: str) -> str:
    """Send a message."""
    return f"sent to {to}: {text}"


async def main() -> None:
    config = LLMConfig(client="assistant", model="script", response_format=ResponseFormat.workflow)
    tools = [CallableTool.from_callable(function) for function in (look_up, forecast, send)]
    thread = ChatThread(llm_config=config, tools=[*tools], new_message="Tell Ann how the weather will be in Lisbon.")
    assistant = ScriptedClient(
        [
            ToolCall.from_arguments("call_1", "look_up", {"city": "Lisbon"}),
            ToolCall.from_arguments("call_2", "forecast", {"latitude": 38.7, "longitude": -9.1}),
            ToolCall.from_arguments("call_3", "send", {"to": "Ann", "text": "Sunny tomorrow!"}),
        ]
    )
    async with (
        open_storage("memory:") as storage,
        InferenceOrchestrator(storage=storage, clients={"assistant": assistant}) as orchestrator,
    ):
        outcome = await orchestrator.run_workflow(thread)
        for message in thread.history:
            calls = ", ".join(f"{call.name}({call.arguments_json})" for call in message.tool_calls)
            print(f"{message.role:>9}: {message.content}{calls}")
        print("completed:", isinstance(outcome, Completed), "| versions:", len(await storage.lineage(thread.lineage_id)))


if __name__ == "__main__":
    asyncio.run(main())
