"""Ask many questions at once, and keep every step.

Runs without a key on a client that repeats what it hears. For a real model, set MINFERENCE_CLIENT and MINFERENCE_MODEL,
for example to `openai` and a model's name, and the key of that provider.
"""

import asyncio
import os

from minference import ChatThread, Completed, InferenceOrchestrator, LLMConfig, SystemPrompt, open_storage

QUESTIONS = ["Why is the sky blue?", "Why is the sea salty?", "Why do leaves fall?"]


async def main() -> None:
    config = LLMConfig(client=os.environ.get("MINFERENCE_CLIENT", "scripted"), model=os.environ.get("MINFERENCE_MODEL", "echo"))
    brief = SystemPrompt(name="brief", content="Answer in one sentence.")
    threads = [ChatThread(name=question, system_prompt=brief, llm_config=config, new_message=question) for question in QUESTIONS]

    async with open_storage("sqlite:///examples.db") as storage, InferenceOrchestrator(storage=storage) as orchestrator:
        outcomes = await orchestrator.run_parallel_ai_completion(threads)
        for thread, outcome in zip(threads, outcomes, strict=True):
            if isinstance(outcome, Completed):
                print(f"{thread.name}\n  {outcome.content}")
            else:
                print(f"{thread.name}\n  failed: {outcome.error}")

        # Each turn made two versions of its thread: one with the question, one with the answer.
        for version in await storage.lineage(threads[0].lineage_id):
            print(version.created_at.time(), version.ecs_id, version.commit.note)


if __name__ == "__main__":
    asyncio.run(main())
