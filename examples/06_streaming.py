"""Show a reply while it is written, with each step around it.

The model is played by a script that calls a tool first. Text comes in pieces, saved versions as events of their own.
"""

import asyncio

from minference import CallableTool, ChatThread, InferenceOrchestrator, LLMConfig, ToolCall, open_storage
from minference.inference.events import Finished, Saved, TextDelta, ToolResult
from minference.testing import ScriptedClient


def tide(harbour: str) -> str:
    """When the tide is high today."""
    return {"Whitby": "04:10 and 16:35"}[harbour]


async def main() -> None:
    thread = ChatThread(
        llm_config=LLMConfig(client="harbour", model="script"),
        tools=[CallableTool.from_callable(tide)],
        new_message="When can we leave Whitby?",
    )
    harbour = ScriptedClient(
        [ToolCall.from_arguments("call_1", "tide", {"harbour": "Whitby"}), "At high tide: ten past four, or twenty-five to five."]
    )
    async with (
        open_storage("memory:") as storage,
        InferenceOrchestrator(storage=storage, clients={"harbour": harbour}) as orchestrator,
    ):
        async for event in orchestrator.stream(thread):
            match event:
                case TextDelta(text=text):
                    print(text, end="", flush=True)
                case Saved(message=message):
                    print(f"[{message.role} message saved]")
                case ToolResult(call=call, message=message):
                    print(f"{call.name}({call.arguments_json}) = {message.content}")
                case Finished(outcome=outcome):
                    print("finished:", type(outcome).__name__)


if __name__ == "__main__":
    asyncio.run(main())
