"""A program that answers a thread where OpenTelemetry is not installed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder


class Missing(MetaPathFinder):
    """Finds no module of OpenTelemetry."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: object = None) -> None:
        """Say that there is no such module."""
        if fullname.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(fullname)


async def main() -> None:
    """Answer a thread, and run a tool."""
    from minference import ChatThread, InferenceOrchestrator, LLMConfig, open_storage

    asked = ChatThread(llm_config=LLMConfig(client="scripted", model="m"), new_message="Hello.")
    async with open_storage("memory:") as storage, InferenceOrchestrator(storage=storage) as orchestrator:
        [outcome] = await orchestrator.run([asked])
    assert outcome.ok, outcome
    print(outcome.content)


if __name__ == "__main__":
    sys.meta_path.insert(0, Missing())
    asyncio.run(main())
    assert not any(name.startswith("opentelemetry") for name in sys.modules)
