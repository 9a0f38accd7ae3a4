"""`minference demo`: the main job with the embedded model, then what it left in the database."""

from __future__ import annotations

import asyncio

from minference.cli.database import file_of, url_of, writing
from minference.cli.demo_script import demo_threads
from minference.cli.output import one_line, stderr, stdout
from minference.cli.threads import print_diff, print_list, print_log
from minference.clients.catalog import create_client
from minference.ecs.lineage import short_id
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Failed, Outcome
from minference.inference.progress import RichProgress


def demo(database: str) -> int:
    """Run the demo's threads, and show what was saved. Returns 1 if one of them failed, else 0.

    Raises:
        MissingExtra: The embedded model is not installed; says what installs it.
        StorageError: The database cannot be used.
    """
    return asyncio.run(_demo(database))


async def _demo(database: str) -> int:
    console = stdout()
    threads = demo_threads()
    for name in {thread.llm_config.client for thread in threads}:
        create_client(name).check()
    console.print(f"{len(threads)} threads talk to the embedded model, in parallel; every step is saved in {url_of(database)}")
    async with writing(database) as storage:
        async with InferenceOrchestrator(storage=storage, progress=RichProgress(console=stderr()), author="demo") as orchestrator:
            outcomes = await orchestrator.run(threads)
        _say(outcomes)
        first = await storage.info(threads[0].ecs_id)
        versions = await storage.lineage(first.lineage_id)
        _title("saved threads: minference threads list")
        await print_list(storage, 20)
        _title(f"versions of one of them: minference threads log {short_id(first.lineage_id)}")
        await print_log(storage, first, 20)
        if len(versions) > 1:
            old, new = versions[0], versions[-1]
            _title(f"what differs between two of them: minference threads diff {short_id(old.ecs_id)} {short_id(new.ecs_id)}")
            await print_diff(storage, old, new)
    where = file_of(url_of(database)) or url_of(database)
    _title("go on")
    for command in (f"threads show {short_id(first.lineage_id)}", "threads diff @head", "chat --client local"):
        console.print(f"  minference {command} -d {where}", soft_wrap=True)
    return 1 if any(isinstance(outcome, Failed) for outcome in outcomes) else 0


def _say(outcomes: list[Outcome]) -> None:
    console = stdout()
    for outcome in outcomes:
        said = f"failed: {outcome.error}" if isinstance(outcome, Failed) else str(outcome.object or outcome.content)
        console.print(f"  {outcome.thread.name or short_id(outcome.thread.lineage_id)}: {one_line(said, 140)}", soft_wrap=True)


def _title(text: str) -> None:
    stdout().print(f"\n{text}", style="bold", soft_wrap=True)
