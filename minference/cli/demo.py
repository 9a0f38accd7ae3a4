"""`minference demo`: the main job with the embedded model, then what it left in the database."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from rich.text import Text

from minference.cli.database import file_of, url_of, writing
from minference.cli.demo_script import ask_again, demo_threads
from minference.cli.draining import run_draining
from minference.cli.interrupts import ANSWERED
from minference.cli.output import one_line, stderr, stdout
from minference.cli.threads import print_diff, print_list, print_log
from minference.clients.catalog import create_client
from minference.ecs.lineage import short_id
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Failed, Outcome
from minference.inference.progress import RichProgress
from minference.threads.turns import Done, next_step


def demo(database: str) -> int:
    """Run the demo's threads, and show what was saved. Returns 1 if one of them failed, else 0.

    Raises:
        MissingExtra: The embedded model is not installed; says what installs it.
        StorageError: The database cannot be used.
    """
    return run_draining(_demo(database), ANSWERED)


async def _demo(database: str) -> int:
    console = stdout()
    threads = demo_threads()
    for name in {thread.llm_config.client for thread in threads}:
        create_client(name).check()
    console.print(f"{len(threads)} threads talk to the embedded model, in parallel; every step is saved in {url_of(database)}")
    async with writing(database) as storage:
        async with InferenceOrchestrator(storage=storage, progress=RichProgress(console=stderr()), author="demo") as orchestrator:
            _say(await orchestrator.run(threads))
            _say(await orchestrator.run(ask_again(threads)))
        first = await storage.info(threads[0].ecs_id)
        versions = await storage.lineage(first.lineage_id)
        name, old, new = short_id(first.lineage_id), versions[0], versions[-1]
        tail = f"-d {file_of(url_of(database)) or url_of(database)}"
        _title("saved threads", f"threads list {tail}")
        await print_list(storage, 20)
        _title("versions of one of them", f"threads log {name} {tail}")
        await print_log(storage, first, 20)
        if old != new:
            _title("what differs between two of them", f"threads diff {short_id(old.ecs_id)} {short_id(new.ecs_id)} {tail}")
            await print_diff(storage, old, new)
    console.print("\ngo on", style="bold")
    for command in (f"ui {tail}", f"threads show {name} {tail}", f"threads diff @head {tail}", f"chat --client local {tail}"):
        console.print(f"  {_program()} {command}", soft_wrap=True)
    return 0 if all(isinstance(next_step(thread), Done) for thread in threads) else 1


def _say(outcomes: list[Outcome]) -> None:
    console = stdout()
    for outcome in outcomes:
        said = f"failed: {outcome.error}" if isinstance(outcome, Failed) else str(outcome.object or outcome.content)
        console.print(f"  {outcome.thread.name or short_id(outcome.thread.lineage_id)}: {one_line(said, 140)}", soft_wrap=True)


def _title(text: str, command: str) -> None:
    stdout().print(Text.assemble(("\n" + text, "bold"), (f"  {_program()} {command}", "dim")), soft_wrap=True)


def _program() -> str:
    """How the reader can call us: by the path that was used, if `minference` is not on the PATH."""
    called = Path(sys.argv[0])
    if called.name != "minference" or shutil.which("minference"):
        return "minference"
    return str(called.relative_to(Path.cwd())) if called.is_relative_to(Path.cwd()) else str(called)
