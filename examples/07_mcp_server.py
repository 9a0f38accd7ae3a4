"""Give a model the tools of an MCP server.

The server is this very file, run as a child over its standard input and output: any command, or `McpServer.http(url)`,
takes its place. Needs `pip install "minference[mcp]"`. The model is played by a script.
"""

import asyncio
import sys

from minference import ChatThread, InferenceOrchestrator, LLMConfig, McpServer, ToolCall, open_storage
from minference.testing import ScriptedClient


def serve() -> None:
    """A server with one tool."""
    from mcp.server.mcpserver import MCPServer

    server = MCPServer("library")

    @server.tool()
    def borrow(title: str, weeks: int = 2) -> str:
        """Borrow a book."""
        return f"{title} is yours for {weeks} weeks"

    server.run("stdio")


async def main() -> None:
    reader = ScriptedClient(
        [ToolCall.from_arguments("call_1", "borrow", {"title": "Hunger", "weeks": 3}), "Enjoy it until the end of the month."]
    )
    async with (
        open_storage("memory:") as storage,
        McpServer.stdio(sys.executable, __file__, "serve") as library,
        InferenceOrchestrator(storage=storage, clients={"reader": reader}) as orchestrator,
    ):
        tools = await library.tools()
        print("offered:", ", ".join(f"{tool.name}: {tool.description}" for tool in tools))
        thread = ChatThread(llm_config=LLMConfig(client="reader", model="script"), tools=[*tools], new_message="Get me Hunger.")
        await orchestrator.run([thread])
        for message in thread.history:
            print(f"{message.role}: {message.content or message.tool_calls[0].arguments_json}")


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        asyncio.run(main())
