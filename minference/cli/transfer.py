"""`minference threads export` and `import`: threads as JSON lines, with all their versions."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

from minference.cli.database import existing, writing
from minference.cli.find import find_version
from minference.cli.interrupts import if_interrupted
from minference.cli.output import counted, print_json, stderr, stdout
from minference.cli.working import working
from minference.ecs.diff_render import printable
from minference.ecs.lineage import short_id
from minference.errors import ConfigurationError
from minference.storage.base import EntityStorage
from minference.storage.portable import Imported
from minference.storage.whole_files import check_target
from minference.threads.thread import ChatThread


def export_threads(database: str, threads: list[str], output: Path | None, *, everything: bool) -> None:
    """Write threads, all of them by default, or everything to a file or to stdout."""
    if everything and threads:
        raise ConfigurationError("name threads, or pass --everything, which exports them as well")
    if output is not None:
        check_target(output)
    with if_interrupted("the export is not whole" if output is None else f"nothing was written to {output}"):
        asyncio.run(_export(database, threads, output, everything=everything))


def import_threads(database: str, file: Path, as_json: bool, *, erase: bool) -> None:
    """Add what an export holds, and say what was new."""
    if not file.is_file():
        raise ConfigurationError(f"there is no file {str(file)!r}: name one that `minference threads export -o` wrote")
    with if_interrupted("what was added before stays, and the same command again adds the rest"):
        asyncio.run(_import(database, file, as_json, erase=erase))


async def _export(database: str, threads: list[str], output: Path | None, *, everything: bool) -> None:
    async with existing(database) as storage:
        lineages = None if everything else await _lineages(storage, threads)
        if output is not None:
            with working("exporting"):
                commits = await storage.export_to(output, lineages)
            what = "everything" if lineages is None else counted(len(lineages), "thread")
            stderr().print(f"{what}, {counted(commits, 'commit')}: {output}", soft_wrap=True)
            return
        with working("exporting"):
            async for line in storage.export_lines(lineages):
                sys.stdout.buffer.write(f"{line}\n".encode())
            sys.stdout.flush()


async def _lineages(storage: EntityStorage, threads: list[str]) -> list[UUID]:
    if not threads:
        return [head.lineage_id for head in await storage.list_by_type(ChatThread)]
    return list(dict.fromkeys([(await find_version(storage, text)).lineage_id for text in threads]))


async def _import(database: str, file: Path, as_json: bool, *, erase: bool) -> None:
    async with writing(database) as storage:
        with working("importing"):
            done = await storage.import_from(file, erase=erase)
        remains = await storage.scrub() if done.erased else ()
    for sentence in remains:
        stderr().print(f"what was erased remains: {sentence}", soft_wrap=True)
    if as_json:
        print_json(_as_json(done) | {"remains": remains})
        return
    counts = f"{counted(done.versions, 'new version')} in {counted(done.commits, 'commit')}; {done.present:,} were there already"
    also = [counted(count, f"new {name}") for count, name in ((done.blobs, "attached content"), (done.tags, "tag")) if count]
    stdout().print("; ".join([counts, *also]))
    if done.emptied:
        stdout().print(f"{done.emptied} of the new versions came without content: they are erased here")
    if done.erased:
        stdout().print(f"{done.erased} objects were erased here, as they were where the export comes from")
    for kept in done.kept_tags:
        stderr().print(
            f"tag {printable(repr(kept.name))} of thread {short_id(kept.lineage_id)} stays on version {kept.here}: "
            f"the export has it on {kept.there}",
            style="yellow",
            soft_wrap=True,
        )


def _as_json(done: Imported) -> dict[str, Any]:
    kept = [{name: str(value) for name, value in asdict(each).items()} for each in done.kept_tags]
    return {**asdict(done), "kept_tags": kept}
