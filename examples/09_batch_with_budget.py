"""A batch that ends before it costs too much, and goes on where it ended.

Each answer costs ten cents here. The run has a name, so the database knows what is still to be done: another process, or
this one after a crash, resumes it. `minference runs list` and `minference resume capitals` do the same in a shell.
"""

import asyncio

from minference import ChatThread, Completed, InferenceOrchestrator, LLMConfig, open_storage
from minference.inference.budgets import Budget
from minference.inference.prices import Price
from minference.testing import ScriptedClient

COUNTRIES = ["France", "Japan", "Peru", "Kenya", "Norway"]


async def main() -> None:
    config = LLMConfig(client="oracle", model="dear", max_tokens=10)
    threads = [ChatThread(name=country, llm_config=config, new_message=f"What is the capital of {country}?") for country in COUNTRIES]
    oracle = ScriptedClient(lambda thread: f"{thread.history[-1].content} I know it.")
    prices = {"oracle/dear": Price(input=0, output=10_000)}  # USD per million tokens: 10 tokens cost 10 cents

    async with (
        open_storage("sqlite:///examples.db") as storage,
        InferenceOrchestrator(storage=storage, clients={"oracle": oracle}, prices=prices) as orchestrator,
    ):
        for outcome in await orchestrator.run(threads, run_id="capitals", budget=Budget(max_cost=0.25), concurrency=1):
            print(f"{outcome.thread.name}: {outcome.content if isinstance(outcome, Completed) else outcome.error}")

        print("\nThe next day, with a new budget:")
        async for outcome in orchestrator.resume("capitals", budget=Budget(max_cost=1.00)):
            print(f"{outcome.thread.name}: {outcome.content if isinstance(outcome, Completed) else outcome.error}")
        run = await storage.runs().get("capitals")
        print({state.value: count for state, count in run.counts.items()})


if __name__ == "__main__":
    asyncio.run(main())
